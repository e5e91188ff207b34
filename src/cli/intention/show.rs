//! Intentions as text.

use crate::model::{Intention, Namespace, Partition};

/// `web => db (allow)`.
pub(super) fn sentence(intention: &Intention) -> String {
    format!("{} => {} ({})", source(intention), destination(intention), action(intention))
}

/// All of them, one in a row, under a heading.
pub(super) fn table(intentions: &[Intention]) -> Vec<Vec<String>> {
    let heading = ["ID", "Source", "Action", "Destination", "Precedence"].map(str::to_owned).to_vec();
    let row = |intention: &Intention| {
        let Intention { id, precedence, .. } = intention;
        vec![id.clone(), source(intention), action(intention), destination(intention), precedence.to_string()]
    };
    std::iter::once(heading).chain(intentions.iter().map(row)).collect()
}

/// What one says, a fact in a row.
pub(super) fn facts(intention: &Intention) -> Vec<Vec<String>> {
    let mut facts = vec![
        ("Source:".to_owned(), source(intention)),
        ("Destination:".to_owned(), destination(intention)),
        ("Action:".to_owned(), action(intention)),
    ];
    let Intention { id, description, meta, precedence, created_at, permissions, .. } = intention;
    for (name, value) in [("ID:", id), ("Description:", description), ("Created At:", created_at)] {
        if !value.is_empty() {
            facts.push((name.to_owned(), value.clone()));
        }
    }
    facts.push(("Precedence:".to_owned(), precedence.to_string()));
    facts.extend(meta.iter().map(|(key, value)| (format!("Meta[{key}]:"), value.clone())));
    let permission = |(position, permission)| {
        let text = serde_json::to_string(permission).unwrap_or_default();
        (format!("Permission[{position}]:"), text)
    };
    facts.extend(permissions.iter().enumerate().map(permission));
    facts.into_iter().map(|(name, value)| vec![name, value]).collect()
}

/// What becomes of calls; where that depends on the request, on how many permissions.
fn action(intention: &Intention) -> String {
    match intention.permissions.len() {
        0 => intention.action.clone(),
        1 => "1 permission".to_owned(),
        many => format!("{many} permissions"),
    }
}

fn source(intention: &Intention) -> String {
    let Intention { source_partition, source_ns, source_name, source_peer, .. } = intention;
    let name = shown(source_partition.as_ref(), source_ns.as_ref(), source_name);
    if source_peer.is_default() { name } else { format!("peer:{source_peer}/{name}") }
}

fn destination(intention: &Intention) -> String {
    let Intention { destination_partition, destination_ns, destination_name, .. } = intention;
    shown(destination_partition.as_ref(), destination_ns.as_ref(), destination_name)
}

/// A name with its tenancy, where that is not the default one.
fn shown(partition: Option<&Partition>, namespace: Option<&Namespace>, name: &str) -> String {
    let partition = partition.filter(|partition| !partition.is_default());
    full(partition, namespace.filter(|namespace| !namespace.is_default()), name)
}

/// A name with as much of its tenancy as is said.
pub(super) fn full(partition: Option<&Partition>, namespace: Option<&Namespace>, name: &str) -> String {
    match (partition, namespace) {
        (Some(partition), namespace) => {
            format!("{partition}/{}/{name}", namespace.map_or("default", Namespace::as_str))
        }
        (None, Some(namespace)) => format!("{namespace}/{name}"),
        (None, None) => name.to_owned(),
    }
}
