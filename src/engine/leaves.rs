//! The leaves of a resource, where items of lists are called by what names them: an item that goes moves no other one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::envoy::change::labels;
use crate::model::FieldPath;

/// The leaves of a resource: values that hold no others, empty objects and lists, and lists of plain values as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Leaves {
    /// Each with its path, in the order of the resource.
    pub values: Vec<(String, Value)>,
    /// The lists whose items have names, with those names in order.
    orders: BTreeMap<String, Vec<String>>,
}

impl Leaves {
    /// Those of a resource.
    pub fn of(resource: &Value) -> Self {
        let mut leaves = Self::default();
        leaves.collect("", &FieldPath::default(), resource);
        leaves
    }

    fn collect(&mut self, field: &str, path: &FieldPath, value: &Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    self.collect(name, &path.key(name), value);
                }
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                let labels = labels(field, items);
                for (at, item) in items.iter().enumerate() {
                    let label = labels.as_ref().and_then(|labels| labels.get(at)).map_or("", String::as_str);
                    self.collect(field, &path.at(at, label), item);
                }
                self.orders.extend(labels.map(|labels| (path.to_string(), labels)));
            }
            Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.values.push((path.to_string(), value.clone()))
            }
        }
    }

    /// The leaves that differ, with what they say in `newer`; null if they are gone. Where items that are in both stand in
    /// another order, `list (order)` has their names in the newer one.
    pub fn differences(&self, newer: &Self) -> BTreeMap<String, Value> {
        let by_path = |leaves: &'_ Self| -> BTreeMap<String, Value> { leaves.values.iter().cloned().collect() };
        let (before, after) = (by_path(self), by_path(newer));
        let gone = before.keys().filter(|path| !after.contains_key(*path)).map(|path| (path.clone(), Value::Null));
        let changed = after.iter().filter(|(path, value)| before.get(*path) != Some(*value));
        let changed = changed.map(|(path, value)| (path.clone(), value.clone()));
        let orders = self.orders.iter().filter_map(|(list, before)| {
            let after = newer.orders.get(list)?;
            let (old, new) = (common(before, after), common(after, before));
            (old != new).then(|| (format!("{list} (order)"), Value::from(new)))
        });
        gone.chain(changed).chain(orders).collect()
    }
}

/// The names that are among the others too, in their order.
fn common<'n>(names: &'n [String], others: &[String]) -> Vec<&'n str> {
    let others: BTreeSet<&str> = others.iter().map(String::as_str).collect();
    names.iter().map(String::as_str).filter(|name| others.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(older: &Value, newer: &Value) -> Vec<(String, Value)> {
        Leaves::of(older).differences(&Leaves::of(newer)).into_iter().collect()
    }

    #[test]
    fn leaves_are_told_in_order_with_what_is_empty() {
        let value =
            json!({ "a": { "b.c": 1 }, "filters": [{ "name": "x", "on": {} }], "list": ["p", "q"], "none": [] });

        let expected = [
            ("a[\"b.c\"]", json!(1)),
            ("filters[x].name", json!("x")),
            ("filters[x].on", json!({})),
            ("list", json!(["p", "q"])),
            ("none", json!([])),
        ];
        assert_eq!(Leaves::of(&value).values, expected.map(|(path, value)| (path.to_owned(), value)));
    }

    #[test]
    fn an_endpoint_that_goes_moves_no_other_one() {
        let endpoint = |host: &str| {
            let address = json!({ "socketAddress": { "address": host, "portValue": 80 } });
            json!({ "endpoint": { "address": address }, "healthStatus": "HEALTHY" })
        };
        let of = |hosts: &[&str]| json!({ "endpoints": [{ "lbEndpoints": hosts.iter().map(|host| endpoint(host)).collect::<Vec<_>>() }] });

        let found = told(&of(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), &of(&["10.0.0.1", "10.0.0.3"]));

        let at = "endpoints[priority 0].lbEndpoints[10.0.0.2:80]";
        let gone =
            ["endpoint.address.socketAddress.address", "endpoint.address.socketAddress.portValue", "healthStatus"];
        assert_eq!(found, gone.map(|leaf| (format!("{at}.{leaf}"), Value::Null)));
    }

    #[test]
    fn another_order_is_a_difference_of_its_own() {
        let of =
            |names: &[&str]| json!({ "filters": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() });

        assert_eq!(
            told(&of(&["a", "b", "c"]), &of(&["b", "a"])),
            [("filters (order)".to_owned(), json!(["b", "a"])), ("filters[c].name".to_owned(), Value::Null)]
        );
    }

    #[test]
    fn items_without_names_are_told_by_their_places() {
        let (older, newer) =
            (json!({ "rules": [{ "a": 1 }, { "a": 2 }] }), json!({ "rules": [{ "a": 1 }, { "a": 3 }] }));

        assert_eq!(told(&older, &newer), [("rules[1].a".to_owned(), json!(3))]);
    }
}
