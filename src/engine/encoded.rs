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
        let called = |name: ClusterName| {
            let generated = names::cluster(&name);
            // A cluster that could not be made has no endpoints either.
            let called = self.clusters.called(&generated)?;
            Some(if **called == *generated { name } else { ClusterName::Given(called.clone()) })
        };
        self.endpoints = endpoints.into_iter().filter_map(|(name, source)| Some((called(name)?, source))).collect();
    }

    /// The resources of one type.
    pub(super) fn resources(&self, kind: ResourceType) -> Box<dyn Iterator<Item = Encoded<'_>> + '_> {
        match kind {
            ResourceType::Listener => Box::new(self.listeners.resources()),
            ResourceType::Cluster => Box::new(self.clusters.resources()),
            ResourceType::Route => Box::new(self.routes.resources()),
            // Shared with other proxies, so that they are no part of any.
            ResourceType::Endpoint | ResourceType::Secret => Box::new(std::iter::empty()),
        }
    }

    /// What an operator gave and cannot be used.
    pub(super) fn problems(&self) -> impl Iterator<Item = &String> {
        self.listeners.problems().chain(self.clusters.problems())
    }
}
