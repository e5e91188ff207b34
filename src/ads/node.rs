//! Who a stream speaks for, and whether it is an Envoy that is supported.

use prost::Message;

use super::wire::{BuildVersion, Metadata, Node};
use crate::envoy::snapshot::NodeIdentity;

/// The oldest supported Envoy, as major and minor version.
const OLDEST: (u32, u32) = (1, 36);

/// The newest Envoy that is tested. Newer ones are let in: refusing them would turn an upgrade into an outage.
const NEWEST: (u32, u32) = (1, 40);

/// Most bytes of node metadata.
const METADATA_LIMIT: usize = 64 << 10;

/// Longest `node.id` and longest identifying metadata value, in bytes.
const VALUE_LIMIT: usize = 1024;

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) identity: NodeIdentity,
    /// Such as `1.40.0`; empty if it does not say.
    pub(super) user_agent_version: String,
}

/// Why a client cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NodeError {
    #[error("the first request of the stream has no node; set node.id in Envoy's bootstrap (or --service-node)")]
    Missing,
    #[error("node.id is empty; set it in Envoy's bootstrap (or --service-node) to the service ID of the proxy")]
    EmptyId,
    #[error("{field} has {length} bytes; at most {VALUE_LIMIT} are allowed")]
    ValueTooLong { field: &'static str, length: usize },
    #[error("node.metadata has {length} bytes; at most {METADATA_LIMIT} are allowed")]
    MetadataTooLarge { length: usize },
    #[error("node.metadata cannot be read")]
    Metadata(#[source] prost::DecodeError),
    #[error(
        "Envoy {version} is not supported; use {}.{} to {}.{}",
        OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1
    )]
    UnsupportedVersion { version: String },
}

impl Client {
    /// Reads the node of the first request of a stream.
    pub(super) fn from_node(node: Option<Node>) -> Result<Self, NodeError> {
        let node = node.ok_or(NodeError::Missing)?;
        if node.id.is_empty() {
            return Err(NodeError::EmptyId);
        }
        let user_agent_version = supported_version(&node)?;
        let identity = identity(node)?;
        Ok(Self { identity, user_agent_version })
    }
}

/// The version as text, if it is known to be supported or not known at all.
fn supported_version(node: &Node) -> Result<String, NodeError> {
    let build = node.user_agent_build_version.as_ref().and_then(|build: &BuildVersion| build.version);
    let (version, text) = match build {
        Some(it) => (Some((it.major, it.minor)), format!("{}.{}.{}", it.major, it.minor, it.patch)),
        None => (major_minor(&node.user_agent_version), node.user_agent_version.clone()),
    };
    // Others than Envoy count their versions in their own way.
    let is_envoy = node.user_agent_name == "envoy" || (node.user_agent_name.is_empty() && build.is_some());
    match version {
        Some(version) if is_envoy && version < OLDEST => Err(NodeError::UnsupportedVersion { version: text }),
        Some(_) | None if text.len() > VALUE_LIMIT => {
            Err(NodeError::ValueTooLong { field: "node.user_agent_version", length: text.len() })
        }
        Some(_) | None => Ok(text),
    }
}

fn major_minor(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn identity(node: Node) -> Result<NodeIdentity, NodeError> {
    let length = node.metadata.len();
    if length > METADATA_LIMIT {
        return Err(NodeError::MetadataTooLarge { length });
    }
    let metadata = Metadata::decode(node.metadata).map_err(NodeError::Metadata)?;
    let mut identity = NodeIdentity { id: checked("node.id", node.id)?, ..NodeIdentity::default() };
    for field in metadata.fields {
        let Some(text) = field.value.and_then(|value| value.text) else { continue };
        match &*field.key {
            "datacenter" => identity.datacenter = checked("node.metadata.datacenter", text)?,
            "partition" => identity.partition = checked("node.metadata.partition", text)?,
            "namespace" => identity.namespace = checked("node.metadata.namespace", text)?,
            "node_name" => identity.node_name = checked("node.metadata.node_name", text)?,
            _ => {}
        }
    }
    Ok(identity)
}

fn checked(field: &'static str, text: String) -> Result<std::sync::Arc<str>, NodeError> {
    if text.len() > VALUE_LIMIT {
        return Err(NodeError::ValueTooLong { field, length: text.len() });
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use envoy_types::pb::envoy::config::core::v3 as core_v3;
    use envoy_types::pb::envoy::r#type::v3 as type_v3;
    use envoy_types::pb::google::protobuf::value::Kind;
    use envoy_types::pb::google::protobuf::{Struct, Value};

    use super::*;

    fn envoy(major: u32, minor: u32) -> core_v3::Node {
        let version = Some(type_v3::SemanticVersion { major_number: major, minor_number: minor, patch: 2 });
        let build = core_v3::BuildVersion { version, metadata: None };
        core_v3::Node {
            id: "web-1".to_owned(),
            user_agent_name: "envoy".to_owned(),
            user_agent_version_type: Some(core_v3::node::UserAgentVersionType::UserAgentBuildVersion(build)),
            ..Default::default()
        }
    }

    fn metadata(fields: &[(&str, Kind)]) -> Option<Struct> {
        let value = |kind: &Kind| Value { kind: Some(kind.clone()) };
        let fields: HashMap<_, _> = fields.iter().map(|(key, kind)| ((*key).to_owned(), value(kind))).collect();
        Some(Struct { fields })
    }

    fn read(node: &core_v3::Node) -> Result<Client, String> {
        let node = Node::decode(&node.encode_to_vec()[..]).unwrap();
        Client::from_node(Some(node)).map_err(|error| error.to_string())
    }

    #[test]
    fn metadata_says_where_the_proxy_is_registered() {
        let text = |text: &str| Kind::StringValue(text.to_owned());
        let fields = [
            ("datacenter", text("dc2")),
            ("partition", text("team-a")),
            ("namespace", text("default")),
            ("node_name", text("host-7")),
            ("role", text("gateway")),
            ("envoy_version", Kind::NumberValue(1.0)),
        ];
        let extensions = (0..500).map(|i| core_v3::Extension { name: format!("envoy.{i}"), ..Default::default() });
        let node = core_v3::Node { metadata: metadata(&fields), extensions: extensions.collect(), ..envoy(1, 40) };

        let client = read(&node).unwrap();

        assert_eq!(client.user_agent_version, "1.40.2");
        let it = client.identity;
        let values = [it.id, it.datacenter, it.partition, it.namespace, it.node_name];
        assert_eq!(values.each_ref().map(|value| &**value), ["web-1", "dc2", "team-a", "default", "host-7"]);
    }

    #[test]
    fn old_envoys_are_refused_and_unknown_clients_are_not() {
        let agent = |name: &str, version: &str| core_v3::Node {
            user_agent_name: name.to_owned(),
            user_agent_version_type: Some(core_v3::node::UserAgentVersionType::UserAgentVersion(version.to_owned())),
            ..envoy(0, 0)
        };
        let refused = |version: &str| Err(format!("Envoy {version} is not supported; use 1.36 to 1.40"));
        let cases = [
            (envoy(1, 35), refused("1.35.2")),
            (envoy(0, 99), refused("0.99.2")),
            (envoy(1, 36), Ok("1.36.2".to_owned())),
            (envoy(1, 40), Ok("1.40.2".to_owned())),
            (envoy(1, 41), Ok("1.41.2".to_owned())),
            (envoy(2, 0), Ok("2.0.2".to_owned())),
            (agent("envoy", "1.35.9"), refused("1.35.9")),
            (agent("envoy", "weekly"), Ok("weekly".to_owned())),
            (agent("gRPC Go", "1.2.3"), Ok("1.2.3".to_owned())),
            (agent("", ""), Ok(String::new())),
        ];

        for (node, expected) in cases {
            assert_eq!(read(&node).map(|client| client.user_agent_version), expected, "{node:?}");
        }
    }

    #[test]
    fn nodes_without_an_id_and_oversized_nodes_are_refused() {
        let fields = [("blob", Kind::StringValue("x".repeat(100_000)))];
        let cases = [
            (core_v3::Node { id: String::new(), ..envoy(1, 40) }, "node.id is empty"),
            (core_v3::Node { id: "x".repeat(2_000), ..envoy(1, 40) }, "node.id has 2000 bytes; at most 1024"),
            (
                core_v3::Node { metadata: metadata(&fields), ..envoy(1, 40) },
                "node.metadata has 100018 bytes; at most 65536",
            ),
            (
                core_v3::Node {
                    metadata: metadata(&[("partition", Kind::StringValue("x".repeat(1_025)))]),
                    ..envoy(1, 40)
                },
                "node.metadata.partition has 1025 bytes",
            ),
        ];

        for (node, expected) in cases {
            let error = read(&node).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(Client::from_node(None), Err(NodeError::Missing));
    }

    #[test]
    fn extensions_are_skipped_unread() {
        let extension = |i| core_v3::Extension {
            name: format!("envoy.filters.http.number_{i}"),
            category: "envoy.filters.http".to_owned(),
            type_urls: vec!["type.googleapis.com/envoy.extensions.Example".to_owned(); 2],
            ..Default::default()
        };
        let node = core_v3::Node { extensions: (0..516).map(extension).collect(), ..envoy(1, 40) };
        let bytes = node.encode_to_vec();

        let slim = Node::decode(&bytes[..]).unwrap();

        assert!(bytes.len() > 61_000, "{}", bytes.len());
        assert!(slim.encoded_len() < 100, "{}", slim.encoded_len());
    }
}
