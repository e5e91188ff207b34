//! The rows of a mesh, as the rules ask for them.

use meshgate::model::entry::{
    ExportedServices, Mesh, ProxyDefaults, ServiceDefaults, ServiceIntentions, ServiceResolver, ServiceRouter,
    ServiceSplitter,
};
use meshgate::model::{CheckStatus, ConfigEntry, Node, Service, ServiceKind};
use meshgate::store::{NodeKey, Op};

use crate::world::{World, proxy_name};

/// Datacenter and partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) datacenter: String,
    pub(crate) partition: String,
}

/// A registered proxy with what its checks say.
#[derive(Debug, Clone)]
pub(crate) struct Instance<'w> {
    pub(crate) name: String,
    pub(crate) at: Location,
    pub(crate) service: &'w Service,
    pub(crate) node: &'w Node,
    pub(crate) statuses: Vec<CheckStatus>,
}

impl Instance<'_> {
    /// The host that it listens on.
    pub(crate) fn inner_host(&self) -> &str {
        if self.service.address.is_empty() { &self.node.address } else { &self.service.address }
    }
}

/// The rows.
pub(crate) struct View<'w> {
    instances: Vec<Instance<'w>>,
    entries: Vec<&'w ConfigEntry>,
}

impl<'w> View<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        let nodes: Vec<&Node> =
            world.iter().filter_map(|op| if let Op::PutNode(node) = op { Some(node) } else { None }).collect();
        let mut instances: Vec<(&NodeKey, Instance<'w>)> = Vec::new();
        for op in world.iter() {
            let Op::PutService(key, service) = op else { continue };
            let is_its = |node: &&&Node| NodeKey::new(&node.place(), &node.node) == *key;
            let node = nodes.iter().find(is_its).expect("every instance is on a node");
            let at = location(node.datacenter.as_str(), node.partition.as_str());
            let statuses = world.iter().filter_map(|op| status_of(op, key, service)).collect();
            instances.push((key, Instance { name: proxy_name(key, service), at, service, node, statuses }));
        }
        // Envoy takes the first one in some places.
        instances.sort_by_key(|(key, instance)| (key.node.clone(), instance.service.id.clone()));
        let entries = world.iter().filter_map(|op| if let Op::PutEntry(entry) = op { Some(entry) } else { None });
        Self { instances: instances.into_iter().map(|(_, instance)| instance).collect(), entries: entries.collect() }
    }

    /// Every sidecar.
    pub(crate) fn sidecars(&self) -> impl Iterator<Item = &Instance<'w>> {
        self.instances.iter().filter(|instance| instance.service.kind == ServiceKind::ConnectProxy)
    }

    /// Every gateway.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &Instance<'w>> {
        self.instances.iter().filter(|instance| instance.service.kind == ServiceKind::MeshGateway)
    }

    /// The sidecars of a service.
    pub(super) fn sidecars_of(&self, service: &str, at: &Location) -> Vec<&Instance<'w>> {
        let is_its = |it: &&Instance<'_>| it.service.proxy.destination_service_name == service && it.at == *at;
        self.sidecars().filter(is_its).collect()
    }

    /// The gateways of a place.
    pub(super) fn gateways_of(&self, at: &Location) -> Vec<&Instance<'w>> {
        self.gateways().filter(|gateway| gateway.at == *at).collect()
    }

    fn entry<T>(&self, pick: impl Fn(&'w ConfigEntry) -> Option<T>) -> Option<T> {
        self.entries.iter().find_map(|entry| pick(entry))
    }

    pub(super) fn proxy_defaults(&self, partition: &str) -> Option<&'w ProxyDefaults> {
        self.entry(|entry| {
            let ConfigEntry::ProxyDefaults(it) = entry else { return None };
            (it.partition.as_str() == partition).then_some(it)
        })
    }

    pub(super) fn service_defaults(&self, name: &str, partition: &str) -> Option<&'w ServiceDefaults> {
        self.entry(|entry| {
            let ConfigEntry::ServiceDefaults(it) = entry else { return None };
            (it.name == name && it.partition.as_str() == partition).then_some(it)
        })
    }

    pub(super) fn resolver(&self, name: &str, partition: &str) -> Option<&'w ServiceResolver> {
        self.entry(|entry| {
            let ConfigEntry::ServiceResolver(it) = entry else { return None };
            (it.name == name && it.partition.as_str() == partition).then_some(it)
        })
    }

    pub(super) fn router(&self, name: &str, partition: &str) -> Option<&'w ServiceRouter> {
        self.entry(|entry| {
            let ConfigEntry::ServiceRouter(it) = entry else { return None };
            (it.name == name && it.partition.as_str() == partition).then_some(it)
        })
    }

    pub(super) fn splitter(&self, name: &str, partition: &str) -> Option<&'w ServiceSplitter> {
        self.entry(|entry| {
            let ConfigEntry::ServiceSplitter(it) = entry else { return None };
            (it.name == name && it.partition.as_str() == partition).then_some(it)
        })
    }

    pub(super) fn intentions(&self, name: &str, partition: &str) -> Option<&'w ServiceIntentions> {
        self.entry(|entry| {
            let ConfigEntry::ServiceIntentions(it) = entry else { return None };
            (it.name == name && it.partition.as_str() == partition).then_some(it)
        })
    }

    pub(super) fn mesh(&self, partition: &str) -> Option<&'w Mesh> {
        self.entry(|entry| {
            let ConfigEntry::Mesh(it) = entry else { return None };
            (it.partition.as_str() == partition).then_some(it)
        })
    }

    fn exports(&self, partition: &str) -> Option<&'w ExportedServices> {
        self.entry(|entry| {
            let ConfigEntry::ExportedServices(it) = entry else { return None };
            (it.partition.as_str() == partition).then_some(it)
        })
    }

    /// True if the service of this partition is exported to a partition for which `is_meant` holds (contract 6.4): an
    /// exact entry beats a wildcard (contract 5.2).
    pub(super) fn is_exported(&self, name: &str, partition: &str, is_meant: impl Fn(&str) -> bool) -> bool {
        let services = self.exports(partition).map(|exports| exports.services.as_slice()).unwrap_or_default();
        let exact: Vec<_> = services.iter().filter(|export| export.name == name).collect();
        let wildcard = services.iter().filter(|export| export.name == "*");
        let deciding: Vec<_> = if exact.is_empty() { wildcard.collect() } else { exact };
        let mut consumers = deciding.iter().flat_map(|export| &export.consumers);
        consumers.any(|consumer| consumer.partition.as_ref().is_some_and(|partition| is_meant(partition.as_str())))
    }
}

fn status_of(op: &Op, key: &NodeKey, service: &Service) -> Option<CheckStatus> {
    let Op::PutCheck(check) = op else { return None };
    let is_on_node =
        check.node == key.node && check.datacenter == key.place.datacenter && check.partition == key.place.partition;
    let is_meant = check.service_id.as_str().is_empty() || check.service_id == service.id;
    (is_on_node && is_meant).then_some(check.status)
}

pub(super) fn location(datacenter: &str, partition: &str) -> Location {
    Location { datacenter: datacenter.to_owned(), partition: partition.to_owned() }
}
