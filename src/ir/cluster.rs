//! Clusters: where traffic goes and how.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{ClusterName, Endpoint, Given, Roots, TlsParameters};

/// An IP address or host name with a port, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketAddress {
    /// IP address or host name, without brackets, and port.
    Tcp(Arc<str>, u16),
    /// Path of a Unix socket.
    Pipe(Arc<str>),
}

impl fmt::Display for SocketAddress {
    /// `host:port`, with brackets around an IPv6 address, or the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketAddress::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            SocketAddress::Tcp(host, port) => write!(f, "{host}:{port}"),
            SocketAddress::Pipe(path) => f.write_str(path),
        }
    }
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Statistics are kept under the full name, dots and all.
    pub alt_stat_name: bool,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// mTLS to the endpoints; plain bytes when absent.
    pub tls: Option<UpstreamTls>,
    /// Unhealthy endpoints get no traffic even if no other is left.
    pub panic_disabled: bool,
    /// Limits; `None` leaves the message out.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Ejection of failing endpoints; `None` leaves the message out.
    pub outlier_detection: Option<OutlierDetection>,
    /// What is spoken on the connections.
    pub protocol: UpstreamProtocol,
    /// How requests are spread.
    pub load_balancing: LoadBalancing,
    /// TCP keepalive.
    pub keepalive: Option<TcpKeepalive>,
    /// Stands in place of all the above; if `tls` is set, it takes the place of the given one's.
    pub given: Option<Given>,
}

impl Cluster {
    /// A cluster that passes bytes on, one endpoint after the other, with nothing else asked for.
    pub fn plain(name: ClusterName, discovery: Discovery, connect_timeout: Duration) -> Self {
        Self {
            name,
            alt_stat_name: false,
            discovery,
            connect_timeout,
            tls: None,
            panic_disabled: false,
            circuit_breaker: None,
            outlier_detection: None,
            protocol: UpstreamProtocol::Plain,
            load_balancing: LoadBalancing::RoundRobin,
            keepalive: None,
            given: None,
        }
    }
}

/// Where a cluster's endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Discovery {
    /// From an assignment of the same name, over the ADS stream.
    Eds {
        /// Time that Envoy waits for it; Envoy's default when absent, for ever when zero.
        fetch_timeout: Option<Duration>,
    },
    /// One fixed address.
    Static(SocketAddress),
    /// From each connection: where it was going before it was redirected.
    OriginalDestination,
    /// From DNS.
    Dns(DnsKind, Vec<Endpoint>),
    /// From other clusters, the first healthy one.
    Aggregate(Aggregate),
}

/// How host names are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DnsKind {
    /// New connections use what the name means at the moment; one endpoint.
    Logical,
    /// Every address behind every name is an endpoint.
    Strict,
}

/// A failover cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Aggregate {
    /// Its legs, the primary first.
    pub legs: Vec<ClusterName>,
}

/// The caller's side of mTLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// SNI, which gateways route by.
    pub sni: Arc<str>,
    /// SPIFFE IDs that the other side may have, in order; any one suffices.
    pub identities: Vec<Arc<str>>,
    /// Whose certificates it may have.
    pub roots: Roots,
    /// Versions and ciphers.
    pub parameters: TlsParameters,
}

/// Limits of a cluster; unset ones are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CircuitBreaker {
    /// Most connections.
    pub max_connections: Option<u32>,
    /// Most requests that wait.
    pub max_pending_requests: Option<u32>,
    /// Most requests at a time.
    pub max_requests: Option<u32>,
}

/// Ejection of failing endpoints; unset values are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OutlierDetection {
    /// Time between sweeps.
    pub interval: Option<Duration>,
    /// 5xx answers in a row until ejection.
    pub consecutive_5xx: Option<u32>,
    /// Percentage of such ejections that happen.
    pub enforcing_consecutive_5xx: Option<u32>,
    /// Gateway failures in a row until ejection.
    pub consecutive_gateway_failure: Option<u32>,
    /// Percentage of such ejections that happen.
    pub enforcing_consecutive_gateway_failure: Option<u32>,
    /// Most endpoints that may be ejected, in percent.
    pub max_ejection_percent: Option<u32>,
    /// Time of the first ejection.
    pub base_ejection_time: Option<Duration>,
}

/// What is spoken on the connections of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum UpstreamProtocol {
    /// Bytes, or HTTP/1.1.
    #[default]
    Plain,
    /// HTTP/2.
    Http2,
    /// What the other side of the proxy speaks.
    AsDownstream,
}

/// How requests are spread over endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum LoadBalancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// To the less busy of some.
    LeastRequest {
        /// How many are compared.
        choices: Option<u32>,
    },
    /// At random.
    Random,
    /// By consistent hashing on a ring.
    RingHash {
        /// Smallest ring.
        minimum: Option<u64>,
        /// Largest ring.
        maximum: Option<u64>,
    },
    /// By consistent hashing with a table.
    Maglev,
}

/// One thing that a hashing policy hashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HashSource {
    /// What it is.
    pub field: HashField,
    /// Later ones are not looked at when this one applies.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashField {
    /// A request header.
    Header(Arc<str>),
    /// A query parameter.
    QueryParameter(Arc<str>),
    /// A cookie.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Time to live of a cookie that Envoy makes; zero ends with the session.
        ttl: Option<Duration>,
        /// Path of such a cookie.
        path: Arc<str>,
    },
    /// The caller's address.
    SourceIp,
}

/// TCP keepalive; unset values are the system's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TcpKeepalive {
    /// Seconds of silence before the first probe.
    pub time: Option<u32>,
    /// Seconds between probes.
    pub interval: Option<u32>,
    /// Unanswered probes until the connection is dead.
    pub probes: Option<u32>,
}
