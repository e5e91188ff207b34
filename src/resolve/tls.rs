//! TLS parameters of the mesh entry (contract 6.5).

use super::state::State;
use crate::ir::{TlsParameters, TlsVersion};
use crate::model::Partition;
use crate::model::entry::TlsDirection;

/// Parameters of connections that sidecars of a partition open.
pub(super) fn outgoing(state: &dyn State, partition: &Partition) -> TlsParameters {
    let tls = state.mesh(partition).and_then(|mesh| mesh.tls.as_ref());
    tls.and_then(|tls| tls.outgoing.as_ref()).map(parameters).unwrap_or_default()
}

/// Parameters of connections that sidecars of a partition accept.
pub(super) fn incoming(state: &dyn State, partition: &Partition) -> TlsParameters {
    let tls = state.mesh(partition).and_then(|mesh| mesh.tls.as_ref());
    tls.and_then(|tls| tls.incoming.as_ref()).map(parameters).unwrap_or_default()
}

fn parameters(direction: &TlsDirection) -> TlsParameters {
    TlsParameters {
        minimum: version(&direction.min_version),
        maximum: version(&direction.max_version),
        ciphers: direction.envoy_ciphers(),
    }
}

fn version(text: &str) -> Option<TlsVersion> {
    match text {
        "TLS_AUTO" => Some(TlsVersion::Auto),
        "TLSv1_0" => Some(TlsVersion::V1_0),
        "TLSv1_1" => Some(TlsVersion::V1_1),
        "TLSv1_2" => Some(TlsVersion::V1_2),
        "TLSv1_3" => Some(TlsVersion::V1_3),
        // Validation lets nothing else in.
        _ => None,
    }
}
