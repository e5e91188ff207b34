//! What holds for every text and every value: readers never panic, and what is written is read back the same.

mod generate;

use meshgate::codec::{
    Format, catalog_deregistration, catalog_registration, config_entry, definitions, service_definition, to_hcl,
    to_json_pretty, to_yaml,
};
use meshgate::model::{ConfigEntry, Filter, ServiceDefinition};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::sample::{Index, select};
use proptest::{prop_assert_eq, prop_assume, prop_oneof, proptest};
use serde::Serialize;
use serde_json::{Value, json};

const FORMATS: [Format; 3] = [Format::Hcl, Format::Json, Format::Yaml];

const TEXTS: &[&str] = &[
    include_str!("../../testdata/examples/instance.hcl"),
    include_str!("../../testdata/examples/upstreams.yaml"),
    include_str!("../../testdata/entries/service-defaults/ok-full.hcl"),
    include_str!("../../testdata/entries/service-defaults/ok-full.json"),
    include_str!("../../testdata/entries/service-resolver/ok-full.hcl"),
    include_str!("../../testdata/entries/service-resolver/ok-full.yaml"),
    include_str!("../../testdata/entries/service-router/ok-full.hcl"),
    include_str!("../../testdata/entries/service-intentions/ok-full.yaml"),
];

/// What the formats and expressions are made of.
const TOKENS: &[&str] = &[
    "{", "}", "[", "]", "=", ":", ",", "\"", "\n", " ", "- ", "<<EOF\n", "EOF\n", "/*", "*/", "#", "${", "\\u", "kind",
    "0x", "-1", "1e999", "&a", "*a", "<<", "---\n", "|\n", "not", "in", "(", ")", "==", "is empty", "matches", "`",
    ".", "Meta",
];

/// Reads a text in every way there is.
fn read_all(text: &[u8]) {
    for format in FORMATS {
        let _ = config_entry(text, format);
        let _ = definitions(text, format);
    }
    let _ = service_definition(text);
    let _ = catalog_registration(text);
    let _ = catalog_deregistration(text);
}

/// A good text, cut short and with another piece put in.
fn damaged() -> impl Strategy<Value = String> {
    (select(TEXTS), any::<Index>(), any::<Index>(), select(TOKENS)).prop_map(|(text, end, place, piece)| {
        let boundaries: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
        let mut text = text[..boundaries[end.index(boundaries.len())]].to_owned();
        let places: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        text.insert_str(places[place.index(places.len())], piece);
        text
    })
}

fn written<T: Serialize>(value: &T, format: Format) -> String {
    match format {
        Format::Hcl => to_hcl(value),
        Format::Json => to_json_pretty(value),
        Format::Yaml => to_yaml(value),
    }
    .expect("every value can be written")
}

fn read_entry(text: &str, format: Format) -> ConfigEntry {
    config_entry(text.as_bytes(), format).into_result().unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn read_service(text: &str, format: Format) -> ServiceDefinition {
    let found = definitions(text.as_bytes(), format).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let [service] = found.services.as_slice() else { panic!("{}\n{text}", found.services.len()) };
    service.clone()
}

/// The same value as a reader sees it for whom 1.0 is 1.
fn with_whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as i64),
            Some(_) | None => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, with_whole_numbers(value))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

proptest! {
    #[test]
    fn readers_survive_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn readers_survive_any_text(text in prop_oneof![any::<String>(), vec(select(TOKENS), 0..40).prop_map(|t| t.concat())]) {
        read_all(text.as_bytes());
        let _ = Filter::parse(&text).map(|filter| filter.matches(&json!({"Meta": {}})));
    }

    #[test]
    fn readers_survive_damaged_texts(text in damaged()) {
        read_all(text.as_bytes());
    }

    #[test]
    fn entries_are_read_as_they_were_written(entry in generate::entry()) {
        let entry = read_entry(&entry.to_string(), Format::Json);
        for format in FORMATS {
            prop_assert_eq!(&read_entry(&written(&entry, format), format), &entry);
        }
    }

    #[test]
    fn registrations_are_read_as_they_were_written(service in generate::service()) {
        let service = service_definition(service.to_string().as_bytes()).into_result().expect("fits");
        for format in FORMATS {
            let text = written(&json!({ "service": service }), format);
            prop_assert_eq!(&read_service(&text, format), &service);
        }
        let text = written(&service, Format::Json);
        prop_assert_eq!(&service_definition(text.as_bytes()).into_result().expect("fits"), &service);
    }

    #[test]
    fn spelling_makes_no_difference(entry in generate::entry()) {
        let respelled = generate::as_files_spell_it(&entry).to_string();

        prop_assert_eq!(read_entry(&respelled, Format::Json), read_entry(&entry.to_string(), Format::Json));
    }

    /// An independent reader, of the next version of the language, understands what is written.
    #[test]
    fn others_read_the_same_hcl(entry in generate::entry()) {
        let text = to_hcl(&entry).expect("every value can be written");
        // In version 2, this starts a directive inside a text.
        prop_assume!(!text.contains("%{"));

        let read: Value = hcl::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));

        prop_assert_eq!(read, with_whole_numbers(entry));
    }
}
