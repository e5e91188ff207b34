//! Whom a proxy dials, and who of them takes traffic (contract 2.5, 3.11, 4.5 to 4.7, 7).

use std::net::IpAddr;

use meshgate::model::{CheckStatus, GatewayMode};

use super::chain::Target;
use super::view::{Instance, Location, View, location};

/// Something that can be dialled.
#[derive(Debug, Clone)]
pub(super) struct Endpoint<'a, 'w> {
    /// `host:port`.
    pub(super) address: String,
    pub(super) is_healthy: bool,
    /// Who may be there: one instance, or one of the gateways that share a name.
    pub(super) behind: Vec<&'a Instance<'w>>,
    /// They are gateways.
    pub(super) is_gateway: bool,
}

/// Which side of the network somebody dials from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Inside,
    Outside,
}

/// `host:port` of an instance (contract 3.11).
fn address(instance: &Instance<'_>, side: Side) -> String {
    let Instance { service, node, .. } = instance;
    if side == Side::Outside
        && let Some(wan) = service.tagged_addresses.get("wan")
    {
        return format!("{}:{}", wan.address, wan.port);
    }
    let outside = node.tagged_addresses.get("wan").filter(|_| side == Side::Outside);
    let host = if service.address.is_empty() { outside.unwrap_or(&node.address) } else { &service.address };
    format!("{host}:{}", service.port)
}

fn is_name(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, _)| host.parse::<IpAddr>().is_err())
}

/// Whether an instance takes traffic (contract 7).
fn is_healthy(instance: &Instance<'_>, only_passing: bool) -> bool {
    let has = |status| instance.statuses.contains(&status);
    let weights = instance.service.weights;
    let weight = if has(CheckStatus::Warning) { weights.warning } else { weights.passing };
    let is_refused = has(CheckStatus::Critical) || (only_passing && has(CheckStatus::Warning));
    !is_refused && weight >= 1
}

/// The instances of a target, and whether warnings count against them.
fn instances<'a, 'w>(view: &'a View<'w>, target: &Target) -> (Vec<&'a Instance<'w>>, bool) {
    let at = location(&target.datacenter, &target.partition);
    let all = view.sidecars_of(&target.service, &at);
    let subset = view.resolver(&target.service, &target.partition).and_then(|it| it.subsets.get(&target.subset));
    let Some(subset) = subset else { return (all, false) };
    let is_meant = |instance: &&Instance<'_>| match subset.filter.as_str() {
        "" => true,
        "Service.Meta.version == 1" => instance.service.meta.get("version").is_some_and(|version| version == "1"),
        other => panic!("meshes are made without the filter {other:?}"),
    };
    (all.into_iter().filter(is_meant).collect(), subset.only_passing)
}

fn direct<'a, 'w>(view: &'a View<'w>, target: &Target, side: Side) -> Vec<Endpoint<'a, 'w>> {
    let (instances, only_passing) = instances(view, target);
    let endpoint = |instance: &'a Instance<'w>| Endpoint {
        address: address(instance, side),
        is_healthy: is_healthy(instance, only_passing),
        behind: vec![instance],
        is_gateway: false,
    };
    instances.into_iter().map(endpoint).collect()
}

fn gateways<'a, 'w>(view: &'a View<'w>, at: &Location, side: Side) -> Vec<Endpoint<'a, 'w>> {
    let all = view.gateways_of(at);
    let endpoint = |gateway: &'a Instance<'w>| {
        let own = address(gateway, side);
        let behind = if is_name(&own) {
            all.iter().copied().filter(|other| address(other, side) == own).collect()
        } else {
            vec![gateway]
        };
        Endpoint { address: own, is_healthy: is_healthy(gateway, false), behind, is_gateway: true }
    };
    all.iter().map(|gateway| endpoint(gateway)).collect()
}

/// A cluster cannot mix names and addresses: if any gateway has a name, those with names are all that count. A logical one
/// takes the first that is healthy, a strict one all of them; if none is, the last one.
fn by_name<'a, 'w>(endpoints: Vec<Endpoint<'a, 'w>>, is_strict: bool) -> Vec<Endpoint<'a, 'w>> {
    let (named, numbered): (Vec<_>, Vec<_>) = endpoints.into_iter().partition(|it| is_name(&it.address));
    let Some(last) = named.last().cloned() else { return numbered };
    let healthy: Vec<_> = named.into_iter().filter(|it| it.is_healthy).collect();
    match (healthy.is_empty(), is_strict) {
        (true, _) => vec![last],
        (false, true) => healthy,
        (false, false) => healthy.into_iter().take(1).collect(),
    }
}

/// What a sidecar dials for a target (contract 2.5), and what it may see of it: without an export nothing (design,
/// section 8).
pub(super) fn of_sidecar<'a, 'w>(
    view: &'a View<'w>,
    caller: &Location,
    mode: Option<GatewayMode>,
    target: &Target,
) -> Vec<Endpoint<'a, 'w>> {
    let there = location(&target.datacenter, &target.partition);
    let is_consumer = |partition: &str| partition == caller.partition;
    if target.partition != caller.partition && !view.is_exported(&target.service, &target.partition, is_consumer) {
        return Vec::new();
    }
    if there == *caller {
        return direct(view, target, Side::Inside);
    }
    let (instances, only_passing) = instances(view, target);
    let anybody_healthy = instances.iter().any(|instance| is_healthy(instance, only_passing));
    // A gateway is of use if it is healthy and somebody behind it is (compatibility page).
    let combined = |endpoints: Vec<Endpoint<'a, 'w>>| {
        let and = |it: Endpoint<'a, 'w>| Endpoint { is_healthy: it.is_healthy && anybody_healthy, ..it };
        endpoints.into_iter().map(and).collect()
    };
    match mode {
        None | Some(GatewayMode::None) => direct(view, target, Side::Outside),
        Some(GatewayMode::Local) => combined(gateways(view, caller, Side::Inside)),
        Some(GatewayMode::Remote) => {
            let all = gateways(view, &there, Side::Outside);
            // Names stand in the cluster itself, where nobody tells it about instances.
            if all.iter().any(|it| is_name(&it.address)) { by_name(all, false) } else { combined(all) }
        }
    }
}

/// What a gateway dials for a target; `None` if it does not know it.
pub(super) fn of_gateway<'a, 'w>(
    view: &'a View<'w>,
    gateway: &Instance<'w>,
    target: &Target,
) -> Option<Vec<Endpoint<'a, 'w>>> {
    let there = location(&target.datacenter, &target.partition);
    let here = &gateway.at;
    if there == *here {
        let is_other = |partition: &str| partition != here.partition;
        let is_served = here.partition == "default" || view.is_exported(&target.service, &here.partition, is_other);
        let is_known = !view.sidecars_of(&target.service, here).is_empty();
        // The bare name stands for the default subset (contract 4.7).
        let default = view.resolver(&target.service, &target.partition).map(|it| it.default_subset.clone());
        let subset = if target.subset.is_empty() { default.unwrap_or_default() } else { target.subset.clone() };
        let target = Target { subset, ..target.clone() };
        return (is_served && is_known).then(|| direct(view, &target, Side::Inside));
    }
    // The other partitions of the datacenter, and between the default partitions the other datacenters (design, section 8).
    let is_neighbour = there.datacenter == here.datacenter;
    let is_wan = there.partition == "default" && here.partition == "default";
    let is_strict = gateway.service.proxy.config.contains_key("envoy_dns_discovery_type");
    (is_neighbour || is_wan).then(|| by_name(gateways(view, &there, Side::Outside), is_strict))
}
