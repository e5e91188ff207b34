use serde_json::json;

use super::*;

fn row() -> Value {
    json!({
        "Node": {"Node": "n1", "Meta": {"rack": "7"}},
        "Service": {
            "ID": "web-1", "Service": "web", "Port": 8080, "EnableTagOverride": false, "Tags": ["v1", "canary"],
            "Meta": {"env": "prod", "a-b": "x", "empty": ""}, "SocketPath": "", "PeerName": null,
            "TaggedAddresses": {"wan": {"Address": "198.18.0.1", "Port": 443}},
            "Proxy": {"Upstreams": [{"DestinationName": "db"}, {"DestinationName": "api"}]},
        },
        "Checks": [{"Status": "passing", "CheckID": "a"}, {"Status": "warning", "CheckID": "b"}],
    })
}

#[test]
fn expressions_select_rows() {
    let row = row();
    for (text, fits) in [
        ("Service.Service == web", true),
        ("Service.Service==\"web\"", true),
        ("Service.Service != `web`", false),
        ("Service.Port == 8080", true),
        ("Service.Port != 8080", false),
        ("Service.EnableTagOverride == false", true),
        ("Service.EnableTagOverride == t", false),
        ("\"v1\" in Service.Tags", true),
        ("v2 in Service.Tags", false),
        ("v2 not in Service.Tags", true),
        ("Service.Tags contains canary", true),
        ("Service.Tags not contains canary", false),
        ("Service.Tags is empty", false),
        ("Service.Tags is not empty", true),
        ("\"we\" in Service.Service", true),
        ("Service.Service contains eb", true),
        ("Service.Service matches `^w.b$`", true),
        ("Service.Service not matches \"^x\"", true),
        ("Service.Meta.env == prod", true),
        ("Service.Meta[\"a-b\"] == x", true),
        ("env in Service.Meta", true),
        ("Service.Meta is not empty", true),
        ("Service.TaggedAddresses.wan.Port == 443", true),
        ("Node.Meta.rack == 7", true),
        // A list of structs: any element, negated tests included.
        ("Checks.Status == warning", true),
        ("Checks.Status == critical", false),
        ("Checks.Status != passing", true),
        ("Service.Proxy.Upstreams.DestinationName == api", true),
        // Connectives.
        ("Service.Port == 1 or Service.Service == web", true),
        ("Service.Service == web and Service.Port == 1", false),
        ("Service.Port == 1 and Service.Port == 2 or Service.Service == web", true),
        ("Service.Port == 1 and (Service.Port == 2 or Service.Service == web)", false),
        ("not Service.Port == 1", true),
        ("not not ( Service.Port == 1 )", false),
        (" \tService.Service == web\n", true),
    ] {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&row), Ok(fits), "{text}");
    }
}

#[test]
fn missing_keys_of_maps_equal_nothing() {
    let (with_map, without) = (row(), json!({"Service": {}}));
    for (text, fits) in [
        ("Service.Meta.nope == \"\"", false),
        ("Service.Meta.nope != x", true),
        ("x in Service.Meta.nope", false),
        ("x not in Service.Meta.nope", true),
        ("Service.Meta.nope is empty", true),
        ("Service.Meta.nope is not empty", false),
        ("Service.Meta.nope matches `.*`", false),
        ("nope in Service.Meta", false),
        ("Service.TaggedAddresses.lan.Port == 0", false),
    ] {
        let filter = Filter::parse(text).expect(text);
        assert_eq!((filter.matches(&with_map), filter.matches(&without)), (Ok(fits), Ok(fits)), "{text}");
    }
}

#[test]
fn fields_that_a_row_leaves_out_are_empty() {
    let row = row();
    for (text, fits) in [
        ("Service.Kind == \"\"", true),
        ("Service.Kind == \"mesh-gateway\"", false),
        ("Service.Kind != \"mesh-gateway\"", true),
        ("Service.PeerName == \"\"", true),
        ("Service.PeerName is empty", true),
        ("Service.Kind matches `gateway`", false),
        ("Service.Connect.Native == true", false),
        ("Service.Connect.Native == false", true),
        ("Service.Proxy.LocalServicePort == 0", true),
        ("x in Service.Ports", false),
    ] {
        assert_eq!(Filter::parse(text).expect(text).matches(&row), Ok(fits), "{text}");
    }
}

#[test]
fn syntax_errors_tell_where_and_what() {
    for (text, message) in [
        ("@@", "column 1: expected a selector or a value"),
        ("", "column 1: expected a selector or a value"),
        ("Service.Port", "column 13: expected an operator: ==, !=, is empty, matches, contains or in"),
        ("Port = 1", "column 6: expected an operator: ==, !=, is empty, matches, contains or in"),
        ("Port ==", "column 8: expected a value"),
        ("Port == 1 AND ID == x", "column 11: expected and, or, or the end"),
        ("Port == 1 and", "column 14: expected a blank"),
        ("Port == 1 and ", "column 15: expected a selector or a value"),
        ("(Port == 1", "column 11: expected and, or, or )"),
        ("Tags is full", "column 9: expected is empty or is not empty"),
        ("ID matches `(`", "column 12: expected a regular expression"),
        ("ID == \"x", "column 9: expected a closed text in quotes"),
        ("\"x\" Tags", "column 4: expected in or not in behind the value"),
        ("x in ", "column 6: expected a selector"),
        ("Meta. == x", "column 6: expected a name"),
        ("Meta[x] == x", "column 6: expected a closed text in quotes"),
        ("ID == web-1", "column 10: expected and, or, or the end"),
    ] {
        let error = Filter::parse(text).expect_err(text).to_string();
        assert_eq!(error, format!("syntax error at {message}"), "{text}");
    }
}

#[test]
fn selectors_must_name_fields() {
    for (text, message) in [
        ("Bogus == 1", "selector \"Bogus\" is not valid: Bogus is no field"),
        ("service == x", "selector \"service\" is not valid: service is no field"),
        ("ID == x or Meta.a.Bogus == 1", "selector \"Meta.a.Bogus\" is not valid: Bogus is no field"),
        ("Proxy.Config is empty", "selector \"Proxy.Config\" is not valid: Config cannot be filtered on"),
        ("CreateIndex == 1", "selector \"CreateIndex\" is not valid: CreateIndex cannot be filtered on"),
    ] {
        assert_eq!(Filter::parse(text).expect_err(text).to_string(), message);
    }
    assert_eq!(
        Filter::parse("Meta.version == v1").expect("valid").over(&["Node", "Service"]).expect_err("root").to_string(),
        "selector \"Meta.version\" is not valid: it must start with Node, Service"
    );
}

#[test]
fn operators_must_go_with_the_field() {
    for (text, message) in [
        ("Service.Port is empty", "is empty cannot be used with \"Service.Port\", which is a number"),
        ("Service.Port == http", "== \"http\" cannot be used with \"Service.Port\", which is a number"),
        (
            "Service.EnableTagOverride != maybe",
            "!= \"maybe\" cannot be used with \"Service.EnableTagOverride\", which is true or false",
        ),
        ("Service.Tags == v1", "== \"v1\" cannot be used with \"Service.Tags\", which is a list"),
        ("x in Checks", "contains cannot be used with \"Checks\", which is a list of objects"),
        ("Service.Proxy is empty", "is empty cannot be used with \"Service.Proxy\", which is an object"),
        ("Service.Service.Name == x", "selector \"Service.Service.Name\" is not valid: Service.Service has no fields"),
    ] {
        assert_eq!(Filter::parse(text).expect(text).matches(&row()).expect_err(text).to_string(), message);
    }
}

#[test]
fn size_and_depth_are_limited() {
    let nested = |depth: usize| format!("{}Port == 1{}", "(".repeat(depth), ")".repeat(depth));

    assert!(Filter::parse(&nested(50)).is_ok());
    for text in
        [nested(51), "not ".repeat(1000) + "Port == 1", "x".repeat(10_000), "ID matches `(a{1000}){1000}`".into()]
    {
        assert!(Filter::parse(&text).is_err(), "{:.20}", text);
    }
}
