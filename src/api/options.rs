//! What the API is told at start.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::error::ApiError;
use crate::model::{
    BundleAgent, CHECK_OUTPUT_MAX_SIZE, Datacenter, DnsDomain, IntentionPolicy, Network, Node, NodeName, Place,
    SidecarPorts, SocketEndpoint,
};

/// What the API says about the process, and where it puts what is registered with it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The primary datacenter; the one that is meant when a request names none.
    pub datacenter: Datacenter,
    /// The other datacenters that this process hosts. Naming the primary here again changes nothing.
    pub hosted: Vec<Datacenter>,
    /// Name of the agent's node, which exists once in each hosted datacenter and partition.
    pub node: NodeName,
    /// UUID of that node; empty if it has none.
    pub node_id: String,
    /// Free-form facts about that node.
    pub node_meta: NodeMeta,
    /// Its address: what instances without one of their own are reached at. An IP address or a host name.
    pub advertise: String,
    /// Where this API listens.
    pub http_addr: SocketAddr,
    /// The port of the ADS server without TLS, if it is open.
    pub grpc_port: Option<u16>,
    /// The port of the ADS server with TLS, if it is open.
    pub grpc_tls_port: Option<u16>,
    /// Most bytes of output that are kept of a report on a check, unless the check asks for fewer.
    pub check_output_max_size: usize,
    /// Ports for sidecars that name none.
    pub sidecar_ports: SidecarPorts,
    /// What happens to calls that no intention speaks about.
    pub default_intention_policy: IntentionPolicy,
    /// The DNS domain of the agents.
    pub dns_domain: DnsDomain,
    /// Serve metrics to Prometheus too.
    pub prometheus: bool,
    /// Indent every JSON answer, as development mode does.
    pub pretty: bool,
    /// How long blocking queries wait.
    pub waits: Waits,
    /// Who may ask for what.
    pub access: Access,
}

/// How long blocking queries wait, jitter not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Those that do not say it.
    pub default: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Waits {
    /// Those of Consul: five and ten minutes.
    fn default() -> Self {
        Self { default: Duration::from_secs(300), longest: Duration::from_secs(600) }
    }
}

/// What the agent's `http_config` says about calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Paths that begin so are refused.
    pub blocked: Vec<String>,
    /// Networks from which something may be changed; any if there are none.
    pub writers: Vec<Network>,
    /// Headers of every answer.
    pub headers: HeaderMap,
}

impl Access {
    /// Refuses what the agent is told to refuse.
    pub(super) fn judge(&self, method: &Method, path: &str, caller: Option<IpAddr>) -> Result<(), ApiError> {
        // Names in a path are decoded where they are used.
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        if self.blocked.iter().any(|prefix| decoded.starts_with(prefix)) {
            return Err(ApiError::Blocked);
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let is_inside = |caller| self.writers.iter().any(|network| network.contains(caller));
        if is_read || self.writers.is_empty() || caller.is_some_and(is_inside) {
            return Ok(());
        }
        Err(ApiError::NoWriter)
    }
}

/// Facts about the agent's node, which a reload of the files may change. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct NodeMeta(Arc<ArcSwap<BTreeMap<String, String>>>);

impl NodeMeta {
    /// The facts as they are now.
    pub fn get(&self) -> BTreeMap<String, String> {
        (**self.0.load()).clone()
    }

    /// Replaces the facts for everybody who shares them.
    pub fn set(&self, facts: BTreeMap<String, String>) {
        self.0.store(Arc::new(facts));
    }
}

impl From<BTreeMap<String, String>> for NodeMeta {
    fn from(facts: BTreeMap<String, String>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(facts)))
    }
}

impl Default for Options {
    /// Datacenter `dc1` on this machine, with Consul's ports.
    fn default() -> Self {
        Self {
            datacenter: Datacenter::from("dc1"),
            hosted: Vec::new(),
            node: NodeName::from("localhost"),
            node_id: String::new(),
            node_meta: NodeMeta::default(),
            advertise: Ipv4Addr::LOCALHOST.to_string(),
            http_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 8500)),
            grpc_port: Some(8502),
            grpc_tls_port: None,
            check_output_max_size: CHECK_OUTPUT_MAX_SIZE,
            sidecar_ports: SidecarPorts::default(),
            default_intention_policy: IntentionPolicy::default(),
            dns_domain: DnsDomain::default(),
            prometheus: false,
            pretty: false,
            waits: Waits::default(),
            access: Access::default(),
        }
    }
}

impl Options {
    /// Every hosted datacenter, the primary first.
    pub fn datacenters(&self) -> Vec<Datacenter> {
        let others = self.hosted.iter().filter(|other| **other != self.datacenter);
        std::iter::once(&self.datacenter).chain(others).cloned().collect()
    }

    /// True if this process holds the catalog of `datacenter`.
    pub fn hosts(&self, datacenter: &Datacenter) -> bool {
        *datacenter == self.datacenter || self.hosted.contains(datacenter)
    }

    /// The agent's node in a place. A registration makes it where it does not exist yet.
    pub fn agent_node(&self, place: &Place) -> Node {
        let networks = match self.advertise.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => &["lan", "lan_ipv4", "wan", "wan_ipv4"][..],
            Ok(IpAddr::V6(_)) => &["lan", "lan_ipv6", "wan", "wan_ipv6"][..],
            Err(_) => &["lan", "wan"][..],
        };
        Node {
            id: self.node_id.clone(),
            node: self.node.clone(),
            address: self.advertise.clone(),
            datacenter: place.datacenter.clone(),
            partition: place.partition.clone(),
            tagged_addresses: networks.iter().map(|name| ((*name).to_owned(), self.advertise.clone())).collect(),
            meta: self.node_meta.get(),
            locality: None,
        }
    }

    /// What a bundle says about this process.
    pub(super) fn bundle_agent(&self) -> BundleAgent {
        BundleAgent {
            datacenter: self.datacenter.clone(),
            hosted_datacenters: self.datacenters().into_iter().skip(1).collect(),
            node_name: self.node.clone(),
            cluster_id: String::new(),
            default_intention_policy: self.default_intention_policy,
            domain: self.dns_domain.clone(),
        }
    }

    /// Where others reach this process, as `host:port`.
    pub(super) fn server_address(&self) -> String {
        SocketEndpoint::new(&self.advertise, self.http_addr.port()).to_string()
    }
}
