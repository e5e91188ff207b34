//! Taking connections without TLS must be allowed for the mesh before it is switched on anywhere (contract 6.2).

use crate::model::entry::{Mesh, PERMISSIVE};
use crate::model::{ConfigEntry, EntryKey, EntryKind, Namespace, Partition, Problems, ServiceName};
use crate::store::{Key, View};

/// Adds a problem for each entry that the step from `before` to `after` makes permissive where the mesh does not allow it.
/// What is permissive already may be written again.
pub(super) fn check(before: &View, after: &View, problems: &mut Problems) {
    let changed =
        after.changed_since(before).filter_map(|key| if let Key::Entry(key) = key { Some(key) } else { None });
    for key in changed {
        if is_permissive(after, key) && !is_permissive(before, key) && !is_allowed(after, &key.name.partition) {
            let message = format!(
                "{}/{} cannot begin to be permissive: set AllowEnablingPermissiveMutualTLS in the mesh entry first",
                key.kind, key.name
            );
            problems.rule("MutualTLSMode", message);
        }
    }
}

fn is_permissive(view: &View, key: &EntryKey) -> bool {
    let mode = match view.entry(key).map(|row| &*row.value) {
        Some(ConfigEntry::ProxyDefaults(entry)) => &entry.mutual_tls_mode,
        Some(ConfigEntry::ServiceDefaults(entry)) => &entry.mutual_tls_mode,
        Some(
            ConfigEntry::ServiceResolver(_)
            | ConfigEntry::ServiceRouter(_)
            | ConfigEntry::ServiceSplitter(_)
            | ConfigEntry::ServiceIntentions(_)
            | ConfigEntry::ExportedServices(_)
            | ConfigEntry::Mesh(_)
            | ConfigEntry::IngressGateway(_)
            | ConfigEntry::TerminatingGateway(_),
        )
        | None => return false,
    };
    mode == PERMISSIVE
}

fn is_allowed(view: &View, partition: &Partition) -> bool {
    let name = ServiceName::new(partition, &Namespace::default(), Mesh::NAME);
    let row = view.entry(&EntryKey { kind: EntryKind::Mesh, name });
    row.is_some_and(|row| matches!(&*row.value, ConfigEntry::Mesh(mesh) if mesh.allow_enabling_permissive_mutual_tls))
}
