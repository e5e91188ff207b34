//! Files of registrations and config entries, read and checked before anything is sent.

use std::io::Read;
use std::path::Path;

use super::CliError;
use crate::codec::Format;
use crate::model::{ConfigEntry, Namespace, Partition, Problem, Problems, ServiceDefinition};
use crate::settings::check_service;

/// More than any sensible file of definitions has.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

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
    /// It cannot be read, or is too large.
    pub(super) fn read(argument: &str) -> Result<Self, CliError> {
        let (name, text) = if argument == "-" {
            let name = "standard input".to_owned();
            let text = read_all(std::io::stdin().lock()).map_err(CliError::io(&name))?;
            (name, text)
        } else {
            let file = std::fs::File::open(argument).map_err(CliError::io(argument))?;
            (argument.to_owned(), read_all(file).map_err(CliError::io(argument))?)
        };
        let format = format_of(Path::new(argument), &text);
        Ok(Self { name, text, format })
    }

    /// The registrations in it, all of them good.
    ///
    /// # Errors
    /// Every problem, with its place; also if there is no registration or anything else.
    pub(super) fn services(&self) -> Result<Vec<ServiceDefinition>, Vec<String>> {
        let definitions =
            crate::codec::definitions(&self.text, self.format).map_err(|problems| self.located(problems))?;
        let mut problems = Vec::new();
        if !definitions.entries.is_empty() {
            let advice = "holds config entries: write them with `meshgate config write`";
            problems.push(format!("{}: {advice}", self.name));
        } else if definitions.services.is_empty() {
            problems.push(format!("{}: holds no service: expected `service {{ ... }}` or `services`", self.name));
        }
        for (position, service) in definitions.services.iter().enumerate() {
            let mut found = Problems::default();
            found.extend_under(&format!("services[{position}]"), check_service(service));
            problems.extend(self.located(found));
        }
        if problems.is_empty() { Ok(definitions.services) } else { Err(problems) }
    }

    /// The config entry in it, as it was written, and good.
    ///
    /// # Errors
    /// Every problem, with its place.
    pub(super) fn entry(&self) -> Result<ConfigEntry, Vec<String>> {
        let entry = crate::codec::config_entry(&self.text, self.format).map_err(|problems| self.located(problems))?;
        let mut canonical = entry.clone();
        canonical.normalize(&Partition::default(), &Namespace::default());
        canonical.validate().into_result().map_err(|problems| self.located(problems))?;
        Ok(entry)
    }

    fn located(&self, problems: Problems) -> Vec<String> {
        problems.0.into_iter().map(|problem| self.located_one(problem)).collect()
    }

    fn located_one(&self, mut problem: Problem) -> String {
        match problem.line.take() {
            Some(line) => format!("{}:{line}: {problem}", self.name),
            None => format!("{}: {problem}", self.name),
        }
    }
}

fn read_all(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    reader.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        let message = format!("larger than {} MiB", MOST_BYTES >> 20);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// The format by suffix; without one JSON starts with a brace, YAML with `key:` or a document marker, and all else is HCL.
fn format_of(path: &Path, text: &[u8]) -> Format {
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("json") => Format::Json,
        Some("yaml" | "yml") => Format::Yaml,
        Some("hcl") => Format::Hcl,
        Some(_) | None => sniff(text),
    }
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
