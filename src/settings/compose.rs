//! From what was said to settings: defaults, and the rules that several keys obey together.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::draft::{Draft, how_to_give};
use super::error::{SettingsError, Source};
use super::files::one_map;
use super::inputs::Inputs;
use super::listeners::Listeners;
use super::{Settings, keys, parse, traces};
use crate::api::{Access, Waits};
use crate::codec;
use crate::model::{CHECK_OUTPUT_MAX_SIZE, CaConfig, CaSettings, Datacenter, NodeName, Problems, SidecarPorts};
use crate::store::Retention;
use crate::telemetry::LogOptions;

/// Long enough for a slow client, short enough for a person who waits.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The settings that the draft says.
pub(super) fn compose(mut draft: Draft, inputs: &Inputs) -> Result<Settings, SettingsError> {
    let datacenter = draft.read("datacenter", parse::datacenter).unwrap_or_else(|| Datacenter::from("dc1"));
    let Listeners { http, https, grpc, grpc_tls } = Listeners::read(&mut draft);
    let advertise = advertise(&mut draft, inputs);
    let data_dir = draft.read("data_dir", parse::path);
    let defaults = LogOptions::default();
    let (ca, cluster_id) = certificate_authority(&mut draft);
    let settings = Settings {
        hosted_datacenters: hosted(&mut draft, &datacenter),
        datacenter,
        node_name: node_name(&mut draft, inputs),
        node_id: draft.read("node_id", parse::uuid),
        node_meta: node_meta(&mut draft),
        dev: inputs.dev,
        http,
        https,
        grpc,
        grpc_tls,
        advertise,
        advertise_wan: draft.read("advertise_addr_wan", parse::advertised_ip),
        check_output_max_size: draft.read("check_output_max_size", parse::size).unwrap_or(CHECK_OUTPUT_MAX_SIZE),
        history: Retention {
            commits: draft.read("history_commits", parse::count).unwrap_or(Retention::default().commits),
            bytes: draft.read("history_bytes", parse::memory).unwrap_or(Retention::default().bytes),
        },
        sidecar_ports: sidecar_ports(&mut draft),
        default_intention_policy: draft.read("default_intention_policy", parse::intention_policy).unwrap_or_default(),
        ca,
        cluster_id,
        waits: waits(&mut draft),
        access: access(&mut draft),
        domain: draft.read("domain", parse::domain).unwrap_or_default(),
        log: LogOptions {
            level: draft.read("log_level", parse::log_level).unwrap_or(defaults.level),
            json: draft.read("log_json", parse::switch).unwrap_or(defaults.json),
        },
        shutdown_deadline: draft.read("shutdown_deadline", parse::duration).unwrap_or(SHUTDOWN_DEADLINE),
        data_dir: if inputs.dev { None } else { data_dir },
        services: std::mem::take(&mut draft.services),
        checks: std::mem::take(&mut draft.checks),
        entries: std::mem::take(&mut draft.entries),
        prometheus: draft
            .read("telemetry.prometheus_retention_time", parse::duration_or_none)
            .is_some_and(|time| !time.is_zero()),
        traces: traces::read(&mut draft, inputs),
        inputs: inputs.clone(),
        warnings: Vec::new(),
    };
    check_data_dir(&mut draft, inputs);
    if draft.problems.is_empty() {
        Ok(Settings { warnings: draft.warnings, ..settings })
    } else {
        Err(SettingsError(draft.problems))
    }
}

fn hosted(draft: &mut Draft, own: &Datacenter) -> Vec<Datacenter> {
    let mut hosted: Vec<Datacenter> = Vec::new();
    for name in draft.read_all("hosted_datacenters", parse::datacenter) {
        if name != *own && !hosted.contains(&name) {
            hosted.push(name);
        }
    }
    hosted
}

fn node_name(draft: &mut Draft, inputs: &Inputs) -> NodeName {
    let wrong_before = draft.problems.len();
    let given = draft.read("node_name", parse::node_name);
    if let Some(name) = given.or_else(|| inputs.host_name.clone()) {
        return NodeName::from(name);
    }
    if draft.problems.len() == wrong_before {
        missing(draft, "node_name", "this host has no name");
    }
    NodeName::default()
}

fn node_meta(draft: &mut Draft) -> BTreeMap<String, String> {
    let overlays = draft.read_all("node_meta", |value| match (value, one_map(value)) {
        (Value::String(pairs), _) => pairs
            .split(',')
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
                None => Err(format!("{pair:?} is not of the form key=value")),
            })
            .collect::<Result<Vec<_>, _>>(),
        (_, Some(map)) => map.iter().map(|(key, value)| Ok((key.clone(), parse::text(value)?))).collect(),
        (_, None) => Err("expected one block of keys and texts".to_owned()),
    });
    overlays.into_iter().flatten().collect()
}

/// How long blocking queries wait.
fn waits(draft: &mut Draft) -> Waits {
    let Waits { default, longest } = Waits::default();
    Waits {
        default: draft.read("default_query_time", parse::duration).unwrap_or(default),
        longest: draft.read("max_query_time", parse::duration).unwrap_or(longest),
    }
}

/// Who may ask for what over HTTP.
fn access(draft: &mut Draft) -> Access {
    let overlays = draft.read_all("http_config.response_headers", |value| {
        let map = one_map(value).ok_or_else(|| "expected one block of headers and texts".to_owned())?;
        let header = |(name, value): (&String, &Value)| {
            let text = parse::text(value)?;
            match (HeaderName::from_str(name), HeaderValue::from_str(&text)) {
                (Ok(name), Ok(value)) => Ok((name, value)),
                _ => Err(format!("{name:?} cannot be a header with the value {text:?}")),
            }
        };
        map.iter().map(header).collect::<Result<Vec<_>, String>>()
    });
    Access {
        blocked: draft.read_all("http_config.block_endpoints", parse::path_prefix),
        writers: draft.read_all("http_config.allow_write_http_from", parse::network),
        headers: overlays.into_iter().flatten().collect(),
    }
}

/// How the certificate authority of a new data directory signs and the ID of the cluster that it is for, where something is
/// said about them.
fn certificate_authority(draft: &mut Draft) -> (Option<CaConfig>, Option<String>) {
    const CONFIG: &str = "connect.ca_config";
    if !draft.is_given(CONFIG) && !draft.is_given("connect.ca_provider") {
        return (None, None);
    }
    let provider = draft.read("connect.ca_provider", parse::text).unwrap_or(CaConfig::default().provider);
    let blocks = draft.read_all(CONFIG, |value| {
        one_map(value).cloned().ok_or_else(|| "expected one block of keys, such as leaf_cert_ttl".to_owned())
    });
    let mut settings: Map<_, _> = blocks.into_iter().flatten().collect();
    // It is no setting of a provider, but Consul has it in their block.
    let cluster_id = settings.remove("cluster_id").map(|id| parse::uuid(&id));
    let text = Value::from(settings).to_string();
    let (config, mut problems) = match codec::weak::<CaSettings>(text.as_bytes()) {
        Ok(config) => (config, Problems::default()),
        Err(found) => {
            let mut problems = Problems::default();
            problems.extend_under("Config", found);
            (CaSettings::default(), problems)
        }
    };
    let config = CaConfig { provider, config, force_without_cross_signing: false };
    if problems.0.is_empty() {
        problems = config.validate();
    }
    for problem in problems.0 {
        let path = if problem.path.starts_with("Provider") { "connect.ca_provider" } else { CONFIG };
        let name = problem.path.strip_prefix("Config.").unwrap_or_default();
        let source = draft.source_of(path);
        draft.problem(source, format!("{name} {}", problem.message).trim_start().to_owned());
    }
    let cluster_id = cluster_id.and_then(|id| {
        let source = draft.source_of(CONFIG);
        id.map_err(|message| draft.problem(source, format!("cluster_id {message}"))).ok()
    });
    (Some(config), cluster_id)
}

/// The address that is announced: what was said, else the one that is bound, else the host's.
fn advertise(draft: &mut Draft, inputs: &Inputs) -> IpAddr {
    let bind = draft.read("bind_addr", parse::ip).filter(|ip| !ip.is_unspecified());
    let said = draft.read("advertise_addr", parse::advertised_ip);
    let found = if inputs.dev { None } else { inputs.host_address };
    said.or(bind).or(found).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn sidecar_ports(draft: &mut Draft) -> SidecarPorts {
    let defaults = SidecarPorts::default();
    let min = draft.read("ports.sidecar_min_port", parse::range_port).unwrap_or(defaults.min);
    let max = draft.read("ports.sidecar_max_port", parse::range_port).unwrap_or(defaults.max);
    if min > max && max != 0 {
        let said =
            if draft.is_given("ports.sidecar_min_port") { "ports.sidecar_min_port" } else { "ports.sidecar_max_port" };
        let source = draft.source_of(said);
        draft.problem(source, format!("the range of sidecar ports {min}..{max} is empty: the lowest port comes first"));
    }
    // Either end switches the range off.
    if max == 0 { SidecarPorts { min: 0, max: 0 } } else { SidecarPorts { min, max } }
}

fn check_data_dir(draft: &mut Draft, inputs: &Inputs) {
    if inputs.dev && draft.is_given("data_dir") {
        let source = draft.source_of("data_dir");
        draft.warnings.push(format!("{source}: has no effect with -dev, which keeps the state in memory"));
    } else if !inputs.dev && !draft.is_given("data_dir") {
        missing(draft, "data_dir", "required, because the state is kept there (or use -dev, which keeps it in memory)");
    }
}

fn missing(draft: &mut Draft, path: &'static str, why: &str) {
    let how = keys::find(path).map(how_to_give).unwrap_or_default();
    draft.problem(Source::Missing(path), format!("{why}: set {how}"));
}
