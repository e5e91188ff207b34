//! HTTP: connection managers and routes.

use std::sync::Arc;
use std::time::Duration;

use super::{ClusterName, HashSource, Rbac, Stat, UpstreamId};

/// The part of a listener that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpConnectionManager {
    /// What it counts.
    pub stat: Stat,
    /// What it speaks.
    pub codec: Codec,
    /// Where requests go.
    pub routes: RouteSource,
    /// Where on a request's way through the mesh it stands.
    pub role: HttpRole,
    /// Most KiB of request headers.
    pub max_request_headers_kb: Option<u32>,
}

/// Where on a request's way through the mesh a connection manager stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HttpRole {
    /// Before the mesh, or beside it: callers have no certificate.
    Outside,
    /// At the application that is called.
    Inbound(InboundHttp),
    /// At a gateway that ends the caller's mTLS and calls on in its own name. It tells who the caller is, and nothing that
    /// the caller says about earlier hops.
    Between,
}

impl HttpRole {
    /// What happens to requests, if this is at the application that is called.
    pub const fn inbound(&self) -> Option<&InboundHttp> {
        match self {
            HttpRole::Inbound(inbound) => Some(inbound),
            HttpRole::Outside | HttpRole::Between => None,
        }
    }
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// Which requests a route is for: those that everything in it applies to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// The path's case does not count.
    pub ignore_case: bool,
    /// Headers, the method (`:method`) among them, in order.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, in order.
    pub query_parameters: Vec<QueryMatch>,
}

impl RouteMatch {
    /// Every request for these paths.
    pub const fn path(path: PathMatch) -> Self {
        Self { path, ignore_case: false, headers: Vec::new(), query_parameters: Vec::new() }
    }
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// All of them.
    Any,
    /// One.
    Exact(Arc<str>),
    /// Those that start with this.
    Prefix(Arc<str>),
    /// Those that match this expression as a whole.
    Regex(Arc<str>),
}

/// Which values of a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderMatch {
    /// The header.
    pub name: Arc<str>,
    /// Its value; `None` where it only has to be there.
    pub value: Option<StringMatch>,
    /// All other requests are meant.
    pub invert: bool,
}

/// Which values of a query parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueryMatch {
    /// The parameter.
    pub name: Arc<str>,
    /// Its value; `None` where it only has to be there.
    pub value: Option<StringMatch>,
}

/// Which texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StringMatch {
    /// What is looked for.
    pub pattern: StringPattern,
    /// Case does not count.
    pub ignore_case: bool,
}

impl From<StringPattern> for StringMatch {
    fn from(pattern: StringPattern) -> Self {
        Self { pattern, ignore_case: false }
    }
}

/// What is looked for in a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StringPattern {
    /// This and nothing else.
    Exact(Arc<str>),
    /// This at the start.
    Prefix(Arc<str>),
    /// This at the end.
    Suffix(Arc<str>),
    /// This anywhere.
    Contains(Arc<str>),
    /// This expression, for the text as a whole.
    Regex(Arc<str>),
}

/// What happens to requests that come from the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InboundHttp {
    /// Rules about callers.
    pub rbac: Rbac,
    /// The same rules as far as they can be held against a connection, where a given listener speaks no HTTP.
    pub connection_rbac: Rbac,
    /// What is told about the caller's certificate.
    pub forward_client_cert: ForwardClientCert,
    /// What happens to requests before they are judged.
    pub normalization: RequestNormalization,
}

/// What happens to spellings of requests that a rule and an application could read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RequestNormalization {
    /// Paths are brought into their canonical form.
    pub path: bool,
    /// Slashes that follow each other become one.
    pub merge_slashes: bool,
    /// What happens to paths with escaped slashes.
    pub escaped_slashes: EscapedSlashes,
    /// What happens to headers with underscores in their name.
    pub underscores: HeaderUnderscores,
}

/// What happens to requests whose path holds an escaped slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum EscapedSlashes {
    /// What Envoy does by itself.
    #[default]
    Unset,
    /// They stay as they are.
    Keep,
    /// The request is refused.
    Reject,
    /// They are unescaped, and the caller is told to ask again.
    UnescapeAndRedirect,
    /// They are unescaped.
    UnescapeAndForward,
}

/// What happens to headers with underscores in their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum HeaderUnderscores {
    /// They pass.
    #[default]
    Allow,
    /// The request is refused.
    RejectRequest,
    /// They are taken out.
    DropHeader,
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteAction {
    /// Where it goes.
    pub destination: RouteDestination,
    /// Time for the whole request; Envoy's default when absent, none when zero.
    pub timeout: Option<Duration>,
    /// Time without a byte.
    pub idle_timeout: Option<Duration>,
    /// What hashing load balancers hash.
    pub hash: Vec<HashSource>,
    /// Another path for it.
    pub rewrite: Option<Rewrite>,
    /// What is tried again.
    pub retry: Option<Retry>,
}

impl RouteAction {
    /// To one cluster, with nothing else asked for.
    pub const fn to(cluster: ClusterName) -> Self {
        Self {
            destination: RouteDestination::Cluster(cluster),
            timeout: None,
            idle_timeout: None,
            hash: Vec::new(),
            rewrite: None,
            retry: None,
        }
    }
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RouteDestination {
    /// To one cluster.
    Cluster(ClusterName),
    /// To one of several, by weight.
    Weighted(Vec<WeightedCluster>),
}

impl RouteDestination {
    /// Every cluster that requests may go to, in order.
    pub fn clusters(&self) -> Box<dyn Iterator<Item = &ClusterName> + '_> {
        match self {
            RouteDestination::Cluster(cluster) => Box::new(std::iter::once(cluster)),
            RouteDestination::Weighted(clusters) => Box::new(clusters.iter().map(|weighted| &weighted.cluster)),
        }
    }
}

/// One of several clusters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its share in ten-thousandths.
    pub weight: u32,
    /// Changes of requests that go there.
    pub request_headers: HeaderChanges,
    /// Changes of their answers.
    pub response_headers: HeaderChanges,
}

/// Changes of headers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HeaderChanges {
    /// Name and value of further ones, sorted.
    pub add: Vec<(Arc<str>, Arc<str>)>,
    /// Name and value of those that replace others of their name, sorted.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Names of those that go, in order.
    pub remove: Vec<Arc<str>>,
}

/// Another path for a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rewrite {
    /// This stands in for what matched.
    Prefix(Arc<str>),
    /// The path without this prefix, and with one slash in front whether or not one followed the prefix.
    WithoutPrefix {
        /// The prefix.
        prefix: Arc<str>,
        /// Its case does not count.
        ignore_case: bool,
    },
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retry {
    /// How often; once when absent.
    pub retries: Option<u32>,
    /// Envoy's names of the conditions, in order.
    pub on: Vec<Arc<str>>,
    /// Status codes that are among the conditions.
    pub status_codes: Vec<u32>,
    /// Further tries go to endpoints of another priority, which in a failover cluster is another leg.
    pub to_other_priorities: bool,
}

/// One rule of a route configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// Which requests.
    pub matching: RouteMatch,
    /// What happens to them.
    pub action: RouteAction,
    /// Changes of the requests.
    pub request_headers: HeaderChanges,
    /// Changes of their answers.
    pub response_headers: HeaderChanges,
}

impl Route {
    /// Without changes of headers.
    pub fn new(matching: RouteMatch, action: RouteAction) -> Self {
        Self { matching, action, request_headers: HeaderChanges::default(), response_headers: HeaderChanges::default() }
    }
}

/// A route configuration with one virtual host for every domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteConfiguration {
    /// The upstream, or the exported service, that it is for.
    pub name: UpstreamId,
    /// Envoy refuses it while a cluster is missing.
    pub validate_clusters: bool,
    /// Its rules; the first one that applies counts.
    pub routes: Vec<Route>,
}
