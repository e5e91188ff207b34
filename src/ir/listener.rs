//! Listeners: where a proxy accepts connections and what it does with them.

use std::net::IpAddr;
use std::sync::Arc;

use super::{AccessLog, Callers, ClusterName, Given, HttpConnectionManager, ListenerName, Rbac, Stat};

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listener {
    /// What it is for.
    pub name: ListenerName,
    /// Where it listens.
    pub bind: Bind,
    /// The side of the proxy that it is on.
    pub direction: Direction,
    /// Reads the SNI before a filter chain is chosen.
    pub tls_inspector: bool,
    /// Reads where a redirected connection was going before a filter chain is chosen.
    pub original_destination: bool,
    /// Spreads connections evenly over worker threads.
    pub exact_balance: bool,
    /// What is written about its connections and requests.
    pub access_log: Option<AccessLog>,
    /// What its connection managers trace; nothing when absent.
    pub tracing: Option<Given>,
    /// What to do, by SNI, in order.
    pub chains: Vec<FilterChain>,
    /// What to do with connections that no chain takes; they are closed when absent.
    pub default_chain: Option<FilterChain>,
    /// Stands in place of all the above. What protects the application is put into it: the TLS of the first chain, its rules
    /// about callers, and the normalisation of paths.
    pub given: Option<Given>,
}

impl Listener {
    /// A listener with nothing else asked for.
    pub fn new(name: ListenerName, bind: Bind, direction: Direction, chains: Vec<FilterChain>) -> Self {
        Self {
            name,
            bind,
            direction,
            tls_inspector: false,
            original_destination: false,
            exact_balance: false,
            access_log: None,
            tracing: None,
            chains,
            default_chain: None,
            given: None,
        }
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bind {
    /// IP address, without brackets, and port.
    Tcp(Arc<str>, u16),
    /// Unix socket with its file mode.
    Pipe(Arc<str>, u32),
}

/// The side of the proxy that a listener is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Traffic to the application.
    Inbound,
    /// Traffic from the application.
    Outbound,
    /// Neither: a gateway.
    Unspecified,
}

/// A filter chain. It takes the connections that meet all its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FilterChain {
    /// SNIs that choose it, exact or `*.suffix`; empty for the chain that takes the rest.
    pub server_names: Vec<Arc<str>>,
    /// The port that connections were going to.
    pub destination_port: Option<u16>,
    /// Where connections may come from; from everywhere when empty.
    pub sources: Vec<AddressRange>,
    /// mTLS that it terminates; bytes pass through when absent.
    pub tls: Option<DownstreamTls>,
    /// What happens to a connection, in order; the last filter ends it.
    pub filters: Vec<Filter>,
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// One of them.
    pub address: IpAddr,
    /// How many bits they share with it.
    pub bits: u8,
}

/// The accepting side of mTLS. The client always needs a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DownstreamTls {
    /// The role that it is called in, which decides whose certificates are accepted.
    pub callers: Callers,
    /// Protocols to negotiate, in order.
    pub alpn: Vec<&'static str>,
    /// Versions and ciphers.
    pub parameters: TlsParameters,
}

/// TLS versions and ciphers; unset ones are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsParameters {
    /// Oldest version.
    pub minimum: Option<TlsVersion>,
    /// Newest version.
    pub maximum: Option<TlsVersion>,
    /// Cipher suites by Envoy's names.
    pub ciphers: Vec<&'static str>,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// Envoy chooses.
    Auto,
    /// TLS 1.0.
    V1_0,
    /// TLS 1.1.
    V1_1,
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// A network filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Judges the caller's identity.
    Rbac(Rbac),
    /// Limits connections.
    ConnectionLimit {
        /// How many.
        max: u64,
    },
    /// Takes the SNI for the name of the cluster.
    SniCluster,
    /// Forwards bytes.
    TcpProxy {
        /// What it counts.
        stat: Stat,
        /// Where to; `None` where an earlier filter chose.
        cluster: Option<ClusterName>,
    },
    /// Speaks HTTP.
    Http(Box<HttpConnectionManager>),
}
