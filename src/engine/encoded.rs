//! A part of a proxy with its encoded resources; what did not change is not encoded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::intern::Interner;
use crate::envoy::snapshot::{Resource, ResourceType};
use crate::envoy::{self, names, snapshot};
use crate::ir;
use crate::resolve::{EndpointSource, Part};

/// A part with its encoded resources.
#[derive(Debug, Default)]
pub(super) struct EncodedPart {
    listeners: Table<ir::Listener>,
    clusters: Table<ir::Cluster>,
    routes: Table<ir::RouteConfiguration>,
    pub(super) endpoints: BTreeMap<ir::ClusterName, EndpointSource>,
}

type Table<T> = BTreeMap<String, (T, Arc<Resource>)>;

impl EncodedPart {
    /// Takes over a newer state of the same part.
    pub(super) fn update(&mut self, part: Part, interner: &mut Interner) {
        let Part { resources: ir::Resources { listeners, clusters, routes }, endpoints, left_out: _ } = part;
        let mut encode = Encode { interner };
        let listener_name = |listener: &ir::Listener| names::listener(&listener.name, &listener.bind);
        encode.all(ResourceType::Listener, &mut self.listeners, listeners, listener_name, envoy::listener);
        encode.all(ResourceType::Cluster, &mut self.clusters, clusters, |c| names::cluster(&c.name), envoy::cluster);
        encode.all(ResourceType::Route, &mut self.routes, routes, |r| names::upstream(&r.name), envoy::route);
        self.endpoints = endpoints;
    }

    /// The resources of one type.
    pub(super) fn resources(&self, kind: ResourceType) -> Box<dyn Iterator<Item = &Arc<Resource>> + '_> {
        match kind {
            ResourceType::Listener => Box::new(self.listeners.values().map(|(_, resource)| resource)),
            ResourceType::Cluster => Box::new(self.clusters.values().map(|(_, resource)| resource)),
            ResourceType::Route => Box::new(self.routes.values().map(|(_, resource)| resource)),
            // Shared with other proxies, so that they are no part of any.
            ResourceType::Endpoint | ResourceType::Secret => Box::new(std::iter::empty()),
        }
    }
}

struct Encode<'i> {
    interner: &'i mut Interner,
}

impl Encode<'_> {
    fn all<T: PartialEq>(
        &mut self,
        kind: ResourceType,
        table: &mut Table<T>,
        items: Vec<T>,
        name: impl Fn(&T) -> String,
        translate: impl Fn(&T) -> snapshot::Resource,
    ) {
        let mut old = std::mem::take(table);
        for item in items {
            let name = name(&item);
            let resource = match old.remove(&name) {
                Some((known, resource)) if known == item => resource,
                Some(_) | None => self.interner.intern(kind, translate(&item)),
            };
            table.insert(name, (item, resource));
        }
    }
}
