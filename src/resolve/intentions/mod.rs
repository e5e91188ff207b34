//! Intentions: who may call a service, as rules of its sidecar (contract 3.2).
//!
//! **Problem.** Of all intentions that match a call, the one of the highest precedence decides, and what none matches is left
//! to the default. Envoy's policies know no precedence: a call passes, or does not, as soon as one of them matches.
//!
//! **Invariant.** For each call, the rules say what that one intention says. Only intentions that say something else than the
//! default become policies; the others are taken out of those that they go before. What cannot be enforced is refused and
//! reported.
//!
//! ```text
//! entries of db, */* ─► by precedence, those that decide ─► minus what earlier ones decide ─► policies
//! ```

mod rank;
mod refused;
mod request;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use refused::Refused;

use self::source::Source;
use super::state::Context;
use crate::ir::{ForwardClientCert, Permission, Policy, PolicyName, Principal, Rbac, RbacAction};
use crate::model::entry::{IntentionPermission, IntentionSource, ServiceIntentions};
use crate::model::{
    IntentionAction, IntentionPolicy, Namespace, Partition, PeerName, PeerTrustBundle, Place, ServiceName,
    gateway_identities, partition_identities, service_identities,
};

/// Most conditions in the rules of one service. Envoy needs a few seconds to take so many.
const MOST_CONDITIONS: usize = 50_000;

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Connections, by the certificate of whoever opens them.
    Connections,
    /// Connections that carry HTTP requests which nobody looks at, those that a gateway passes on for peers among them.
    Unread,
    /// HTTP requests, which a gateway may pass on for peers. It tells for whom, unless the sidecar hides that.
    Requests(ForwardClientCert),
}

/// The rules about the callers of a service, and whom they refuse because more cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) rbac: Rbac,
    pub(super) refused: Vec<Refused>,
}

/// What the rules of a service depend on, apart from its intentions.
pub(super) struct Facts<'a> {
    trust_domain: &'a str,
    default: IntentionPolicy,
    service: &'a ServiceName,
    /// The roots of the peers whose calls can end here.
    bundles: BTreeMap<PeerName, Arc<PeerTrustBundle>>,
    /// The partitions that it is exported to.
    consumers: BTreeSet<Partition>,
    /// Anybody can be in a partition other than the default one.
    has_partitions: bool,
}

impl<'a> Facts<'a> {
    fn of(context: Context<'a>, place: &Place, service: &'a ServiceName) -> Self {
        let state = context.state;
        let exports = state.exports(&service.partition);
        let peers = state.peer_exports(place).callers_of(service);
        let bundles = state.trust_bundles(place).into_iter().filter(|bundle| peers.contains(&bundle.peer));
        // Who is registered no longer, or never was, may still have a certificate.
        let registered = state.datacenters().into_iter().flat_map(|datacenter| state.partitions(&datacenter));
        let mut partitions = registered.chain(state.certified_partitions());
        Self {
            trust_domain: context.trust_domain.as_str(),
            default: context.default_intention,
            service,
            bundles: bundles.map(|bundle| (bundle.peer.clone(), bundle)).collect(),
            consumers: exports.map(|exports| exports.importing_partitions(service)).unwrap_or_default(),
            has_partitions: partitions.any(|partition| !partition.is_default()),
        }
    }
}

/// The intentions about a service, those that decide about anybody, the one that decides first in front.
pub(super) struct Intentions<'a> {
    facts: Facts<'a>,
    deciding: Vec<Intention<'a>>,
}

/// One intention.
struct Intention<'a> {
    precedence: u32,
    source: Source,
    written: &'a IntentionSource,
}

/// What an intention says.
enum Effect<'a> {
    /// The same about every call.
    Whole(IntentionAction),
    /// About each request what the first of these that matches it says.
    Requests(&'a [IntentionPermission]),
}

impl<'a> Intentions<'a> {
    /// The intentions about a service of `place`.
    pub(super) fn of(context: Context<'a>, place: &Place, service: &'a ServiceName) -> Self {
        let every = Namespace::from("*");
        let names = [(&service.namespace, &*service.name), (&service.namespace, "*"), (&every, "*")];
        let names = names.map(|(namespace, name)| ServiceName::new(&service.partition, namespace, name));
        let entries = names.iter().filter_map(|name| context.state.intentions(name));
        Self::new(Facts::of(context, place, service), entries)
    }

    /// What the entries about a service say.
    fn new(facts: Facts<'a>, entries: impl Iterator<Item = &'a ServiceIntentions>) -> Self {
        let sources = entries.flat_map(|entry| entry.sources.iter().map(move |source| Intention::new(entry, source)));
        // Nobody of a peer that is not known, or of a partition that may not see the service, gets as far as to be judged.
        let is_judged = |intention: &Intention<'_>| match &intention.source {
            Source { peer, service } if peer.is_default() => {
                service.partition == facts.service.partition || facts.consumers.contains(&service.partition)
            }
            Source { peer, .. } => facts.bundles.contains_key(peer),
        };
        let deciding = rank::deciding(sources.filter(is_judged).collect());
        Self { facts, deciding }
    }

    fn default(&self) -> IntentionAction {
        self.facts.default.into()
    }

    /// The rules about this traffic.
    pub(super) fn rbac(&self, traffic: Traffic) -> Verdict {
        let mut refused = Vec::new();
        match self.policies(traffic, &mut refused) {
            Ok(policies) => {
                let action = match self.facts.default {
                    IntentionPolicy::Allow => RbacAction::Deny,
                    IntentionPolicy::Deny => RbacAction::Allow,
                };
                Verdict { rbac: Rbac { action, policies }, refused }
            }
            Err(why) => Verdict { rbac: Rbac::nobody(), refused: vec![why] },
        }
    }

    fn policies(&self, traffic: Traffic, refused: &mut Vec<Refused>) -> Result<BTreeMap<PolicyName, Policy>, Refused> {
        let exceptions = rank::exceptions(&self.deciding);
        self.check_size(traffic, &exceptions)?;
        let mut policies = BTreeMap::new();
        let mut callers = Vec::new();
        let mut position = 0;
        for (intention, exceptions) in self.deciding.iter().zip(&exceptions) {
            let effect = intention.effect(traffic);
            if traffic == Traffic::Connections && !intention.written.permissions.is_empty() {
                refused.push(Refused::NoRequests { caller: intention.source.to_string() });
            }
            let permissions = match effect {
                Effect::Whole(action) if action == self.default() => continue,
                Effect::Whole(_) => None,
                Effect::Requests(permissions) => match request::deciding(permissions, self.default())? {
                    deciding if deciding.is_empty() => continue,
                    deciding => Some(deciding),
                },
            };
            let principal = self.principal(intention, exceptions, traffic, refused);
            match permissions {
                None => callers.push(principal),
                Some(permissions) => {
                    let policy = Policy { principals: vec![principal], permissions };
                    policies.insert(PolicyName::Requests(position), policy);
                }
            }
            position += 1;
        }
        if !callers.is_empty() {
            policies.insert(PolicyName::Connections, anything_from(callers));
        }
        if let Some(strangers) = self.other_partitions() {
            policies.insert(PolicyName::Partitions, anything_from(vec![strangers]));
        }
        Ok(policies)
    }

    fn check_size(&self, traffic: Traffic, exceptions: &[Vec<usize>]) -> Result<(), Refused> {
        let conditions = self.deciding.iter().zip(exceptions).map(|(intention, exceptions)| {
            let requests = match intention.effect(traffic) {
                Effect::Whole(action) if action == self.default() => return 0,
                Effect::Whole(_) => 0,
                Effect::Requests(permissions) => request::conditions(permissions, self.default()),
            };
            requests.saturating_add(1 + exceptions.len())
        });
        match conditions.fold(0, usize::saturating_add) {
            conditions if conditions > MOST_CONDITIONS => Err(Refused::Size { conditions, most: MOST_CONDITIONS }),
            _ => Ok(()),
        }
    }

    /// The callers that an intention decides about: its source, without those about which an earlier one decides.
    fn principal(
        &self,
        intention: &Intention<'_>,
        exceptions: &[usize],
        traffic: Traffic,
        refused: &mut Vec<Refused>,
    ) -> Principal {
        let exceptions = exceptions.iter().map(|position| &self.deciding[*position].source);
        let shows_itself = intention.source.peer.is_default() || traffic == Traffic::Connections;
        let passes_by_default = self.default() == IntentionAction::Allow;
        if shows_itself || (traffic == Traffic::Unread && !passes_by_default) {
            return without(&intention.source, exceptions, |source| Principal::Certificate(self.identities(source)));
        }
        // The TLS of a peer's proxies ends at the gateway, which tells who they are.
        let gateway = gateway_identities(self.facts.trust_domain, &self.facts.service.partition);
        let gateway = Principal::Certificate(gateway.into());
        if traffic != Traffic::Requests(ForwardClientCert::Append) && passes_by_default {
            if !refused.contains(&Refused::HiddenPeers) {
                refused.push(Refused::HiddenPeers);
            }
            return gateway;
        }
        let behind = without(&intention.source, exceptions, |source| Principal::Forwarded(self.identities(source)));
        Principal::All(vec![gateway, behind])
    }

    /// An expression for the identities of a source.
    fn identities(&self, source: &Source) -> Arc<str> {
        match self.facts.bundles.get(&source.peer) {
            Some(bundle) => {
                let partition = &bundle.exported_partition;
                let service = ServiceName { partition: partition.clone(), ..source.service.clone() };
                service_identities(&bundle.trust_domain, &service)
            }
            None => service_identities(self.facts.trust_domain, &source.service),
        }
        .into()
    }

    /// Callers of the own trust domain whose partition the service is not exported to. Where nothing passes by default they
    /// need no rule, and in the default partition alone there are none.
    fn other_partitions(&self) -> Option<Principal> {
        let Facts { trust_domain, service, consumers, has_partitions, .. } = &self.facts;
        if self.default() == IntentionAction::Deny || !has_partitions {
            return None;
        }
        let own = &service.partition;
        let everybody = |start: String| Principal::Certificate(format!("{start}/.+").into());
        let mut callers = if own.is_default() {
            vec![everybody(partition_identities(trust_domain, own) + "/ap")]
        } else {
            let insiders = everybody(partition_identities(trust_domain, own));
            vec![
                everybody(partition_identities(trust_domain, &Partition::default())),
                Principal::Not(Box::new(insiders)),
            ]
        };
        callers.extend(consumers.iter().filter(|partition| *partition != own).map(|partition| {
            let services = ServiceName::new(partition, &Namespace::from("*"), "*");
            Principal::Not(Box::new(Principal::Certificate(service_identities(trust_domain, &services).into())))
        }));
        Some(one_or_all(callers))
    }
}

impl<'a> Intention<'a> {
    fn new(entry: &ServiceIntentions, written: &'a IntentionSource) -> Self {
        let service = ServiceName::new(entry.partition_of(written), &entry.namespace_of(written), &written.name);
        let source = Source { peer: written.peer.clone(), service };
        Self { precedence: entry.precedence_of(written), source, written }
    }

    fn effect(&self, traffic: Traffic) -> Effect<'a> {
        match (&*self.written.permissions, traffic) {
            // What does not say what happens must not let anything in.
            ([], _) => Effect::Whole(self.written.action.unwrap_or(IntentionAction::Deny)),
            (_, Traffic::Connections | Traffic::Unread) => Effect::Whole(IntentionAction::Deny),
            (permissions, Traffic::Requests(_)) => Effect::Requests(permissions),
        }
    }
}

fn anything_from(principals: Vec<Principal>) -> Policy {
    Policy { principals, permissions: vec![Permission::Any] }
}

fn without<'s>(
    source: &Source,
    exceptions: impl Iterator<Item = &'s Source>,
    identity: impl Fn(&Source) -> Principal,
) -> Principal {
    let exceptions = exceptions.map(|exception| Principal::Not(Box::new(identity(exception))));
    one_or_all(std::iter::once(identity(source)).chain(exceptions).collect())
}

fn one_or_all(mut principals: Vec<Principal>) -> Principal {
    if principals.len() == 1 { principals.remove(0) } else { Principal::All(principals) }
}
