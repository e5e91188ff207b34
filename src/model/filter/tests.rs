use serde_json::json;

use super::*;

fn row() -> Value {
    json!({
        "Service": "web", "Port": 80, "EnableTagOverride": false, "Tags": ["v1", "eu"],
        "Meta": {"env": "prod", "a-b": "x"},
        "Checks": [{"Status": "passing"}, {"Status": "warning"}],
        "Node": {"Node": "n1", "Meta": {}},
    })
}

#[test]
fn operators() {
    let selected = [
        "Service == web",
        "Service==\"web\"",
        "Service != db",
        "Port == 80",
        "Kind == \"\"",
        "EnableTagOverride == false",
        "v1 in Tags",
        "\"v1\" in Tags",
        "v2 not in Tags",
        "Tags contains eu",
        "Service contains e",
        "Service matches \"^w.b$\"",
        "Service not matches `^d`",
        "Meta.env == prod",
        "Meta[\"a-b\"] == x",
        "env in Meta",
        "Meta.other != prod",
        "Meta.other is empty",
        "Node.Meta is empty",
        "Tags is not empty",
        "Checks.Status == warning",
        "Checks.Status != passing",
        "not Service == db and (Port == 81 or Port == 80)",
        "Service == db or Service == web and Port == 80",
    ];
    for text in selected {
        assert!(Filter::parse(text).unwrap().matches(&row()), "{text}");
    }
}

#[test]
fn what_is_not_selected() {
    let dropped = [
        "Service == Web",
        "Meta.other == \"\"",
        "other in Meta",
        "Meta.other is not empty",
        "Checks.Status == critical",
        "Kind == connect-proxy",
        "not (Service == web)",
        "Service == db or Service == web and Port == 81",
    ];
    for text in dropped {
        assert!(!Filter::parse(text).unwrap().matches(&row()), "{text}");
    }
}

#[test]
fn errors_name_the_position_and_what_was_expected() {
    let table = [
        ("", "at position 1: expected a selector, found the end"),
        ("@@", "at position 1: '@' has no meaning here"),
        ("Service", "at position 8: expected an operator (==, !=, in, contains, matches, is empty), found the end"),
        ("Service == ", "at position 12: expected a value, found the end"),
        ("(Service == a", "at position 14: expected \")\", found the end"),
        ("Service == a b", "at position 14: expected \"and\", \"or\" or the end, found \"b\""),
        ("Service is full", "at position 12: expected \"empty\", found \"full\""),
        ("\"a", "at position 1: the text that starts here has no closing \""),
    ];
    for (text, message) in table {
        assert_eq!(Filter::parse(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}Service == a{}", "(".repeat(10_000), ")".repeat(10_000));

    assert!(Filter::parse(&deep).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}") {
        if let Ok(filter) = Filter::parse(&text) {
            filter.matches(&row());
        }
    }
}
