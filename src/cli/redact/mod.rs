//! Reports that do not tell whose mesh it is.
//!
//! **Invariant.** What is not known to be harmless is replaced. Numbers, fields of our own documents, values that the decoders
//! know all of, and the words of [`KEPT`] stay; every other word becomes a pseudonym, wherever it stands and as a part of whatever. So
//! equal words stay equal, names that are made of others (`web-sidecar-proxy`, an SNI, a SPIFFE ID) stay made of them, and what
//! refers to something still does.
//!
//! A pseudonym is a keyed hash of its word. The key is made for one report and kept nowhere, so that nobody can try words out.

mod kept;
mod pseudonyms;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use self::pseudonyms::Pseudonyms;
use super::CliError;
use crate::api;
use crate::codec::{self, Shape};
use crate::model::{Bundle, Filter, Problem, Problems};

/// What stands for a text that people wrote for people.
const HIDDEN: &str = "<hidden>";
/// Fields of bundles with such texts.
const FREE_TEXTS: [&str; 5] = ["Notes", "Output", "Description", "Comment", "Reason"];
/// Fields in which anything can be, apart from those whose names end with JSON.
const OPAQUE: [&str; 3] = ["EnvoyExtensions", "JSONFormat", "TextFormat"];

/// The row that a problem is about, as paths of bundles name it.
static ROW: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^([A-Za-z]+)\[(\d+)\]").expect("it is one"));

/// A text in quotes in a filter, of which double ones know escapes.
static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""(?:[^"\\]|\\.)*"|`[^`]*`"#).expect("it is one"));

/// Replaces what tells whose mesh it is.
pub(super) struct Redactor {
    pseudonyms: Pseudonyms,
    /// Fields of the documents that the API answers with.
    fields: BTreeSet<&'static str>,
    /// What was left out, and why, in words that tell nothing.
    left_out: BTreeSet<String>,
}

impl Redactor {
    /// One with a key of its own.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn new() -> Result<Self, CliError> {
        let (mut fields, mut words) = (BTreeSet::new(), BTreeSet::new());
        described(api::openapi(), &mut fields, &mut words);
        words.extend(fields.iter().filter(|field| Filter::parse(&format!("{field} is empty")).is_ok()));
        Ok(Self { pseudonyms: Pseudonyms::new(words)?, fields, left_out: BTreeSet::new() })
    }

    /// What was left out so far, a line each.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &str> {
        self.left_out.iter().map(String::as_str)
    }

    /// The redacted bundle, which can be replayed, with hashes of what is made of it then.
    ///
    /// # Errors
    /// The text is no bundle, or what is left of it makes none.
    pub(super) async fn bundle(&mut self, text: &[u8]) -> Result<Vec<u8>, CliError> {
        let broken = |error: &dyn std::fmt::Display| CliError::Input(format!("the bundle cannot be redacted: {error}"));
        let mut document: Value = serde_json::from_slice(text).map_err(|error| broken(&error))?;
        self.leave_patterns_out(&mut document);
        self.shaped(&mut document, &codec::bundle_shape());
        let mut bundle = self.judged(document).map_err(|problems| broken(&problems))?;
        // Pseudonyms are sorted in another way than what they stand for.
        bundle.sort();
        let configurations = crate::app::verify(bundle.clone()).await?;
        let bundle = Bundle { is_redacted: true, configurations, ..bundle };
        codec::bundle_to_json(&bundle).map(String::into_bytes).map_err(|error| broken(&error))
    }

    /// The bundle that a redacted document is, without rows that redacting has broken.
    ///
    /// Problems are told up to a limit, and rows that refer to one that is left out are broken then: so it is judged again until
    /// there is nothing more to leave out.
    fn judged(&mut self, mut document: Value) -> Result<Bundle, Problems> {
        loop {
            let problems = match codec::bundle(document.to_string().as_bytes()) {
                Ok(bundle) => return Ok(bundle),
                Err(problems) => problems,
            };
            let mut broken = BTreeSet::new();
            for problem in &problems.0 {
                if let Some((section, position)) = row_of(problem) {
                    self.left_out.insert(format!("a row of {section}: once redacted, {problem}"));
                    broken.insert((section, position));
                }
            }
            let mut is_less = false;
            // From the end, so that those before stay where they are.
            for (section, position) in broken.into_iter().rev() {
                let rows = document.get_mut(section).and_then(Value::as_array_mut);
                if let Some(rows) = rows.filter(|rows| position < rows.len()) {
                    rows.remove(position);
                    is_less = true;
                }
            }
            if !is_less {
                return Err(problems);
            }
        }
    }

    /// Takes the filters of subsets away that have a regular expression: with other words in it, it would match others or be none.
    fn leave_patterns_out(&mut self, document: &mut Value) {
        let entries = document.get_mut("ConfigEntries").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            let name = entry.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let subsets = entry.get_mut("Subsets").and_then(Value::as_object_mut);
            for (subset, members) in subsets.into_iter().flatten() {
                let Some(members) = members.as_object_mut() else { continue };
                if members.get("Filter").and_then(Value::as_str).is_some_and(has_pattern) {
                    members.remove("Filter");
                    let (name, subset) = (self.pseudonyms.text(&name), self.pseudonyms.text(subset));
                    let lost = "has a regular expression, which cannot be redacted: the subset has all instances";
                    self.left_out.insert(format!("service-resolver/{name}: Subsets.{subset}.Filter {lost}"));
                }
            }
        }
    }

    /// Redacts another document of the API.
    ///
    /// # Errors
    /// It is no JSON.
    pub(super) fn document(&mut self, text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let mut document: Value = serde_json::from_slice(text)?;
        self.answer(&mut document);
        serde_json::to_vec_pretty(&document)
    }

    /// Redacts lines of JSON.
    ///
    /// # Errors
    /// One is no JSON.
    pub(super) fn lines(&mut self, text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let mut redacted = Vec::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let mut event: Value = serde_json::from_slice(line)?;
            self.answer(&mut event);
            redacted.extend(event.to_string().into_bytes());
            redacted.push(b'\n');
        }
        Ok(redacted)
    }

    /// A value of a shape that its decoder knows.
    fn shaped(&mut self, value: &mut Value, shape: &Shape) {
        match (value, shape) {
            (Value::String(text), Shape::Choice(choices)) if choices.contains(&text.as_str()) => {}
            (Value::Object(members), Shape::Object(fields)) => {
                let field = |key: &str| fields.iter().find(|(name, _)| *name == key).map(|(_, shape)| shape);
                for (key, mut value) in std::mem::take(members) {
                    if self.is_left_out(&key, &value) {
                        continue;
                    }
                    match field(&key) {
                        Some(shape) => {
                            self.field(&key, &mut value, shape);
                            members.insert(key, value);
                        }
                        None => {
                            self.anything(&mut value);
                            members.insert(self.pseudonyms.text(&key), value);
                        }
                    }
                }
            }
            (Value::Object(members), Shape::Map(inner)) => {
                for (key, mut value) in std::mem::take(members) {
                    if !self.is_left_out(&key, &value) {
                        self.shaped(&mut value, inner);
                        members.insert(self.pseudonyms.text(&key), value);
                    }
                }
            }
            (Value::Array(items), Shape::List(inner)) => items.iter_mut().for_each(|item| self.shaped(item, inner)),
            (value, Shape::OneOf(shapes)) => match shapes.iter().find(|shape| fits(value, shape)) {
                Some(shape) => self.shaped(value, shape),
                None => self.anything(value),
            },
            (value, _) => self.anything(value),
        }
    }

    fn field(&mut self, key: &str, value: &mut Value, shape: &Shape) {
        let text = value.as_str().filter(|text| !text.is_empty());
        match text {
            Some(_) if FREE_TEXTS.contains(&key) => *value = HIDDEN.into(),
            // A word that is replaced inside of a class of characters would leave none.
            Some(text) if key.ends_with("Regex") => *value = self.pseudonyms.whole(text).into(),
            Some(_) | None => self.shaped(value, shape),
        }
    }

    /// Documents of Envoy's and extensions can hold anything, and would be others with other words.
    fn is_left_out(&mut self, key: &str, value: &Value) -> bool {
        let is_given =
            !matches!(value, Value::Null) && value.as_str() != Some("") && value != &Value::Array(Vec::new());
        let is_opaque = key.to_ascii_lowercase().ends_with("json") || OPAQUE.contains(&key);
        if is_opaque && is_given {
            let key = if self.fields.contains(key) { key.to_owned() } else { self.pseudonyms.text(key) };
            self.left_out.insert(format!("{key}: what is in it cannot be redacted"));
        }
        is_opaque
    }

    /// A value that any decoder may get: every key and text is redacted.
    fn anything(&mut self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => *text = self.pseudonyms.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.anything(item)),
            Value::Object(members) => {
                for (key, mut value) in std::mem::take(members) {
                    if !self.is_left_out(&key, &value) {
                        self.anything(&mut value);
                        members.insert(self.pseudonyms.text(&key), value);
                    }
                }
            }
        }
    }

    /// A value of an answer of the API: its fields stay, and sentences are hidden.
    fn answer(&mut self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) if text.contains(char::is_whitespace) => HIDDEN.clone_into(text),
            Value::String(text) => *text = self.pseudonyms.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.answer(item)),
            Value::Object(members) => {
                let redacted: Map<_, _> = std::mem::take(members)
                    .into_iter()
                    .map(|(key, mut value)| {
                        self.answer(&mut value);
                        let is_field = self.fields.contains(&*key);
                        (if is_field { key } else { self.pseudonyms.text(&key) }, value)
                    })
                    .collect();
                *members = redacted;
            }
        }
    }
}

/// The section and the position of the row that a problem is about.
fn row_of(problem: &Problem) -> Option<(&str, usize)> {
    let (_, [section, position]) = ROW.captures(&problem.path)?.extract();
    Some((section, position.parse().ok()?))
}

/// True if a filter uses `matches`, or compares with that word without quotes, which cannot be told from it here.
fn has_pattern(filter: &str) -> bool {
    QUOTED.replace_all(filter, "``").split_whitespace().any(|word| word == "matches")
}

/// True if a value may be of a shape. Config entries are told apart by their kind.
fn fits(value: &Value, shape: &Shape) -> bool {
    match (value, shape) {
        (Value::Object(members), Shape::Object(fields)) => {
            let kind = fields.iter().find(|(name, _)| *name == "Kind").map(|(_, shape)| shape);
            let Some(Shape::Choice(choices)) = kind else { return true };
            choices.contains(&members.get("Kind").and_then(Value::as_str).unwrap_or_default())
        }
        (Value::Object(_), Shape::Map(_)) | (Value::Array(_), Shape::List(_)) => true,
        (Value::String(text), Shape::Choice(choices)) => choices.contains(&text.as_str()),
        (Value::String(_), Shape::Text) | (Value::Bool(_), Shape::Boolean) => true,
        (Value::Number(_), Shape::Number | Shape::Integer(..)) => true,
        (_, shape) => *shape == Shape::Any,
    }
}

/// The fields that a description of the API names, and the values of which it names all.
fn described(value: &'static Value, fields: &mut BTreeSet<&'static str>, words: &mut BTreeSet<&'static str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| described(item, fields, words)),
        Value::Object(members) => {
            for (key, value) in members {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => fields.extend(properties.keys().map(String::as_str)),
                    ("enum", Value::Array(values)) => words.extend(values.iter().filter_map(Value::as_str)),
                    _ => {}
                }
                described(value, fields, words);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
