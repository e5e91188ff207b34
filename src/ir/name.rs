//! Names as structure. `envoy::names` alone turns them into text.

use std::sync::Arc;

/// Which cluster is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterName {
    /// The application behind a sidecar.
    LocalApp,
    /// Wherever a redirected connection was going.
    OriginalDestination,
    /// An application port that is exposed in plain text.
    Exposed(u16),
    /// Whatever connections with this SNI reach: a service, a subset, or the gateways of a place.
    Sni(Arc<str>),
    /// A target of a customised discovery chain.
    Customised {
        /// Eight hexadecimal digits over what was customised.
        hash: Arc<str>,
        /// SNI of the target.
        sni: Arc<str>,
    },
    /// A cluster that an operator gives, by the name in it.
    Given(Arc<str>),
    /// A target of a chain that is exported to peers.
    Exported(Arc<str>),
    /// One leg of a failover cluster.
    FailoverLeg {
        /// Its position; 0 is the primary.
        position: usize,
        /// The cluster that it is a leg of.
        parent: Box<ClusterName>,
    },
}

/// What an upstream is called in listener, route and statistics names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId {
    /// It is a prepared query and not a service.
    pub is_query: bool,
    /// Partition of the service; empty for `default`.
    pub partition: Arc<str>,
    /// Namespace of the service; empty for `default`.
    pub namespace: Arc<str>,
    /// The service.
    pub name: Arc<str>,
    /// The peer that exports it; empty for none.
    pub peer: Arc<str>,
    /// The datacenter that the registration names; empty if it names none.
    pub datacenter: Arc<str>,
}

/// What a listener is for; its name also holds the address, because Envoy cannot move a listener.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerName {
    /// Accepts mesh traffic for the application.
    Public,
    /// Takes the application's connections to an upstream.
    Upstream(UpstreamId),
    /// Takes the connections of a transparent proxy's application.
    Outbound,
    /// Serves one path in plain text.
    ExposedPath(Arc<str>),
    /// One address of a mesh gateway: `default`, or the key of a tagged or bind address.
    Gateway(Arc<str>),
}

/// What a filter counts; becomes Envoy's `stat_prefix`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stat {
    /// Inbound mesh traffic.
    Public,
    /// Inbound traffic without TLS.
    PublicPermissive,
    /// Traffic to an upstream, by the chain's evaluation values.
    Upstream {
        /// Service.
        service: Arc<str>,
        /// Namespace.
        namespace: Arc<str>,
        /// Partition.
        partition: Arc<str>,
        /// Datacenter.
        datacenter: Arc<str>,
    },
    /// Traffic to an upstream in a peer.
    Peered {
        /// Service.
        service: Arc<str>,
        /// Namespace.
        namespace: Arc<str>,
        /// The own name of the peering.
        peer: Arc<str>,
    },
    /// Traffic to what a prepared query finds.
    Query(UpstreamId),
    /// Traffic to what is no upstream.
    OriginalDestination,
    /// An exposed path and its listener's port.
    ExposedPath(Arc<str>, u16),
    /// Local traffic of a gateway listener.
    GatewayLocal {
        /// The address name.
        listener: Arc<str>,
    },
    /// Traffic of a gateway listener to another place.
    GatewayRemote {
        /// The address name.
        listener: Arc<str>,
        /// `<dc>`, or `<partition>.<dc>`.
        place: Arc<str>,
    },
    /// Traffic of a gateway listener to one server of its datacenter.
    GatewayServer {
        /// The address name.
        listener: Arc<str>,
        /// The datacenter.
        datacenter: Arc<str>,
    },
    /// Traffic of a gateway listener from peers to the servers of its datacenter.
    GatewayPeeringServers {
        /// The address name.
        listener: Arc<str>,
        /// The datacenter.
        datacenter: Arc<str>,
    },
    /// Traffic of a gateway to the servers of a peer.
    GatewayPeer {
        /// What the peer calls them.
        server_name: Arc<str>,
    },
    /// Traffic of peers to an exported service.
    GatewayExported {
        /// Service.
        service: Arc<str>,
        /// Namespace.
        namespace: Arc<str>,
        /// Partition.
        partition: Arc<str>,
        /// Datacenter.
        datacenter: Arc<str>,
    },
}
