//! What one resource makes an Envoy ask for. Only the fields on the way to names are decoded.

use bytes::Bytes;
use prost::Message;

use super::wire::{Any, Kind};

/// A resource that another one leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

/// `envoy.config.cluster.v3.Cluster`.
#[derive(Clone, PartialEq, Message)]
struct Cluster {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    discovery: i32,
    #[prost(message, optional, tag = "3")]
    eds: Option<EdsClusterConfig>,
    #[prost(message, optional, tag = "24")]
    socket: Option<TransportSocket>,
    #[prost(message, repeated, tag = "43")]
    matches: Vec<TransportSocketMatch>,
}

/// `Cluster.DiscoveryType.EDS`.
const EDS: i32 = 3;

#[derive(Clone, PartialEq, Message)]
struct EdsClusterConfig {
    #[prost(string, tag = "2")]
    service_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct TransportSocketMatch {
    #[prost(message, optional, tag = "3")]
    socket: Option<TransportSocket>,
}

#[derive(Clone, PartialEq, Message)]
struct TransportSocket {
    #[prost(message, optional, tag = "3")]
    config: Option<Any>,
}

/// `UpstreamTlsContext` and `DownstreamTlsContext`, which agree in this.
#[derive(Clone, PartialEq, Message)]
struct TlsContext {
    #[prost(message, optional, tag = "1")]
    common: Option<CommonTlsContext>,
}

#[derive(Clone, PartialEq, Message)]
struct CommonTlsContext {
    #[prost(message, repeated, tag = "6")]
    certificates: Vec<Named>,
    #[prost(message, optional, tag = "7")]
    validation: Option<Named>,
    #[prost(message, optional, tag = "8")]
    combined: Option<CombinedValidation>,
}

#[derive(Clone, PartialEq, Message)]
struct CombinedValidation {
    #[prost(message, optional, tag = "2")]
    validation: Option<Named>,
}

/// `SdsSecretConfig`.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// `envoy.config.listener.v3.Listener`.
#[derive(Clone, PartialEq, Message)]
struct Listener {
    #[prost(message, repeated, tag = "3")]
    chains: Vec<FilterChain>,
    #[prost(message, optional, tag = "25")]
    default: Option<FilterChain>,
}

#[derive(Clone, PartialEq, Message)]
struct FilterChain {
    #[prost(message, repeated, tag = "3")]
    filters: Vec<Filter>,
    #[prost(message, optional, tag = "6")]
    socket: Option<TransportSocket>,
}

#[derive(Clone, PartialEq, Message)]
struct Filter {
    #[prost(message, optional, tag = "4")]
    config: Option<Any>,
}

const HTTP_CONNECTION_MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

#[derive(Clone, PartialEq, Message)]
struct HttpConnectionManager {
    #[prost(message, optional, tag = "3")]
    rds: Option<Rds>,
}

#[derive(Clone, PartialEq, Message)]
struct Rds {
    #[prost(string, tag = "2")]
    name: String,
}

/// Everything that this resource leads to, sorted.
///
/// # Errors
/// The resource cannot be decoded.
pub(crate) fn references(kind: Kind, value: Bytes) -> Result<Vec<Reference>, prost::DecodeError> {
    let mut found = Vec::new();
    match kind {
        Kind::Cluster => of_cluster(&Cluster::decode(value)?, &mut found)?,
        Kind::Listener => {
            let listener = Listener::decode(value)?;
            for chain in listener.chains.iter().chain(&listener.default) {
                of_chain(chain, &mut found)?;
            }
        }
        Kind::Endpoint | Kind::Secret | Kind::Route => {}
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn of_cluster(cluster: &Cluster, found: &mut Vec<Reference>) -> Result<(), prost::DecodeError> {
    if cluster.discovery == EDS {
        let named = cluster.eds.as_ref().map(|eds| &eds.service_name).filter(|name| !name.is_empty());
        found.push(Reference { kind: Kind::Endpoint, name: named.unwrap_or(&cluster.name).clone() });
    }
    let of_matches = cluster.matches.iter().filter_map(|one| one.socket.as_ref());
    for socket in cluster.socket.iter().chain(of_matches) {
        of_socket(socket, found)?;
    }
    Ok(())
}

fn of_chain(chain: &FilterChain, found: &mut Vec<Reference>) -> Result<(), prost::DecodeError> {
    for config in chain.filters.iter().filter_map(|filter| filter.config.as_ref()) {
        if config.type_url == HTTP_CONNECTION_MANAGER
            && let Some(rds) = HttpConnectionManager::decode(config.value.clone())?.rds
        {
            found.push(Reference { kind: Kind::Route, name: rds.name });
        }
    }
    chain.socket.iter().try_for_each(|socket| of_socket(socket, found))
}

fn of_socket(socket: &TransportSocket, found: &mut Vec<Reference>) -> Result<(), prost::DecodeError> {
    let Some(config) = socket.config.as_ref().filter(|config| config.type_url.ends_with("TlsContext")) else {
        return Ok(());
    };
    let Some(common) = TlsContext::decode(config.value.clone())?.common else { return Ok(()) };
    let combined = common.combined.and_then(|combined| combined.validation);
    let names = common.certificates.into_iter().chain(common.validation).chain(combined);
    found.extend(names.map(|secret| Reference { kind: Kind::Secret, name: secret.name }));
    Ok(())
}
