//! The nouns of the mesh and their rules: names, registrations, checks and config entries.
//!
//! Everything here is a plain value in Consul's words. A value is built by `codec` (or a test), made canonical by
//! `normalize`, and judged by `validate`, which returns every problem at once with the path of the field.

mod access_logs;
mod address;
mod bundle;
mod ca_config;
mod catalog;
mod certificate;
mod check;
mod collector;
mod dns_domain;
mod duration;
pub mod entry;
mod expression;
mod federation_state;
mod field;
mod filter;
mod gateway_mode;
mod health_entry;
mod ignored;
mod intention;
mod limits;
mod names;
mod network;
mod node;
mod peering;
mod prepared_query;
mod problem;
mod proxy;
mod registration;
mod service;
mod sidecar;
mod sni;
mod sni_meaning;
mod spiffe;
mod tenancy;
mod transaction;

pub use access_logs::{AccessLogs, Parameters, access_log_operators};
pub use address::{AddressForm, SocketEndpoint, SocketEndpointError, instance_address, says_wan};
pub use bundle::{Bundle, BundleAgent, BundleRow, Indexed, KnownDatacenter, ServiceOnNode};
pub use ca_config::{CaConfig, CaSettings, KeyKind};
pub use catalog::{CatalogDeregistration, CatalogRegistration};
pub use certificate::{Leaf, PrivateKey, Root};
pub use check::{
    CHECK_OUTPUT_MAX_SIZE, Check, CheckDefinition, CheckKind, CheckRegistration, CheckStatus, CheckTenancy, CheckUpdate,
};
pub use collector::{COLLECTOR, collector_socket};
pub use dns_domain::DnsDomain;
pub use duration::GoDuration;
pub use entry::{ConfigEntry, EntryKey, EntryKind};
pub use expression::{ExpressionError, check_expression};
pub use federation_state::FederationState;
pub use field::{FieldPath, Step};
pub use filter::{Filter, FilterError};
pub use gateway_mode::{GatewayMode, MeshGateway};
pub use health_entry::HealthEntry;
pub use ignored::Ignored;
pub use intention::{Intention, IntentionAction, IntentionPolicy};
pub use limits::{LONGEST_SOCKET_PATH, MOST_REQUEST_HEADERS_KB, is_sni, is_socket_path};
pub use names::{
    CheckId, Datacenter, InstanceId, Namespace, NodeName, Partition, PeerName, Place, ServiceId, ServiceKey,
    ServiceName, is_label,
};
pub use network::{Network, NetworkError};
pub use node::Node;
pub use peering::{Imported, ImportedKey, PeerKey, PeerTrustBundle, Peering, PeeringState, is_peer_name};
pub use prepared_query::{QueryKey, QueryResult};
pub use problem::{Problem, ProblemKind, Problems};
pub use proxy::{
    DestinationType, Expose, ExposePath, OpaqueConfig, Proxy, ProxyMode, QUERY_PREFIX, TransparentProxy, Upstream,
};
pub use service::{Connect, Locality, PeerMeta, Service, ServiceAddress, ServiceDefinition, ServiceKind, Weights};
pub use sidecar::{SidecarPorts, expand_sidecar};
pub use sni::{
    datacenter_sni, exported_sni, is_server_name, peer_cluster_name, peering_server_name, query_sni, server_name,
    server_name_of_node, service_sni,
};
pub use sni_meaning::{SniKind, SniMeaning};
pub use spiffe::{SpiffeId, TrustDomain, gateway_identities, partition_identities, service_identities};
pub use tenancy::{AclLink, NamespaceAcls, NamespaceDefinition, PartitionDefinition};
pub use transaction::{MAX_OPERATIONS, Operation, OperationRow, Verb};

/// True for the value a field has when nobody set it; such fields are left out of what is stored and shown.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
