//! A service whose intentions look into requests must go on speaking HTTP.

use std::collections::BTreeSet;

use super::super::recording::Recording;
use crate::model::{ConfigEntry, EntryKey, EntryKind, Problems, ServiceName};
use crate::resolve::protocol_of;
use crate::store::{Key, Reader, View};

/// Adds a problem for each service with permissions that the step from `before` to `after` makes speak something else.
///
/// Permissions may be written for a service that does not speak HTTP yet: until it does, they deny.
pub(super) fn check(before: &View, after: &View, problems: &mut Problems) {
    let changed =
        after.changed_since(before).filter_map(|key| if let Key::Entry(key) = key { Some(key) } else { None });
    let affected: BTreeSet<_> = changed.flat_map(|key| with_permissions(after, key)).collect();
    for service in affected {
        if speaks_http(before, &service) && !speaks_http(after, &service) {
            let intentions = EntryKind::ServiceIntentions;
            let message = format!("{service} must go on speaking HTTP, as {intentions}/{service} has permissions");
            problems.rule("", message);
        }
    }
}

/// The services with permissions whose protocol this entry says.
fn with_permissions(view: &View, key: &EntryKey) -> Vec<ServiceName> {
    let has_permissions =
        |entry: &ConfigEntry| matches!(entry, ConfigEntry::ServiceIntentions(entry) if entry.has_permissions());
    match key.kind {
        EntryKind::ServiceDefaults => {
            let intentions = EntryKey { kind: EntryKind::ServiceIntentions, name: key.name.clone() };
            let entry = view.entry(&intentions).filter(|row| has_permissions(&row.value));
            entry.map(|_| intentions.name).into_iter().collect()
        }
        EntryKind::ProxyDefaults => {
            let rows = Reader::new(view).entries(EntryKind::ServiceIntentions, &key.name.partition);
            rows.into_iter().filter(|row| has_permissions(&row.value)).map(|row| row.value.key().name).collect()
        }
        EntryKind::ServiceResolver
        | EntryKind::ServiceRouter
        | EntryKind::ServiceSplitter
        | EntryKind::ServiceIntentions
        | EntryKind::ExportedServices
        | EntryKind::Mesh
        | EntryKind::IngressGateway
        | EntryKind::TerminatingGateway => Vec::new(),
    }
}

fn speaks_http(view: &View, service: &ServiceName) -> bool {
    let reader = Reader::new(view);
    protocol_of(&Recording::new(&reader, &[]), service).is_http_like()
}
