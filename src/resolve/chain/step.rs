//! What redirects, failovers, routes and splits name, and the target that this makes of another one.

use super::TargetKey;
use crate::model::entry::{Failover, FailoverTarget, Redirect, RouteDestination, Split};
use crate::model::{Datacenter, Namespace, Partition, PeerName, ServiceName};

/// What a redirect or a failover names.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub(super) service: String,
    pub(super) subset: String,
    pub(super) namespace: Option<Namespace>,
    pub(super) partition: Option<Partition>,
    pub(super) datacenter: Datacenter,
    pub(super) peer: PeerName,
}

impl From<&Redirect> for Step {
    fn from(redirect: &Redirect) -> Self {
        Self {
            service: redirect.service.clone(),
            subset: redirect.service_subset.clone(),
            namespace: redirect.namespace.clone(),
            partition: redirect.partition.clone(),
            datacenter: redirect.datacenter.clone(),
            peer: redirect.peer.clone(),
        }
    }
}

impl From<&Failover> for Step {
    fn from(failover: &Failover) -> Self {
        Self {
            service: failover.service.clone(),
            subset: failover.service_subset.clone(),
            namespace: failover.namespace.clone(),
            ..Self::default()
        }
    }
}

impl From<&FailoverTarget> for Step {
    fn from(target: &FailoverTarget) -> Self {
        Self {
            service: target.service.clone(),
            subset: target.service_subset.clone(),
            namespace: target.namespace.clone(),
            partition: target.partition.clone(),
            datacenter: target.datacenter.clone(),
            peer: target.peer.clone(),
        }
    }
}

impl From<&RouteDestination> for Step {
    fn from(destination: &RouteDestination) -> Self {
        Self {
            service: destination.service.clone(),
            subset: destination.service_subset.clone(),
            namespace: destination.namespace.clone(),
            partition: destination.partition.clone(),
            ..Self::default()
        }
    }
}

impl From<&Split> for Step {
    fn from(split: &Split) -> Self {
        Self {
            service: split.service.clone(),
            subset: split.service_subset.clone(),
            namespace: split.namespace.clone(),
            partition: split.partition.clone(),
            ..Self::default()
        }
    }
}

impl Step {
    /// The target that this makes of `from` in a chain of `partition` and `datacenter`: what it does not name is
    /// inherited. Another service starts without a subset. What a peer exports stands in the chain's own partition, and
    /// whatever comes back from a peer is in the chain's own datacenter.
    pub(super) fn apply(&self, from: &TargetKey, (partition, datacenter): (&Partition, &Datacenter)) -> TargetKey {
        let name = if self.service.is_empty() { &from.service.name } else { &self.service.as_str().into() };
        let is_other = *name != from.service.name;
        let subset = if self.subset.is_empty() && !is_other { from.subset.clone() } else { self.subset.clone() };
        if !self.peer.is_default() {
            let namespace = self.namespace.clone().unwrap_or_default();
            return TargetKey {
                service: ServiceName::new(partition, &namespace, name),
                datacenter: Datacenter::default(),
                subset,
                peer: self.peer.clone(),
            };
        }
        let inherited = if from.peer.is_default() { &from.datacenter } else { datacenter };
        let datacenter = if self.datacenter.is_default() { inherited } else { &self.datacenter };
        let partition = self.partition.as_ref().unwrap_or(&from.service.partition);
        let namespace = self.namespace.as_ref().unwrap_or(&from.service.namespace);
        TargetKey {
            service: ServiceName::new(partition, namespace, name),
            datacenter: datacenter.clone(),
            subset,
            peer: PeerName::default(),
        }
    }
}
