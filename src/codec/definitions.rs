//! Config entries, and files of registrations and entries.

use super::Definitions;
use super::lenient::{Typing, decode, suggestion};
use super::tree::{Content, Member, Tree, same_key, shortened};
use crate::model::{ConfigEntry, EntryKind, Problem, ProblemKind, Problems, ServiceDefinition};

/// Kinds of services that are not the name of any kind of entry too.
const SERVICE_KINDS: [&str; 2] = ["connect-proxy", "mesh-gateway"];

/// Kinds that Consul has (`http-api.md` 2.6) and meshgate has no use for. They are spelled well, so that a similar name
/// is not what was meant.
const NOT_KEPT: [&str; 14] = [
    "api-gateway",
    "control-plane-request-limit",
    "file-system-certificate",
    "http-route",
    "ingress-gateway",
    "inline-certificate",
    "jwt-provider",
    "rate-limit",
    "sameness-group",
    "service-intentions",
    "service-router",
    "service-splitter",
    "tcp-route",
    "terminating-gateway",
];

/// The entry that a tree at `place` of a larger document is.
pub(super) fn entry(tree: &Tree, place: &str) -> Result<ConfigEntry, Problems> {
    let kind = entry_kind(tree, place)?;
    Ok(match kind {
        EntryKind::ProxyDefaults => ConfigEntry::ProxyDefaults(decode(tree, place, Typing::Weak)?),
        EntryKind::ServiceDefaults => ConfigEntry::ServiceDefaults(decode(tree, place, Typing::Weak)?),
        EntryKind::ServiceResolver => ConfigEntry::ServiceResolver(decode(tree, place, Typing::Weak)?),
        EntryKind::ExportedServices => ConfigEntry::ExportedServices(decode(tree, place, Typing::Weak)?),
        EntryKind::Mesh => ConfigEntry::Mesh(decode(tree, place, Typing::Weak)?),
    })
}

fn entry_kind(tree: &Tree, place: &str) -> Result<EntryKind, Problem> {
    let problem = |field, line, message| {
        let inner = Problem { kind: ProblemKind::Type, path: String::from(field), message, line: Some(line) };
        inner.under(place)
    };
    let names = EntryKind::ALL.map(EntryKind::as_str);
    if tree.members().is_none() {
        return Err(problem("", tree.line, format!("expected an object with a Kind, found {}", tree.describe())));
    }
    let Some(kind) = tree.get("Kind") else {
        let message = format!("a config entry needs a Kind at its top: one of {}", names.join(", "));
        return Err(problem("", tree.line, message));
    };
    let Content::String(text) = &kind.content else {
        return Err(problem("Kind", kind.line, format!("Kind must be a string, found {}", kind.describe())));
    };
    EntryKind::parse(text).ok_or_else(|| {
        let hint = kind_hint(text, &names);
        problem("Kind", kind.line, format!("invalid config entry kind: {}{hint}", shortened(text)))
    })
}

/// What whoever wrote an unknown kind may have meant.
fn kind_hint(text: &str, names: &[&str]) -> String {
    if SERVICE_KINDS.contains(&text) {
        return ", which a registration has: put it into a service block".to_owned();
    }
    let expected = names.join(", ");
    if NOT_KEPT.contains(&text) {
        return format!(", of which meshgate keeps no entries: expected one of {expected}");
    }
    match suggestion(text, names) {
        Some(close) => format!(", did you mean {close:?}?"),
        None => format!(": expected one of {expected}"),
    }
}

/// Adds what one document holds, and what is wrong with it.
pub(super) fn collect(document: &Tree, found: &mut Definitions, problems: &mut Problems) {
    if document.content == Content::Null {
        return;
    }
    let Some(members) = document.members() else {
        let message = format!("expected an object at the top, found {}", document.describe());
        problems.0.push(Problem { kind: ProblemKind::Type, path: String::new(), message, line: Some(document.line) });
        return;
    };
    if document.get("Kind").is_some() {
        collect_entry(document, "", found, problems);
        return;
    }
    for member in members {
        if same_key(&member.key, "service") || same_key(&member.key, "services") {
            each(member, &member.key, |tree, place| match decode::<ServiceDefinition>(tree, place, Typing::Weak) {
                Ok(service) => found.services.push(service),
                Err(inner) => problems.0.extend(inner.0),
            });
        } else if same_key(&member.key, "config_entries") {
            each(member, &member.key, |tree, place| collect_bootstrap(tree, place, found, problems));
        } else {
            problems.0.push(unknown_key(member, "", &["service", "services", "config_entries", "Kind"]));
        }
    }
}

fn collect_bootstrap(tree: &Tree, place: &str, found: &mut Definitions, problems: &mut Problems) {
    let Some(members) = tree.members() else {
        let message = format!("expected an object with a list bootstrap, found {}", tree.describe());
        problems.0.push(Problem { kind: ProblemKind::Type, path: place.to_owned(), message, line: Some(tree.line) });
        return;
    };
    for member in members {
        if same_key(&member.key, "bootstrap") {
            let place = format!("{place}.bootstrap");
            each(member, &place, |tree, place| collect_entry(tree, place, found, problems));
        } else {
            problems.0.push(unknown_key(member, place, &["bootstrap"]));
        }
    }
}

fn collect_entry(tree: &Tree, place: &str, found: &mut Definitions, problems: &mut Problems) {
    match entry(tree, place) {
        Ok(entry) => found.entries.push(entry),
        Err(inner) => problems.0.extend(inner.0),
    }
}

/// Calls `read` with the value of a member, or with each of them and its index where there is a list.
fn each(member: &Member, place: &str, mut read: impl FnMut(&Tree, &str)) {
    match &member.value.content {
        Content::Null => {}
        Content::List(items) => {
            for (position, item) in items.iter().enumerate() {
                read(item, &format!("{place}[{position}]"));
            }
        }
        Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::Object(_) => read(&member.value, place),
    }
}

fn unknown_key(member: &Member, place: &str, known: &[&str]) -> Problem {
    let key = &*shortened(&member.key);
    let hint = suggestion(key, known).map(|close| format!(", did you mean {close:?}?")).unwrap_or_default();
    Problem {
        kind: ProblemKind::UnknownKey,
        path: key.to_owned(),
        message: format!("invalid config key {key:?}{hint}"),
        line: Some(member.line),
    }
    .under(place)
}
