//! Small conversions into Envoy's own scalar and address messages.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Pipe, SocketAddress, address, config_source,
    socket_address,
};
use envoy_types::pb::google::protobuf as wkt;

use crate::ir;

/// The longest time that is written: 285 years, a round number below the nanoseconds of 64 bits, which are Envoy's limit.
const LONGEST: Duration = Duration::from_secs(9_000_000_000);

/// A duration, cut to what Envoy accepts.
pub(super) fn duration(value: Duration) -> wkt::Duration {
    let value = value.min(LONGEST);
    wkt::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).expect("less than a billion"),
    }
}

/// A wrapped unsigned number.
pub(super) const fn uint32(value: u32) -> wkt::UInt32Value {
    wkt::UInt32Value { value }
}

/// A wrapped flag.
pub(super) const fn boolean(value: bool) -> wkt::BoolValue {
    wkt::BoolValue { value }
}

/// "Over this ADS stream", with the time that Envoy waits for the first answer.
pub(super) fn ads(fetch_timeout: Option<Duration>) -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        resource_api_version: ApiVersion::V3.into(),
        initial_fetch_timeout: fetch_timeout.map(duration),
        ..ConfigSource::default()
    }
}

/// A host and port.
pub(super) fn socket(host: &str, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: host.to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })),
    }
}

/// A Unix socket with its mode; 0 leaves the mode to the system.
pub(super) fn pipe(path: &str, mode: u32) -> Address {
    Address { address: Some(address::Address::Pipe(Pipe { path: path.to_owned(), mode })) }
}

/// Where an endpoint listens.
pub(super) fn address(value: &ir::SocketAddress) -> Address {
    match value {
        ir::SocketAddress::Tcp(host, port) => socket(host, *port),
        ir::SocketAddress::Pipe(path) => pipe(path, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_duration_is_longer_than_envoy_accepts() {
        assert_eq!(duration(Duration::from_millis(1_500)), wkt::Duration { seconds: 1, nanos: 500_000_000 });
        assert_eq!(duration(Duration::MAX), wkt::Duration { seconds: 9_000_000_000, nanos: 0 });
    }
}
