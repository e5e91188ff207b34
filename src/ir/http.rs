//! HTTP: connection managers and routes.

use std::sync::Arc;
use std::time::Duration;

use super::{ClusterName, HashSource, Rbac, Stat, UpstreamId};

/// The part of a listener that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConnectionManager {
    /// What it counts.
    pub stat: Stat,
    /// What it speaks.
    pub codec: Codec,
    /// Where requests go.
    pub routes: RouteSource,
    /// What only the accepting side of the mesh does.
    pub inbound: Option<InboundHttp>,
    /// Most KiB of request headers.
    pub max_request_headers_kb: Option<u32>,
}

/// What is spoken to a connection manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// HTTP/1.1, or HTTP/2 if the caller opens with it.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
}

/// Where a connection manager's routes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteSource {
    /// Every request that is let through goes to one cluster.
    Inline {
        /// The upstream that the routes are for; unset on the inbound side.
        upstream: Option<UpstreamId>,
        /// What is let through.
        path: PathMatch,
        /// Where they lead.
        action: Box<RouteAction>,
    },
    /// A route configuration over the ADS stream.
    Rds {
        /// Its name.
        name: UpstreamId,
        /// Time that Envoy waits for it; Envoy's default when absent.
        fetch_timeout: Option<Duration>,
    },
}

/// Which requests a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// All of them.
    Any,
    /// Those for one path.
    Exact(Arc<str>),
}

/// What happens to requests that come from the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundHttp {
    /// Rules about callers.
    pub rbac: Rbac,
    /// What is told about the caller's certificate.
    pub forward_client_cert: ForwardClientCert,
    /// Paths are normalised before they are judged.
    pub normalize_path: bool,
}

/// What the application is told about the caller's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardClientCert {
    /// Its details, after those of earlier hops.
    Append,
    /// Nothing.
    Sanitize,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteAction {
    /// Where it goes.
    pub cluster: ClusterName,
    /// Time for the whole request; Envoy's default when absent, none when zero.
    pub timeout: Option<Duration>,
    /// Time without a byte.
    pub idle_timeout: Option<Duration>,
    /// What hashing load balancers hash.
    pub hash: Vec<HashSource>,
}

/// A route configuration with one virtual host for every domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfiguration {
    /// The upstream that it is for.
    pub name: UpstreamId,
    /// Envoy refuses it while a cluster is missing.
    pub validate_clusters: bool,
    /// Every request's way.
    pub action: RouteAction,
}
