//! `GET /v1/agent/self`.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::members::Member;
use crate::api::Options;
use crate::api::call::Call;
use crate::api::route::{Routes, get};

/// The Envoy versions that are supported, newest first. A launcher compares the local Envoy with them.
const ENVOY_VERSIONS: [&str; 5] = ["1.40.0", "1.39.3", "1.38.3", "1.37.0", "1.36.4"];

/// How a closed port is shown.
const CLOSED: i32 = -1;

pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/agent/self", get(about))
}

/// Every member is an object or null, because clients decode an object of objects.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct About {
    config: Value,
    debug_config: Value,
    coord: Option<()>,
    member: Member,
    stats: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    meta: BTreeMap<String, String>,
    /// Absent when the port is closed: a launcher takes it for the place to connect to.
    #[serde(rename = "xDS", skip_serializing_if = "Option::is_none")]
    xds: Option<Value>,
}

async fn about(call: Call) -> Response {
    let options = &call.api.options;
    let about = About {
        config: config(&call),
        debug_config: json!({
            "Datacenter": call.scope.place.datacenter,
            "NodeName": options.node,
            "GRPCPort": options.grpc_port.map_or(CLOSED, i32::from),
            "GRPCTLSPort": options.grpc_tls_port.map_or(CLOSED, i32::from),
        }),
        coord: None,
        member: call.member(&call.scope.place.datacenter),
        stats: stats(&call),
        meta: options.node_meta.get(),
        xds: xds(options),
    };
    call.json(&about)
}

fn config(call: &Call) -> Value {
    let options = &call.api.options;
    let mut config = json!({
        "Datacenter": call.scope.place.datacenter,
        "PrimaryDatacenter": options.datacenter,
        "NodeName": options.node,
        "NodeID": options.node_id,
        "Revision": "",
        "Server": true,
        "Version": env!("CARGO_PKG_VERSION"),
        "BuildDate": "",
        "BindAddr": options.advertise,
    });
    let partition = &call.scope.place.partition;
    if !partition.is_default() {
        config["Partition"] = json!(partition);
    }
    config
}

fn xds(options: &Options) -> Option<Value> {
    let (plaintext, tls) = (options.grpc_port, options.grpc_tls_port);
    // Launchers that know one port take the one with TLS.
    let port = tls.or(plaintext)?;
    Some(json!({
        "SupportedProxies": { "envoy": ENVOY_VERSIONS },
        "Port": port,
        "Ports": {
            "Plaintext": plaintext.map_or(CLOSED, i32::from),
            "TLS": tls.map_or(CLOSED, i32::from),
        },
    }))
}

fn stats(call: &Call) -> BTreeMap<&'static str, BTreeMap<&'static str, String>> {
    let view = call.api.store.view();
    let node = call.agent_node();
    let yes = || "true".to_owned();
    [
        (
            "agent",
            [
                ("services", view.services_on(&node).count().to_string()),
                ("checks", view.checks_on(&node).count().to_string()),
            ]
            .into(),
        ),
        ("build", [("version", env!("CARGO_PKG_VERSION").to_owned())].into()),
        ("consul", [("server", yes()), ("leader", yes()), ("leader_addr", call.api.options.server_address())].into()),
        ("raft", [("last_log_index", view.index().to_string()), ("state", "Leader".to_owned())].into()),
        (
            "runtime",
            [
                ("arch", std::env::consts::ARCH.to_owned()),
                ("os", std::env::consts::OS.to_owned()),
                ("handler_panics", call.api.metrics.panics().to_string()),
                ("blocking_queries", call.api.metrics.waiting().to_string()),
            ]
            .into(),
        ),
    ]
    .into()
}
