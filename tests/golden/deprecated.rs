//! What Envoy calls deprecated is not sent, apart from what docs/compatibility.md lists with the reason.

use std::collections::BTreeSet;

use meshgate::envoy::snapshot::{ResourceType, Snapshot};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use crate::case::Case;
use crate::conformance;

/// The heading above the table.
const HEADING: &str = "### Fields that Envoy calls deprecated";

/// Envoy's messages with the options that their authors gave them, those of the newest version that is supported.
fn pool() -> DescriptorPool {
    DescriptorPool::decode(&include_bytes!("../../src/envoy/envoy.bin")[..]).expect("the built-in file decodes")
}

/// Every field, enum value and message in use that is deprecated, by its full name.
struct Finder {
    pool: DescriptorPool,
    found: BTreeSet<String>,
}

impl Finder {
    fn look_into_all(&mut self, snapshot: &Snapshot) {
        for kind in ResourceType::ALL {
            let name = kind.type_url().rsplit('/').next().expect("a full name");
            for resource in snapshot.get(kind).values() {
                self.decode(name, &resource.body);
            }
        }
    }

    fn decode(&mut self, name: &str, bytes: &[u8]) {
        let descriptor = self.pool.get_message_by_name(name).unwrap_or_else(|| panic!("{name} has no descriptor"));
        self.message(&DynamicMessage::decode(descriptor, bytes).expect("it decodes"));
    }

    fn message(&mut self, message: &DynamicMessage) {
        let descriptor = message.descriptor();
        if is_marked(&descriptor.options()) || is_marked(&descriptor.parent_file().options()) {
            self.found.insert(descriptor.full_name().to_owned());
        }
        if descriptor.full_name() == "google.protobuf.Any" {
            let url = message.get_field_by_name("type_url").and_then(|url| url.as_str().map(str::to_owned));
            let value = message.get_field_by_name("value").and_then(|value| value.as_bytes().cloned());
            let (url, value) = url.zip(value).expect("fields of an Any");
            return self.decode(url.rsplit('/').next().expect("a full name"), &value);
        }
        for (field, value) in message.fields() {
            if is_marked(&field.options()) {
                self.found.insert(field.full_name().to_owned());
            }
            self.value(&field, value);
        }
    }

    fn value(&mut self, field: &FieldDescriptor, value: &Value) {
        match value {
            Value::Message(message) => self.message(message),
            Value::List(items) => items.iter().for_each(|item| self.value(field, item)),
            Value::Map(entries) => entries.iter().for_each(|entry| self.entry(entry)),
            Value::EnumNumber(number) => {
                let Kind::Enum(kind) = field.kind() else { return };
                let named = kind.get_value(*number).expect("a value that Envoy knows");
                if is_marked(&named.options()) {
                    self.found.insert(named.full_name().to_owned());
                }
            }
            Value::Bool(_) | Value::String(_) | Value::Bytes(_) => {}
            Value::I32(_) | Value::I64(_) | Value::U32(_) | Value::U64(_) | Value::F32(_) | Value::F64(_) => {}
        }
    }

    fn entry(&mut self, (_, value): (&MapKey, &Value)) {
        // No map of Envoy's has enums for values.
        if let Value::Message(message) = value {
            self.message(message);
        }
    }
}

/// True if these options of a field, an enum value, a message or a file say that it should not be used any more. What Envoy
/// refuses by default is marked so, too.
fn is_marked(options: &DynamicMessage) -> bool {
    options.get_field_by_name("deprecated").is_some_and(|value| value.as_bool() == Some(true))
}

/// The full names in the first column of the table.
fn listed() -> BTreeSet<String> {
    let document = include_str!("../../docs/compatibility.md");
    let (_, rest) = document.split_once(HEADING).expect("the heading is there");
    let section = rest.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn nothing_deprecated_is_sent_but_what_is_listed() {
    let mut finder = Finder { pool: pool(), found: BTreeSet::new() };
    for case in Case::all() {
        finder.look_into_all(&case.run().await.snapshot);
    }

    assert_eq!(finder.found, listed(), "found in goldens, and listed in docs/compatibility.md");
    for (_, snapshot) in conformance::snapshots().await {
        finder.look_into_all(&snapshot);
    }
    assert_eq!(finder.found, listed(), "found in conformance cases too, and listed in docs/compatibility.md");
}
