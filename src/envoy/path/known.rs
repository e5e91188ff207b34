//! Which fields may be set without an effect that the model would miss.

use std::collections::BTreeSet;

use envoy_types::pb::google::protobuf::Any;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{Message, Name};

use super::Unknown;
use crate::envoy::descriptors;

/// Fails if a field is set that is not among `known`: those that are interpreted, and those that cannot change where
/// traffic ends.
pub(super) fn only<M: Message + Name>(message: &M, known: &[&str]) -> Result<(), Unknown> {
    match set_fields(message).into_iter().find(|field| !known.contains(&field.as_str())) {
        Some(field) => Err(Unknown::Field { message: M::full_name(), field }),
        None => Ok(()),
    }
}

/// The names of the fields that are set, sorted.
fn set_fields<M: Message + Name>(message: &M) -> BTreeSet<String> {
    let descriptor = descriptors::by_name(&M::full_name()).expect("every generated message has a descriptor");
    let bytes = message.encode_to_vec();
    let mut rest = &bytes[..];
    let mut names = BTreeSet::new();
    while !rest.is_empty() {
        let (number, wire) = decode_key(&mut rest).expect("an encoded message decodes");
        skip_field(wire, number, &mut rest, DecodeContext::default()).expect("an encoded message decodes");
        names.insert(descriptor.get_field(number).map_or(number.to_string(), |field| field.name().to_owned()));
    }
    names
}

/// The message inside `any`, if it is of this type; an extension of another type is not modelled.
pub(super) fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, Unknown> {
    if !is(any, &M::full_name()) {
        return Err(Unknown::Extension(any.type_url.clone()));
    }
    decode(&any.value)
}

/// True if `any` holds a message with this full name.
pub(super) fn is(any: &Any, full_name: &str) -> bool {
    any.type_url.rsplit('/').next() == Some(full_name)
}

/// A message from its bytes.
pub(super) fn decode<M: Message + Name + Default>(bytes: &[u8]) -> Result<M, Unknown> {
    M::decode(bytes).map_err(|_| Unknown::Undecodable(M::full_name()))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::listener::v3::{FilterChainMatch, Listener};

    use super::*;

    #[test]
    fn a_field_that_nobody_knows_is_named() {
        let message =
            FilterChainMatch { server_names: vec!["a".to_owned()], source_ports: vec![1], ..Default::default() };

        assert_eq!(only(&message, &["server_names", "source_ports"]), Ok(()));
        let error = only(&message, &["server_names"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the effect of source_ports in envoy.config.listener.v3.FilterChainMatch is not modelled"
        );
    }

    #[test]
    fn an_any_of_another_type_is_an_extension() {
        let any = envoy_types::util::pack_any(Listener::default());

        assert!(unpack::<Listener>(&any).is_ok());
        assert_eq!(unpack::<FilterChainMatch>(&any), Err(Unknown::Extension(Listener::type_url())));
    }
}
