//! Files of registrations, config entries and bundles, read and checked before anything is sent or started.

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::CliError;
use crate::codec::{self, Definitions, Format, MAX_BUNDLE_BYTES, MAX_BYTES, Typing};
use crate::model::{Bundle, ConfigEntry, Problem, Problems, ServiceDefinition};
use crate::settings::checked;

/// A text to decode, with its name for messages.
#[derive(Debug)]
pub(super) struct SourceText {
    name: String,
    text: Vec<u8>,
    format: Format,
}

impl SourceText {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(argument: &str) -> Result<Self, CliError> {
        let (name, text) = read(argument, MAX_BYTES)?;
        let format = format_of(Path::new(argument), &text);
        Ok(Self { name, text, format })
    }

    /// The one value in it, whatever it is about.
    ///
    /// # Errors
    /// What cannot be decoded, with its place.
    pub(super) fn value<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        let tree = codec::parse(&self.text, self.format).map_err(Problems::from);
        let value = tree.and_then(|tree| codec::from_tree(&tree, Typing::Weak));
        value.map_err(|problems| CliError::input(&self.located(problems)))
    }

    /// The registrations in it, all of them good.
    ///
    /// # Errors
    /// Every problem, with its place; also if there is no registration, or anything else.
    pub(super) fn services(&self) -> Result<Vec<ServiceDefinition>, Vec<String>> {
        let Definitions { services, entries } = self.definitions()?;
        if !entries.is_empty() {
            return Err(vec![format!("{}: holds config entries: use `meshgate config write`", self.name)]);
        }
        if services.is_empty() {
            return Err(vec![format!("{}: holds no service: expected `service {{ ... }}` or `services`", self.name)]);
        }
        Ok(services)
    }

    /// The config entries in it, as they were written, all of them good.
    ///
    /// # Errors
    /// Every problem, with its place; also if there is no config entry, or anything else.
    pub(super) fn entries(&self) -> Result<Vec<ConfigEntry>, Vec<String>> {
        let Definitions { services, entries } = self.definitions()?;
        if !services.is_empty() {
            return Err(vec![format!("{}: holds services: use `meshgate services register`", self.name)]);
        }
        if entries.is_empty() {
            return Err(vec![format!("{}: holds no config entry: expected `Kind` and `Name`", self.name)]);
        }
        Ok(entries)
    }

    fn definitions(&self) -> Result<Definitions, Vec<String>> {
        let documents =
            codec::parse_documents(&self.text, self.format).map_err(|problem| self.located(problem.into()))?;
        let mut found = Definitions::default();
        let mut problems = Vec::new();
        for document in &documents {
            match checked(document) {
                Ok(definitions) => {
                    found.services.extend(definitions.services);
                    found.entries.extend(definitions.entries);
                }
                Err(inner) => problems.extend(self.located(inner)),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }

    fn located(&self, problems: Problems) -> Vec<String> {
        located(&self.name, problems)
    }
}

/// The bundle of a file, or of standard input for `-`.
///
/// # Errors
/// It cannot be read, and everything that is wrong with it.
pub(super) fn bundle(argument: &str) -> Result<Bundle, CliError> {
    let (name, text) = read(argument, MAX_BUNDLE_BYTES)?;
    codec::bundle(&text).map_err(|problems| CliError::input(&located(&name, problems)))
}

/// Problems with the name of the text that has them.
fn located(name: &str, problems: Problems) -> Vec<String> {
    let located = |mut problem: Problem| match problem.line.take() {
        Some(line) => format!("{name}:{line}: {problem}"),
        None => format!("{name}: {problem}"),
    };
    problems.0.into_iter().map(located).collect()
}

/// A file, or standard input for `-`, with its name for messages. Of one that is larger than the codec reads there is as
/// much as makes it refuse it.
fn read(argument: &str, most: usize) -> Result<(String, Vec<u8>), CliError> {
    let read_all = |reader: &mut dyn Read| {
        let mut text = Vec::new();
        reader.take(most as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    if argument == "-" {
        let name = "standard input".to_owned();
        let text = read_all(&mut std::io::stdin().lock()).map_err(CliError::io(&name))?;
        return Ok((name, text));
    }
    let mut file = std::fs::File::open(argument).map_err(CliError::io(argument))?;
    Ok((argument.to_owned(), read_all(&mut file).map_err(CliError::io(argument))?))
}

/// The format by suffix; without one JSON starts with a brace, YAML with `key:` or a document marker, and all else is HCL.
fn format_of(path: &Path, text: &[u8]) -> Format {
    let by_name = path.extension().and_then(|suffix| Format::from_extension(suffix.to_str()?));
    by_name.unwrap_or_else(|| sniff(text))
}

fn sniff(text: &[u8]) -> Format {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim_start);
    let Some(first) = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with(['#', '/'])) else {
        return Format::Hcl;
    };
    let after_key = first.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-').trim_start();
    if first.starts_with(['{', '[']) {
        Format::Json
    } else if first.starts_with("---") || (after_key.len() < first.len() && after_key.starts_with(':')) {
        Format::Yaml
    } else {
        Format::Hcl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_shows_in_the_first_line() {
        let cases = [
            ("\n  {\"Kind\": \"mesh\"}", Format::Json),
            ("# comment\nKind = \"mesh\"", Format::Hcl),
            ("service {\n", Format::Hcl),
            ("Kind: mesh\n", Format::Yaml),
            ("---\nKind: mesh\n", Format::Yaml),
            ("", Format::Hcl),
        ];

        for (text, format) in cases {
            assert_eq!(sniff(text.as_bytes()), format, "{text:?}");
        }
    }
}
