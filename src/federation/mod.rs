//! Between control planes: what one exports, the other imports.
//!
//! The messages are those of `proto/meshgate/federation/v1/federation.proto`. What is there so far is the first message of
//! every stream, by which two control planes tell whether they understand each other.

/// The messages of `federation.proto`.
pub mod v1 {
    #![allow(unreachable_pub, reason = "generated code is public as a whole")]
    tonic::include_proto!("meshgate.federation.v1");
}

/// The version of the protocol that this process speaks.
pub const PROTOCOL_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_hello_reads_back_as_it_was_written() {
        let hello = v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            datacenter: "dc1".to_owned(),
            trust_domain: "11111111-2222-3333-4444-555555555555.consul".to_owned(),
        };

        let bytes = hello.encode_to_vec();

        assert_eq!(bytes[..7], [0x08, 1, 0x12, 3, b'd', b'c', b'1']);
        assert_eq!(v1::Hello::decode(bytes.as_slice()), Ok(hello));
    }
}
