//! What config entries add to proxies, where clients look for it (`http-api.md` 3.9).

use serde_json::{Value, json};

use crate::support::http::TestApi;

/// A sidecar of `web` on the agent's node and one on a node of the catalog, with an upstream `db` and one in a peer.
async fn api(mode: &str) -> TestApi {
    let api = TestApi::start().await;
    let proxy = json!({
        "DestinationServiceName": "web",
        "Mode": mode,
        "Config": { "local_connect_timeout_ms": 7 },
        "Upstreams": [
            { "DestinationName": "db", "LocalBindPort": 9191, "Config": { "connect_timeout_ms": 11, "mesh_gateway": {} } },
            { "DestinationName": "far", "LocalBindPort": 9192, "DestinationPeer": "east" },
        ],
    });
    api.register(json!({ "Name": "web-proxy", "Kind": "connect-proxy", "Port": 1, "Proxy": proxy })).await;
    let elsewhere = json!({
        "Node": "elsewhere", "Address": "10.0.0.1",
        "Service": { "Service": "web-proxy", "Kind": "connect-proxy", "Port": 1, "Proxy": proxy },
    });
    api.put("/v1/catalog/register", elsewhere).await.is(200, "true");
    for entry in [
        json!({
            "Kind": "proxy-defaults", "Name": "global", "MeshGateway": { "Mode": "local" },
            "Config": { "protocol": "http", "local_connect_timeout_ms": 1, "envoy_stats_flush_interval": "9s" },
            "TransparentProxy": { "OutboundListenerPort": 15002 },
        }),
        json!({
            "Kind": "service-defaults", "Name": "web", "MaxInboundConnections": 5,
            "TransparentProxy": { "DialedDirectly": true },
            "UpstreamConfig": {
                "Defaults": { "ConnectTimeoutMs": 22, "Limits": { "MaxConnections": 3 } },
                "Overrides": [
                    { "Name": "db", "PassiveHealthCheck": { "MaxFailures": 4 }, "MeshGateway": { "Mode": "remote" } },
                    { "Name": "cache", "Protocol": "http2" },
                ],
            },
        }),
        json!({ "Kind": "service-defaults", "Name": "db", "Protocol": "grpc" }),
    ] {
        api.put("/v1/config", entry).await.is(200, "true");
    }
    api
}

#[tokio::test]
async fn a_proxy_is_shown_with_what_config_entries_add_to_it() {
    let api = api("direct").await;

    let proxy = &api.get("/v1/agent/service/web-proxy").await.json()["Proxy"];

    assert_eq!(
        proxy,
        &json!({
            "DestinationServiceName": "web",
            "Mode": "direct",
            "TransparentProxy": { "OutboundListenerPort": 15002, "DialedDirectly": true },
            "Config": {
                "protocol": "http",
                "local_connect_timeout_ms": 7,
                "envoy_stats_flush_interval": "9s",
                "max_inbound_connections": 5,
            },
            "Upstreams": [
                {
                    "DestinationType": "service",
                    "DestinationName": "db",
                    "LocalBindPort": 9191,
                    "Config": {
                        "connect_timeout_ms": 11,
                        "protocol": "grpc",
                        "limits": { "MaxConnections": 3 },
                        "passive_health_check": { "MaxFailures": 4 },
                    },
                    "MeshGateway": { "Mode": "remote" },
                },
                {
                    "DestinationType": "service",
                    "DestinationPeer": "east",
                    "DestinationName": "far",
                    "LocalBindPort": 9192,
                    // The peer says itself what its services speak.
                    "Config": { "connect_timeout_ms": 22, "limits": { "MaxConnections": 3 } },
                    "MeshGateway": { "Mode": "local" },
                },
            ],
            "MeshGateway": { "Mode": "local" },
            "Expose": {},
        })
    );
}

#[tokio::test]
async fn a_transparent_proxy_has_the_upstreams_that_only_config_entries_name() {
    let api = api("transparent").await;

    let proxy = &api.get("/v1/agent/service/web-proxy").await.json()["Proxy"];

    let upstreams = proxy["Upstreams"].as_array().expect("a list");
    let names: Vec<_> =
        upstreams.iter().map(|upstream| upstream["DestinationName"].as_str().expect("a name")).collect();
    assert_eq!(names, ["db", "far", "*", "cache"]);
    assert_eq!(
        upstreams[3],
        json!({
            "DestinationType": "service",
            "DestinationNamespace": "default",
            "DestinationPartition": "default",
            "DestinationName": "cache",
            "Config": {
                "protocol": "http2",
                "connect_timeout_ms": 22,
                "limits": { "MaxConnections": 3 },
                "mesh_gateway": { "Mode": "local" },
            },
            "MeshGateway": { "Mode": "local" },
            "CentrallyConfigured": true,
        })
    );
    assert_eq!(upstreams[2]["Config"]["protocol"], "http");
}

#[tokio::test]
async fn the_catalog_shows_proxies_of_the_agents_node_merged_and_others_where_that_is_asked_for() {
    let api = api("direct").await;
    let reads = [
        ("/v1/catalog/service/web-proxy", "/Node", "/ServiceProxy"),
        ("/v1/catalog/connect/web", "/Node", "/ServiceProxy"),
        ("/v1/health/service/web-proxy", "/Node/Node", "/Service/Proxy"),
        ("/v1/health/connect/web", "/Node/Node", "/Service/Proxy"),
    ];

    for (path, node, proxy) in reads {
        let modes = |rows: Value| -> Vec<(String, Value)> {
            let rows = rows.as_array().expect("a list").iter();
            let mode = |row: &Value| row.pointer(proxy).expect("a proxy")["MeshGateway"]["Mode"].clone();
            rows.map(|row| (row.pointer(node).and_then(Value::as_str).expect("a name").to_owned(), mode(row))).collect()
        };
        let agents = api.get("/v1/agent/self").await.json()["Config"]["NodeName"].as_str().expect("a name").to_owned();
        let told = modes(api.get(path).await.json());
        let merged = modes(api.get(&format!("{path}?merge-central-config")).await.json());
        for (node, mode) in told {
            assert_eq!(mode, if node == agents { json!("local") } else { Value::Null }, "{path} {node}");
        }
        assert_eq!(merged.iter().filter(|(_, mode)| mode == "local").count(), 2, "{path}");
    }
    let services = |path: &str| {
        let path = path.to_owned();
        let api = &api;
        async move { api.get(&path).await.json()["Services"][0]["Proxy"]["MeshGateway"]["Mode"].clone() }
    };
    assert_eq!(services("/v1/catalog/node-services/elsewhere").await, Value::Null);
    assert_eq!(services("/v1/catalog/node-services/elsewhere?merge-central-config").await, "local");
}

#[tokio::test]
async fn a_change_of_proxy_defaults_changes_the_hash_of_a_proxy() {
    let api = api("direct").await;
    let hash = async || api.get("/v1/agent/service/web-proxy").await.header("x-consul-contenthash").to_owned();
    let before = hash().await;

    api.put("/v1/config", json!({ "Kind": "proxy-defaults", "Name": "global" })).await.is(200, "true");

    assert_ne!(hash().await, before);
}
