use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::codec::{Format, parse};
use crate::model::entry::{ProxyDefaults, ServiceResolver};
use crate::model::{
    CatalogRegistration, CheckDefinition, CheckStatus, GatewayMode, GoDuration, OpaqueConfig, ServiceDefinition,
};

fn json<T: DeserializeOwned>(typing: Typing, text: &str) -> Result<T, Problems> {
    from_tree(&parse(text.as_bytes(), Format::Json).expect(text), typing)
}

fn strict<T: DeserializeOwned>(text: &str) -> T {
    json(Typing::Strict, text).unwrap_or_else(|problems| panic!("{text}: {problems}"))
}

fn weak<T: DeserializeOwned>(text: &str) -> T {
    json(Typing::Weak, text).unwrap_or_else(|problems| panic!("{text}: {problems}"))
}

fn hcl<T: DeserializeOwned>(text: &str) -> T {
    let tree = parse(text.as_bytes(), Format::Hcl).expect(text);
    from_tree(&tree, Typing::Weak).unwrap_or_else(|problems| panic!("{text}: {problems}"))
}

fn problems<T: DeserializeOwned + std::fmt::Debug>(typing: Typing, text: &str) -> Vec<String> {
    let Problems(problems) = json::<T>(typing, text).expect_err(text);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn keys_fit_in_any_case() {
    for text in [r#"{"name":"web","port":80}"#, r#"{"Name":"web","Port":80}"#, r#"{"NAME":"web","pORT":80}"#] {
        let service: ServiceDefinition = strict(text);

        assert_eq!((service.name.as_str(), service.port), ("web", 80), "{text}");
    }
}

#[test]
fn null_is_accepted_for_any_field() {
    let service: ServiceDefinition = strict(
        r#"{"Name":"w","Port":null,"Check":null,"Checks":null,"Connect":null,"Kind":null,"Weights":null,"Meta":null}"#,
    );

    assert_eq!(service, ServiceDefinition { name: "w".to_owned(), ..ServiceDefinition::default() });
}

#[test]
fn snake_case_means_the_same_in_strict_bodies_but_for_the_socket_path() {
    let snake: ServiceDefinition = strict(
        r#"{"name":"w","enable_tag_override":true,"tagged_addresses":{"lan":{"address":"10.0.0.1","port":1}},
            "connect":{"sidecar_service":{"proxy":{"mesh_gateway":{"mode":"local"}}}}}"#,
    );
    let camel: ServiceDefinition = strict(
        r#"{"Name":"w","EnableTagOverride":true,"TaggedAddresses":{"lan":{"Address":"10.0.0.1","Port":1}},
            "Connect":{"SidecarService":{"Proxy":{"MeshGateway":{"Mode":"local"}}}}}"#,
    );

    assert_eq!(snake, camel);
    assert_eq!(
        problems::<ServiceDefinition>(Typing::Strict, r#"{"SOCKET_path":"/x"}"#),
        ["line 1: SOCKET_path: json: unknown field \"SOCKET_path\", did you mean \"SocketPath\"?"]
    );
    assert_eq!(weak::<ServiceDefinition>(r#"{"socket_path":"/x"}"#).socket_path, "/x");
}

#[test]
fn the_name_of_the_field_wins_over_other_spellings() {
    for text in [r#"{"ScriptArgs":["a"],"args":["b"],"script_args":["c"]}"#, r#"{"args":["b"],"ScriptArgs":["a"]}"#] {
        assert_eq!(strict::<CheckDefinition>(text).script_args, ["a"], "{text}");
    }
    assert_eq!(strict::<CheckDefinition>(r#"{"args":["b"],"script_args":["c"]}"#).script_args, ["b"]);
    assert_eq!(strict::<CheckDefinition>(r#"{"TLSServerName":"a","tls_server_name":"b"}"#).tls_server_name, "a");
    assert_eq!(strict::<CheckDefinition>(r#"{"name":"a","Name":"b","name":"c"}"#).name, "b");
    assert_eq!(strict::<CheckDefinition>(r#"{"id":"a","CheckID":"b"}"#).check_id.as_str(), "b");
}

#[test]
fn strict_types_do_not_bend() {
    assert_eq!(
        problems::<ServiceDefinition>(
            Typing::Strict,
            r#"{"Name":1,"Port":"80","Tags":"a","EnableTagOverride":"true","Meta":[],"Weights":[{"Passing":1}],
                "Proxy":{"Upstreams":[{"LocalBindPort":70000},{"LocalBindPort":1.5}]}}"#
        ),
        [
            "line 1: Name: expected a string, found the number 1",
            "line 1: Port: expected a whole number from 0 to 65535, found the string \"80\"",
            "line 1: Tags: expected a list, found the string \"a\"",
            "line 1: EnableTagOverride: expected true or false, found the string \"true\"",
            "line 1: Meta: expected an object, found a list of 0",
            "line 1: Weights: expected an object, found a list",
            "line 2: Proxy.Upstreams[0].LocalBindPort: expected a whole number from 0 to 65535, found the number 70000",
            "line 2: Proxy.Upstreams[1].LocalBindPort: expected a whole number from 0 to 65535, found the number 1.5",
        ]
    );
}

#[test]
fn weak_types_bend() {
    let service: ServiceDefinition = weak(
        r#"{"Name":1,"Port":"8080","Tags":"a","EnableTagOverride":1,"Meta":[{"a":1},{"b":true}],
            "Weights":[{"Passing":"0x10"}],"Address":["10.0.0.1"],"Checks":{"TTL":"10s"},
            "Proxy":{"Upstreams":{"DestinationName":"api"},"Expose":{"Checks":"true"}}}"#,
    );

    assert_eq!((service.name.as_str(), service.port, service.tags.as_slice()), ("1", 8080, &["a".to_owned()][..]));
    assert_eq!((service.enable_tag_override, service.address.as_str()), (true, "10.0.0.1"));
    assert_eq!(service.meta, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "1".to_owned())].into());
    assert_eq!(service.weights.map(|weights| weights.passing), Some(16));
    assert_eq!(service.checks[0].ttl, Some(GoDuration::from_secs(10)));
    let proxy = service.proxy.expect("is there");
    assert_eq!((proxy.upstreams[0].destination_name.as_str(), proxy.expose.checks), ("api", true));
}

#[test]
fn weak_types_do_not_break() {
    assert_eq!(
        problems::<ServiceDefinition>(
            Typing::Weak,
            r#"{"Port":"http","EnableTagOverride":"yes","Weights":[{"Passing":1},{"Warning":1}],"Name":["a","b"]}"#
        ),
        [
            "line 1: Port: expected a whole number from 0 to 65535, found the string \"http\"",
            "line 1: EnableTagOverride: expected true or false, found the string \"yes\"",
            "line 1: Weights: expected one object, found a list of 2",
            "line 1: Name: expected a string, found a list of 2",
        ]
    );
}

#[test]
fn unknown_keys_are_reported_in_their_spelling_with_a_suggestion() {
    let text = r#"{"Bogus":1,"proxy":{"upstreams":[{"destination_nam":"api"}],"Mesh_Gatway":{}}}"#;

    assert_eq!(
        problems::<ServiceDefinition>(Typing::Strict, text),
        [
            "line 1: Bogus: json: unknown field \"Bogus\"",
            "line 1: Proxy.Mesh_Gatway: json: unknown field \"Mesh_Gatway\", did you mean \"MeshGateway\"?",
            "line 1: Proxy.Upstreams[0].destination_nam: json: unknown field \"destination_nam\", \
             did you mean \"destination_name\"?",
        ]
    );
    assert_eq!(
        problems::<ServiceDefinition>(Typing::Weak, text)[2],
        "line 1: Proxy.Upstreams[0].destination_nam: invalid config key \"destination_nam\", \
         did you mean \"destination_name\"?"
    );
}

#[test]
fn everything_is_reported_in_the_order_of_the_source() {
    let text = "{\"Nam\": 1,\n\"Port\": \"x\",\n\"Check\": {\"Interval\": \"\",\n\"Timeout\": \"1 s\",\n\"TTL\": 5},\n\
                \"Kind\": \"mesh\",\n\"Tag\": 1}";

    let lines: Vec<_> = json::<ServiceDefinition>(Typing::Strict, text).expect_err("bad").0;

    let summary: Vec<_> = lines.iter().map(|p| (p.line, p.kind, p.path.as_str())).collect();
    assert_eq!(
        summary,
        [
            (Some(1), ProblemKind::UnknownKey, "Nam"),
            (Some(2), ProblemKind::Type, "Port"),
            (Some(3), ProblemKind::Type, "Check.Interval"),
            (Some(4), ProblemKind::Type, "Check.Timeout"),
            (Some(6), ProblemKind::Type, "Kind"),
            (Some(7), ProblemKind::UnknownKey, "Tag"),
        ]
    );
    assert_eq!(
        lines[4].message,
        "unknown value \"mesh\": expected one of \"typical\", \"connect-proxy\", \"mesh-gateway\", \
         \"terminating-gateway\", \"ingress-gateway\", \"api-gateway\""
    );
}

#[test]
fn the_number_of_reports_is_bounded() {
    let fields: Vec<_> = (0..1000).map(|n| format!("\"k{n}\": {n}")).collect();
    let tags = vec!["1"; 1000].join(",");
    let text = format!("{{\"Tags\": [{tags}], {}}}", fields.join(","));

    assert!(problems::<ServiceDefinition>(Typing::Strict, &text).len() <= MAX_PROBLEMS + 1);
}

#[test]
fn large_texts_are_not_decoded_once_per_problem() {
    let (numbers, paths) = (vec!["1"; 700_000].join(","), [r#"{"ListenerPort":"x"}"#; 9].join(","));
    let text = format!("{{\"Config\":{{\"numbers\":[{numbers}]}},\"Expose\":{{\"Paths\":[{paths}]}}}}");

    let found = json::<ProxyDefaults>(Typing::Weak, &text).expect_err("bad").0;

    let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["Expose.Paths[0].ListenerPort", "Expose.Paths[1].ListenerPort"]);
}

#[test]
fn a_key_of_any_length_is_repeated_in_short() {
    let text = format!("{{\"{}\": 1}}", "x".repeat(1_000_000));
    let shown = "x".repeat(60) + "\u{2026}";

    assert_eq!(
        problems::<ServiceDefinition>(Typing::Strict, &text),
        [format!("line 1: {shown}: json: unknown field \"{shown}\"")]
    );
}

#[test]
fn durations_are_texts_or_nanoseconds() {
    let check: CheckDefinition =
        strict(r#"{"Interval":"10s","Timeout":1500000000,"DeregisterCriticalServiceAfter":"-1m"}"#);

    assert_eq!(check.interval, Some(GoDuration::from_secs(10)));
    assert_eq!(check.timeout, Some(GoDuration::from_millis(1500)));
    assert_eq!(check.deregister_critical_service_after, Some(GoDuration::from_secs(-60)));
}

#[test]
fn some_objects_tolerate_unknown_keys_in_strict_bodies() {
    let service: ServiceDefinition = strict(r#"{"Name":"w","Connect":{"Proxy":{},"Native":true}}"#);
    assert!(service.connect.expect("is there").native);
    let registration: CatalogRegistration = strict(
        r#"{"Node":"n","Address":"10.0.0.1","Check":{"Name":"c","Status":"","ExposedPort":0,"CreateIndex":1,
            "Definition":{"Interval":"0s","IntervalDuration":0}},"Service":{"Service":"w","PeerName":""}}"#,
    );
    assert_eq!(registration.check.map(|check| check.status), Some(CheckStatus::Critical));

    assert_eq!(problems::<ServiceDefinition>(Typing::Weak, r#"{"Connect":{"Proxy":{}}}"#).len(), 1);
    assert_eq!(problems::<ServiceDefinition>(Typing::Strict, r#"{"Check":{"IntervalDuration":0}}"#).len(), 1);
    assert_eq!(problems::<CatalogRegistration>(Typing::Strict, r#"{"Service":{"Bogus":"west"}}"#).len(), 1);
}

#[test]
fn opaque_maps_keep_their_keys_and_unwrap_lists_of_one_object() {
    let text =
        r#"{"Config":[{"Some_Key":[{"inner_Key":[{"a":null}]}],"list":[1],"two":[{"a":1},{"b":2}],"empty":[]}]}"#;

    let entry: ProxyDefaults = weak(text);

    let expected =
        json!({"Some_Key": {"inner_Key": {"a": null}}, "list": [1], "two": [{"a": 1}, {"b": 2}], "empty": []});
    assert_eq!(serde_json::Value::from(entry.config), expected);
    let as_written = json!({"x": [{"a": 1}]});
    let service: ServiceDefinition = strict(&json!({"Proxy": {"Config": as_written}}).to_string());
    assert_eq!(serde_json::Value::from(service.proxy.expect("is there").config), as_written);
}

#[test]
fn labelled_blocks_are_entries_of_a_map() {
    let entry: ServiceResolver =
        hcl("Name = \"api\"\nsubsets \"v1\" { filter = \"a\" }\nsubsets \"v2\" { only_passing = true }\n\
         failover \"*\" { datacenters = \"dc2\" }");

    assert_eq!(entry.subsets.keys().collect::<Vec<_>>(), ["v1", "v2"]);
    assert_eq!((entry.subsets["v1"].filter.as_str(), entry.subsets["v2"].only_passing), ("a", true));
    assert_eq!(entry.failover["*"].datacenters.iter().map(|dc| dc.as_str()).collect::<Vec<_>>(), ["dc2"]);
}

#[test]
fn the_documented_gateway_registration_is_understood() {
    let service: ServiceDefinition = hcl(r#"
        kind = "mesh-gateway"
        name = "mesh-gateway"
        port = 8443
        tagged_addresses {
          lan { address = "10.1.2.3"     port = 8443 }
          wan { address = "203.0.113.9"  port = 443 }
        }
        proxy { config { envoy_gateway_bind_tagged_addresses = true envoy_gateway_no_default_bind = true } }
        check { name = "mesh gateway tcp" tcp = "10.1.2.3:8443" interval = "10s" }
    "#);

    assert_eq!(service.tagged_addresses["wan"].port, 443);
    let config: OpaqueConfig = service.proxy.expect("is there").config;
    assert_eq!(config["envoy_gateway_bind_tagged_addresses"], json!(true));
    assert_eq!(service.check.map(|check| check.tcp), Some("10.1.2.3:8443".to_owned()));
}

#[test]
fn a_wrong_mode_is_left_out_and_the_rest_still_judged() {
    let text = r#"{"MeshGateway":{"Mode":"Local"},"Expose":{"Paths":[{"ListenerPort":"x"}]}}"#;

    assert_eq!(
        problems::<ProxyDefaults>(Typing::Weak, text),
        [
            "line 1: MeshGateway.Mode: unknown mesh gateway mode \"Local\": expected \"none\", \"local\" or \"remote\" \
             (lower case)",
            "line 1: Expose.Paths[0].ListenerPort: expected a whole number from 0 to 65535, found the string \"x\"",
        ]
    );
    assert_eq!(
        weak::<ProxyDefaults>(r#"{"MeshGateway":{"Mode":"remote"}}"#).mesh_gateway.mode,
        Some(GatewayMode::Remote)
    );
}

#[test]
fn a_map_that_is_none_hides_no_other_problem() {
    let text = r#"{"Meta":[{"a":"b"},"c"],"Expose":{"Paths":[{"ListenerPort":"x"}]}}"#;

    let paths: Vec<_> =
        json::<ProxyDefaults>(Typing::Weak, text).expect_err("bad").0.into_iter().map(|p| p.path).collect();

    assert_eq!(paths, ["Meta", "Expose.Paths[0].ListenerPort"]);
}

#[test]
fn numbers_of_every_width_are_read() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Fields {
        small: i8,
        large: u64,
        ratio: f64,
        widths: Vec<i64>,
    }

    let fields: Fields = weak(r#"{"small":"-128","large":18446744073709551615,"ratio":"0.5","widths":[-1,"010",2.0]}"#);

    assert_eq!(fields, Fields { small: -128, large: u64::MAX, ratio: 0.5, widths: vec![-1, 8, 2] });
}
