//! Small conversions into Envoy's own scalar and address messages.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, CidrRange, ConfigSource, Pipe, SocketAddress, address, config_source,
    socket_address,
};
use envoy_types::pb::google::protobuf as wkt;
use envoy_types::pb::google::protobuf::value::Kind;
use serde_json::{Map, Value};

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

/// A JSON object as Envoy's messages hold it.
pub(super) fn structure(object: &Map<String, Value>) -> wkt::Struct {
    wkt::Struct { fields: object.iter().map(|(key, value)| (key.clone(), dynamic(value))).collect() }
}

fn dynamic(value: &Value) -> wkt::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(wkt::NullValue::NullValue.into()),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(wkt::ListValue { values: items.iter().map(dynamic).collect() }),
        Value::Object(fields) => Kind::StructValue(structure(fields)),
    };
    wkt::Value { kind: Some(kind) }
}

/// A range of addresses.
pub(super) fn range(value: &ir::AddressRange) -> CidrRange {
    CidrRange { address_prefix: value.address.to_string(), prefix_len: Some(uint32(value.bits.into())) }
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
