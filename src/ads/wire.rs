//! Requests as they travel, with only those fields that are used: the rest, above all the 500 extensions in Envoy's node,
//! is skipped without being built (xds-protocol, R5).

use bytes::Bytes;

use super::message::{Interest, Request, Variant};
use crate::envoy::snapshot::ResourceType;

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeltaRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(string, tag = "2")]
    pub(super) type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) unsubscribe: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(super) initial_versions: Vec<InitialVersion>,
    #[prost(string, tag = "6")]
    pub(super) nonce: String,
    #[prost(message, optional, tag = "7")]
    pub(super) error: Option<Error>,
}

/// One entry of the map `initial_resource_versions`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InitialVersion {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

/// `envoy.service.discovery.v3.DiscoveryRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SotwRequest {
    /// Of what the client took last; empty for nothing. Every first request is answered, whatever it says.
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(message, optional, tag = "2")]
    pub(super) node: Option<Node>,
    #[prost(string, repeated, tag = "3")]
    pub(super) names: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
    #[prost(message, optional, tag = "6")]
    pub(super) error: Option<Error>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Error {
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// `envoy.config.core.v3.Node`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Node {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    /// A `google.protobuf.Struct`, still encoded: its size is checked before it is decoded.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) metadata: Bytes,
    #[prost(string, tag = "6")]
    pub(super) user_agent_name: String,
    #[prost(string, tag = "7")]
    pub(super) user_agent_version: String,
    #[prost(message, optional, tag = "8")]
    pub(super) user_agent_build_version: Option<BuildVersion>,
}

/// `envoy.config.core.v3.BuildVersion`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BuildVersion {
    #[prost(message, optional, tag = "1")]
    pub(super) version: Option<SemanticVersion>,
}

/// `envoy.type.v3.SemanticVersion`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct SemanticVersion {
    #[prost(uint32, tag = "1")]
    pub(super) major: u32,
    #[prost(uint32, tag = "2")]
    pub(super) minor: u32,
    #[prost(uint32, tag = "3")]
    pub(super) patch: u32,
}

/// `google.protobuf.Struct`, of which only texts at the top are read.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    #[prost(message, repeated, tag = "1")]
    pub(super) fields: Vec<MetadataField>,
}

/// One entry of `google.protobuf.Struct.fields`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetadataField {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<MetadataValue>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetadataValue {
    #[prost(string, optional, tag = "3")]
    pub(super) text: Option<String>,
}

/// What the messages of both methods have in common.
pub(super) trait DiscoveryRequest: prost::Message + Default + 'static {
    /// The form of the protocol that it belongs to.
    const VARIANT: Variant;

    /// The sender; guaranteed only in the first message of a stream.
    fn take_node(&mut self) -> Option<Node>;

    fn type_url(&self) -> &str;

    fn into_request(self, kind: ResourceType) -> Request;
}

impl DiscoveryRequest for DeltaRequest {
    const VARIANT: Variant = Variant::Delta;

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn into_request(self, kind: ResourceType) -> Request {
        let initial_versions = self.initial_versions.into_iter().map(|held| (held.name, held.version)).collect();
        let (subscribe, unsubscribe) = (self.subscribe, self.unsubscribe);
        Request {
            kind,
            nonce: self.nonce,
            rejection: self.error.map(|error| error.message),
            interest: Interest::Delta { subscribe, unsubscribe, initial_versions },
        }
    }
}

impl DiscoveryRequest for SotwRequest {
    const VARIANT: Variant = Variant::StateOfTheWorld;

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn into_request(self, kind: ResourceType) -> Request {
        Request {
            kind,
            nonce: self.nonce,
            rejection: self.error.map(|error| error.message),
            interest: Interest::StateOfTheWorld { names: self.names, has_taken: !self.version.is_empty() },
        }
    }
}
