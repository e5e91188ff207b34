//! Service instances: what is registered, and what the catalog keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    CheckDefinition, Ignored, Namespace, Partition, PeerName, Problems, Proxy, ServiceId, ServiceName, is_default,
};

/// What a service instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum ServiceKind {
    /// An application.
    #[default]
    #[serde(rename = "", alias = "typical")]
    Typical,
    /// The sidecar of an application.
    #[serde(rename = "connect-proxy")]
    ConnectProxy,
    /// A gateway between places.
    #[serde(rename = "mesh-gateway")]
    MeshGateway,
    /// A gateway to services outside the mesh.
    #[serde(rename = "terminating-gateway")]
    TerminatingGateway,
    /// A gateway into the mesh.
    #[serde(rename = "ingress-gateway")]
    IngressGateway,
    /// The newer gateway into the mesh.
    #[serde(rename = "api-gateway")]
    ApiGateway,
}

impl ServiceKind {
    /// The kind as it is written; empty for an application.
    pub const fn as_str(self) -> &'static str {
        match self {
            ServiceKind::Typical => "",
            ServiceKind::ConnectProxy => "connect-proxy",
            ServiceKind::MeshGateway => "mesh-gateway",
            ServiceKind::TerminatingGateway => "terminating-gateway",
            ServiceKind::IngressGateway => "ingress-gateway",
            ServiceKind::ApiGateway => "api-gateway",
        }
    }

    /// True for every kind of gateway.
    pub const fn is_gateway(self) -> bool {
        match self {
            ServiceKind::Typical | ServiceKind::ConnectProxy => false,
            ServiceKind::MeshGateway
            | ServiceKind::TerminatingGateway
            | ServiceKind::IngressGateway
            | ServiceKind::ApiGateway => true,
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An address under which a service is reached from some network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceAddress {
    /// IP address or host name.
    pub address: String,
    /// Port; the service's own when 0.
    pub port: u16,
}

/// Load balancing weights by health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Weights {
    /// Weight while passing.
    #[serde(default)]
    pub passing: i64,
    /// Weight while warning.
    #[serde(default)]
    pub warning: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// Where a node or instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Locality {
    /// Region.
    #[serde(skip_serializing_if = "is_default")]
    pub region: String,
    /// Zone inside the region.
    #[serde(skip_serializing_if = "is_default")]
    pub zone: String,
}

/// The `Connect` block.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Connect {
    /// The application speaks mTLS itself.
    #[serde(skip_serializing_if = "is_default")]
    pub native: bool,
    /// A sidecar to register together with the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar_service: Option<Box<ServiceDefinition>>,
    /// How to dial a service of a peer, on the synthetic proxies that stand for it; nothing that is registered here has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_meta: Option<Box<PeerMeta>>,
}

/// How a service of a peer is dialled, as the peer told it (contract 5.2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PeerMeta {
    /// The SNI to send is the first; the peer's gateways know each of them.
    #[serde(rename = "SNI")]
    pub sni: Vec<String>,
    /// URIs of the identities that may answer.
    #[serde(rename = "SpiffeID")]
    pub spiffe_id: Vec<String>,
    /// The protocol that the service speaks.
    pub protocol: String,
}

/// A service instance as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// What it is.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
    /// Its ID, unique on the node; the name when empty.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// Name of the service.
    #[serde(rename = "Service", alias = "Name")]
    pub name: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Its address; the node's when empty.
    pub address: String,
    /// Addresses by network name, such as `lan` and `wan`.
    #[serde(skip_serializing_if = "is_default")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Free-form facts.
    pub meta: BTreeMap<String, String>,
    /// Its port.
    pub port: u16,
    /// Unix socket instead of a port.
    #[serde(skip_serializing_if = "is_default")]
    pub socket_path: String,
    /// Load balancing weights.
    pub weights: Weights,
    /// Others may change the tags.
    pub enable_tag_override: bool,
    /// What the proxy does, for sidecars and gateways.
    pub proxy: Proxy,
    /// Mesh integration.
    pub connect: Connect,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// Its namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// Its partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// The peer it was imported from; what is registered here has none.
    #[serde(skip_serializing_if = "is_default")]
    pub peer_name: PeerName,
    /// Made from the `Connect.SidecarService` of another registration, with which it goes. Kept, never shown.
    #[serde(skip_serializing_if = "is_default")]
    pub locally_registered_as_sidecar: bool,
    /// Defined in a file of the agent, and gone when the file no longer has it. Kept, never shown.
    #[serde(skip_serializing_if = "is_default")]
    pub from_file: bool,
    /// Shown by reads.
    #[serde(skip_serializing)]
    pub create_index: Ignored,
    /// Shown by reads.
    #[serde(skip_serializing)]
    pub modify_index: Ignored,
}

impl Service {
    /// The full name.
    pub fn full_name(&self) -> ServiceName {
        ServiceName::new(&self.partition, &self.namespace, &self.name)
    }

    /// The service that connections to this instance reach: a sidecar's destination, or a native application itself.
    pub fn mesh_destination(&self) -> Option<ServiceName> {
        match self.kind {
            ServiceKind::ConnectProxy => {
                Some(ServiceName::new(&self.partition, &self.namespace, &self.proxy.destination_service_name))
            }
            ServiceKind::Typical if self.connect.native => Some(self.full_name()),
            ServiceKind::Typical
            | ServiceKind::MeshGateway
            | ServiceKind::TerminatingGateway
            | ServiceKind::IngressGateway
            | ServiceKind::ApiGateway => None,
        }
    }

    /// True for what an Envoy can be started for.
    pub const fn is_proxy(&self) -> bool {
        matches!(self.kind, ServiceKind::ConnectProxy) || self.kind.is_gateway()
    }

    /// Fills the ID, drops what may not be stored and adds the addresses that follow from a literal one.
    pub fn normalize(&mut self) {
        if self.id.as_str().is_empty() {
            self.id = ServiceId::from(self.name.as_str());
        }
        self.connect.sidecar_service = None;
        for path in &mut self.proxy.expose.paths {
            if path.protocol.is_empty() {
                path.protocol = "http".to_owned();
            }
        }
        let Ok(ip) = self.address.parse::<IpAddr>() else { return };
        let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
        for network in ["lan", "wan"] {
            self.tagged_addresses
                .entry(format!("{network}_{family}"))
                .or_insert_with(|| ServiceAddress { address: self.address.clone(), port: self.port });
        }
    }

    /// The same for what a catalog is told. Clients that know no weights send two zeros; they mean none.
    pub fn normalize_told(&mut self) {
        if self.weights == (Weights { passing: 0, warning: 0 }) {
            self.weights = Weights::default();
        }
        self.normalize();
    }

    /// Every broken rule of `http-api.md` 3.7 and 3.8.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        if self.name.is_empty() {
            problems.rule("Name", "Missing service name");
        }
        problems.refuse_control_characters("Name", &self.name);
        if self.id.as_str() != self.name {
            problems.refuse_control_characters("ID", self.id.as_str());
        }
        if matches!(self.address.as_str(), "0.0.0.0" | "::" | "[::]") {
            problems.rule("Address", "Invalid service address: it must be one that others can dial");
        }
        if !self.peer_name.is_default() {
            problems.rule("PeerName", "what is imported from a peer cannot be registered by hand");
        }
        if self.connect.peer_meta.is_some() {
            problems.rule("Connect.PeerMeta", "only what is imported from a peer has it");
        }
        self.validate_addresses(&mut problems);
        self.validate_meta(&mut problems);
        problems.0.extend(self.proxy.validate().0);
        let (passing, warning) = (self.weights.passing, self.weights.warning);
        if !(1..=65_535).contains(&passing) || !(0..=65_535).contains(&warning) {
            problems.rule("Weights", "Invalid Weights: Passing must be from 1 to 65535, Warning from 0 to 65535");
        }
        if self.locality.as_ref().is_some_and(|locality| locality.region.is_empty() && !locality.zone.is_empty()) {
            problems.rule("Locality.Zone", "a zone needs a region");
        }
        match self.kind {
            ServiceKind::ConnectProxy => self.validate_sidecar(&mut problems),
            ServiceKind::Typical if self.connect.native && self.port == 0 && self.socket_path.is_empty() => {
                problems.rule("Port", "Port or SocketPath must be set for a Connect native service");
            }
            ServiceKind::Typical => {}
            ServiceKind::MeshGateway
            | ServiceKind::TerminatingGateway
            | ServiceKind::IngressGateway
            | ServiceKind::ApiGateway => self.validate_gateway(&mut problems),
        }
        problems
    }

    fn validate_addresses(&self, problems: &mut Problems) {
        for (name, tagged) in &self.tagged_addresses {
            let path = format!("TaggedAddresses.{name}.Address");
            if tagged.address.is_empty() {
                problems.rule(&path, "a tagged address must not be empty");
            }
            let family_matches = match tagged.address.parse::<IpAddr>() {
                Ok(ip) if name.ends_with("_ipv4") => ip.is_ipv4(),
                Ok(ip) if name.ends_with("_ipv6") => ip.is_ipv6(),
                Ok(_) => true,
                Err(_) => !name.ends_with("_ipv4") && !name.ends_with("_ipv6"),
            };
            if !family_matches && !tagged.address.is_empty() {
                problems.rule(path, format!("{:?} is not an address of the family that its name says", tagged.address));
            }
        }
    }

    fn validate_meta(&self, problems: &mut Problems) {
        const FEDERATION: &str = "consul-wan-federation";
        if self.meta.len() > 64 {
            problems.rule("Meta", format!("Invalid Service Meta: {} pairs, at most 64 are allowed", self.meta.len()));
        }
        for (key, value) in &self.meta {
            let path = format!("Meta.{key}");
            let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if key.is_empty() || key.len() > 128 || !key.chars().all(well_formed) {
                problems.rule(&path, "Invalid Service Meta: a key has 1 to 128 letters, digits, - or _");
            }
            if value.len() > 512 {
                problems.rule(&path, "Invalid Service Meta: a value has at most 512 bytes");
            }
            let may_federate = key == FEDERATION && self.kind == ServiceKind::MeshGateway;
            if key.starts_with("consul-") && !may_federate {
                problems.rule(&path, "Invalid Service Meta: the key prefix \"consul-\" is reserved");
            }
        }
    }

    fn validate_sidecar(&self, problems: &mut Problems) {
        problems.0.extend(self.proxy.validate_sidecar(&self.partition).0);
        if self.port == 0 && self.socket_path.is_empty() {
            problems.rule("Port", "Port or SocketPath must be set for a connect-proxy");
        }
        if self.connect.native {
            problems.rule("Connect.Native", "a connect-proxy cannot be Connect native");
        }
    }

    fn validate_gateway(&self, problems: &mut Problems) {
        let needs_port = matches!(self.kind, ServiceKind::MeshGateway | ServiceKind::TerminatingGateway);
        if needs_port && self.port == 0 {
            problems.rule("Port", format!("Port must be non-zero for a {}", self.kind));
        }
        for field in self.proxy.sidecar_fields() {
            problems.rule(
                format!("Proxy.{field}"),
                format!("The Proxy.{field} configuration is invalid for a {}", self.kind),
            );
        }
    }
}

/// A registration: a service instance with its checks and, nested, its sidecar.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceDefinition {
    /// What it is.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
    /// ID; the name when empty.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: ServiceId,
    /// Name of the service.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Tags.
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// Address; the node's when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub address: String,
    /// Addresses by network name.
    #[serde(skip_serializing_if = "is_default")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
    /// Port.
    #[serde(skip_serializing_if = "is_default")]
    pub port: u16,
    /// Unix socket instead of a port.
    #[serde(skip_serializing_if = "is_default")]
    pub socket_path: String,
    /// One check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckDefinition>,
    /// Several checks.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Vec<CheckDefinition>,
    /// Load balancing weights; 1 and 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// ACL token of the registration; never stored, never shown.
    #[serde(skip_serializing)]
    pub token: String,
    /// Others may change the tags.
    #[serde(skip_serializing_if = "is_default")]
    pub enable_tag_override: bool,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// What the proxy does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Mesh integration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Connect>,
    /// Namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// Partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
}

impl ServiceDefinition {
    /// The instance without checks and sidecar, in `partition`, in its canonical form.
    pub fn to_service(&self, partition: &Partition) -> Service {
        let mut service = Service {
            kind: self.kind,
            id: self.id.clone(),
            name: self.name.clone(),
            tags: self.tags.clone(),
            address: self.address.clone(),
            tagged_addresses: self.tagged_addresses.clone(),
            meta: self.meta.clone(),
            port: self.port,
            socket_path: self.socket_path.clone(),
            weights: self.weights.unwrap_or_default(),
            enable_tag_override: self.enable_tag_override,
            proxy: self.proxy.clone().unwrap_or_default(),
            connect: Connect { native: self.connect.as_ref().is_some_and(|c| c.native), ..Connect::default() },
            locality: self.locality.clone(),
            namespace: self.namespace.clone(),
            partition: partition.clone(),
            ..Service::default()
        };
        service.normalize();
        service
    }

    /// The checks, nested ones first, each with its ID and name filled in as `http-api.md` 3.6 says.
    pub fn all_checks(&self) -> Vec<CheckDefinition> {
        let id = if self.id.as_str().is_empty() { self.name.as_str() } else { self.id.as_str() };
        let several = self.checks.len() + usize::from(self.check.is_some()) > 1;
        let all = self.check.iter().chain(&self.checks).cloned().enumerate();
        all.map(|(position, mut check)| {
            if check.check_id.as_str().is_empty() {
                check.check_id = if several {
                    format!("service:{id}:{}", position + 1).into()
                } else {
                    format!("service:{id}").into()
                };
            }
            if check.name.is_empty() {
                check.name = format!("Service '{}' check", self.name);
            }
            check.service_id = ServiceId::from(id);
            check
        })
        .collect()
    }
}
