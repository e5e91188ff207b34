//! The messages, with only those fields that are used, and their frames.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3 as core_v3;
use prost::Message;

/// The resource types that an Envoy in a mesh asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Cluster,
    Endpoint,
    Secret,
    Listener,
    Route,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::Cluster, Kind::Endpoint, Kind::Secret, Kind::Listener, Kind::Route];

    pub(crate) const fn type_url(self) -> &'static str {
        match self {
            Kind::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Kind::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Kind::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Kind::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Kind::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    pub(crate) fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// True for the types that Envoy asks for without names.
    pub(crate) const fn is_wildcard(self) -> bool {
        matches!(self, Kind::Cluster | Kind::Listener)
    }
}

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(message, optional, boxed, tag = "1")]
    pub(crate) node: Option<Box<core_v3::Node>>,
    #[prost(string, tag = "2")]
    pub(crate) type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) unsubscribe: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initial_versions: Vec<InitialVersion>,
    #[prost(string, tag = "6")]
    pub(crate) nonce: String,
}

/// One entry of the map `initial_resource_versions`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InitialVersion {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Resource>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub(crate) removed: Vec<String>,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) any: Option<Any>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// The prefix of a gRPC message: not compressed, and the length.
const PREFIX: usize = 5;

/// A message as gRPC sends it.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    frame_bytes(&message.encode_to_vec())
}

/// An encoded message as gRPC sends it.
pub(crate) fn frame_bytes(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + message.len());
    bytes.put_u8(0);
    bytes.put_u32(message.len() as u32);
    bytes.put_slice(message);
    bytes.freeze()
}

/// Cuts what arrives into messages.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// What arrived last, not looked at yet.
    chunk: Bytes,
    /// The begin of a message that came in several pieces.
    partial: BytesMut,
}

impl Frames {
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() && self.partial.is_empty() {
            self.chunk = chunk;
        } else {
            let rest = std::mem::take(&mut self.chunk);
            self.partial.extend_from_slice(&rest);
            self.partial.extend_from_slice(&chunk);
        }
    }

    /// The next message that is complete.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        if self.partial.is_empty() {
            let length = length(&self.chunk)?;
            if self.chunk.len() < PREFIX + length {
                return None;
            }
            self.chunk.advance(PREFIX);
            return Some(self.chunk.split_to(length));
        }
        let length = length(&self.partial)?;
        if self.partial.len() < PREFIX + length {
            return None;
        }
        self.partial.advance(PREFIX);
        Some(self.partial.split_to(length).freeze())
    }
}

fn length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(1..PREFIX)?;
    Some(u32::from_be_bytes(length.try_into().ok()?) as usize)
}
