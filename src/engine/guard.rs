//! Rules across config entries, checked on the state that a write would make (contract 6.10).

use std::collections::BTreeSet;

use super::recording::Recording;
use crate::model::{ConfigEntry, Datacenter, EntryKind, IntentionPolicy, Problems, ServiceName, TrustDomain};
use crate::resolve::{ChainError, Context, Overrides, Sources, compile};
use crate::store::{Guard, Op, Reader, View};

/// A guard for the store: refuses entries with which a discovery chain that could be compiled no longer can.
pub fn guard() -> Guard {
    std::sync::Arc::new(|before, after, ops| {
        let mut problems = Problems::default();
        if !ops.iter().any(shapes_chains) {
            return Ok(());
        }
        for service in services_with_entries(after) {
            if let Err(error) = compiled(after, &service)
                && compiled(before, &service).is_ok()
            {
                problems.rule("", format!("the discovery chain of {service} could not be compiled: {error}"));
            }
        }
        problems.into_result()
    })
}

/// True for a change of an entry that chains are made of.
fn shapes_chains(op: &Op) -> bool {
    let kind = match op {
        Op::PutEntry(entry) => entry.kind(),
        Op::DeleteEntry(key) => key.kind,
        Op::PutNode(_)
        | Op::DeleteNode(_)
        | Op::PutService(..)
        | Op::DeleteService(_)
        | Op::PutCheck(_)
        | Op::DeleteCheck(_)
        | Op::PutPeering(_)
        | Op::DeletePeering(_)
        | Op::PutTrustBundle(_)
        | Op::DeleteTrustBundle(_)
        | Op::PutImported(_)
        | Op::DeleteImported(_)
        | Op::PutDatacenter(_)
        | Op::DeleteDatacenter(_)
        | Op::PutFederationState(_)
        | Op::DeleteFederationState(_)
        | Op::PutQuery(_)
        | Op::DeleteQuery(_)
        | Op::PutRoot(_)
        | Op::PutLeaf(_)
        | Op::DeleteLeaf(_) => return false,
    };
    match kind {
        EntryKind::ProxyDefaults
        | EntryKind::ServiceDefaults
        | EntryKind::ServiceResolver
        | EntryKind::ServiceRouter
        | EntryKind::ServiceSplitter => true,
        EntryKind::ExportedServices | EntryKind::Mesh | EntryKind::ServiceIntentions => false,
    }
}

/// Every service that an entry of its own makes more than a default chain.
fn services_with_entries(view: &View) -> BTreeSet<ServiceName> {
    let named = view.entries().filter(|(_, row)| matches!(*row.value, ConfigEntry::ServiceResolver(_)));
    named.map(|(key, _)| key.name.clone()).collect()
}

fn compiled(view: &View, service: &ServiceName) -> Result<(), ChainError> {
    let reader = Reader::new(view);
    let state = Recording::new(&reader, &[]);
    // Neither the names of places nor the caller's settings decide whether a chain makes sense.
    let context =
        Context { state: &state, trust_domain: &TrustDomain::default(), default_intention: IntentionPolicy::default() };
    let overrides = Overrides { ladder: Sources::default().climb(), protocol: None, connect_timeout: None };
    compile(context, service, &Datacenter::from("dc"), &overrides).map(drop)
}
