//! Which proxies a path is followed through: of many that are alike a few, so that the answer about a service with
//! thousands of instances costs no more than that about a small one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::links::{Asked, Subject, instance};
use crate::api::explain::{EndpointExplanation, TargetExplanation, TargetService, UpstreamExplanation};
use crate::api::named;
use crate::model::{HealthEntry, InstanceId, Place, ServiceKey, ServiceName};
use crate::store::NodeKey;

/// Most sidecars of one target, and most gateways of one place, that are looked at. Those that take traffic go first.
const MOST_ALIKE: usize = 3;
/// Most proxies that are looked at besides that of the caller, and one of each kind beyond that.
const MOST: usize = 48;

/// The proxies that may be on the way.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Those that are looked at.
    pub(super) followed: BTreeSet<InstanceId>,
    /// Those that are not.
    pub(super) left_out: BTreeSet<InstanceId>,
    /// How many of which are not looked at.
    pub(super) told: Vec<String>,
}

impl Sample {
    /// Takes some of these, of which each says whether it is ill.
    fn take(&mut self, mut alike: Vec<(bool, InstanceId)>) {
        alike.sort();
        // Of what nobody was looked at, nothing would be known.
        let room = MOST.saturating_sub(self.followed.len()).clamp(1, MOST_ALIKE);
        self.followed.extend(alike.into_iter().take(room).map(|(_, id)| id));
    }

    /// Leaves out what was not taken of all that are alike.
    fn leave(&mut self, all: Vec<InstanceId>, what: impl fmt::Display) {
        let total = all.len();
        let rest: Vec<_> = all.into_iter().filter(|id| !self.followed.contains(id)).collect();
        if !rest.is_empty() {
            self.told.push(format!("{} of {total} {what}", rest.len()));
        }
        self.left_out.extend(rest);
    }
}

impl Asked<'_> {
    /// Chooses among the sidecars of every target, and among the gateways of the caller's place and theirs.
    pub(super) fn sample(&self, subject: &Subject, upstream: &UpstreamExplanation) -> Sample {
        let mut sample = Sample::default();
        let mut places = BTreeSet::from([subject.caller.place.clone()]);
        let mut services: BTreeMap<ServiceKey, usize> = BTreeMap::new();
        for target in upstream.targets.iter().filter(|target| target.service.peer.is_default()) {
            if subject.query.is_some() {
                let found = self.found_by_query(subject);
                sample.take(found.clone());
                sample.leave(found.into_iter().map(|(_, id)| id).collect(), "instances that the query found");
                continue;
            }
            let TargetService { name, namespace, partition, datacenter, .. } = &target.service;
            let place = Place::new(datacenter, partition);
            let service = ServiceName::new(partition, namespace, name);
            let alike = sidecars(target).iter().map(|it| (!it.healthy, instance(&place, &it.node, &it.instance)));
            let alike: Vec<_> = alike.collect();
            *services.entry(ServiceKey { datacenter: datacenter.clone(), service }).or_default() += alike.len();
            sample.take(alike);
            places.insert(place);
        }
        for (service, shown) in services {
            let all = named::sidecars(self.reader, &service);
            if shown == 0 {
                // What is not exported has no endpoints, and gateways may lead there all the same.
                sample.take(all.iter().map(|id| (false, id.clone())).collect());
            }
            let all = all.into_iter().filter(|id| Some(id) != subject.caller.sidecar.as_ref()).collect();
            sample.leave(all, format_args!("sidecars of {service}"));
        }
        for place in places {
            let gateways = self.gateways(&place);
            let all = gateways.iter().map(|it| (!it.healthy, instance(&place, &it.node, &it.instance)));
            let all: Vec<_> = all.collect();
            sample.take(all.clone());
            sample.leave(all.into_iter().map(|(_, id)| id).collect(), format_args!("gateways of {place}"));
        }
        if let Some(caller) = &subject.caller.sidecar {
            sample.followed.remove(caller);
        }
        sample
    }

    /// The instances that a prepared query found.
    fn found_by_query(&self, subject: &Subject) -> Vec<(bool, InstanceId)> {
        let found = subject.query.as_ref().and_then(|query| self.reader.query(query));
        let entries = found.iter().flat_map(|row| &row.value.nodes);
        let id = |entry: &HealthEntry| {
            let place = Place::new(&entry.node.datacenter, &entry.service.partition);
            NodeKey::new(&place, &entry.node.node).instance(&entry.service.id)
        };
        entries.map(|entry| (false, id(entry))).collect()
    }
}

/// The instances of a target, as far as they are told.
fn sidecars(target: &TargetExplanation) -> &[EndpointExplanation] {
    match &target.behind {
        Some(behind) => &behind.instances,
        None if target.dials == "instances" => &target.endpoints,
        None => &[],
    }
}
