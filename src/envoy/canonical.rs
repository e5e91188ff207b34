//! One encoding for one meaning.
//!
//! **Problem.** Map fields of the generated types are hash maps, so equal messages encode to different bytes, and what is
//! hashed and compared would change without a reason.
//!
//! **Invariant.** Fields stand in the order of their numbers, entries of a map in the order of their bytes, and the same
//! holds inside every message and every `Any`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost::{DecodeError, Message, Name};
use prost_reflect::MessageDescriptor;

use super::descriptors;

/// Deeper nesting than anything has: given messages are JSON of at most 128 levels, of which one takes at most three here.
const MAX_DEPTH: usize = 512;

/// The canonical encoding of a message.
pub fn encode<M: Message + Name>(message: &M) -> Bytes {
    let bytes = message.encode_to_vec();
    let descriptor = descriptors::by_name(&M::full_name()).expect("every generated message has a descriptor");
    canonical(&descriptor, &bytes, 0).expect("an encoded message decodes").freeze()
}

/// A field as it stands in a message.
struct Field<'b> {
    number: u32,
    wire: WireType,
    /// Length-delimited content without its length, or the value's own bytes.
    content: &'b [u8],
}

fn canonical(descriptor: &MessageDescriptor, bytes: &[u8], depth: usize) -> Result<BytesMut, DecodeError> {
    let mut fields = split(bytes)?;
    // Stable: elements of a repeated field keep their order.
    fields.sort_by_key(|field| field.number);
    let any_of = (descriptor.full_name() == "google.protobuf.Any").then(|| inner_of_any(&fields)).flatten();
    let mut out = BytesMut::with_capacity(bytes.len());
    for run in fields.chunk_by(|a, b| a.number == b.number) {
        let field = descriptor.get_field(run[0].number);
        let inner = match &any_of {
            Some(inner) => (run[0].number == 2).then(|| inner.clone()),
            None => field.as_ref().and_then(|field| field.kind().as_message().cloned()),
        };
        let mut contents = Vec::with_capacity(run.len());
        for item in run {
            contents.push(match &inner {
                Some(message) if item.wire == WireType::LengthDelimited && depth < MAX_DEPTH => {
                    canonical(message, item.content, depth + 1)?
                }
                _ => BytesMut::from(item.content),
            });
        }
        if field.is_some_and(|field| field.is_map()) {
            contents.sort_unstable();
        }
        for content in contents {
            encode_key(run[0].number, run[0].wire, &mut out);
            if run[0].wire == WireType::LengthDelimited {
                encode_varint(content.len() as u64, &mut out);
            }
            out.put(content);
        }
    }
    Ok(out)
}

fn inner_of_any(fields: &[Field<'_>]) -> Option<MessageDescriptor> {
    let url = fields.iter().find(|field| field.number == 1)?;
    descriptors::by_type_url(std::str::from_utf8(url.content).ok()?)
}

fn split(mut bytes: &[u8]) -> Result<Vec<Field<'_>>, DecodeError> {
    let mut fields = Vec::new();
    while bytes.has_remaining() {
        let (number, wire) = decode_key(&mut bytes)?;
        let length = match wire {
            WireType::LengthDelimited => decode_varint(&mut bytes)? as usize,
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::Varint => bytes.iter().take_while(|byte| **byte >= 0x80).count() + 1,
            // Groups do not exist in proto3, and nothing here writes them.
            WireType::StartGroup | WireType::EndGroup => bytes.len(),
        };
        let (content, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        fields.push(Field { number, wire, content });
        bytes = rest;
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use envoy_types::pb::envoy::config::rbac::v3::{Policy, Rbac as Rules};
    use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
    use envoy_types::pb::google::protobuf::Any;

    use super::*;

    fn policies() -> Rbac {
        let policies: HashMap<_, _> = (0..10).map(|n| (format!("policy-{n}"), Policy::default())).collect();
        Rbac { stat_prefix: "x".to_owned(), rules: Some(Rules { policies, ..Rules::default() }), ..Rbac::default() }
    }

    #[test]
    fn a_thousand_builds_have_one_encoding_also_inside_an_any() {
        let direct: BTreeSet<_> = (0..1_000).map(|_| encode(&policies())).collect();
        let packed: BTreeSet<_> = (0..1_000)
            .map(|_| encode(&Any { type_url: Rbac::type_url(), value: policies().encode_to_vec() }))
            .collect();

        assert_eq!((direct.len(), packed.len()), (1, 1));
    }

    #[test]
    fn the_meaning_stays() {
        let message = policies();

        assert_eq!(Rbac::decode(encode(&message)).unwrap(), message);
    }
}
