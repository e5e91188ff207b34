//! Responses as gRPC sends them, written straight from shared bytes.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::message::{Content, Response};
use crate::envoy::snapshot::Resource;

/// What Envoy shows as `control_plane.identifier`.
pub(super) const IDENTIFIER: &str = concat!("meshgate-", env!("CARGO_PKG_VERSION"));

/// What is in front of each message: a flag that it is not compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// Field numbers of `DeltaDiscoveryResponse` and `DiscoveryResponse`, where they agree.
mod response {
    pub(super) const RESOURCES: u32 = 2;
    pub(super) const TYPE_URL: u32 = 4;
    pub(super) const NONCE: u32 = 5;
}

/// `DeltaDiscoveryResponse`.
mod delta {
    pub(super) const REMOVED: u32 = 6;
    pub(super) const CONTROL_PLANE: u32 = 7;
}

/// `DiscoveryResponse`.
mod sotw {
    pub(super) const VERSION: u32 = 1;
    pub(super) const CONTROL_PLANE: u32 = 6;
}

/// `envoy.service.discovery.v3.Resource`.
mod resource {
    pub(super) const VERSION: u32 = 1;
    pub(super) const ANY: u32 = 2;
    pub(super) const NAME: u32 = 3;
    /// A version as text: 16 hexadecimal digits.
    pub(super) const VERSION_LEN: usize = 16;
}

/// `google.protobuf.Any`.
mod any {
    pub(super) const TYPE_URL: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// `envoy.config.core.v3.ControlPlane`.
const IDENTIFIER_FIELD: u32 = 1;

/// A response as gRPC sends it. Its length fits into the prefix, because responses are split long before.
pub(super) fn message(response: &Response) -> Bytes {
    let len = encoded_len(response);
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + len);
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    write(response, &mut buffer);
    buffer.freeze()
}

/// The length of a response on the wire.
pub(super) fn encoded_len(response: &Response) -> usize {
    let url = response.kind.type_url();
    let nonce = response.nonce.to_string();
    let common = field_len(response::TYPE_URL, url.len()) + field_len(response::NONCE, nonce.len());
    let identifier = field_len(IDENTIFIER_FIELD, IDENTIFIER.len());
    let content = match &response.content {
        Content::Delta { resources, removed } => {
            let resources = resources.iter().map(|it| field_len(response::RESOURCES, resource_len(url, it)));
            let removed = removed.iter().map(|name| field_len(delta::REMOVED, name.len()));
            resources.sum::<usize>() + removed.sum::<usize>() + field_len(delta::CONTROL_PLANE, identifier)
        }
        Content::StateOfTheWorld { resources, .. } => {
            let resources = resources.iter().map(|it| field_len(response::RESOURCES, any_len(url, it)));
            let version = field_len(sotw::VERSION, resource::VERSION_LEN);
            version + resources.sum::<usize>() + field_len(sotw::CONTROL_PLANE, identifier)
        }
    };
    common + content
}

/// Writes a response.
fn write(response: &Response, buffer: &mut impl BufMut) {
    let url = response.kind.type_url();
    match &response.content {
        Content::Delta { resources, removed } => {
            write_resources(url, resources, buffer);
            for name in removed {
                write_field(delta::REMOVED, name.as_bytes(), buffer);
            }
            write_identifier(delta::CONTROL_PLANE, buffer);
        }
        Content::StateOfTheWorld { version, resources } => {
            write_field(sotw::VERSION, version.to_string().as_bytes(), buffer);
            for resource in resources {
                write_any(response::RESOURCES, url, resource, buffer);
            }
            write_identifier(sotw::CONTROL_PLANE, buffer);
        }
    }
    write_field(response::TYPE_URL, url.as_bytes(), buffer);
    write_field(response::NONCE, response.nonce.to_string().as_bytes(), buffer);
}

fn write_resources(url: &str, resources: &[Arc<Resource>], buffer: &mut impl BufMut) {
    for it in resources {
        write_head(response::RESOURCES, resource_len(url, it), buffer);
        write_field(resource::VERSION, it.version.to_string().as_bytes(), buffer);
        write_any(resource::ANY, url, it, buffer);
        write_field(resource::NAME, it.name.as_bytes(), buffer);
    }
}

fn write_any(tag: u32, url: &str, resource: &Resource, buffer: &mut impl BufMut) {
    write_head(tag, any_len(url, resource), buffer);
    write_field(any::TYPE_URL, url.as_bytes(), buffer);
    write_field(any::VALUE, &resource.body, buffer);
}

fn write_identifier(tag: u32, buffer: &mut impl BufMut) {
    write_head(tag, field_len(IDENTIFIER_FIELD, IDENTIFIER.len()), buffer);
    write_field(IDENTIFIER_FIELD, IDENTIFIER.as_bytes(), buffer);
}

fn write_field(tag: u32, value: &[u8], buffer: &mut impl BufMut) {
    write_head(tag, value.len(), buffer);
    buffer.put_slice(value);
}

fn write_head(tag: u32, len: usize, buffer: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(len as u64, buffer);
}

fn resource_len(url: &str, it: &Resource) -> usize {
    field_len(resource::VERSION, resource::VERSION_LEN)
        + field_len(resource::ANY, any_len(url, it))
        + field_len(resource::NAME, it.name.len())
}

fn any_len(url: &str, resource: &Resource) -> usize {
    field_len(any::TYPE_URL, url.len()) + field_len(any::VALUE, resource.body.len())
}

fn field_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3 as discovery_v3;
    use prost::Message;

    use super::*;
    use crate::envoy::snapshot::{ResourceType, Version};

    fn resource(name: &str, body: Vec<u8>) -> Arc<Resource> {
        Arc::new(Resource::new(name, Bytes::from(body), []))
    }

    fn encode(kind: ResourceType, content: Content) -> Vec<u8> {
        let response = Response { kind, nonce: 7, content };
        let bytes = message(&response);
        let (prefix, body) = bytes.split_at(PREFIX_BYTES);
        assert_eq!(prefix, [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes()].concat());
        assert_eq!(body.len(), encoded_len(&response));
        body.to_vec()
    }

    #[test]
    fn a_delta_response_reads_as_envoy_reads_it() {
        let (small, large) = (resource("a", vec![1, 2]), resource("b", vec![9; 70_000]));
        let content =
            Content::Delta { resources: vec![small, large], removed: vec![Arc::from("gone"), Arc::from("no")] };

        let bytes = encode(ResourceType::Cluster, content);

        let read = discovery_v3::DeltaDiscoveryResponse::decode(&bytes[..]).unwrap();
        assert_eq!(read.type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
        assert_eq!((&*read.nonce, read.removed_resources), ("7", vec!["gone".to_owned(), "no".to_owned()]));
        assert_eq!(read.control_plane.unwrap().identifier, concat!("meshgate-", env!("CARGO_PKG_VERSION")));
        // The versions are the heads of SHA-256 over the bodies.
        let read: Vec<_> = read.resources.into_iter().map(|it| (it.name, it.version, it.resource.unwrap())).collect();
        assert_eq!((&*read[0].0, &*read[0].1), ("a", "a12871fee210fb86"));
        assert_eq!(read[0].2.value, [1, 2]);
        assert_eq!(read[0].2.type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
        assert_eq!((&*read[1].0, read[1].2.value.len(), read.len()), ("b", 70_000, 2));
    }

    #[test]
    fn a_state_of_the_world_response_reads_as_envoy_reads_it() {
        let resources = vec![resource("a", vec![1, 2]), resource("b", Vec::new())];
        let version = Version::parse("0123456789abcdef").unwrap();

        let bytes = encode(ResourceType::Listener, Content::StateOfTheWorld { version, resources });

        let read = discovery_v3::DiscoveryResponse::decode(&bytes[..]).unwrap();
        assert_eq!((&*read.version_info, &*read.nonce), ("0123456789abcdef", "7"));
        assert_eq!(read.type_url, "type.googleapis.com/envoy.config.listener.v3.Listener");
        assert_eq!(read.control_plane.unwrap().identifier, concat!("meshgate-", env!("CARGO_PKG_VERSION")));
        let values: Vec<_> = read.resources.iter().map(|any| (&*any.type_url, &any.value[..])).collect();
        let url = "type.googleapis.com/envoy.config.listener.v3.Listener";
        assert_eq!(values, [(url, &[1, 2][..]), (url, &[][..])]);
    }
}
