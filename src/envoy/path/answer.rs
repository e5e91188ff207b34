//! What the model answers: every way that traffic can take, link by link, and where each one ends.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::ir::SocketAddress;

/// Every outcome that is possible, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The outcomes; empty only where every way leads into a proxy that is left out.
    pub outcomes: BTreeSet<Outcome>,
}

/// One way, and where it ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// The proxies that it passes, in order. The last one is where it ends, or the one that opens the last connection.
    pub links: Vec<Link>,
    /// Where it ends.
    pub end: End,
}

/// What one proxy does with the traffic. What was not reached is `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Link {
    /// The proxy.
    pub proxy: Arc<str>,
    /// Name of the listener that accepts it.
    pub listener: Option<String>,
    /// The filter chain that matches.
    pub chain: Option<ChainUse>,
    /// The route that a request takes.
    pub route: Option<RouteUse>,
    /// Name of the cluster that is chosen; behind it, for an aggregate cluster, that of the leg.
    pub clusters: Vec<String>,
    /// SNI of the TLS connection that the cluster opens, if it opens one.
    pub sni: Option<String>,
    /// The endpoint that is dialled.
    pub endpoint: Option<SocketAddress>,
}

/// A filter chain of a listener.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainUse {
    /// Its position; `None` is the default filter chain.
    pub position: Option<usize>,
    /// The server name for which it was chosen, exact or `*.suffix`; `None` if it takes any.
    pub server_name: Option<String>,
    /// True if TLS ends here; otherwise the bytes are passed on as they are.
    pub terminates_tls: bool,
}

/// A route of a route configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteUse {
    /// The route configuration.
    pub configuration: String,
    /// The virtual host.
    pub virtual_host: String,
    /// Position of the route.
    pub position: usize,
}

/// Where a way ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// At an instance: the application behind the last proxy, or something outside of the mesh.
    Instance {
        /// Its address, as the last proxy dials it.
        address: SocketAddress,
        /// SNI of the TLS connection that it is offered; `None` for plain bytes.
        sni: Option<String>,
    },
    /// At the last proxy, for a reason.
    Stopped(Stop),
    /// The model does not know.
    Unknown(Unknown),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        End::Stopped(stop)
    }
}

impl From<Unknown> for End {
    fn from(unknown: Unknown) -> Self {
        End::Unknown(unknown)
    }
}

/// Why traffic goes no further.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// The proxy has no listener for this upstream.
    NoUpstream(String),
    /// The proxy listens somewhere, but not there.
    NoListener(SocketAddress),
    /// No filter chain matches.
    NoFilterChain {
        /// The SNI that was read, if any was.
        sni: Option<String>,
    },
    /// Plain bytes came where TLS is expected.
    PlainText,
    /// The connection asks for no version or cipher suite that the listener has.
    NoCommonTls,
    /// A secret that is needed is not there yet.
    NoSecret(String),
    /// The caller shows no certificate.
    NoClientCertificate,
    /// Nobody whom the listener trusts has signed the caller's certificate.
    UntrustedClient(String),
    /// Nobody whom the caller trusts has signed the certificate of the listener.
    UntrustedServer(String),
    /// The listener is somebody else than the caller wants.
    WrongServer {
        /// The identity that it has.
        is: String,
        /// Those that the caller accepts.
        wanted: Vec<String>,
    },
    /// The listener takes no caller with this identity.
    WrongClient(String),
    /// An RBAC filter refuses it.
    Denied {
        /// The filter.
        filter: Rbac,
        /// The policy that did; `None` if there is none that allows it.
        policy: Option<String>,
    },
    /// The listener speaks HTTP, and this is something else.
    NotHttp,
    /// The request is refused for what is in its path or in the names of its headers.
    RefusedRequest(&'static str),
    /// The listener waits for its routes.
    NoRouteConfiguration(String),
    /// No virtual host has this authority.
    NoVirtualHost(String),
    /// No route matches.
    NoRoute(String),
    /// The proxy answers by itself.
    Answered {
        /// HTTP status.
        status: u32,
    },
    /// The proxy has no cluster of this name.
    NoCluster(String),
    /// The cluster waits for its endpoints.
    NoAssignment(String),
    /// The cluster has no endpoint.
    NoEndpoint(String),
    /// No endpoint of the cluster is healthy.
    NoHealthyEndpoint(String),
    /// The cluster lets nothing through, because a limit is zero.
    LimitOfZero(String),
    /// It comes back to where it was.
    Loop,
}

/// A kind of RBAC filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rbac {
    /// Judges connections.
    Network,
    /// Judges requests.
    Http,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::NoUpstream(name) => write!(f, "there is no listener for upstream {name:?}"),
            Stop::NoListener(address) => write!(f, "nothing listens on {address}"),
            Stop::NoFilterChain { sni: Some(sni) } => write!(f, "no filter chain takes the SNI {sni:?}"),
            Stop::NoFilterChain { sni: None } => f.write_str("no filter chain takes a connection without SNI"),
            Stop::PlainText => f.write_str("the bytes are no TLS, and the listener expects TLS"),
            Stop::NoCommonTls => f.write_str("caller and listener have no TLS version or cipher suite in common"),
            Stop::NoSecret(name) => write!(f, "there is no secret {name:?} yet"),
            Stop::NoClientCertificate => f.write_str("the caller shows no certificate"),
            Stop::UntrustedClient(who) => write!(f, "the listener trusts nobody who signed the certificate of {who}"),
            Stop::UntrustedServer(who) => write!(f, "the caller trusts nobody who signed the certificate of {who}"),
            Stop::WrongServer { is, wanted } => write!(f, "the listener is {is}, the caller wants {}", list(wanted)),
            Stop::WrongClient(who) => write!(f, "the listener takes no connection of {who}"),
            Stop::Denied { filter, policy } => {
                let what = match filter {
                    Rbac::Network => "connection",
                    Rbac::Http => "request",
                };
                match policy {
                    Some(policy) => write!(f, "the {what} is denied by the RBAC policy {policy:?}"),
                    None => write!(f, "no RBAC policy allows the {what}"),
                }
            }
            Stop::NotHttp => f.write_str("the bytes are no HTTP, and the listener expects HTTP"),
            Stop::RefusedRequest(what) => write!(f, "requests with {what} are refused"),
            Stop::NoRouteConfiguration(name) => write!(f, "there is no route configuration {name:?} yet"),
            Stop::NoVirtualHost(authority) => write!(f, "no virtual host has the authority {authority:?}"),
            Stop::NoRoute(configuration) => write!(f, "no route of {configuration:?} matches the request"),
            Stop::Answered { status } => write!(f, "the proxy itself answers with status {status}"),
            Stop::NoCluster(name) if name.is_empty() => f.write_str("there is no SNI to choose a cluster by"),
            Stop::NoCluster(name) => write!(f, "there is no cluster {name:?}"),
            Stop::NoAssignment(cluster) => write!(f, "cluster {cluster:?} still waits for its endpoints"),
            Stop::NoEndpoint(cluster) => write!(f, "cluster {cluster:?} has no endpoints"),
            Stop::NoHealthyEndpoint(cluster) => write!(f, "cluster {cluster:?} has no healthy endpoint"),
            Stop::LimitOfZero(cluster) => write!(f, "a limit of cluster {cluster:?} is zero"),
            Stop::Loop => f.write_str("it goes in circles"),
        }
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "nobody".to_owned() } else { items.join(" or ") }
}

/// What the model does not know. It never guesses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unknown {
    /// A field is set whose effect is not modelled.
    #[error("the effect of {field} in {message} is not modelled")]
    Field {
        /// Full name of its message.
        message: String,
        /// Its name.
        field: String,
    },
    /// A value has an effect that is not modelled.
    #[error("the effect of {0} is not modelled")]
    Value(&'static str),
    /// A filter or another extension is in use that is not modelled.
    #[error("{0:?} is not modelled")]
    Extension(String),
    /// Something is no message of the type that it should be.
    #[error("{0} cannot be decoded")]
    Undecodable(String),
    /// A regular expression is not one that the model can use.
    #[error("the regular expression {0:?} is not modelled")]
    Regex(String),
    /// A certificate cannot be read.
    #[error("a certificate cannot be read")]
    Certificate,
    /// There is no such proxy.
    #[error("there is no proxy {0:?}")]
    Proxy(String),
    /// There are more ways than are looked at.
    #[error("there are more ways than the model looks at")]
    TooMany,
}
