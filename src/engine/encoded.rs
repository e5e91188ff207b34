//! A part of a proxy with its encoded resources; what did not change is not encoded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::intern::Interner;
use super::table::Table;
use crate::envoy::names;
use crate::envoy::snapshot::{Resource, ResourceType};
use crate::ir::{self, ClusterName, Given};
use crate::model::Place;
use crate::resolve::{EndpointSource, Part, TrustSource};

/// A part with its encoded resources.
#[derive(Debug, Default)]
pub(super) struct EncodedPart {
    listeners: Table<ir::Listener>,
    clusters: Table<ir::Cluster>,
    routes: Table<ir::RouteConfiguration>,
    /// For each cluster that takes its endpoints from the stream, by its name in the end: whose they are.
    pub(super) endpoints: BTreeMap<ClusterName, EndpointSource>,
    /// Whom to trust, by the secrets that say it.
    pub(super) trusts: BTreeMap<ir::SecretName, TrustSource>,
}

/// A resource with what an operator gave for it.
type Encoded<'p> = (&'p Arc<Resource>, Option<&'p Given>);

impl EncodedPart {
    /// Takes over a newer state of the same part.
    pub(super) fn update(&mut self, place: &Place, part: Part, interner: &mut Interner) {
        self.trusts = part.trust_sources(place).collect();
        let Part { resources: ir::Resources { listeners, clusters, routes }, endpoints, importers: _, left_out: _ } =
            part;
        self.listeners.update(listeners, interner);
        self.clusters.update(clusters, interner);
        self.routes.update(routes, interner);
        let named = endpoints.into_iter().filter_map(|(name, source)| {
            let generated = names::cluster(&name);
            match self.clusters.resource(&generated) {
                // A cluster that could not be made has no endpoints either.
                None if self.clusters.is_missing(&generated) => None,
                Some(given) if *given.name != *generated && lends_its_name(given, &source) => {
                    Some((ClusterName::Given(given.name.clone()), source))
                }
                Some(_) | None => Some((name, source)),
            }
        });
        self.endpoints = named.collect();
    }

    /// The resources of one type.
    pub(super) fn resources(&self, kind: ResourceType) -> Box<dyn Iterator<Item = Encoded<'_>> + '_> {
        match kind {
            // Envoy refuses a listener whose own routes name a cluster that is not there, and would not be sent it again
            // when the cluster comes.
            ResourceType::Listener => {
                Box::new(self.listeners.resources().filter(|(listener, _)| {
                    listener.references.iter().all(|cluster| !self.clusters.is_missing(cluster))
                }))
            }
            ResourceType::Cluster => Box::new(self.clusters.resources()),
            ResourceType::Route => Box::new(self.routes.resources()),
            // Shared with other proxies, so that they are no part of any.
            ResourceType::Endpoint | ResourceType::Secret => Box::new(std::iter::empty()),
        }
    }

    /// True if resources of this type are wanted and could not be made.
    pub(super) fn is_incomplete(&self, kind: ResourceType) -> bool {
        match kind {
            // Those that lead to a missing cluster are left out too.
            ResourceType::Listener => self.listeners.is_incomplete() || self.clusters.is_incomplete(),
            ResourceType::Cluster => self.clusters.is_incomplete(),
            ResourceType::Route | ResourceType::Endpoint | ResourceType::Secret => false,
        }
    }

    /// What an operator gave and cannot be used, or leads to nothing.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        let unusable = self.listeners.problems().chain(self.clusters.problems()).cloned();
        let referenced = self.listeners.resources().flat_map(|(listener, _)| &listener.references);
        unusable.chain(referenced.filter_map(|name| {
            let (called, given) = self.clusters.renamed(name)?;
            let origin = &given.origin;
            Some(format!(
                "{origin} is called {called:?}, and its listener sends everything to {name:?}: give it that name"
            ))
        }))
    }
}

/// True if the endpoints of a given cluster are called after it. A cluster that takes them from the stream asks for them by
/// its own name. Nobody asks for those of any other one: they are called after it where a chain leads to it, as in Consul.
fn lends_its_name(given: &Resource, source: &EndpointSource) -> bool {
    given.references.contains(&given.name) || matches!(source, EndpointSource::Service { .. })
}
