//! `GET /v1/meshgate/simulate`: what would become of traffic if something were gone.
//!
//! Nothing is stored. What is said to be down keeps its registration and gets a critical check, as in a real failure.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::lint::Finding;
use super::plan::{PlannedImpact, PlannedProxies, number};
use super::route::{Routes, get};
use crate::model::{
    Datacenter, InstanceId, Namespace, NodeName, Partition, Place, Service, ServiceId, ServiceKind, is_default,
};
use crate::store::{Index, NodeKey, View};

/// Most upstreams that a simulation tells in full, unless the call says otherwise.
const TOLD: usize = 200;

/// Most upstreams that a call can ask for.
const MOST: usize = 1_000;

/// Most names of what is down.
const MOST_NAMES: usize = 100;

/// Most instances that are told to be down.
const TOLD_DOWN: usize = 200;

/// The route of simulations.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/simulate", get(simulate))
}

/// What fails.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The state in which it does.
    pub before: Arc<View>,
    /// The instances that are gone; with an application, its sidecars are.
    pub down: BTreeSet<InstanceId>,
    /// Only upstreams of services with this name are looked at.
    pub upstream: Option<String>,
    /// Most upstreams that are told.
    pub limit: usize,
}

/// What would become of traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Simulation {
    /// The commit whose state was looked at.
    pub index: Index,
    /// What is down, sorted.
    pub down: Vec<DownInstance>,
    /// How many more of it there are.
    pub more_down: usize,
    /// How many upstreams of the sidecars that stay fare how.
    pub upstreams: SimulatedCounts,
    /// The upstreams that do not stay as they are, the worst first.
    pub affected: Vec<SimulatedUpstream>,
    /// How many more there are.
    pub more_affected: usize,
    /// Not every upstream was looked at, because there are too many.
    pub cut: bool,
    /// How many of the proxies that stay are sent something.
    pub proxies: PlannedProxies,
    /// What that does to their connections, the least first.
    pub impacts: Vec<PlannedImpact>,
    /// What is newly wrong with the state, the worst first.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: usize,
}

impl Simulation {
    /// True if some traffic that is known to arrive now is not known to arrive then, or was not looked at.
    pub fn has_losses(&self) -> bool {
        self.upstreams.lost + self.upstreams.partly > 0 || self.cut
    }
}

/// An instance that is said to be down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DownInstance {
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Its partition.
    pub partition: Partition,
    /// The node it is registered on.
    pub node: NodeName,
    /// Its service ID.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// Its kind; empty for an application.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
}

/// How many upstreams fare how; each sidecar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SimulatedCounts {
    /// All that were looked at.
    pub total: usize,
    /// They lead where they led.
    pub same: usize,
    /// They lead to fewer instances of the same services.
    pub fewer: usize,
    /// They lead somewhere else.
    pub moved: usize,
    /// A part of the traffic that arrives now does not.
    pub partly: usize,
    /// Nothing is known to arrive then of what arrives now.
    pub lost: usize,
    /// Nothing arrives now already.
    pub broken: usize,
    /// Nobody can tell, mostly because a proxy has no certificate yet.
    pub unknown: usize,
}

/// An upstream that would fare in another way, of sidecars that are registered alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SimulatedUpstream {
    /// The service that calls, as `datacenter/partition/namespace/name`.
    pub from: String,
    /// The upstream, as names of listeners have it.
    pub upstream: String,
    /// How many sidecars have it.
    pub sidecars: usize,
    /// One of them, as `datacenter/partition/node/ID`.
    pub proxy: String,
    /// `fewer`, `moved`, `partly`, `lost` or `unknown`.
    pub effect: String,
    /// Where it leads now.
    pub now: Vec<Destination>,
    /// Where it would lead.
    pub then: Vec<Destination>,
    /// Why traffic would stop.
    pub stops: Vec<String>,
    /// What callers see of traffic that stops: `status 503` or `connection closed`; empty if none stops.
    #[serde(default, skip_serializing_if = "is_default")]
    pub callers: String,
}

/// Where traffic arrives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Destination {
    /// The service, as `datacenter/partition/namespace/name`; an address for what is outside of the mesh.
    pub service: String,
    /// How many of its instances can be reached.
    pub instances: usize,
}

async fn simulate(call: Call) -> Result<Response, ApiError> {
    let _turn = Size::Large.turn().await;
    let expected = "expected a number of upstreams, at most 1000";
    let limit = number("limit", call.query.value("limit"), expected)?.unwrap_or(TOLD);
    if limit > MOST {
        return Err(ApiError::InvalidParameter { name: "limit", value: limit.to_string(), expected });
    }
    let before = call.api.store.view();
    let names: Vec<_> = call.query.all("down").collect();
    if names.is_empty() {
        return Err(ApiError::Missing("down"));
    }
    if names.len() > MOST_NAMES {
        let expected = "expected at most 100 of them; DATACENTER/PARTITION/* and node:NAME name many instances at once";
        return Err(ApiError::InvalidParameter { name: "down", value: format!("{} names", names.len()), expected });
    }
    let found = Size::Large.run(|| {
        let named = |text: &&str| named(&before, &call.scope.place, &call.scope.namespace, text);
        names.iter().map(named).collect::<Vec<_>>()
    });
    let (mut down, mut wrong) = (BTreeSet::new(), Vec::new());
    for found in found {
        match found {
            Ok(found) => down.extend(found),
            Err(what) => wrong.push(what),
        }
    }
    if !wrong.is_empty() {
        return Err(ApiError::NotThere(wrong.join("\n")));
    }
    let down = with_sidecars(&before, down);
    let told = down.iter().take(TOLD_DOWN).filter_map(|id| Some(DownInstance::of(id, &before.service(id)?.value)));
    let told = (told.collect(), down.len().saturating_sub(TOLD_DOWN));
    let upstream = call.query.value("called").map(str::to_owned);
    let failure = Failure { before, down, upstream, limit };
    let simulation = call.api.planner.simulate(failure).await.map_err(ApiError::Plan)?;
    let simulation = Simulation { down: told.0, more_down: told.1, ..simulation };
    Ok(Size::Large.run(|| call.json(&simulation)))
}

impl DownInstance {
    fn of(id: &InstanceId, service: &Service) -> Self {
        Self {
            datacenter: id.place.datacenter.clone(),
            partition: id.place.partition.clone(),
            node: id.node.clone(),
            id: id.id.clone(),
            kind: service.kind,
        }
    }
}

/// What one name means: `dc2`, `dc2/api`, `dc2/team-a/api`, `dc2/node:edge-1`, `dc2/instance:api-2` or `dc2/team-a/*`.
/// `mesh-gateway` means all mesh gateways of the place, whatever they are called. `own` is where a node or an instance is
/// that is named without a place.
fn named(view: &View, own: &Place, namespace: &Namespace, text: &str) -> Result<Vec<InstanceId>, String> {
    let parts: Vec<_> = text.split('/').collect();
    if parts.contains(&"") {
        return Err(unclear(text));
    }
    let (datacenter, partition, what) = match *parts.as_slice() {
        [what] if what.starts_with("node:") || what.starts_with("instance:") => {
            (own.datacenter.clone(), Some(own.partition.clone()), what)
        }
        [datacenter] => (Datacenter::from(datacenter), None, "*"),
        [datacenter, what] => (Datacenter::from(datacenter), Some(own.partition.clone()), what),
        [datacenter, partition, what] => (Datacenter::from(datacenter), Some(Partition::from(partition)), what),
        _ => return Err(unclear(text)),
    };
    let is_meant = |node: &NodeName, service: &Service| match what.split_once(':') {
        _ if what == "*" => true,
        Some(("node", name)) => node.as_str() == name,
        Some(("instance", id)) => service.id.as_str() == id,
        _ if what == ServiceKind::MeshGateway.as_str() => service.kind == ServiceKind::MeshGateway,
        _ => *service.name == *what && service.namespace == *namespace,
    };
    let partitions = partition.map_or_else(|| view.partitions(&datacenter), |partition| vec![partition]);
    let mut found = Vec::new();
    for place in partitions.iter().map(|partition| Place::new(&datacenter, partition)) {
        for node in view.nodes(&place).map(|row| &row.value.node) {
            let key = NodeKey::new(&place, node);
            let services = view.services_on(&key).filter(|row| is_meant(node, &row.value));
            found.extend(services.map(|row| key.instance(&row.value.id)));
        }
    }
    if found.is_empty() {
        return Err(format!("{text:?} names nothing that is registered; {EXPECTED}"));
    }
    Ok(found)
}

const EXPECTED: &str = "expected a datacenter, datacenter/service, datacenter/partition/service, or node:NAME, \
                        instance:ID or * in place of the service, such as dc2/mesh-gateway";

fn unclear(text: &str) -> String {
    format!("{text:?} is no name; {EXPECTED}")
}

/// With the sidecars of what is down: nobody is behind them any more.
fn with_sidecars(view: &View, mut down: BTreeSet<InstanceId>) -> BTreeSet<InstanceId> {
    let sidecars = down.iter().flat_map(|id| {
        let node = NodeKey::new(&id.place, &id.node);
        let is_of = |service: &Service| {
            service.kind == ServiceKind::ConnectProxy && service.proxy.destination_service_id == id.id
        };
        let services = view.services_on(&node).filter(|row| is_of(&row.value));
        services.map(|row| node.instance(&row.value.id)).collect::<Vec<_>>()
    });
    let sidecars: Vec<_> = sidecars.collect();
    down.extend(sidecars);
    down
}
