use super::*;

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

fn given(document: impl ToString) -> Given {
    Given { document: document.to_string().into(), origin: "envoy_cluster_json of web".into() }
}

/// What is wrong with a cluster.
fn refused(document: impl ToString) -> String {
    cluster(&given(document)).expect_err("it is wrong").to_string()
}

#[test]
fn both_spellings_of_keys_are_read_and_nested_messages_are_too() {
    let document = serde_json::json!({
        "@type": CLUSTER, "name": "db", "connect_timeout": "15s", "commonLbConfig": {"healthy_panic_threshold": {}},
        "transportSocket": {"name": "raw", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        }},
    });

    let cluster = cluster(&given(document)).expect("it is a cluster");

    assert_eq!((cluster.name.as_str(), cluster.connect_timeout.map(|t| t.seconds)), ("db", Some(15)));
    assert!(cluster.common_lb_config.is_some_and(|config| config.healthy_panic_threshold.is_some()));
    assert!(cluster.transport_socket.is_some_and(|socket| socket.config_type.is_some()));
}

#[test]
fn what_is_no_such_message_is_refused_with_the_option_that_holds_it() {
    let start = "envoy_cluster_json of web cannot be used: ";
    let table = [
        ("nonsense".to_owned(), "invalid JSON: expected ident at line 1 column 2".to_owned()),
        ("[]".to_owned(), "it must be a JSON object".to_owned()),
        ("{}".to_owned(), format!("the key \"@type\" is missing: it must be {CLUSTER:?}")),
        (format!("{{\"@type\": {LISTENER:?}}}"), format!("@type: must be {CLUSTER:?}, found {LISTENER:?}")),
        (format!("{{\"@type\": {CLUSTER:?}}}"), "name: must not be empty".to_owned()),
    ];
    for (document, expected) in table {
        assert_eq!(refused(&document), format!("{start}{expected}"), "{document}");
    }
}

#[test]
fn every_wrong_value_is_named_with_its_path() {
    let document = serde_json::json!({
        "@type": CLUSTER, "name": "db", "connectTimeout": "soon", "typo": 1,
        "lb_policy": "FASTEST",
        "loadAssignment": {"endpoints": [{"lbEndpoints": [
            {"loadBalancingWeight": 1},
            {"endpoint": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": -1}}}},
        ]}]},
        "typedExtensionProtocolOptions": {"a": {"name": "x"}},
        "transportSocket": {"typedConfig": {"@type": "type.googleapis.com/envoy.Unknown"}},
    });

    let error = cluster(&given(document)).expect_err("it is wrong");

    let paths: Vec<&str> = error.problems.iter().filter_map(|problem| problem.split(": ").next()).collect();
    assert_eq!(
        paths,
        [
            "connectTimeout",
            "lb_policy",
            "loadAssignment.endpoints[0].lbEndpoints[1].endpoint.address.socketAddress.portValue",
            "transportSocket.typedConfig.@type",
            "typedExtensionProtocolOptions.a.@type",
            "typo",
        ]
    );
}

#[test]
fn the_other_messages_are_read_in_the_same_way() {
    let tracing_url = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
                       HttpConnectionManager.Tracing";
    let tracing = tracing(&given(serde_json::json!({"@type": tracing_url, "randomSampling": {"value": 42.5}})));

    assert_eq!(tracing.expect("it is one").random_sampling.map(|percent| percent.value), Some(42.5));
    assert!(listener(&given(serde_json::json!({"@type": LISTENER, "name": "a"}))).is_ok());
}

#[test]
fn documents_of_any_depth_are_read_or_refused() {
    let nested = |levels: usize, innermost: &str, level: &dyn Fn(&str) -> String| {
        (0..levels).fold(innermost.to_owned(), |inner, _| level(&inner))
    };
    let structure = |levels| {
        let fields = nested(levels, "1", &|inner| format!("{{\"a\":{inner}}}"));
        format!("{{\"@type\":{CLUSTER:?},\"name\":\"db\",\"metadata\":{{\"filterMetadata\":{{\"x\":{fields}}}}}}}")
    };
    let socket = |levels| {
        let any = "type.googleapis.com/envoy.extensions.transport_sockets.tap.v3.Tap";
        let leaf = "{\"name\":\"raw\"}";
        let sockets = nested(levels, leaf, &|inner| {
            format!("{{\"name\":\"tap\",\"typedConfig\":{{\"@type\":{any:?},\"transportSocket\":{inner}}}}}")
        });
        format!("{{\"@type\":{CLUSTER:?},\"name\":\"db\",\"transportSocket\":{sockets}}}")
    };
    for (levels, accepted) in [(20, true), (60, false), (120, false), (2_000, false)] {
        assert_eq!(cluster(&given(structure(levels))).is_ok(), accepted, "{levels} levels of a structure");
    }
    for (levels, accepted) in [(10, true), (60, true), (70, false), (2_000, false)] {
        let read = cluster(&given(socket(levels)));
        assert_eq!(read.is_ok(), accepted, "{levels} sockets");
        if let Ok(cluster) = read {
            assert!(crate::envoy::canonical::encode(&cluster).len() > levels * 80);
        }
    }
}
