//! The opaque options of a proxy that shape its bootstrap (contract 9.4).

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

/// What the opaque options of a proxy ask for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BootstrapConfig {
    /// `envoy_prometheus_bind_addr`: where Prometheus scrapes.
    pub prometheus_bind: Option<SocketAddr>,
    /// `envoy_stats_bind_addr`: where `/stats` is served.
    pub stats_bind: Option<SocketAddr>,
    /// `envoy_stats_tags`: names, in lower case, and values of tags that every metric carries.
    pub stats_tags: Vec<(String, String)>,
    /// `envoy_stats_config_json`: replaces the tags altogether.
    pub stats_config: Option<Value>,
    /// `envoy_stats_flush_interval`, as Envoy writes durations (`5s`).
    pub stats_flush_interval: Option<String>,
    /// `envoy_statsd_url` and `envoy_dogstatsd_url`.
    pub sinks: Vec<StatsSink>,
    /// `envoy_extra_stats_sinks_json`.
    pub extra_sinks: Vec<Value>,
    /// `envoy_extra_static_clusters_json`.
    pub extra_clusters: Vec<Value>,
    /// `envoy_extra_static_listeners_json`.
    pub extra_listeners: Vec<Value>,
    /// `envoy_tracing_json`.
    pub tracing: Option<Value>,
    /// `envoy_max_downstream_connections`: how many connections a gateway takes at a time; 0 for any number.
    pub most_connections: Option<u64>,
    /// `envoy_telemetry_collector_bind_socket_dir`: where the socket of the metrics collector's upstream is.
    pub collector_folder: Option<String>,
}

/// Where metrics are pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatsSink {
    /// A statsd server over UDP.
    Statsd(SocketAddr),
    /// A DogStatsD server over UDP.
    DogStatsd(SocketAddr),
    /// A DogStatsD server on a Unix socket.
    DogStatsdPipe(String),
}

/// Options as they were understood.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Read {
    /// What they ask for.
    pub config: BootstrapConfig,
    /// Keys that mean something to a bootstrap and are not acted on.
    pub ignored: Vec<&'static str>,
}

/// An option that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct BootstrapConfigError {
    /// The option.
    pub key: &'static str,
    /// What is wrong and what is expected.
    pub message: String,
}

/// Options of the bootstrap that are not acted on: it would need Go's template language.
const IGNORED: [&str; 1] = ["envoy_bootstrap_json_tpl"];

impl BootstrapConfig {
    /// Reads the opaque options of a proxy. Keys that have no meaning for a bootstrap are passed over.
    ///
    /// # Errors
    /// Every option that cannot be understood.
    pub fn read(options: &Map<String, Value>) -> Result<Read, Vec<BootstrapConfigError>> {
        let mut reader = Reader { options, errors: Vec::new() };
        let config = BootstrapConfig {
            prometheus_bind: reader.value("envoy_prometheus_bind_addr", bind_address),
            stats_bind: reader.value("envoy_stats_bind_addr", bind_address),
            stats_tags: reader.value("envoy_stats_tags", stats_tags).unwrap_or_default(),
            stats_config: reader.value("envoy_stats_config_json", json_object),
            stats_flush_interval: reader.value("envoy_stats_flush_interval", text),
            sinks: [reader.value("envoy_statsd_url", statsd), reader.value("envoy_dogstatsd_url", dogstatsd)]
                .into_iter()
                .flatten()
                .collect(),
            extra_sinks: reader.value("envoy_extra_stats_sinks_json", json_objects).unwrap_or_default(),
            extra_clusters: reader.value("envoy_extra_static_clusters_json", json_objects).unwrap_or_default(),
            extra_listeners: reader.value("envoy_extra_static_listeners_json", json_objects).unwrap_or_default(),
            tracing: reader.value("envoy_tracing_json", json_object),
            most_connections: reader.value("envoy_max_downstream_connections", count),
            collector_folder: reader.value("envoy_telemetry_collector_bind_socket_dir", text),
        };
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        let ignored = IGNORED.into_iter().filter(|key| options.contains_key(*key)).collect();
        Ok(Read { config, ignored })
    }
}

struct Reader<'a> {
    options: &'a Map<String, Value>,
    errors: Vec<BootstrapConfigError>,
}

impl Reader<'_> {
    fn value<T>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Result<T, String>) -> Option<T> {
        let value = self.options.get(key).filter(|value| !value.is_null() && *value != "")?;
        parse(value).map_err(|message| self.errors.push(BootstrapConfigError { key, message })).ok()
    }
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is not a string"))
}

fn count(value: &Value) -> Result<u64, String> {
    let text = value.as_str().and_then(|text| text.parse().ok());
    value
        .as_u64()
        .or(text)
        .ok_or_else(|| format!("{value} is not a number of connections, such as 20000, or 0 for any number"))
}

fn bind_address(value: &Value) -> Result<SocketAddr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("{text:?} is not an IP address with a port, such as \"0.0.0.0:9102\""))
}

fn stats_tags(value: &Value) -> Result<Vec<(String, String)>, String> {
    let tags = value.as_array().ok_or_else(|| format!("{value} is not a list of \"name=value\""))?;
    tags.iter()
        .map(|tag| {
            let tag = text(tag)?;
            let (name, value) = tag.split_once('=').unwrap_or((&tag, "1"));
            Ok((name.trim().to_lowercase(), value.trim().to_owned()))
        })
        .collect()
}

fn json_object(value: &Value) -> Result<Value, String> {
    let parsed = match value {
        Value::String(text) => serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?,
        Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    };
    if parsed.is_object() { Ok(parsed) } else { Err("not a JSON object".to_owned()) }
}

/// Objects one after the other with commas between them, as they would stand in a list; a whole list is fine too.
fn json_objects(value: &Value) -> Result<Vec<Value>, String> {
    let text = text(value)?;
    let trimmed = text.trim().trim_end_matches(',');
    let list = if trimmed.starts_with('[') { trimmed.to_owned() } else { format!("[{trimmed}]") };
    let objects: Vec<Value> =
        serde_json::from_str(&list).map_err(|error| format!("not a comma-separated list of JSON objects: {error}"))?;
    match objects.iter().find(|object| !object.is_object()) {
        Some(other) => Err(format!("{other} is not a JSON object")),
        None => Ok(objects),
    }
}

fn udp_address(url: &str) -> Result<SocketAddr, String> {
    let refusal = || format!("{url:?} is not of the form \"udp://127.0.0.1:8125\", with an IP address");
    let rest = url.strip_prefix("udp://").ok_or_else(refusal)?;
    let with_default_port = || rest.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 8125));
    rest.parse().or_else(|_| with_default_port()).map_err(|_| refusal())
}

fn statsd(value: &Value) -> Result<StatsSink, String> {
    udp_address(&text(value)?).map(StatsSink::Statsd)
}

fn dogstatsd(value: &Value) -> Result<StatsSink, String> {
    let url = text(value)?;
    match url.strip_prefix("unix://") {
        Some(path) if !path.is_empty() => Ok(StatsSink::DogStatsdPipe(path.to_owned())),
        Some(_) | None => udp_address(&url).map(StatsSink::DogStatsd),
    }
}

impl StatsSink {
    pub(super) fn to_json(&self) -> Value {
        let udp = |address: &SocketAddr| {
            json!({"socket_address": {
                "protocol": "UDP",
                "address": address.ip().to_string(),
                "port_value": address.port(),
            }})
        };
        let (name, message, address) = match self {
            StatsSink::Statsd(address) => ("envoy.stat_sinks.statsd", "StatsdSink", udp(address)),
            StatsSink::DogStatsd(address) => ("envoy.stat_sinks.dog_statsd", "DogStatsdSink", udp(address)),
            StatsSink::DogStatsdPipe(path) => {
                ("envoy.stat_sinks.dog_statsd", "DogStatsdSink", json!({"pipe": {"path": path}}))
            }
        };
        let type_url = format!("type.googleapis.com/envoy.config.metrics.v3.{message}");
        json!({"name": name, "typed_config": {"@type": type_url, "address": address}})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &Value) -> Result<Read, Vec<String>> {
        let options = options.as_object().unwrap();
        BootstrapConfig::read(options).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn tags_are_lower_cased_and_default_to_one() {
        let read = read(&json!({"envoy_stats_tags": ["Canary", "Zone = eu-1 "]})).unwrap();

        let expected = [("canary".to_owned(), "1".to_owned()), ("zone".to_owned(), "eu-1".to_owned())];
        assert_eq!(read.config.stats_tags, expected);
    }

    #[test]
    fn objects_stand_side_by_side_or_in_a_list() {
        for text in [r#"{"name":"a"}, {"name":"b"}"#, r#"[{"name":"a"},{"name":"b"}]"#, r#"{"name":"a"},{"name":"b"},"#]
        {
            let read = read(&json!({"envoy_extra_static_clusters_json": text})).unwrap();
            assert_eq!(read.config.extra_clusters, [json!({"name": "a"}), json!({"name": "b"})], "{text}");
        }
    }

    #[test]
    fn every_option_that_cannot_be_understood_is_named() {
        let errors = read(&json!({
            "envoy_prometheus_bind_addr": "everywhere",
            "envoy_statsd_url": "tcp://10.0.0.1",
            "envoy_tracing_json": "[]",
            "envoy_max_downstream_connections": "many",
            "protocol": 7,
        }))
        .unwrap_err();

        assert_eq!(
            errors,
            [
                "envoy_prometheus_bind_addr: \"everywhere\" is not an IP address with a port, such as \"0.0.0.0:9102\"",
                "envoy_statsd_url: \"tcp://10.0.0.1\" is not of the form \"udp://127.0.0.1:8125\", with an IP address",
                "envoy_tracing_json: not a JSON object",
                "envoy_max_downstream_connections: \"many\" is not a number of connections, such as 20000, or 0 for any number",
            ]
        );
    }

    #[test]
    fn what_is_not_acted_on_is_told() {
        let read = read(&json!({"envoy_bootstrap_json_tpl": "{}"})).unwrap();

        assert_eq!(read.ignored, ["envoy_bootstrap_json_tpl"]);
    }
}
