//! Bytes to `model` values and back, for HCL, JSON and YAML.
//!
//! Every format is read into a [`Tree`], which keeps the line of each value. The tree is decoded into model values by one
//! of the two decoders that Consul has ([`Typing`]), which report everything that is wrong with it at once.

mod bodies;
mod bundle;
mod decoded;
mod definitions;
mod hcl;
mod json;
mod kubernetes;
mod lenient;
mod shape;
mod transaction;
mod tree;
mod yaml;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::bodies::{check_registration_shape, entries_shape, entry_shape};
pub use self::bundle::{
    MAX_BUNDLE_BYTES, bundle, bundle_shape, bundle_to_json, hide_private_keys_in, holds_private_key,
};
pub use self::decoded::{Decoded, Items, Located, Origin};
use self::lenient::decode;
pub use self::lenient::{MAX_PROBLEMS, Typing, from_tree};
pub use self::shape::{Shape, shape_of};
pub use self::transaction::{transaction, transaction_shape};
pub use self::tree::{Content, Member, Tree};
use crate::model::{
    CatalogDeregistration, CatalogRegistration, CheckRegistration, CheckUpdate, ConfigEntry, Problem, ProblemKind,
    Problems, ServiceDefinition,
};

/// Largest text that is read, in bytes.
pub const MAX_BYTES: usize = 8 << 20;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// HashiCorp's configuration language, version 1. A text that starts with `{` is read as JSON, as version 1 does.
    Hcl,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl Format {
    /// The format that files with this extension have: `hcl`, `json`, `yaml` or `yml`.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension {
            "hcl" => Some(Format::Hcl),
            "json" => Some(Format::Json),
            "yaml" | "yml" => Some(Format::Yaml),
            _ => None,
        }
    }
}

/// What a file of registrations and config entries holds, in document order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Definitions {
    /// Service registrations.
    pub services: Vec<ServiceDefinition>,
    /// Config entries, not yet normalized.
    pub entries: Vec<ConfigEntry>,
}

/// The documents of a text: several only in YAML, none in an empty one.
///
/// # Errors
/// The first place where the text is not of this format.
pub fn parse_documents(text: &[u8], format: Format) -> Result<Vec<Tree>, Problem> {
    documents_at_most(text, format, MAX_BYTES)
}

/// The same for texts of at most so many bytes.
fn documents_at_most(text: &[u8], format: Format, most: usize) -> Result<Vec<Tree>, Problem> {
    let syntax = |message, line| Problem { kind: ProblemKind::Syntax, path: String::new(), message, line };
    if text.len() > most {
        return Err(syntax(format!("{} bytes are more than the {most} that are read", text.len()), None));
    }
    let text = str::from_utf8(text).map_err(|error| {
        let line = 1 + text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        syntax("the text is not UTF-8".to_owned(), Some(line))
    })?;
    match format {
        Format::Hcl => hcl::read(text).map(|tree| vec![tree]),
        Format::Json => json::read(text.trim_start_matches('\u{feff}').as_bytes()).map(|tree| vec![tree]),
        Format::Yaml => yaml::read(text),
    }
}

/// The one document of a text; an empty one is an object without members.
///
/// # Errors
/// The first place where the text is not of this format, or where a second document starts.
pub fn parse(text: &[u8], format: Format) -> Result<Tree, Problem> {
    parse_at_most(text, format, MAX_BYTES)
}

/// The same for texts of at most so many bytes.
fn parse_at_most(text: &[u8], format: Format, most: usize) -> Result<Tree, Problem> {
    let mut documents = documents_at_most(text, format, most)?;
    if let Some(second) = documents.get(1) {
        return Err(Problem {
            kind: ProblemKind::Syntax,
            path: String::new(),
            message: "expected one document, found another".to_owned(),
            line: Some(second.line),
        });
    }
    Ok(documents.pop().unwrap_or_else(|| Tree::empty(1)))
}

/// The body of a request that is decoded strictly (decoder A of `http-api.md` 1.5).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn strict<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problems> {
    from_tree(&parse(body, Format::Json)?, Typing::Strict)
}

/// The body of a request that is decoded leniently (decoder B of `http-api.md` 1.5).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn weak<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problems> {
    from_tree(&parse(body, Format::Json)?, Typing::Weak)
}

/// The body of `PUT /v1/agent/service/register` (decoder A).
pub fn service_definition(body: &[u8]) -> Decoded<'static, ServiceDefinition> {
    Decoded::of_text(body, Format::Json, |tree| decode(tree, Typing::Strict))
}

/// The body of `PUT /v1/agent/check/register` (decoder A).
pub fn check_registration(body: &[u8]) -> Decoded<'static, CheckRegistration> {
    Decoded::of_text(body, Format::Json, |tree| definitions::check(tree, Typing::Strict))
}

/// The checks of `check` and `checks` in the settings of an agent (decoder B), which judge a service or the node.
pub fn checks(document: &Tree) -> Vec<Decoded<'_, CheckRegistration>> {
    definitions::checks(document)
}

/// The body of `PUT /v1/agent/check/update/:id` (decoder A).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn check_update(body: &[u8]) -> Result<CheckUpdate, Problems> {
    strict(body)
}

/// The body of `PUT /v1/catalog/register` (decoder A).
pub fn catalog_registration(body: &[u8]) -> Decoded<'static, CatalogRegistration> {
    Decoded::of_text(body, Format::Json, |tree| decode(tree, Typing::Strict))
}

/// The body of `PUT /v1/catalog/deregister` (decoder A).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn catalog_deregistration(body: &[u8]) -> Result<CatalogDeregistration, Problems> {
    strict(body)
}

/// One config entry in any format (decoder B); not normalized, not validated.
///
/// `Kind` decides what it is, so that a missing or unknown one is the only problem; `CreateIndex`, `ModifyIndex` and
/// `Hash`, which replies show, are ignored.
pub fn config_entry(text: &[u8], format: Format) -> Decoded<'static, ConfigEntry> {
    Decoded::of_text(text, format, definitions::entry)
}

/// A file of registrations and config entries (decoder B); not normalized, not validated.
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn definitions(text: &[u8], format: Format) -> Result<Definitions, Problems> {
    items(&parse_documents(text, format)?).into_result()
}

/// The registrations and config entries of documents: a config entry, a list of them, a Kubernetes resource that means
/// one, or any mix of `service`, `services` and `config_entries { bootstrap ... }`, each once, repeated or as a list
/// (`http-api.md` 4.1, 4.3, 4.4).
///
/// Every other key is unknown; whoever owns it splits it off before.
pub fn items(documents: &[Tree]) -> Items<'_> {
    let mut found = Items::default();
    for document in documents {
        definitions::collect(document, &mut found);
    }
    found
}

/// The same, unless there are more than `most`, which is found out before any of them is decoded.
///
/// # Errors
/// How many there are.
pub fn items_at_most(documents: &[Tree], most: usize) -> Result<Items<'_>, usize> {
    let count = documents.iter().map(definitions::count).sum();
    if count > most { Err(count) } else { Ok(items(documents)) }
}

/// Writes a value as JSON with an indentation of four spaces, as Consul's `?pretty` does.
///
/// # Errors
/// A value that JSON cannot express, such as a map whose keys are no texts. No value of `model` is one.
pub fn to_json_pretty<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8(text).expect("serde_json writes UTF-8"))
}

/// Writes a value as HCL: objects as blocks, in the order of their fields.
///
/// # Errors
/// As [`to_json_pretty`].
pub fn to_hcl<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    Ok(hcl::write(&to_tree(value)?))
}

/// Writes a value as YAML.
///
/// # Errors
/// As [`to_json_pretty`].
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_saphyr::to_string(&to_tree(value)?).map_err(serde::ser::Error::custom)
}

/// The tree that a value is written from. It goes through JSON, which keeps the order of fields.
fn to_tree<T: Serialize>(value: &T) -> Result<Tree, serde_json::Error> {
    let text = serde_json::to_vec(value)?;
    json::read(&text).map_err(serde::ser::Error::custom)
}

#[cfg(test)]
mod tests;
