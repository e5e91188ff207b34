//! A chain that could be compiled must still be after the write.

use std::collections::BTreeSet;

use super::super::chains::{self, Compiled};
use crate::model::{Datacenter, EntryKey, EntryKind, Problems, ServiceName};
use crate::resolve::Scope;
use crate::store::{Key, Readers, View};

/// Which entries the chain of which service depends on, so that a write costs the chains that it touches.
#[derive(Default)]
pub(super) struct Chains {
    readers: Readers<ServiceName>,
    /// The state that `readers` stands for.
    known: Option<View>,
}

impl Chains {
    /// Adds a problem for each chain that the step from `before` to `after` breaks.
    pub(super) fn check(&mut self, before: &View, after: &View, problems: &mut Problems) {
        self.catch_up(before);
        let changed: Vec<&Key> = after.changed_since(before).collect();
        for service in self.affected(&changed) {
            if let Err(error) = &*compiled(after, &service).value
                && compiled(before, &service).value.is_ok()
            {
                problems.rule("", format!("the discovery chain of {service} could not be compiled: {error}"));
            }
        }
    }

    /// Learns what changed since the last write.
    fn catch_up(&mut self, view: &View) {
        // A write that came to nothing leaves indexes behind that are given away again.
        let known = self.known.take().filter(|known| known.index() <= view.index());
        let services = match &known {
            Some(known) => self.affected(&view.changed_since(known).collect::<Vec<_>>()),
            None => {
                self.readers = Readers::default();
                view.entries().filter_map(|(key, _)| routed(key)).collect()
            }
        };
        for service in services {
            self.readers.set(&service, (*compiled(view, &service).read).clone());
        }
        self.known = Some(view.clone());
    }

    /// The services whose chain depends on one of these keys, or begins to be more than a default one.
    fn affected(&self, changed: &[&Key]) -> BTreeSet<ServiceName> {
        let own = changed.iter().filter_map(|key| if let Key::Entry(key) = key { routed(key) } else { None });
        self.readers.of(changed.iter().copied()).into_iter().chain(own).collect()
    }
}

/// The service that this entry makes more than a default chain of. Default chains can always be compiled.
fn routed(key: &EntryKey) -> Option<ServiceName> {
    match key.kind {
        EntryKind::ServiceResolver | EntryKind::ServiceRouter | EntryKind::ServiceSplitter => Some(key.name.clone()),
        EntryKind::ProxyDefaults
        | EntryKind::ServiceDefaults
        | EntryKind::ExportedServices
        | EntryKind::Mesh
        | EntryKind::IngressGateway
        | EntryKind::TerminatingGateway
        | EntryKind::ServiceIntentions => None,
    }
}

fn compiled(view: &View, service: &ServiceName) -> Compiled {
    // Where the name is understood does not decide whether a chain makes sense.
    chains::compiled(view, &Scope { service: service.clone(), datacenter: Datacenter::from("dc"), is_plain: false })
}
