//! What one proxy must do, as plain sorted values that know neither config entries nor protobuf.
//!
//! `resolve` makes them, `envoy` writes them as Envoy's messages. Two equal values lead to equal bytes, and a value
//! that did not change means that nothing has to be encoded or sent.

mod access_log;
mod assignment;
mod cluster;
mod given;
mod http;
mod listener;
mod name;
mod rbac;
mod secret;

use std::collections::BTreeSet;

pub use access_log::{AccessLog, LogFormat, LogSink};
pub use assignment::{Assignment, Endpoint, Health};
pub use cluster::{
    Aggregate, CircuitBreaker, Cluster, Discovery, DnsKind, HashField, HashSource, LoadBalancing, OutlierDetection,
    SocketAddress, TcpKeepalive, UpstreamProtocol, UpstreamTls,
};
pub use given::Given;
pub use http::{
    Codec, EscapedSlashes, ForwardClientCert, HeaderChanges, HeaderMatch, HeaderUnderscores, HttpConnectionManager,
    HttpRole, InboundHttp, PathMatch, QueryMatch, RequestNormalization, Retry, Rewrite, Route, RouteAction,
    RouteConfiguration, RouteDestination, RouteMatch, RouteSource, StringMatch, StringPattern, WeightedCluster,
};
pub use listener::{
    AddressRange, Bind, Direction, DownstreamTls, Filter, FilterChain, Listener, TlsParameters, TlsVersion,
};
pub use name::{ClusterName, ListenerName, Stat, UpstreamId};
pub use rbac::{Permission, Policy, PolicyName, Principal, Rbac, RbacAction};
pub use secret::{Callers, Roots, SecretName, Trust};

/// What a part of a proxy is told, apart from the endpoints and secrets that it shares with others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Resources {
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Clusters.
    pub clusters: Vec<Cluster>,
    /// Route configurations.
    pub routes: Vec<RouteConfiguration>,
}

impl Resources {
    /// Every secret that they refer to. Whoever opens or accepts mTLS needs a certificate.
    pub fn secrets(&self) -> BTreeSet<SecretName> {
        let chains = self.listeners.iter().flat_map(|listener| &listener.chains).filter_map(|chain| chain.tls.as_ref());
        let clusters = self.clusters.iter().filter_map(|cluster| cluster.tls.as_ref());
        let accepted = chains.map(|tls| SecretName::Callers(tls.callers.clone()));
        let mut names: BTreeSet<_> = accepted.chain(clusters.map(|tls| SecretName::Roots(tls.roots.clone()))).collect();
        if !names.is_empty() {
            names.insert(SecretName::Leaf);
        }
        names
    }
}
