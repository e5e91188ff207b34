//! Envoy's message descriptors: what canonical encoding and proto3 JSON walk along.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};

/// Every message of Envoy's API, without comments. `tests/descriptors.rs` keeps the file equal to that of the crate that
/// the messages come from.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(&include_bytes!("envoy.bin")[..]).expect("the built-in file decodes"));

/// The descriptor of a message by its full name, such as `envoy.config.cluster.v3.Cluster`.
pub(super) fn by_name(full_name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(full_name)
}

/// The descriptor that a type URL names.
pub(super) fn by_type_url(url: &str) -> Option<MessageDescriptor> {
    by_name(url.rsplit('/').next()?)
}
