//! How two values differ, field by field.

use serde_json::Value;

use super::plan::Field;

/// The fields in which two values differ, sorted as they are written. Lists of different lengths differ as a whole.
pub(super) fn differences(old: Option<&Value>, new: Option<&Value>) -> Vec<Field> {
    let mut found = Vec::new();
    compare("", old, new, &mut found);
    found
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Field>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.iter().filter(|(name, _)| !old.contains_key(*name));
            let names = old.keys().chain(added.map(|(name, _)| name));
            for name in names {
                compare(&member(path, name), old.get(name), new.get(name), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (position, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{position}]"), Some(old), Some(new), found);
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(Field { path: path.to_owned(), old: old.cloned(), new: new.cloned() }),
    }
}

/// The path of a member; names with other characters than fields have are quoted.
fn member(path: &str, name: &str) -> String {
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match (path.is_empty(), is_plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_compared_one_by_one() {
        let old = json!({ "Mode": "local", "Gone": 1, "Same": [1], "List": [{ "A": 1 }, 2], "Long": [1], "a.b": true });
        let new =
            json!({ "Mode": "remote", "Same": [1], "List": [{ "A": 2 }, 2], "Long": [1, 2], "a.b": false, "New": {} });

        let found = differences(Some(&old), Some(&new));

        let told: Vec<_> =
            found.iter().map(|field| (field.path.as_str(), field.old.clone(), field.new.clone())).collect();
        let mut wanted = [
            ("Gone", Some(json!(1)), None),
            ("List[0].A", Some(json!(1)), Some(json!(2))),
            ("Long", Some(json!([1])), Some(json!([1, 2]))),
            ("Mode", Some(json!("local")), Some(json!("remote"))),
            ("New", None, Some(json!({}))),
            ("[\"a.b\"]", Some(json!(true)), Some(json!(false))),
        ];
        let mut told = told;
        told.sort_by(|a, b| a.0.cmp(b.0));
        wanted.sort_by(|a, b| a.0.cmp(b.0));
        assert_eq!(told, wanted);
        assert_eq!(differences(Some(&old), Some(&old)), []);
        assert_eq!(differences(None, Some(&json!(1))).len(), 1);
    }
}
