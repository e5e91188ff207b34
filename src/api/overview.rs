//! `GET /v1/meshgate/status`: is it all right? On one screen, and only what is known.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;

use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::happenings::Propagations;
use super::history::{ShownCommit, written_time};
use super::proxies::{ShownProxy, shown};
use super::route::{Routes, get};
use crate::model::{CheckStatus, PeeringState, Place};
use crate::store::{Class, Index, Instance, View};

/// Most problems that are told.
const PROBLEMS: usize = 100;
/// Rows of the last change that are shown.
const ROWS: usize = 3;

/// The route of the overview.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/status", get(status))
}

/// How long a proxy may be behind before somebody should look at it, in milliseconds: Envoy answers within 15 s, or goes on
/// without (xds-protocol, R19).
const BEHIND: f64 = 20_000.0;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    version: &'static str,
    datacenter: String,
    index: Index,
    ready: bool,
    waiting_for: Vec<&'static str>,
    /// What somebody should look at; nothing if all is well.
    problems: Vec<String>,
    /// How many more there are.
    more_problems: usize,
    datacenters: Vec<DatacenterStatus>,
    peerings: Vec<PeeringStatus>,
    proxies: ProxyCounts,
    certificates: Certificates,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_change: Option<ShownCommit>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DatacenterStatus {
    name: String,
    partitions: usize,
    nodes: usize,
    /// Mesh gateways, and those of them that take connections.
    gateways: usize,
    gateways_healthy: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PeeringStatus {
    datacenter: String,
    partition: String,
    name: String,
    state: PeeringState,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProxyCounts {
    synced: usize,
    behind: usize,
    refused: usize,
    disconnected: usize,
    /// Of all of them, those that go without something.
    with_problems: usize,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Certificates {
    leaves: usize,
    /// When the next leaf expires that is not replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_leaf: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_root: Option<String>,
}

async fn status(call: Call) -> Result<Response, ApiError> {
    let meta = call.after_commit().await?;
    let api = &call.api;
    let view = api.store.view();
    let proxies = Size::Large.compute(|| shown(api, true)).await;
    let waiting_for = api.readiness.waiting_for();
    let datacenters: Vec<_> = known_datacenters(&call, &view);
    let certificates = Certificates::of(&view);
    let mut problems: Vec<_> = waiting_for.iter().map(|what| format!("not ready: waiting for {what}")).collect();
    problems.extend(proxies.iter().filter_map(ShownProxy::problem));
    problems.extend(datacenters.iter().filter(|of| of.gateways > of.gateways_healthy).map(|of| {
        let (name, missing) = (&of.name, of.gateways - of.gateways_healthy);
        format!("datacenter {name}: {missing} of {} mesh gateways take no connections (meshgate ps)", of.gateways)
    }));
    problems.extend(expired(&view));
    let failing = view.all_peerings().filter(|row| row.value.state == PeeringState::Failing);
    problems.extend(failing.map(|row| format!("peering {} is failing", row.value.key().name)));
    let propagations = Propagations::now(&*api.happenings);
    let last = api.store.history().commits(Some(Class::Config)).into_iter().next();
    let last_change = last.map(|commit| ShownCommit::of(&commit, ROWS).with(propagations.of(commit.index)));
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        datacenter: api.options.datacenter.to_string(),
        index: view.index(),
        ready: waiting_for.is_empty(),
        waiting_for,
        more_problems: problems.len().saturating_sub(PROBLEMS),
        problems: problems.into_iter().take(PROBLEMS).collect(),
        datacenters,
        peerings: peerings(&view),
        proxies: ProxyCounts::of(&proxies),
        certificates,
        last_change,
    };
    Ok(meta.on(call.json(&status)))
}

fn known_datacenters(call: &Call, view: &View) -> Vec<DatacenterStatus> {
    let mut names = call.api.options.datacenters();
    names.extend(view.datacenters());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let of = |name: &crate::model::Datacenter| {
        let places: Vec<_> = view.partitions(name).iter().map(|partition| Place::new(name, partition)).collect();
        let gateways: Vec<_> = places.iter().flat_map(|place| view.mesh_gateways(place)).collect();
        DatacenterStatus {
            name: name.to_string(),
            partitions: places.len(),
            nodes: places.iter().map(|place| view.nodes(place).count()).sum(),
            gateways: gateways.len(),
            gateways_healthy: gateways.iter().filter(|gateway| takes_connections(gateway)).count(),
        }
    };
    names.iter().map(of).collect()
}

/// Whether each mesh gateway of every place takes connections.
pub(super) fn gateways(view: &View) -> Vec<bool> {
    let places = view.datacenters().into_iter().flat_map(|datacenter| {
        let partitions = view.partitions(&datacenter);
        partitions.iter().map(|partition| Place::new(&datacenter, partition)).collect::<Vec<_>>()
    });
    places.flat_map(|place| view.mesh_gateways(&place).iter().map(takes_connections).collect::<Vec<_>>()).collect()
}

fn takes_connections(gateway: &Instance) -> bool {
    gateway.checks.iter().all(|check| check.value.status != CheckStatus::Critical)
}

fn peerings(view: &View) -> Vec<PeeringStatus> {
    let peering = |row: &crate::store::Stored<crate::model::Peering>| {
        let key = row.value.key();
        PeeringStatus {
            datacenter: key.place.datacenter.to_string(),
            partition: key.place.partition.to_string(),
            name: key.name.to_string(),
            state: row.value.state,
        }
    };
    view.all_peerings().map(peering).collect()
}

/// Certificates whose time is over.
fn expired(view: &View) -> Vec<String> {
    let now = OffsetDateTime::now_utc();
    let leaves = view.leaves().filter(|row| row.value.not_after < now).count();
    let of_leaves = (leaves > 0).then(|| format!("{leaves} leaf certificates have expired and were not replaced"));
    let root = view.active_root().filter(|root| root.not_after < now);
    let of_root = root.map(|root| format!("the root {} has expired: give another one", root.name));
    of_leaves.into_iter().chain(of_root).collect()
}

impl ShownProxy {
    /// What somebody should look at.
    fn problem(&self) -> Option<String> {
        let proxy = self.state.instance();
        let nack = self.state.types.iter().filter(|of| !of.acked).find_map(|of| Some((of, of.last_nack.as_ref()?)));
        if let Some((of, nack)) = nack {
            return Some(format!("{proxy} refused {}: {}", of.kind, nack.message));
        }
        if let Some(behind) = self.state.behind.filter(|behind| self.sync == "behind" && *behind > BEHIND) {
            let seconds = behind / 1000.0;
            return Some(format!("{proxy} has not had what it should for {seconds:.0} s (meshgate ps)"));
        }
        let first = self.state.problems.first()?;
        let more = match self.state.problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{proxy}: {first}{more}"))
    }
}

impl ProxyCounts {
    fn of(proxies: &[ShownProxy]) -> Self {
        let mut by_sync = BTreeMap::<&str, usize>::new();
        proxies.iter().for_each(|proxy| *by_sync.entry(proxy.sync).or_default() += 1);
        let count = |sync| by_sync.get(sync).copied().unwrap_or_default();
        Self {
            synced: count("synced"),
            behind: count("behind"),
            refused: count("refused"),
            disconnected: count("disconnected"),
            with_problems: proxies.iter().filter(|proxy| !proxy.state.problems.is_empty()).count(),
        }
    }
}

impl Certificates {
    fn of(view: &View) -> Self {
        let next = view.leaves().map(|row| row.value.not_after).min();
        Self {
            leaves: view.counts().leaves,
            next_leaf: next.map(written_time),
            active_root: view.active_root().map(|root| written_time(root.not_after)),
        }
    }
}
