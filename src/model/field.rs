//! Fields of rows by their paths, so that an answer can name one, and be held against the row without it.

use std::fmt;

use serde_json::Value;

/// Keys by which elements of lists are called in place of their positions.
const NAMES: [&str; 5] = ["DestinationName", "Name", "Service", "CheckID", "PeerName"];

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A field of an object.
    Key(String),
    /// An element of a list, with the name that it has, if it has one.
    At(usize, String),
}

/// A field of a row, as the row is written in JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// The path of these keys, one inside of the other.
    pub fn of<const N: usize>(keys: [&str; N]) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    /// The field with this key inside of this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// An element of this list, which is called `name`; an empty name is none.
    #[must_use]
    pub fn at(&self, position: usize, name: &str) -> Self {
        self.then(Step::At(position, name.to_owned()))
    }

    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// What the field holds.
    pub fn get<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::At(position, _) => value.get(position),
        })
    }

    /// Puts something else into the field. False if there is no such field.
    pub fn put(&self, value: &mut Value, newer: Value) -> bool {
        let found = self.0.iter().try_fold(value, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::At(position, _) => value.get_mut(position),
        });
        found.map(|field| *field = newer).is_some()
    }

    /// Says something in a field that is not there, inside of objects that need not be there either. False if it is there,
    /// or stands in something that is no object.
    pub fn insert(&self, value: &mut Value, newer: Value) -> bool {
        let Some((Step::Key(last), before)) = self.0.split_last() else { return false };
        let holder = before.iter().try_fold(value, |value, step| match step {
            Step::Key(key) => {
                Some(value.as_object_mut()?.entry(key.as_str()).or_insert_with(|| Value::Object(Default::default())))
            }
            Step::At(position, _) => value.get_mut(position),
        });
        let Some(fields) = holder.and_then(Value::as_object_mut) else { return false };
        if fields.contains_key(last) {
            return false;
        }
        fields.insert(last.clone(), newer);
        true
    }

    /// Takes the field out. False if there is no such field.
    pub fn remove(&self, value: &mut Value) -> bool {
        let Some((last, before)) = self.0.split_last() else { return false };
        let holder = before.iter().try_fold(value, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::At(position, _) => value.get_mut(position),
        });
        match (holder, last) {
            (Some(Value::Object(fields)), Step::Key(key)) => fields.remove(key).is_some(),
            (Some(Value::Array(items)), Step::At(position, _)) if *position < items.len() => {
                items.remove(*position);
                true
            }
            _ => false,
        }
    }

    /// Every field of a value that holds no others, and every element of its lists, outer ones first.
    pub fn all(value: &Value) -> Vec<Self> {
        let mut found = Vec::new();
        Self::default().collect(value, &mut found);
        found
    }

    fn collect(&self, value: &Value, found: &mut Vec<Self>) {
        match value {
            Value::Object(fields) if fields.is_empty() => found.extend((!self.0.is_empty()).then(|| self.clone())),
            Value::Array(items) if items.is_empty() => found.push(self.clone()),
            Value::Object(fields) => {
                for (key, field) in fields {
                    self.key(key).collect(field, found);
                }
            }
            Value::Array(items) => {
                for (position, item) in items.iter().enumerate() {
                    let element = self.at(position, name_of(item));
                    let holds_others = match item {
                        Value::Object(fields) => !fields.is_empty(),
                        Value::Array(items) => !items.is_empty(),
                        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
                    };
                    if holds_others {
                        found.push(element.clone());
                    }
                    element.collect(item, found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(self.clone()),
        }
    }
}

/// What an element of a list is called.
fn name_of(item: &Value) -> &str {
    NAMES.iter().find_map(|key| item.get(key)?.as_str()).unwrap_or_default()
}

impl fmt::Display for FieldPath {
    /// Such as `UpstreamConfig.Overrides[api].MeshGateway.Mode`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if is_plain(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Step::Key(key) => write!(f, "[{key:?}]")?,
                Step::At(position, name) if name.is_empty() => write!(f, "[{position}]")?,
                Step::At(_, name) => write!(f, "[{name}]")?,
            }
        }
        Ok(())
    }
}

/// True for a key that can stand between dots.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_replaced_and_taken_out() {
        let value = json!({ "Config": { "a.b": 1 }, "Upstreams": [{ "DestinationName": "db" }, { "Port": 2 }, [3]] });
        let shown: Vec<_> = FieldPath::all(&value).iter().map(ToString::to_string).collect();
        let port = FieldPath::of(["Upstreams"]).at(1, "").key("Port");
        let mut changed = value.clone();

        assert_eq!(
            shown,
            [
                "Config[\"a.b\"]",
                "Upstreams[db]",
                "Upstreams[db].DestinationName",
                "Upstreams[1]",
                "Upstreams[1].Port",
                "Upstreams[2]",
                "Upstreams[2][0]"
            ]
        );
        assert_eq!(port.get(&value), Some(&json!(2)));
        assert!(port.put(&mut changed, json!(5)) && port.get(&changed) == Some(&json!(5)));
        assert!(port.remove(&mut changed) && !port.remove(&mut changed));
        assert!(FieldPath::of(["Upstreams"]).at(0, "db").remove(&mut changed));
        assert_eq!(changed, json!({ "Config": { "a.b": 1 }, "Upstreams": [{}, [3]] }));
        let mode = FieldPath::of(["Config", "MeshGateway", "Mode"]);
        assert!(mode.insert(&mut changed, json!("local")) && !mode.insert(&mut changed, json!("none")));
        assert!(!FieldPath::of(["Upstreams", "x"]).insert(&mut changed, json!(1)));
        assert_eq!(changed["Config"], json!({ "a.b": 1, "MeshGateway": { "Mode": "local" } }));
        assert!(!FieldPath::default().remove(&mut changed) && !FieldPath::of(["None"]).put(&mut changed, json!(1)));
    }
}
