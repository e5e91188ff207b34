//! The prefix of clusters whose chain was customised (contract 1.5).
//!
//! Two control planes, and two versions of one, must agree on it, because it is part of the cluster's name.

use crate::model::{GatewayMode, GoDuration};

/// What an upstream's own settings changed about its chain; unset where they changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Customization {
    pub(super) mode: Option<GatewayMode>,
    pub(super) protocol: Option<&'static str>,
    pub(super) connect_timeout: Option<GoDuration>,
}

/// FNV-1, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| u64::wrapping_mul(hash, 0x0100_0000_01b3) ^ u64::from(*byte))
}

fn text(value: &str) -> u64 {
    fnv(value.as_bytes())
}

/// A structure's hash: its type's name, and each field's name together with its value.
fn structure<const N: usize>(type_name: &str, fields: [(&str, u64); N]) -> u64 {
    fields.into_iter().fold(text(type_name), |hash, (name, value)| {
        let mut pair = [0; 16];
        pair[..8].copy_from_slice(&text(name).to_le_bytes());
        pair[8..].copy_from_slice(&value.to_le_bytes());
        hash ^ fnv(&pair)
    })
}

impl Customization {
    /// The prefix; `None` if nothing was customised.
    pub(super) fn prefix(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        let mode = self.mode.map_or("", GatewayMode::as_str);
        let timeout = self.connect_timeout.unwrap_or_default().as_nanos();
        let hash = structure(
            "",
            [
                ("OverrideMeshGateway", structure("MeshGatewayConfig", [("Mode", text(mode))])),
                ("OverrideProtocol", text(self.protocol.unwrap_or_default())),
                ("OverrideConnectTimeout", fnv(&timeout.to_le_bytes())),
            ],
        );
        let mut digits = format!("{hash:x}");
        digits.truncate(8);
        Some(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_contract() {
        let seconds = |seconds| Some(GoDuration::from_secs(seconds));
        let mode = |mode| Customization { mode: Some(mode), ..Customization::default() };
        let protocol = |protocol| Customization { protocol: Some(protocol), ..Customization::default() };
        let vectors = [
            (mode(GatewayMode::Local), "c225dc1c"),
            (mode(GatewayMode::Remote), "dd412229"),
            (mode(GatewayMode::None), "fc9afadf"),
            (protocol("grpc"), "ef15b5b5"),
            (protocol("http"), "1a47f6e1"),
            (protocol("http2"), "49c19fe6"),
            (protocol("tcp"), "96f2c150"),
            (Customization { connect_timeout: seconds(66), ..Customization::default() }, "55dbbc81"),
            // The hash starts with a zero, which is not written: 0d5396dc0c05d918.
            (Customization { connect_timeout: seconds(13), ..Customization::default() }, "d5396dc0"),
            (
                Customization { connect_timeout: seconds(66), protocol: Some("grpc"), ..mode(GatewayMode::Local) },
                "78ebd528",
            ),
            (
                Customization { connect_timeout: seconds(22), protocol: Some("grpc"), ..mode(GatewayMode::Local) },
                "98809527",
            ),
        ];
        for (customization, prefix) in vectors {
            assert_eq!(customization.prefix().as_deref(), Some(prefix), "{customization:?}");
        }
        assert_eq!(Customization::default().prefix(), None);
    }
}
