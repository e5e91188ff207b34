//! Listeners: where a proxy accepts connections and what it does with them.

use std::sync::Arc;

use super::{ClusterName, HttpConnectionManager, ListenerName, Stat};

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it is for.
    pub name: ListenerName,
    /// Where it listens.
    pub bind: Bind,
    /// The side of the proxy that it is on.
    pub direction: Direction,
    /// Reads the SNI before a filter chain is chosen.
    pub tls_inspector: bool,
    /// Spreads connections evenly over worker threads.
    pub exact_balance: bool,
    /// What to do, by SNI, in order.
    pub chains: Vec<FilterChain>,
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

/// A filter chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterChain {
    /// SNIs that choose it, exact or `*.suffix`; empty for the chain that takes the rest.
    pub server_names: Vec<Arc<str>>,
    /// mTLS that it terminates; bytes pass through when absent.
    pub tls: Option<DownstreamTls>,
    /// What happens to a connection, in order; the last filter ends it.
    pub filters: Vec<Filter>,
}

/// The accepting side of mTLS. The client always needs a certificate of the trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownstreamTls {
    /// Protocols to negotiate, in order.
    pub alpn: Vec<&'static str>,
    /// Versions and ciphers.
    pub parameters: TlsParameters,
}

/// TLS versions and ciphers; unset ones are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Rules about callers. Without any policy the opposite of `action` holds for everyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rbac {
    /// What happens to those that a policy matches.
    pub action: RbacAction,
}

/// What happens to callers that a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RbacAction {
    /// They pass, others do not.
    Allow,
    /// They do not pass, others do.
    Deny,
}
