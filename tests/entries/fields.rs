//! The page that tells which fields are tested: written from the description of the API and from what test data sets.
//!
//! A golden compares everything that Envoy gets, so a field that one sets is one whose effect is looked at. Fields of the files
//! of this program's tests are read, judged, and mean the same in every format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use meshgate::api;
use meshgate::codec::{self, Format};
use serde_json::Value;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
const BEGIN: &str = "<!-- fields: UPDATE_GOLDEN=1 cargo test --test entries fields -->\n";
const END: &str = "<!-- end of fields -->";
const REGISTRATION: &str = "registration";

/// Fields that every entry has, and that say nothing about what it does.
const OF_EVERY_ENTRY: [&str; 7] = ["Kind", "Name", "Partition", "Namespace", "Meta", "CreateIndex", "ModifyIndex"];

/// Fields of registrations that replies show, or that bodies cannot set.
const NOT_SET: [&str; 6] = ["CreateIndex", "ModifyIndex", "FromFile", "LocallyRegisteredAsSidecar", "Name", "PeerName"];

/// The schemas of what can be written, by kind.
fn schemas() -> BTreeMap<String, &'static Value> {
    let document = api::openapi();
    let kinds = document["components"]["schemas"]["ConfigEntry"]["anyOf"].as_array().expect("a list");
    let by_kind = |schema: &'static Value| {
        let kind = schema["properties"]["Kind"]["enum"][0].as_str().expect("a kind");
        (kind.to_owned(), schema)
    };
    let body =
        &document["paths"]["/v1/catalog/register"]["put"]["requestBody"]["content"]["application/json"]["schema"];
    let registration = (REGISTRATION.to_owned(), &body["properties"]["Service"]);
    kinds.iter().map(by_kind).chain([registration]).collect()
}

/// What is inside of an object or of the items of a list: the fields, or one schema for whatever there is.
fn inside(schema: &Value) -> Option<Result<&serde_json::Map<String, Value>, &Value>> {
    match (schema.get("properties"), schema.get("items"), schema.get("additionalProperties")) {
        (Some(fields), _, _) => fields.as_object().map(Ok),
        (_, Some(items), _) => Some(Err(items)),
        (_, _, Some(values)) if values.is_object() => Some(Err(values)),
        _ => None,
    }
}

/// Every field that holds no others, by its path.
fn leaves(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match inside(schema) {
        Some(Ok(fields)) => {
            for (name, inner) in fields {
                leaves(inner, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
            }
        }
        Some(Err(inner)) => leaves(inner, path, found),
        None => drop(found.insert(path.to_owned())),
    }
}

fn letters(key: &str) -> String {
    key.replace('_', "").to_ascii_lowercase()
}

/// The fields that a value sets, by the same paths.
fn set(value: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match (inside(schema), value) {
        (Some(Ok(fields)), Value::Object(members)) => {
            for (key, value) in members {
                if let Some((name, inner)) = fields.iter().find(|(name, _)| letters(name) == letters(key)) {
                    set(value, inner, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
                }
            }
        }
        (Some(Err(inner)), Value::Object(members)) => members.values().for_each(|value| set(value, inner, path, found)),
        (Some(_), Value::Array(items)) => items.iter().for_each(|item| {
            let of_item = schema.get("items").unwrap_or(schema);
            set(item, of_item, path, found);
        }),
        (Some(Err(inner)), other) => set(other, inner, path, found),
        (None, _) => drop(found.insert(path.to_owned())),
        (Some(Ok(_)), _) => {}
    }
}

fn get<'v>(value: &'v Value, key: &str) -> &'v Value {
    let members = value.as_object().into_iter().flatten();
    members.into_iter().find(|(name, _)| letters(name) == letters(key)).map_or(&Value::Null, |(_, value)| value)
}

/// The text of a file as plain values.
fn read(file: &Path) -> Value {
    let format = file.extension().and_then(|suffix| Format::from_extension(suffix.to_str()?)).expect("a known format");
    let tree = codec::parse(&fs::read(file).unwrap(), format)
        .unwrap_or_else(|problem| panic!("{}: {problem}", file.display()));
    serde_json::to_value(&tree).unwrap()
}

/// Which goldens set a field, by kind and path.
type Goldens = BTreeMap<(String, String), BTreeSet<String>>;

fn goldens(schemas: &BTreeMap<String, &'static Value>) -> Goldens {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let mut found = Goldens::new();
    for folder in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let case = super::name(&folder).to_owned();
        let input = read(&folder.join("input.yaml"));
        for call in input["calls"].as_array().expect("calls") {
            let (kind, value) = match call["path"].as_str() {
                Some(path) if path.starts_with("/v1/config") => {
                    (get(&call["body"], "Kind").as_str().expect("a kind").to_owned(), &call["body"])
                }
                _ => (REGISTRATION.to_owned(), get(&call["body"], "Service")),
            };
            let mut paths = BTreeSet::new();
            set(value, schemas[&kind], "", &mut paths);
            for path in paths {
                found.entry((kind.clone(), path)).or_default().insert(case.clone());
            }
        }
    }
    found
}

/// The fields that good files of a kind set.
fn in_files(kind: &str, schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let is_plain =
        |file: &PathBuf| super::kind(file) == kind && file.extension().is_some_and(|suffix| suffix == "json");
    for file in super::inputs("ok-").into_iter().filter(is_plain) {
        set(&read(&file), schema, "", &mut found);
    }
    found
}

#[test]
fn the_page_tells_which_fields_are_tested() {
    let schemas = schemas();
    let goldens = goldens(&schemas);
    let mut table =
        "| kind | field | read and judged | compared with what Envoy gets | golden |\n|---|---|---|---|---|\n"
            .to_owned();
    for (kind, schema) in &schemas {
        let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut paths = BTreeSet::new();
        leaves(schema, "", &mut paths);
        for path in paths {
            let top = path.split('.').next().unwrap_or_default().to_owned();
            let left_out = if kind == REGISTRATION { &NOT_SET[..] } else { &OF_EVERY_ENTRY };
            if !left_out.contains(&top.as_str()) {
                fields.entry(top).or_default().insert(path);
            }
        }
        let read = in_files(kind, schema);
        for (field, paths) in fields {
            let share = |count: usize| match (count, paths.len()) {
                (0, _) => "no".to_owned(),
                (count, all) if count == all => "yes".to_owned(),
                (count, all) => format!("{count} of {all}"),
            };
            let compared: Vec<_> = paths.iter().filter_map(|path| goldens.get(&(kind.clone(), path.clone()))).collect();
            let judged = if kind == REGISTRATION { "-".to_owned() } else { share(paths.intersection(&read).count()) };
            let first = compared.iter().flat_map(|cases| cases.iter()).min().map(|case| format!("`{case}`"));
            table += &format!(
                "| `{kind}` | `{field}` | {judged} | {} | {} |\n",
                share(compared.len()),
                first.unwrap_or_default()
            );
        }
    }

    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a table of fields");
    let (recorded, after) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(PAGE, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    let diff = similar::TextDiff::from_lines(recorded, &table);
    assert!(recorded == table, "UPDATE_GOLDEN=1 cargo test --test entries fields\n{}", diff.unified_diff());
}
