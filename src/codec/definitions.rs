//! Config entries, and files of registrations and entries.

use super::decoded::{Decoded, Items};
use super::kubernetes;
use super::lenient::{Decoding, Typing, decode, suggestion};
use super::tree::{Content, Member, Tree, same_key, shortened};
use crate::model::{CheckRegistration, CheckTenancy, ConfigEntry, EntryKind, Problem, ProblemKind};

/// Kinds of services that are not the name of any kind of entry too.
const SERVICE_KINDS: [&str; 2] = ["connect-proxy", "mesh-gateway"];

/// Kinds that Consul has (`http-api.md` 2.6) and meshgate has no use for. They are spelled well, so that a similar name
/// is not what was meant.
pub(super) const NOT_KEPT: [&str; 9] = [
    "api-gateway",
    "control-plane-request-limit",
    "file-system-certificate",
    "http-route",
    "inline-certificate",
    "jwt-provider",
    "rate-limit",
    "sameness-group",
    "tcp-route",
];

/// The entry that a tree is.
pub(super) fn entry(tree: &Tree) -> Decoding<ConfigEntry> {
    match entry_kind(tree) {
        Ok(EntryKind::ProxyDefaults) => decode(tree, Typing::Weak).map(ConfigEntry::ProxyDefaults),
        Ok(EntryKind::ServiceDefaults) => decode(tree, Typing::Weak).map(ConfigEntry::ServiceDefaults),
        Ok(EntryKind::ServiceResolver) => decode(tree, Typing::Weak).map(ConfigEntry::ServiceResolver),
        Ok(EntryKind::ServiceRouter) => decode(tree, Typing::Weak).map(ConfigEntry::ServiceRouter),
        Ok(EntryKind::ServiceSplitter) => decode(tree, Typing::Weak).map(ConfigEntry::ServiceSplitter),
        Ok(EntryKind::ServiceIntentions) => decode(tree, Typing::Weak).map(ConfigEntry::ServiceIntentions),
        Ok(EntryKind::ExportedServices) => decode(tree, Typing::Weak).map(ConfigEntry::ExportedServices),
        Ok(EntryKind::Mesh) => decode(tree, Typing::Weak).map(ConfigEntry::Mesh),
        Ok(EntryKind::IngressGateway) => decode(tree, Typing::Weak).map(ConfigEntry::IngressGateway),
        Ok(EntryKind::TerminatingGateway) => decode(tree, Typing::Weak).map(ConfigEntry::TerminatingGateway),
        Err(problem) => Decoding::refused(problem),
    }
}

fn entry_kind(tree: &Tree) -> Result<EntryKind, Problem> {
    let problem = |field, line, message| Problem {
        kind: ProblemKind::Type,
        path: String::from(field),
        message,
        line: Some(line),
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

/// Adds what one document holds, and what is wrong around it.
pub(super) fn collect<'t>(document: &'t Tree, found: &mut Items<'t>) {
    if document.content == Content::Null {
        return;
    }
    if let Content::List(items) = &document.content
        && items.len() != 1
    {
        for (position, item) in items.iter().enumerate() {
            found.entries.push(Decoded::at(&format!("[{position}]"), item, entry));
        }
        return;
    }
    if kubernetes::is_resource(document) {
        return kubernetes::collect(document, "", found);
    }
    let Some(members) = document.members() else {
        let message = format!("expected an object at the top, found {}", document.describe());
        let line = Some(document.line);
        found.refuse(|| Problem { kind: ProblemKind::Type, path: String::new(), message, line });
        return;
    };
    if document.get("Kind").is_some() {
        found.entries.push(Decoded::at("", document, entry));
        return;
    }
    for member in members {
        if same_key(&member.key, "service") || same_key(&member.key, "services") {
            each(member, &member.key, |tree, place| {
                found.services.push(Decoded::at(place, tree, |tree| decode(tree, Typing::Weak)));
            });
        } else if same_key(&member.key, "config_entries") {
            each(member, &member.key, |tree, place| collect_bootstrap(tree, place, found));
        } else {
            let known = ["service", "services", "config_entries", "Kind"];
            found.refuse(|| unknown_key(member, "", &known));
        }
    }
}

/// How many registrations and config entries [`collect`] would find, known without decoding any of them.
pub(super) fn count(document: &Tree) -> usize {
    if let Content::List(items) = &document.content
        && items.len() != 1
    {
        return items.len();
    }
    if kubernetes::is_resource(document) {
        return kubernetes::count(document);
    }
    if document.get("Kind").is_some() {
        return 1;
    }
    let blocks = |value: &Tree| {
        let members = value.members().unwrap_or_default().iter();
        members.filter(|it| same_key(&it.key, "bootstrap")).map(|it| values(&it.value).len()).sum::<usize>()
    };
    let of_member = |member: &Member| match &member.key {
        key if same_key(key, "service") || same_key(key, "services") => values(&member.value).len(),
        key if same_key(key, "config_entries") => values(&member.value).iter().map(blocks).sum(),
        _ => 0,
    };
    document.members().unwrap_or_default().iter().map(of_member).sum()
}

/// The checks that `check` and `checks` of a document hold, each once, repeated or as a list.
pub(super) fn checks(document: &Tree) -> Vec<Decoded<'_, CheckRegistration>> {
    let mut found = Vec::new();
    for member in document.members().unwrap_or_default() {
        each(member, &member.key, |tree, place| {
            found.push(Decoded::at(place, tree, |tree| check(tree, Typing::Weak)));
        });
    }
    found
}

/// A check that is registered alone.
pub(super) fn check(tree: &Tree, typing: Typing) -> Decoding<CheckRegistration> {
    let mut definition = tree.clone();
    let tenancy = definition.split_off(&["Token", "Namespace", "Partition"]);
    let tenancy = decode::<CheckTenancy>(&tenancy, typing);
    let mut decoding = decode(&definition, typing);
    decoding.problems.0.extend(tenancy.problems.0);
    let tenancy = tenancy.value.unwrap_or_default();
    decoding.map(|definition| CheckRegistration { definition, tenancy })
}

fn collect_bootstrap<'t>(tree: &'t Tree, place: &str, found: &mut Items<'t>) {
    let Some(members) = tree.members() else {
        let message = format!("expected an object with a list bootstrap, found {}", tree.describe());
        let line = Some(tree.line);
        found.refuse(|| Problem { kind: ProblemKind::Type, path: place.to_owned(), message, line });
        return;
    };
    for member in members {
        if same_key(&member.key, "bootstrap") {
            let place = format!("{place}.bootstrap");
            each(member, &place, |tree, place| found.entries.push(Decoded::at(place, tree, entry)));
        } else {
            found.refuse(|| unknown_key(member, place, &["bootstrap"]));
        }
    }
}

/// What [`each`] reads of a value.
fn values(value: &Tree) -> &[Tree] {
    match &value.content {
        Content::Null => &[],
        Content::List(items) => items,
        Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::Object(_) => std::slice::from_ref(value),
    }
}

/// Calls `read` with the value of a member, or with each of them and its index where there is a list.
fn each<'t>(member: &'t Member, place: &str, mut read: impl FnMut(&'t Tree, &str)) {
    let is_list = matches!(member.value.content, Content::List(_));
    for (position, value) in values(&member.value).iter().enumerate() {
        read(value, &if is_list { format!("{place}[{position}]") } else { place.to_owned() });
    }
}

/// Says that nothing reads this member.
pub(super) fn unknown_key(member: &Member, place: &str, known: &[&str]) -> Problem {
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
