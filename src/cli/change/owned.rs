//! What somebody owns: config entries and services with a label in their `Meta`, so that what files lack can be pruned.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::cli::client::{Client, ClientError};
use crate::cli::files::Written;
use crate::model::entry::Mesh;
use crate::model::{EntryKey, EntryKind, Namespace, Partition, ServiceName};

/// The key in `Meta` that says whose it is.
const OWNER: &str = "meshgate-owner";

/// The parameter of a plan that names config entries to delete.
pub(super) const DELETE: &str = "delete";
/// The parameter of a plan that names services to deregister.
pub(super) const DEREGISTER: &str = "deregister";

/// Labels everything that is written, sidecars included.
pub(super) fn label(written: &mut Written, owner: &str) {
    for written in &mut written.entries {
        written.entry.meta_mut().insert(OWNER.to_owned(), owner.to_owned());
    }
    for service in &mut written.services {
        service.meta.insert(OWNER.to_owned(), owner.to_owned());
        let sidecar = service.connect.as_mut().and_then(|connect| connect.sidecar_service.as_mut());
        // One that says nothing takes over what its service says.
        if let Some(sidecar) = sidecar.filter(|sidecar| !sidecar.meta.is_empty()) {
            sidecar.meta.insert(OWNER.to_owned(), owner.to_owned());
        }
    }
}

/// A row that goes.
pub(super) struct Pruned {
    /// The parameter of a plan that takes such rows away.
    pub(super) parameter: &'static str,
    /// What it says there.
    pub(super) name: String,
    /// The commit that last changed the row when it was listed.
    index: u64,
}

impl Pruned {
    fn new(parameter: &'static str, name: String, row: &Value) -> Self {
        Self { parameter, name, index: row["ModifyIndex"].as_u64().unwrap_or_default() }
    }

    /// The parameter that takes the row away unless somebody has changed it since: it may be another one's by then.
    pub(super) fn unless_changed(self) -> (&'static str, String) {
        let parameter = if self.parameter == DELETE { "delete-cas" } else { "deregister-cas" };
        (parameter, format!("{}/{}", self.index, self.name))
    }
}

/// What has the label of `owner` in a partition and namespace and is not written.
///
/// # Errors
/// The control plane does not answer or refuses.
pub(super) async fn left_behind(
    client: &Client,
    owner: &str,
    written: &Written,
    (partition, namespace): (&Partition, &Namespace),
) -> Result<Vec<Pruned>, ClientError> {
    let kept: BTreeSet<_> = written.entries.iter().map(|written| written.key_in(partition, namespace)).collect();
    let is_owned = |row: &Value| row["Meta"][OWNER] == owner;
    let mut gone = Vec::new();
    // Kinds without a namespace belong to the partition, so that only who works on all of it may take them away.
    let has_all = |kind: &EntryKind| kind.is_namespaced() || namespace.is_default();
    for kind in EntryKind::ALL.into_iter().filter(has_all) {
        let stored: Vec<Value> = client.get(&["config", kind.as_str()], &[]).await?;
        let owned = stored.iter().filter(|row| is_owned(row));
        // There is one of its kind in a partition, which is shown without a name.
        let only = (kind == EntryKind::Mesh).then_some(Mesh::NAME);
        let named = owned.filter_map(|row| Some((row["Name"].as_str().or(only)?, row)));
        let namespace = if kind.is_namespaced() { namespace.clone() } else { Namespace::default() };
        let key = |name: &str| EntryKey { kind, name: ServiceName::new(partition, &namespace, name) };
        let left = named.filter(|(name, _)| !kept.contains(&key(name)));
        gone.extend(left.map(|(name, row)| Pruned::new(DELETE, format!("{kind}/{name}"), row)));
    }
    let services: Map<String, Value> = client.get(&["agent", "services"], &[]).await?;
    let registered = registered(written);
    let gone_services: BTreeSet<_> =
        services.iter().filter(|(id, row)| is_owned(row) && !registered.contains(*id)).map(|(id, _)| id).collect();
    // The sidecar that a service carries goes with it.
    let is_alone = |id: &&&String| {
        let service = id.strip_suffix("-sidecar-proxy").unwrap_or_default();
        let is_of = services[**id]["Proxy"]["DestinationServiceID"] == service;
        !is_of || !gone_services.contains(&service.to_owned())
    };
    gone.extend(gone_services.iter().filter(is_alone).map(|id| Pruned::new(DEREGISTER, (*id).clone(), &services[*id])));
    Ok(gone)
}

/// The IDs of what is written, and of the sidecars that it carries.
fn registered(written: &Written) -> BTreeSet<String> {
    let ids = written.services.iter().flat_map(|service| {
        let id = if service.id.as_str().is_empty() { &*service.name } else { service.id.as_str() };
        let has_sidecar = service.connect.as_ref().is_some_and(|connect| connect.sidecar_service.is_some());
        let sidecar = has_sidecar.then(|| format!("{id}-sidecar-proxy"));
        std::iter::once(id.to_owned()).chain(sidecar)
    });
    ids.collect()
}
