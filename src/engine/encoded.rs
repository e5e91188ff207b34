//! A part of a proxy with its encoded resources; what did not change is not encoded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::intern::Interner;
use super::table::{Listening, Table};
use crate::envoy::names;
use crate::envoy::snapshot::{Resource, ResourceType};
use crate::ir::{self, ClusterName, Given};
use crate::model::Place;
use crate::resolve::{EndpointSource, Forwarded, Part, TrustSource};

/// A part with its encoded resources.
#[derive(Debug, Default)]
pub(super) struct EncodedPart {
    listeners: Table<ir::Listener>,
    clusters: Table<ir::Cluster>,
    routes: Table<ir::RouteConfiguration>,
    /// For each cluster that takes its endpoints from the stream, by its name in the end: whose they are. Sorted.
    pub(super) endpoints: Box<[(ClusterName, EndpointSource)]>,
    /// Whom to trust, by the secrets that say it. Sorted.
    pub(super) trusts: Box<[(ir::SecretName, TrustSource)]>,
    /// What the listeners of a gateway have to know of it, if that is anything.
    pub(super) forwarded: Option<Arc<Forwarded>>,
    /// What it goes without.
    left_out: Vec<String>,
}

/// A resource with what an operator gave for it.
type Encoded<'p> = (&'p Arc<Resource>, Option<&'p Given>);

impl EncodedPart {
    /// A newer state of the same part.
    pub(super) fn next(&self, place: &Place, part: Part, interner: &mut Interner) -> Self {
        let listeners = self.listeners.next(&part.resources.listeners, interner);
        let clusters = self.clusters.next(&part.resources.clusters, interner);
        let routes = self.routes.next(&part.resources.routes, interner);
        // Of what could not be made, too: a client may have it from an earlier process, and goes on trusting whom it should.
        let trusts = part.trust_sources(place).collect::<BTreeMap<_, _>>().into_iter().collect();
        let Part { resources: _, endpoints, importers, ways, left_out } = part;
        let forwarded = Forwarded { ways, importers };
        let named = endpoints.into_iter().filter_map(|(name, source)| {
            let generated = names::cluster(&name);
            match clusters.resource(&generated) {
                // A cluster that could not be made has no endpoints either.
                None if clusters.is_missing(&generated) => None,
                Some(given) if *given.name != *generated && lends_its_name(given, &source) => {
                    Some((ClusterName::Given(given.name.clone()), source))
                }
                Some(_) | None => Some((name, source)),
            }
        });
        Self {
            endpoints: named.collect::<BTreeMap<_, _>>().into_iter().collect(),
            trusts,
            forwarded: (!forwarded.is_empty()).then(|| Arc::new(forwarded)),
            left_out: left_out.iter().map(ToString::to_string).collect(),
            listeners,
            routes,
            clusters,
        }
    }

    /// Whose endpoints a cluster has, if it takes them from the stream.
    pub(super) fn endpoints_of(&self, cluster: &ClusterName) -> Option<&EndpointSource> {
        let at = self.endpoints.binary_search_by(|(known, _)| known.cmp(cluster)).ok()?;
        self.endpoints.get(at).map(|(_, source)| source)
    }

    /// True if both are the same to whoever holds them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let Self { listeners, clusters, routes, endpoints, trusts, forwarded, left_out } = self;
        let others = (&other.endpoints, &other.trusts, &other.forwarded, &other.left_out);
        let shared = (endpoints, trusts, forwarded, left_out) == others;
        let own = listeners.is_same(&other.listeners) && clusters.is_same(&other.clusters);
        shared && own && routes.is_same(&other.routes)
    }

    /// The listeners that lead to something: where each listens, unless its operator says it, and what could be made.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (Option<&Listening>, Option<&Arc<Resource>>)> {
        // Envoy refuses a listener whose own routes name a cluster that is not there, and would not be sent it again
        // when the cluster comes.
        let leads = |listener: &Arc<Resource>| !listener.references.iter().any(|it| self.clusters.is_missing(it));
        self.listeners.wanted().map(move |(wanted, made)| (wanted, made.filter(|made| leads(made))))
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

    /// True if resources of this type are wanted and could not be made.
    pub(super) fn is_incomplete(&self, kind: ResourceType) -> bool {
        match kind {
            // Those that lead to a missing cluster are left out too.
            ResourceType::Listener => self.listeners.is_incomplete() || self.clusters.is_incomplete(),
            ResourceType::Cluster => self.clusters.is_incomplete(),
            ResourceType::Route | ResourceType::Endpoint | ResourceType::Secret => false,
        }
    }

    /// What it goes without, and what an operator gave that cannot be used, or leads to nothing.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.left_out.iter().cloned().chain(self.given_problems())
    }

    /// What was given since this older state and cannot be used.
    pub(super) fn failures_since(&self, older: &Self) -> impl Iterator<Item = String> {
        let of_listeners = self.listeners.failures_since(&older.listeners);
        of_listeners.chain(self.clusters.failures_since(&older.clusters)).cloned()
    }

    /// True if an operator gave something for it.
    pub(super) fn is_given(&self) -> bool {
        self.listeners.is_given() || self.clusters.is_given()
    }

    fn given_problems(&self) -> impl Iterator<Item = String> {
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
