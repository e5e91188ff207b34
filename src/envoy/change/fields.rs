//! Which fields of two resources differ. Items of lists are told apart by what names them, so that one item more is one
//! difference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Where it is, such as `filterChains[api].filters[envoy.filters.network.rbac]`.
    pub path: String,
    /// What it was; absent if it was not there.
    pub old: Option<Value>,
    /// What it is; absent if it is gone.
    pub new: Option<Value>,
}

/// The fields in which two JSON values differ, in the order of the names.
pub fn differing(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare("", "", (Some(old), Some(new)), &mut found);
    found
}

fn compare(field: &str, path: &str, (old, new): (Option<&Value>, Option<&Value>), found: &mut Vec<FieldChange>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(name, &path, (before.get(name), after.get(name)), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => compare_lists(field, path, (before, after), found),
        _ => found.push(FieldChange { path: path.to_owned(), old: old.cloned(), new: new.cloned() }),
    }
}

fn compare_lists(field: &str, path: &str, (old, new): (&[Value], &[Value]), found: &mut Vec<FieldChange>) {
    let (Some(before), Some(after)) = (labels(field, old), labels(field, new)) else {
        if old.iter().chain(new).any(Value::is_object) {
            for at in 0..old.len().max(new.len()) {
                compare(field, &format!("{path}[{at}]"), (old.get(at), new.get(at)), found);
            }
        } else {
            let list = |items: &[Value]| Some(Value::from(items.to_vec()));
            found.push(FieldChange { path: path.to_owned(), old: list(old), new: list(new) });
        }
        return;
    };
    let (was, is) = (by_label(&before, old), by_label(&after, new));
    for label in was.keys().chain(is.keys()).copied().collect::<BTreeSet<_>>() {
        compare(field, &format!("{path}[{label}]"), (was.get(label).copied(), is.get(label).copied()), found);
    }
    let common = |labels: &[String], others: &BTreeMap<&str, &Value>| -> Vec<Value> {
        let common = labels.iter().filter(|label| others.contains_key(label.as_str()));
        common.map(|label| Value::from(label.as_str())).collect()
    };
    let (old_order, new_order) = (common(&before, &is), common(&after, &was));
    if old_order != new_order {
        let (old, new) = (Some(old_order.into()), Some(new_order.into()));
        found.push(FieldChange { path: format!("{path} (order)"), old, new });
    }
}

fn by_label<'i>(labels: &'i [String], items: &'i [Value]) -> BTreeMap<&'i str, &'i Value> {
    labels.iter().map(String::as_str).zip(items).collect()
}

/// What names the items of a list; `None` unless each has a name of its own.
pub fn labels(field: &str, items: &[Value]) -> Option<Vec<String>> {
    let labels: Vec<_> = items.iter().map(|item| label(field, item)).collect::<Option<_>>()?;
    let distinct = labels.iter().collect::<BTreeSet<_>>().len();
    (distinct == labels.len()).then_some(labels)
}

fn label(field: &str, item: &Value) -> Option<String> {
    match field {
        "filterChains" => Some(chain_label(item)),
        "lbEndpoints" => address(item.pointer("/endpoint/address")?),
        "endpoints" => Some(format!("priority {}", item.get("priority").and_then(Value::as_u64).unwrap_or_default())),
        "routes" => Some(named(item).unwrap_or_else(|| item.get("match").map(Value::to_string).unwrap_or_default())),
        _ => named(item),
    }
}

fn named(item: &Value) -> Option<String> {
    item.get("name").and_then(Value::as_str).map(str::to_owned)
}

fn address(address: &Value) -> Option<String> {
    let socket = address.get("socketAddress");
    let in_socket = socket.and_then(|it| Some(format!("{}:{}", it.get("address")?.as_str()?, it.get("portValue")?)));
    in_socket.or_else(|| address.pointer("/pipe/path")?.as_str().map(str::to_owned))
}

/// What a filter chain matches, for people: the server names, or all that it says, or `*` if it takes the rest.
pub(super) fn chain_label(chain: &Value) -> String {
    let Some(matching) = chain.get("filterChainMatch") else { return "*".to_owned() };
    let only_names =
        matching.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.get("serverNames"));
    let names = only_names.and_then(Value::as_array).map(|names| names.iter().filter_map(Value::as_str));
    names.map_or_else(|| matching.to_string(), |names| names.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(old: &Value, new: &Value) -> Vec<String> {
        let side = |value: Option<Value>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let told = |change: FieldChange| format!("{}: {} -> {}", change.path, side(change.old), side(change.new));
        differing(old, new).into_iter().map(told).collect()
    }

    #[test]
    fn fields_are_told_by_their_paths() {
        let old = json!({"name": "a", "connectTimeout": "5s", "gone": 1, "same": {"a": [1, 2]}});
        let new = json!({"name": "a", "connectTimeout": "7s", "new": {"b": 2}, "same": {"a": [1, 3]}});

        let expected =
            ["connectTimeout: \"5s\" -> \"7s\"", "gone: 1 -> -", "new: - -> {\"b\":2}", "same.a: [1,2] -> [1,3]"];
        assert_eq!(told(&old, &new), expected);
        assert_eq!(told(&old, &old), Vec::<String>::new());
    }

    #[test]
    fn items_of_lists_are_told_by_what_names_them() {
        let endpoint = |port: u16, health: &str| {
            let address = json!({"socketAddress": {"address": "10.0.0.1", "portValue": port}});
            json!({"endpoint": {"address": address}, "healthStatus": health})
        };
        let of = |endpoints: Value| json!({"endpoints": [{"lbEndpoints": endpoints}]});
        let old = of(json!([endpoint(1, "HEALTHY"), endpoint(2, "HEALTHY")]));
        let new = of(json!([endpoint(0, "HEALTHY"), endpoint(2, "UNHEALTHY")]));

        let found = told(&old, &new);
        assert_eq!(found.len(), 3, "{found:?}");
        let at = "endpoints[priority 0].lbEndpoints";
        assert!(found[0].starts_with(&format!("{at}[10.0.0.1:0]: - -> ")), "{found:?}");
        assert!(found[1].starts_with(&format!("{at}[10.0.0.1:1]: ")) && found[1].ends_with("-> -"), "{found:?}");
        assert_eq!(found[2], format!("{at}[10.0.0.1:2].healthStatus: \"HEALTHY\" -> \"UNHEALTHY\""));
    }

    #[test]
    fn another_order_is_a_difference() {
        let of = |names: [&str; 2]| json!({"filters": names.map(|name| json!({"name": name}))});

        assert_eq!(told(&of(["a", "b"]), &of(["b", "a"])), ["filters (order): [\"a\",\"b\"] -> [\"b\",\"a\"]"]);
    }

    #[test]
    fn items_without_names_are_told_by_their_places() {
        let old = json!({"rules": [{"a": 1}, {"a": 2}]});

        assert_eq!(told(&old, &json!({"rules": [{"a": 1}, {"a": 3}]})), ["rules[1].a: 2 -> 3"]);
    }
}
