use serde_json::json;

use super::*;

fn sidecar() -> Bootstrap {
    Bootstrap {
        node: Node {
            id: "web-sidecar-proxy".to_owned(),
            cluster: "web".to_owned(),
            datacenter: "dc1".to_owned(),
            partition: "default".to_owned(),
            namespace: "default".to_owned(),
            node_name: "laptop".to_owned(),
        },
        xds: XdsServer {
            address: XdsAddress::Socket("127.0.0.1:8502".parse().unwrap()),
            ca: None,
            token: String::new(),
        },
        admin: "127.0.0.1:19000".parse().unwrap(),
        admin_log: AdminLog::file("/dev/null"),
        ready: None,
        merged_metrics: None,
        prometheus_path: "/metrics".to_owned(),
        config: BootstrapConfig::default(),
        collector: None,
        most_connections: None,
        deprecated_tags: DeprecatedTags::Keep,
    }
}

#[test]
fn a_sidecar_knows_who_it_is_and_whom_to_ask() {
    let mut document = bootstrap(&sidecar());
    document.as_object_mut().unwrap().remove("stats_config");

    assert_eq!(
        document,
        json!({
            "admin": {
                "access_log": [{
                    "name": "envoy.access_loggers.file",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                        "path": "/dev/null",
                    },
                }],
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 19000}},
            },
            "node": {
                "id": "web-sidecar-proxy",
                "cluster": "web",
                "metadata": {
                    "datacenter": "dc1",
                    "partition": "default",
                    "namespace": "default",
                    "node_name": "laptop",
                },
            },
            "layered_runtime": {
                "layers": [{"name": "base", "static_layer": {"re2.max_program_size.error_level": 1_048_576}}],
            },
            "static_resources": {
                "clusters": [{
                    "name": "local_agent",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "ignore_health_on_host_removal": false,
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {
                                "connection_keepalive": {"interval": "30s", "timeout": "5s"},
                            }},
                        },
                    },
                    "load_assignment": {
                        "cluster_name": "local_agent",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {
                            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8502}},
                        }}]}],
                    },
                }],
                "listeners": [],
            },
            "dynamic_resources": {
                "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
                "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [{
                        "initial_metadata": [{"key": "x-consul-token", "value": ""}],
                        "envoy_grpc": {"cluster_name": "local_agent"},
                    }],
                },
            },
        })
    );
}

#[test]
fn tls_and_unix_sockets_lead_to_the_server_too() {
    let mut input = sidecar();
    input.xds.ca = Some("PEM".to_owned());
    input.xds.address = XdsAddress::Pipe("/run/meshgate.sock".to_owned());
    input.xds.token = "secret".to_owned();

    let document = bootstrap(&input);

    let cluster = &document["static_resources"]["clusters"][0];
    assert_eq!(
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"],
        json!({"pipe": {"path": "/run/meshgate.sock"}})
    );
    assert_eq!(
        cluster["transport_socket"]["typed_config"]["common_tls_context"],
        json!({
            "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
            "validation_context": {"trusted_ca": {"inline_string": "PEM"}},
        })
    );
    let services = &document["dynamic_resources"]["ads_config"]["grpc_services"];
    assert_eq!(services[0]["initial_metadata"][0]["value"], "secret");
}

fn tag_names(document: &Value) -> Vec<&str> {
    let tags = document["stats_config"]["stats_tags"].as_array().unwrap();
    tags.iter().map(|tag| tag["tag_name"].as_str().unwrap()).collect()
}

#[test]
fn tags_of_the_user_come_first_and_win() {
    let mut input = sidecar();
    input.config.stats_tags =
        vec![("zone".to_owned(), "eu-1".to_owned()), ("local_cluster".to_owned(), "mine".to_owned())];
    input.deprecated_tags = DeprecatedTags::Omit;

    let document = bootstrap(&input);

    assert_eq!(
        tag_names(&document),
        [
            "zone",
            "local_cluster",
            "consul.destination.custom_hash",
            "consul.destination.service_subset",
            "consul.destination.service",
            "consul.destination.namespace",
            "consul.destination.partition",
            "consul.destination.datacenter",
            "consul.destination.peer",
            "consul.destination.routing_type",
            "consul.destination.trust_domain",
            "consul.destination.target",
            "consul.destination.full_target",
            "consul.upstream.service",
            "consul.upstream.datacenter",
            "consul.upstream.peer",
            "consul.upstream.namespace",
            "consul.upstream.partition",
            "consul.source.service",
            "consul.source.namespace",
            "consul.source.partition",
            "consul.source.datacenter",
        ]
    );
    assert_eq!(document["stats_config"]["stats_tags"][1]["fixed_value"], "mine");
    assert_eq!(document["stats_config"]["use_all_default_tags"], true);
}

#[test]
fn older_tag_names_are_kept_unless_omitted() {
    let document = bootstrap(&sidecar());

    let older: Vec<_> = tag_names(&document)
        .into_iter()
        .filter(|name| {
            ["destination.", "upstream.", "source."].iter().all(|part| !name.contains(part)) && *name != "local_cluster"
        })
        .collect();
    assert_eq!(
        older,
        [
            "consul.custom_hash",
            "consul.service_subset",
            "consul.service",
            "consul.namespace",
            "consul.datacenter",
            "consul.routing_type",
            "consul.trust_domain",
            "consul.target",
            "consul.full_target",
        ]
    );
}

#[test]
fn what_listens_beside_the_mesh_is_routed_to_the_admin_interface() {
    let mut input = sidecar();
    input.config.prometheus_bind = Some("0.0.0.0:9102".parse().unwrap());
    input.config.stats_bind = Some("0.0.0.0:9103".parse().unwrap());
    input.ready = Some("127.0.0.1:8443".parse().unwrap());

    let document = bootstrap(&input);

    let statics = &document["static_resources"];
    let routes: Vec<_> = statics["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|listener| {
            let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
            let route = &manager["route_config"]["virtual_hosts"][0]["routes"][0];
            json!([listener["name"], listener["address"]["socket_address"]["port_value"], route])
        })
        .collect();
    assert_eq!(
        routes,
        [
            json!([
                "envoy_prometheus_metrics_listener",
                9102,
                {"match": {"path": "/metrics"}, "route": {"cluster": "self_admin", "prefix_rewrite": "/stats/prometheus"}}
            ]),
            json!([
                "envoy_metrics_listener",
                9103,
                {"match": {"prefix": "/stats"}, "route": {"cluster": "self_admin", "prefix_rewrite": "/stats"}}
            ]),
            json!([
                "envoy_ready_listener",
                8443,
                {"match": {"path": "/ready"}, "route": {"cluster": "self_admin", "prefix_rewrite": "/ready"}}
            ]),
        ]
    );
    assert_eq!(statics["clusters"][1]["name"], "self_admin");
    assert_eq!(statics["clusters"].as_array().unwrap().len(), 2);
}

#[test]
fn a_collector_is_told_the_metrics_through_the_mesh() {
    let mut input = sidecar();
    input.collector = Some("/run/mesh/a.sock".to_owned());

    let document = bootstrap(&input);

    let cluster = &document["static_resources"]["clusters"][1];
    assert_eq!(
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"],
        json!({"pipe": {"path": "/run/mesh/a.sock"}})
    );
    let sink = &document["stats_sinks"][0]["typed_config"];
    assert_eq!(sink["grpc_service"]["envoy_grpc"]["cluster_name"], cluster["name"]);
    assert_eq!(document["stats_flush_interval"], "60s");

    // Whoever else is told the metrics waits for them as usual.
    input.config.sinks = vec![StatsSink::Statsd("127.0.0.1:8125".parse().unwrap())];
    let document = bootstrap(&input);
    assert_eq!(document["stats_sinks"].as_array().unwrap().len(), 2);
    assert_eq!(document.get("stats_flush_interval"), None);
}

#[test]
fn merged_metrics_are_scraped_instead_of_the_admin_interface() {
    let mut input = sidecar();
    input.config.prometheus_bind = Some("0.0.0.0:20200".parse().unwrap());
    input.merged_metrics = Some(MergedMetrics { port: 20100, tls: None });

    let document = bootstrap(&input);

    let backend = &document["static_resources"]["clusters"][2];
    assert_eq!(backend["name"], "prometheus_backend");
    assert_eq!(
        backend["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"],
        json!({"socket_address": {"address": "127.0.0.1", "port_value": 20100}})
    );
}

#[test]
fn a_limit_of_connections_is_there_where_it_is_one() {
    let mut input = sidecar();
    assert_eq!(bootstrap(&input)["overload_manager"], Value::Null);

    input.most_connections = Some(1_880);
    input.ready = Some("127.0.0.1:9100".parse().unwrap());

    let document = bootstrap(&input);

    let monitor = &document["overload_manager"]["resource_monitors"][0];
    assert_eq!(monitor["name"], "envoy.resource_monitors.global_downstream_max_connections");
    assert_eq!(monitor["typed_config"]["max_active_downstream_connections"], 1_880);
    // It is not for those who ask how the Envoy is.
    assert_eq!(document["admin"]["ignore_global_conn_limit"], true);
    assert_eq!(document["static_resources"]["listeners"][0]["ignore_global_conn_limit"], true);
}
