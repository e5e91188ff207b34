//! The keys that have a meaning, and those of Consul that are accepted without one.

/// A key with the flag of the same meaning.
pub(super) struct Key {
    /// Its path in files.
    pub(super) path: &'static str,
    /// Its flag, if it has one.
    pub(super) flag: Option<&'static str>,
    /// What giving it several times means.
    pub(super) merge: Merge,
}

/// What giving a key several times means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// The last one wins.
    Last,
    /// They add up; one text is a list with commas.
    Append,
    /// Maps are overlaid; one text is a pair with `=`.
    Overlay,
}

/// Every key that has a meaning.
pub(super) const KEYS: [Key; 52] = [
    key("datacenter", "datacenter", Merge::Last),
    key("hosted_datacenters", "hosted-datacenter", Merge::Append),
    key("node_name", "node", Merge::Last),
    key("node_id", "node-id", Merge::Last),
    key("node_meta", "node-meta", Merge::Overlay),
    key("data_dir", "data-dir", Merge::Last),
    key("bind_addr", "bind", Merge::Last),
    key("client_addr", "client", Merge::Last),
    key("addresses.http", "http-address", Merge::Last),
    key("addresses.https", "https-address", Merge::Last),
    key("addresses.grpc", "grpc-address", Merge::Last),
    key("addresses.grpc_tls", "grpc-tls-address", Merge::Last),
    key("advertise_addr", "advertise", Merge::Last),
    key("advertise_addr_wan", "advertise-wan", Merge::Last),
    key("ports.http", "http-port", Merge::Last),
    key("ports.https", "https-port", Merge::Last),
    key("ports.grpc", "grpc-port", Merge::Last),
    key("ports.grpc_tls", "grpc-tls-port", Merge::Last),
    key("check_output_max_size", "check-output-max-size", Merge::Last),
    key("history_commits", "history-commits", Merge::Last),
    key("history_bytes", "history-bytes", Merge::Last),
    key("ports.sidecar_min_port", "sidecar-min-port", Merge::Last),
    key("ports.sidecar_max_port", "sidecar-max-port", Merge::Last),
    key("default_intention_policy", "default-intention-policy", Merge::Last),
    in_files("connect.ca_provider"),
    Key { path: "connect.ca_config", flag: None, merge: Merge::Overlay },
    in_files("default_query_time"),
    in_files("max_query_time"),
    Key { path: "http_config.allow_write_http_from", flag: None, merge: Merge::Append },
    Key { path: "http_config.block_endpoints", flag: None, merge: Merge::Append },
    Key { path: "http_config.response_headers", flag: None, merge: Merge::Overlay },
    key("domain", "domain", Merge::Last),
    key("log_level", "log-level", Merge::Last),
    key("log_json", "log-json", Merge::Last),
    key("telemetry.prometheus_retention_time", "prometheus-retention-time", Merge::Last),
    key("telemetry.otlp_endpoint", "otlp-endpoint", Merge::Last),
    key("shutdown_deadline", "shutdown-deadline", Merge::Last),
    in_files("tls.defaults.ca_file"),
    in_files("tls.defaults.cert_file"),
    in_files("tls.defaults.key_file"),
    in_files("tls.defaults.tls_min_version"),
    in_files("tls.defaults.verify_incoming"),
    in_files("tls.grpc.ca_file"),
    in_files("tls.grpc.cert_file"),
    in_files("tls.grpc.key_file"),
    in_files("tls.grpc.tls_min_version"),
    in_files("tls.grpc.verify_incoming"),
    in_files("tls.https.ca_file"),
    in_files("tls.https.cert_file"),
    in_files("tls.https.key_file"),
    in_files("tls.https.tls_min_version"),
    in_files("tls.https.verify_incoming"),
];

const fn key(path: &'static str, flag: &'static str, merge: Merge) -> Key {
    Key { path, flag: Some(flag), merge }
}

/// A key without a flag.
const fn in_files(path: &'static str) -> Key {
    Key { path, flag: None, merge: Merge::Last }
}

/// The keys whose values are addresses, and may be templates.
pub(super) const ADDRESSES: [&str; 8] = [
    "bind_addr",
    "client_addr",
    "advertise_addr",
    "advertise_addr_wan",
    "addresses.http",
    "addresses.https",
    "addresses.grpc",
    "addresses.grpc_tls",
];

/// Where older versions of Consul have keys about TLS, and where they are now. Whoever asks for certificates of clients must
/// not be left without them unawares.
const MOVED: [(&str, &str); 6] = [
    ("ca_file", "tls.defaults.ca_file"),
    ("cert_file", "tls.defaults.cert_file"),
    ("key_file", "tls.defaults.key_file"),
    ("tls_min_version", "tls.defaults.tls_min_version"),
    ("verify_incoming", "tls.defaults.verify_incoming"),
    ("verify_incoming_https", "tls.https.verify_incoming"),
];

/// The keys whose values are maps of further keys.
pub(super) const GROUPS: [&str; 10] = [
    "addresses",
    "ports",
    "acl",
    "connect",
    "http_config",
    "telemetry",
    "tls",
    "tls.defaults",
    "tls.grpc",
    "tls.https",
];

/// Keys that hold registrations and config entries.
pub(super) const DEFINITIONS: [&str; 3] = ["service", "services", "config_entries"];

/// Keys that hold checks.
pub(super) const CHECKS: [&str; 2] = ["check", "checks"];

/// Keys of Consul's agent that have no meaning here; a group stands for all that is in it.
const IGNORED: [&str; 133] = [
    "acl.default_policy",
    "acl.down_policy",
    "acl.enable_key_list_policy",
    "acl.enable_token_persistence",
    "acl.enable_token_replication",
    "acl.policy_ttl",
    "acl.role_ttl",
    "acl.token_ttl",
    "acl.tokens",
    "addresses.dns",
    "advertise_addr_ipv4",
    "advertise_addr_ipv6",
    "advertise_addr_wan_ipv4",
    "advertise_addr_wan_ipv6",
    "advertise_reconnect_timeout",
    "alt_domain",
    "audit",
    "auto_config",
    "auto_encrypt",
    "auto_reload_config",
    "autopilot",
    "bootstrap",
    "bootstrap_expect",
    "ca_path",
    "cache",
    "check_update_interval",
    "cloud",
    "connect.enable_mesh_gateway_wan_federation",
    "connect.enable_serverless_plugin",
    "connect.enabled",
    "connect.test_ca_leaf_root_change_spread",
    "connect.virtual_ip_cidr_v4",
    "connect.virtual_ip_cidr_v6",
    "disable_anonymous_signature",
    "disable_coordinates",
    "disable_host_node_id",
    "disable_http_unprintable_char_filter",
    "disable_keyring_file",
    "disable_remote_exec",
    "disable_update_check",
    "discard_check_output",
    "discovery_max_stale",
    "dns_config",
    "enable_agent_tls_for_checks",
    "enable_central_service_config",
    "enable_debug",
    "enable_local_script_checks",
    "enable_script_checks",
    "enable_syslog",
    "encrypt",
    "encrypt_verify_incoming",
    "encrypt_verify_outgoing",
    "experiments",
    "gossip_lan",
    "gossip_wan",
    "http_config.max_header_bytes",
    "http_config.use_cache",
    "leave_on_terminate",
    "license_path",
    "limits",
    "locality",
    "log_file",
    "log_rotate_bytes",
    "log_rotate_duration",
    "log_rotate_max_files",
    "namespace",
    "partition",
    "peering",
    "performance",
    "pid_file",
    "ports.dns",
    "ports.expose_max_port",
    "ports.expose_min_port",
    "ports.proxy_max_port",
    "ports.proxy_min_port",
    "ports.serf_lan",
    "ports.serf_wan",
    "ports.server",
    "primary_datacenter",
    "primary_gateways",
    "primary_gateways_interval",
    "protocol",
    "raft_logstore",
    "raft_protocol",
    "raft_snapshot_interval",
    "raft_snapshot_threshold",
    "raft_trailing_logs",
    "read_replica",
    "reconnect_timeout",
    "reconnect_timeout_wan",
    "recursors",
    "rejoin_after_leave",
    "reporting",
    "retry_interval",
    "retry_interval_wan",
    "retry_join",
    "retry_join_wan",
    "retry_max",
    "retry_max_wan",
    "rpc",
    "segments",
    "serf_allowed_cidrs_lan",
    "serf_allowed_cidrs_wan",
    "serf_lan",
    "serf_wan",
    "server",
    "server_name",
    "skip_leave_on_interrupt",
    "start_join",
    "start_join_wan",
    "syslog_facility",
    "tls.defaults.ca_path",
    "tls.defaults.tls_cipher_suites",
    "tls.defaults.verify_outgoing",
    "tls.defaults.verify_server_hostname",
    "tls.grpc.ca_path",
    "tls.grpc.tls_cipher_suites",
    "tls.grpc.use_auto_cert",
    "tls.https.ca_path",
    "tls.https.tls_cipher_suites",
    "tls.https.verify_outgoing",
    "tls.internal_rpc",
    "tls_cipher_suites",
    "tls_prefer_server_cipher_suites",
    "translate_wan_addrs",
    "ui",
    "ui_config",
    "unix_sockets",
    "use_streaming_backend",
    "verify_incoming_rpc",
    "verify_outgoing",
    "verify_server_hostname",
    "xds",
];

/// True for a key of Consul's that is accepted without a meaning.
pub(super) fn is_ignored(path: &str) -> bool {
    IGNORED.contains(&path) || path.starts_with("telemetry.")
}

/// The key with this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Where a key of an older version is now.
pub(super) fn moved(path: &str) -> Option<&'static str> {
    MOVED.iter().find(|(old, _)| *old == path).map(|(_, new)| *new)
}

/// The flag of a key of the table.
pub(super) fn flag_of(path: &str) -> &'static str {
    find(path).and_then(|key| key.flag).unwrap_or_default()
}

/// The environment variable of a key.
pub(super) fn variable_of(path: &str) -> String {
    format!("MESHGATE_{}", path.replace('.', "_").to_ascii_uppercase())
}

/// The known key that is most like this one, if any is.
pub(super) fn similar(path: &str) -> Option<&'static str> {
    let known = KEYS.iter().map(|key| key.path).chain(DEFINITIONS).chain(CHECKS);
    let scored = known.map(|known| (strsim::jaro_winkler(path, known), known));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 > 0.85).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn no_key_both_has_a_meaning_and_has_none() {
        let both: Vec<_> = KEYS.iter().map(|key| key.path).filter(|path| IGNORED.contains(path)).collect();

        assert!(both.is_empty(), "{both:?}");
    }

    /// The keys and groups of the table in the page about differences; `*` stands for any letters.
    fn documented() -> Vec<Regex> {
        let page = include_str!("../../docs/compatibility.md");
        let (_, section) = page.split_once("### Keys of the agent's files without effect").unwrap();
        let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let cells = rows.take_while(|line| line.starts_with('|')).map(|line| line.split('|').nth(1).unwrap());
        // What stands behind it has a meaning.
        let cells = cells.map(|cell| cell.split(" but ").next().unwrap());
        let named = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(|key| !key.contains(' '));
        let pattern = |key: &str| format!("^{}(\\..*)?$", regex::escape(key).replace("\\*", ".*"));
        named.map(|key| Regex::new(&pattern(key)).unwrap()).collect()
    }

    #[test]
    fn every_key_without_a_meaning_is_documented_and_no_other() {
        let documented = documented();

        let missing: Vec<_> = IGNORED.iter().filter(|key| !documented.iter().any(|it| it.is_match(key))).collect();
        assert!(missing.is_empty(), "not in docs/compatibility.md: {missing:?}");
        let with_meaning = ["telemetry.prometheus_retention_time", "telemetry.otlp_endpoint"];
        for pattern in &documented {
            assert!(IGNORED.iter().chain(&with_meaning).any(|key| pattern.is_match(key)), "{pattern} is not ignored");
            let told = KEYS.iter().map(|key| key.path).find(|key| pattern.is_match(key) && !with_meaning.contains(key));
            assert_eq!(told, None, "{pattern} is said to have no effect");
        }
    }

    #[test]
    fn a_typo_leads_to_the_key_that_was_meant() {
        assert_eq!(similar("ports.gprc"), Some("ports.grpc"));
        assert_eq!(similar("data_directory"), Some("data_dir"));
        assert_eq!(similar("zzz"), None);
    }
}
