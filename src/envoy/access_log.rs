//! Access logs (contract 3.8).

use envoy_types::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, AccessLogFilter, ResponseFlagFilter};
use envoy_types::pb::envoy::config::core::v3::substitution_format_string::Format;
use envoy_types::pb::envoy::config::core::v3::{DataSource, SubstitutionFormatString, data_source::Specifier};
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use envoy_types::pb::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use envoy_types::pb::google::protobuf::{Any, Struct};
use envoy_types::util::pack_any;
use serde_json::{Map, Value};

use super::wire;
use crate::ir;

/// Keys and values of a line whose format nobody chose.
const DEFAULT_FORMAT: [(&str, &str); 24] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// The log of a filter that ends connections or requests.
pub(super) fn of_filter(log: &ir::AccessLog) -> AccessLog {
    AccessLog {
        name: "Consul Listener Filter Log".to_owned(),
        filter: None,
        config_type: Some(ConfigType::TypedConfig(logger(log))),
    }
}

/// The log of a listener: connections that no filter chain takes.
pub(super) fn of_listener(log: &ir::AccessLog) -> AccessLog {
    let no_route = ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    AccessLog {
        name: "Consul Listener Log".to_owned(),
        filter: Some(AccessLogFilter { filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(no_route)) }),
        config_type: Some(ConfigType::TypedConfig(logger(log))),
    }
}

fn logger(log: &ir::AccessLog) -> Any {
    let format = SubstitutionFormatString { format: Some(format(&log.format)), ..SubstitutionFormatString::default() };
    match &log.sink {
        ir::LogSink::Stdout => {
            pack_any(StdoutAccessLog { access_log_format: Some(stdout_access_log::AccessLogFormat::LogFormat(format)) })
        }
        ir::LogSink::Stderr => {
            pack_any(StderrAccessLog { access_log_format: Some(stderr_access_log::AccessLogFormat::LogFormat(format)) })
        }
        ir::LogSink::File(path) => pack_any(FileAccessLog {
            path: path.to_string(),
            access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)),
        }),
    }
}

fn format(format: &ir::LogFormat) -> Format {
    match format {
        ir::LogFormat::Default => Format::JsonFormat(default_format()),
        // Entries are refused unless it is an object.
        ir::LogFormat::Json(text) => Format::JsonFormat(match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(object) => wire::structure(&object),
            Err(_) => default_format(),
        }),
        ir::LogFormat::Text(line) => Format::TextFormatSource(DataSource {
            specifier: Some(Specifier::InlineString(format!("{line}\n"))),
            ..DataSource::default()
        }),
    }
}

fn default_format() -> Struct {
    wire::structure(&DEFAULT_FORMAT.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_its_line() {
        let Format::TextFormatSource(source) = format(&ir::LogFormat::Text("%START_TIME%".into())) else {
            panic!("a text stays a text")
        };

        assert_eq!(source.specifier, Some(Specifier::InlineString("%START_TIME%\n".to_owned())));
    }

    #[test]
    fn an_object_keeps_its_types() {
        let text = r#"{"a": "%PROTOCOL%", "b": {"c": [1, true]}}"#;
        let Format::JsonFormat(object) = format(&ir::LogFormat::Json(text.into())) else {
            panic!("an object stays an object")
        };

        assert_eq!(object, wire::structure(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap()));
        assert_eq!(object.fields.len(), 2);
    }
}
