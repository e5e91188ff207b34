//! Registrations that are refused, and leave everything as it was.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const REGISTER: &str = "/v1/agent/service/register";

async fn refused(cases: impl IntoIterator<Item = (Value, u16, &'static str)>) {
    let api = TestApi::start().await;
    for (body, status, fragment) in cases {
        api.refuses(Method::PUT, REGISTER, body, status, fragment).await;
    }
}

fn proxy(upstreams: Value) -> Value {
    json!({
        "Name": "p", "Kind": "connect-proxy", "Port": 21000,
        "Proxy": { "DestinationServiceName": "web", "Upstreams": upstreams },
    })
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let api = TestApi::start().await;

    for body in ["", "{", "{\"Name\":\"web\"", "{\"Name\":\"web\"} trailing", "[]", "null and void", "\u{fffd}"] {
        for path in [REGISTER, "/v1/catalog/register", "/v1/catalog/deregister"] {
            api.refuses(Method::PUT, path, body, 400, "Request decode failed:").await;
        }
    }
}

#[tokio::test]
async fn values_of_a_wrong_type() {
    refused([
        (json!({ "Name": 5 }), 400, "Request decode failed:"),
        (json!({ "Name": "w", "Port": "80" }), 400, "Port"),
        (json!({ "Name": "w", "Port": 70000 }), 400, "Port"),
        (json!({ "Name": "w", "Port": -1 }), 400, "Port"),
        (json!({ "Name": "w", "Tags": "v1" }), 400, "Tags"),
        (json!({ "Name": "w", "Meta": { "a": 1 } }), 400, "Meta"),
        (json!({ "Name": "w", "Kind": "toaster" }), 400, "toaster"),
        (json!({ "Name": "w", "Check": { "TTL": "" } }), 400, "TTL"),
        (json!({ "Name": "w", "Check": { "TTL": "soon" } }), 400, "soon"),
        (json!({ "Name": "w", "Check": { "TTL": "1s", "Status": "sideways" } }), 400, "sideways"),
    ])
    .await;
}

#[tokio::test]
async fn fields_that_nothing_reads() {
    refused([
        (json!({ "Name": "w", "Bogus": 1 }), 400, "unknown field \"Bogus\""),
        (json!({ "Name": "w", "Proxy": { "Upstream": [] } }), 400, "unknown field \"Upstream\""),
    ])
    .await;
}

#[tokio::test]
async fn an_unknown_gateway_mode_is_named_with_the_choices() {
    let api = TestApi::start().await;

    for body in [
        json!({ "Name": "p", "Kind": "connect-proxy", "Port": 1,
            "Proxy": { "DestinationServiceName": "web", "MeshGateway": { "Mode": "sideways" } } }),
        proxy(json!([{ "DestinationName": "a", "LocalBindPort": 1, "MeshGateway": { "Mode": "sideways" } }])),
    ] {
        for fragment in ["\"sideways\"", "\"none\", \"local\" or \"remote\""] {
            api.refuses(Method::PUT, REGISTER, &body, 400, fragment).await;
        }
    }
}

#[tokio::test]
async fn services_that_break_rules() {
    let meta: serde_json::Map<String, Value> = (0..65).map(|number| (format!("k{number}"), json!("v"))).collect();
    refused([
        (json!({ "Port": 80 }), 400, "Missing service name"),
        (json!({ "Name": "w", "Address": "0.0.0.0" }), 400, "Invalid service address"),
        (json!({ "Name": "w", "Meta": meta }), 400, "Invalid Service Meta"),
        (json!({ "Name": "w", "Meta": { "consul-wan-federation": "1" } }), 400, "Invalid Service Meta"),
        (json!({ "Name": "w", "Weights": { "Passing": 0, "Warning": 1 } }), 400, "Invalid Weights"),
        (json!({ "Name": "w", "Connect": { "Native": true } }), 400, "Port or SocketPath must be set"),
    ])
    .await;
}

#[tokio::test]
async fn first_words_that_clients_know_stand_first() {
    let api = TestApi::start().await;

    api.put(REGISTER, json!({ "Port": 80 })).await.is(400, "Missing service name");
    let with_sidecar = json!({ "Port": 80, "Connect": { "SidecarService": {} } });
    api.put(REGISTER, with_sidecar).await.is(400, "Missing service name");
    for (body, start) in [
        (json!({ "Name": "w", "Address": "0.0.0.0" }), "Invalid service address"),
        (json!({ "Name": "w", "Weights": { "Passing": 0, "Warning": 1 } }), "Invalid Weights"),
        (json!({ "Name": "w", "Meta": { "a b": "c" } }), "Invalid Service Meta"),
        (json!({ "Name": "w", "Check": {} }), "Invalid check"),
        (json!({ "Name": "g", "Kind": "mesh-gateway" }), "Validation failed"),
    ] {
        let answer = api.put(REGISTER, body).await;
        assert!(answer.status == 400 && answer.text().starts_with(start), "{}", answer.text());
    }
}

#[tokio::test]
async fn checks_that_break_rules() {
    refused([
        (json!({ "Name": "w", "Check": { "TTL": "10s", "Interval": "5s" } }), 400, "Interval and TTL"),
        (json!({ "Name": "w", "Check": { "HTTP": "http://x", "Interval": "0s" } }), 400, "Interval"),
        (json!({ "Name": "w", "Check": { "HTTP": "http://x" } }), 400, "Interval"),
        (json!({ "Name": "w", "Checks": [{ "TTL": "1s" }, { "TTL": "-1s" }] }), 400, "Checks[1].TTL"),
        (json!({ "Name": "w", "Check": {} }), 400, "Invalid check"),
        (json!({ "Name": "w", "Check": { "Args": ["/bin/true"], "Interval": "5s" } }), 500, "Scripts are disabled"),
    ])
    .await;
}

#[tokio::test]
async fn sidecar_blocks_that_break_rules() {
    let with = |sidecar: Value| json!({ "Name": "w", "Port": 1, "Connect": { "SidecarService": sidecar } });
    refused([
        (with(json!({ "ID": "x" })), 400, "Invalid SidecarService"),
        (with(json!({ "Connect": { "SidecarService": {} } })), 400, "Invalid SidecarService"),
        (with(json!({ "Check": { "TTL": "-1s" } })), 400, "Connect.SidecarService.Check.TTL"),
        (
            with(json!({ "Proxy": { "Upstreams": [{ "LocalBindPort": 1 }] } })),
            400,
            "upstream destination name cannot be empty",
        ),
        (
            json!({ "Name": "g", "Kind": "mesh-gateway", "Port": 1, "Connect": { "SidecarService": {} } }),
            400,
            "cannot have a sidecar service defined",
        ),
    ])
    .await;
}

#[tokio::test]
async fn proxies_that_break_rules() {
    let upstream = |port: u16| json!({ "DestinationName": format!("s{port}"), "LocalBindPort": 9191 });
    refused([
        (
            json!({ "Name": "p", "Kind": "connect-proxy", "Port": 1 }),
            400,
            "Proxy.DestinationServiceName must be non-empty",
        ),
        (
            json!({ "Name": "p", "Kind": "connect-proxy", "Proxy": { "DestinationServiceName": "web" } }),
            400,
            "Port or SocketPath must be set",
        ),
        (proxy(json!([{ "LocalBindPort": 1 }])), 400, "upstream destination name cannot be empty"),
        (
            proxy(json!([{ "DestinationName": "a" }])),
            400,
            "upstream local bind port or local socket path must be defined and nonzero",
        ),
        (
            proxy(json!([upstream(1), upstream(2)])),
            400,
            "upstreams cannot contain duplicates by local bind address and port",
        ),
        (
            proxy(json!([{ "DestinationName": "a", "LocalBindPort": 1, "DestinationPeer": "p", "Datacenter": "dc2" }])),
            400,
            "cannot specify both",
        ),
    ])
    .await;
}

#[tokio::test]
async fn gateways_that_break_rules() {
    refused([
        (json!({ "Name": "g", "Kind": "mesh-gateway" }), 400, "Port must be non-zero for a mesh-gateway"),
        (
            json!({ "Name": "g", "Kind": "mesh-gateway", "Port": 1,
                "Proxy": { "Upstreams": [{ "DestinationName": "a", "LocalBindPort": 1 }] } }),
            400,
            "Proxy.Upstreams configuration is invalid for a mesh-gateway",
        ),
    ])
    .await;
}

#[tokio::test]
async fn several_problems_are_told_together() {
    refused([(
        json!({ "Kind": "mesh-gateway", "Name": "g", "Weights": { "Passing": 0 }, "Address": "::" }),
        400,
        "3 errors occurred:",
    )])
    .await;
}

#[tokio::test]
async fn rules_are_told_beside_what_cannot_be_decoded() {
    let api = TestApi::start().await;
    let service = json!({
        "Prot": 1,
        "Kind": "mesh-gateway",
        "Port": "8443",
        "Address": "0.0.0.0",
        "Check": { "TTL": "soon" },
        "Checks": [5, { "HTTP": "http://x" }],
    });
    let registration = json!({
        "Address": 5,
        "Service": { "ID": "db-1", "Port": "x" },
        "Checks": [5, { "Notes": "nameless" }],
    });
    let entry = json!({
        "Kind": "service-defaults",
        "Name": "web",
        "Protocol": "htttp",
        "MeshGatway": {},
        "Mode": "sideways",
        "UpstreamConfig": { "Overrides": [{}] },
    });

    for (path, body, expected) in [
        (
            REGISTER,
            service,
            &[
                "Request decode failed: 7 errors occurred:",
                "line 1: Name: Missing service name",
                "line 2: Address: Invalid service address",
                "line 4: Check.TTL: invalid duration \"soon\"",
                "line 7: Checks[0]: expected an object",
                "line 8: Checks[1].Interval: Invalid check: Interval",
                "line 13: Port: expected a whole number",
                "line 14: Prot: json: unknown field \"Prot\"",
            ][..],
        ),
        (
            "/v1/catalog/register",
            registration,
            &[
                "Request decode failed: 6 errors occurred:",
                "line 1: Node: Must provide node",
                "line 2: Address: expected a string",
                "line 4: Checks[0]: expected an object",
                "line 5: Checks[1]: a check needs a CheckID or a Name",
                "line 9: Service.Name: Missing service name",
                "line 11: Service.Port: expected a whole number",
            ],
        ),
        (
            "/v1/config",
            entry,
            &[
                "Request decoding failed: 4 errors occurred:",
                "line 3: MeshGatway: invalid config key",
                "line 4: Mode: unknown value \"sideways\"",
                "line 6: Protocol: unknown protocol \"htttp\"",
                "line 9: UpstreamConfig.Overrides[0].Name: a name is required",
            ],
        ),
    ] {
        let body = serde_json::to_string_pretty(&body).expect("it is JSON");
        for fragment in expected {
            api.refuses(Method::PUT, path, &body, 400, fragment).await;
        }
    }
}

#[tokio::test]
async fn a_datacenter_that_is_not_hosted() {
    let api = TestApi::start().await;

    api.refuses(Method::PUT, "/v1/agent/service/register?dc=dc9", json!({ "Name": "w" }), 500, "No path to datacenter")
        .await;
    let upstream = proxy(json!([{ "DestinationName": "a", "LocalBindPort": 1, "Datacenter": "dc9" }]));
    api.register(upstream).await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let api = TestApi::start().await;
    let large = |size: usize| json!({ "Name": "w", "Meta": { "a": "x".repeat(size) } });

    api.refuses(Method::PUT, REGISTER, large(600 * 1024), 413, "524288").await;
    api.refuses(Method::PUT, "/v1/agent/check/update/x", large(600 * 1024), 413, "524288").await;
    api.refuses(Method::PUT, "/v1/catalog/register", large(5 * 1024 * 1024), 413, "4194304").await;
    api.refuses(Method::PUT, "/v1/config", large(5 * 1024 * 1024), 413, "4194304").await;
}

#[tokio::test]
async fn the_federation_mark_is_for_mesh_gateways() {
    let api = TestApi::start().await;

    api.register(json!({ "Name": "g", "Kind": "mesh-gateway", "Port": 1, "Meta": { "consul-wan-federation": "1" } }))
        .await;
}

#[tokio::test]
async fn names_that_no_path_can_say() {
    let ttl = json!({ "CheckID": "c\u{7f}", "TTL": "10s" });
    refused([
        (json!({ "Name": "a\nb" }), 400, "Name: \"a\\nb\" must not hold control characters"),
        (json!({ "Name": "a", "ID": "a\u{0}" }), 400, "ID: \"a\\0\" must not hold control characters"),
        (json!({ "Name": "a", "Check": ttl }), 400, "must not hold control characters"),
    ])
    .await;

    let api = TestApi::start().await;
    let entry = json!({ "Kind": "service-defaults", "Name": "a\nb" });
    api.refuses(Method::PUT, "/v1/config", entry, 500, "must not hold control characters").await;
    let node = json!({ "Node": "n\r", "Address": "192.0.2.1" });
    api.refuses(Method::PUT, "/v1/catalog/register", node, 500, "must not hold control characters").await;
}
