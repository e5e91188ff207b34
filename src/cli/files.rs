//! Files of registrations, config entries and bundles, read and checked before anything is sent or started.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{CliError, output};
use crate::codec::{self, Format, Located, MAX_BUNDLE_BYTES, MAX_BYTES, Origin, Typing};
use crate::model::{Bundle, ConfigEntry, EntryKey, Namespace, Partition, Problem, Problems, ServiceDefinition};
use crate::settings::judged;

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
        let (services, entries) = self.definitions()?;
        if !entries.is_empty() {
            return Err(vec![format!("{}: holds config entries: use `meshgate config write`", self.name)]);
        }
        if services.is_empty() {
            return Err(vec![format!("{}: holds no service: expected `service {{ ... }}` or `services`", self.name)]);
        }
        Ok(services.into_iter().map(|(service, _)| service).collect())
    }

    /// The config entries in it, as they were written, all of them good.
    ///
    /// # Errors
    /// Every problem, with its place; also if there is no config entry, or anything else.
    pub(super) fn entries(&self) -> Result<Vec<WrittenEntry>, Vec<String>> {
        let (services, entries) = self.definitions()?;
        if !services.is_empty() {
            return Err(vec![format!("{}: holds services: use `meshgate services register`", self.name)]);
        }
        if entries.is_empty() {
            return Err(vec![format!("{}: holds no config entry: expected `Kind` and `Name`", self.name)]);
        }
        let written = |(entry, origin)| WrittenEntry { entry, file: self.name.clone(), origin };
        Ok(entries.into_iter().map(written).collect())
    }

    /// The config entries and registrations in it, all of them good.
    ///
    /// # Errors
    /// Every problem, with its place; also if there is neither.
    fn written(&self) -> Result<Written, Vec<String>> {
        let (services, entries) = self.definitions()?;
        if services.is_empty() && entries.is_empty() {
            return Err(vec![format!("{}: holds no config entry and no service", self.name)]);
        }
        let entries =
            entries.into_iter().map(|(entry, origin)| WrittenEntry { entry, file: self.name.clone(), origin });
        Ok(Written { entries: entries.collect(), services: services.into_iter().map(|(service, _)| service).collect() })
    }

    fn definitions(&self) -> Result<OwnedDefinitions, Vec<String>> {
        fn owned<T>((value, origin): Located<'_, T>) -> Located<'static, T> {
            (value, origin.into_owned())
        }
        let documents =
            codec::parse_documents(&self.text, self.format).map_err(|problem| self.located(problem.into()))?;
        let mut found = OwnedDefinitions::default();
        let mut problems = Vec::new();
        for document in &documents {
            match judged(document).into_located() {
                Ok((services, entries)) => {
                    found.0.extend(services.into_iter().map(owned));
                    found.1.extend(entries.into_iter().map(owned));
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

/// The registrations and the config entries of a text.
type OwnedDefinitions = (Vec<Located<'static, ServiceDefinition>>, Vec<Located<'static, ConfigEntry>>);

/// A config entry with the place that it was read from.
#[derive(Debug)]
pub(super) struct WrittenEntry {
    /// As it was written.
    pub(super) entry: ConfigEntry,
    file: String,
    origin: Origin<'static>,
}

impl WrittenEntry {
    /// What identifies it when it is written to this partition and namespace.
    pub(super) fn key_in(&self, partition: &Partition, namespace: &Namespace) -> EntryKey {
        let mut stored = self.entry.clone();
        stored.normalize(partition, namespace);
        stored.key()
    }

    /// What is wrong with it at `path`, with file and line.
    pub(super) fn problem(&self, path: &str, message: impl Into<String>) -> String {
        located(&self.file, self.origin.locate(Problem::rule(path, message)).into()).concat()
    }
}

/// What the control plane says about entries that it did not write.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    errors: Vec<Refusal>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    entry: Option<usize>,
    line: Option<usize>,
    path: String,
    what: String,
}

/// What an answer refuses of the entries that were sent, with the place in the files; `None` if it is another answer.
pub(super) fn refusals(answer: &str, sent: &[WrittenEntry]) -> Option<Vec<String>> {
    let Refused { errors } = serde_json::from_str(answer).ok()?;
    let told = |refusal: &Refusal| match refusal.entry.and_then(|entry| sent.get(entry)) {
        Some(entry) => entry.problem(&refusal.path, &*refusal.what),
        None => Problem { line: refusal.line, ..Problem::rule(&*refusal.path, &*refusal.what) }.to_string(),
    };
    Some(errors.iter().map(told).collect())
}

/// The config entries and registrations of files.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The entries.
    pub(super) entries: Vec<WrittenEntry>,
    /// The registrations.
    pub(super) services: Vec<ServiceDefinition>,
}

/// The config entries and registrations of files and of the files in directories; `-` is standard input.
///
/// # Errors
/// A file that cannot be read or holds nothing, and everything that is wrong with any of them; also an entry that is there
/// twice.
pub(super) fn definitions(
    arguments: &[String],
    partition: &Partition,
    namespace: &Namespace,
) -> Result<Written, CliError> {
    let mut found = Written::default();
    let mut problems = Vec::new();
    for file in files_at_all(arguments)? {
        match SourceText::read(&file).map_err(|unreadable| vec![unreadable.to_string()]).and_then(|text| text.written())
        {
            Ok(written) => {
                found.entries.extend(written.entries);
                found.services.extend(written.services);
            }
            Err(inner) => problems.extend(inner),
        }
    }
    problems.extend(repeated(&found.entries, partition, namespace));
    if problems.is_empty() { Ok(found) } else { Err(CliError::input(&problems)) }
}

/// The files that arguments name.
fn files_at_all(arguments: &[String]) -> Result<Vec<String>, CliError> {
    let files = arguments.iter().map(|argument| files_at(argument)).collect::<Result<Vec<_>, _>>()?;
    Ok(files.concat())
}

/// The config entries of files and of the files in directories; `-` is standard input.
///
/// # Errors
/// A file that cannot be read, and everything that is wrong with any of them; also an entry that is there twice.
pub(super) fn entries(
    arguments: &[String],
    partition: &Partition,
    namespace: &Namespace,
) -> Result<Vec<WrittenEntry>, CliError> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for file in files_at_all(arguments)? {
        match SourceText::read(&file) {
            Ok(text) => match text.entries() {
                Ok(entries) => found.extend(entries),
                Err(inner) => problems.extend(inner),
            },
            Err(unreadable) => problems.push(unreadable.to_string()),
        }
    }
    problems.extend(repeated(&found, partition, namespace));
    if problems.is_empty() { Ok(found) } else { Err(CliError::input(&problems)) }
}

/// What to say about entries that are there twice.
fn repeated(found: &[WrittenEntry], partition: &Partition, namespace: &Namespace) -> Vec<String> {
    let mut problems = Vec::new();
    let mut first: BTreeMap<EntryKey, &WrittenEntry> = BTreeMap::new();
    for written in found {
        let key = written.key_in(partition, namespace);
        match first.get(&key) {
            Some(other) => {
                let place = other.origin.locate(Problem::rule("", ""));
                let line = place.line.unwrap_or(1);
                problems.push(written.problem("Name", format!("{key} is at {}:{line} already", other.file)));
            }
            None => drop(first.insert(key, written)),
        }
    }
    problems
}

/// The files that an argument names: itself, or those of a directory by name, without those of its directories.
fn files_at(argument: &str) -> Result<Vec<String>, CliError> {
    if argument == "-" || !Path::new(argument).is_dir() {
        return Ok(vec![argument.to_owned()]);
    }
    let listed = std::fs::read_dir(argument).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = listed.map_err(CliError::io(argument))?;
    let mut paths: Vec<PathBuf> = listed.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let (known, skipped): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| format_by_name(path).is_some());
    for path in skipped {
        output::warning(&format!("{}: skipped, because it is no .hcl, .json or .yaml file", path.display()));
    }
    if known.is_empty() {
        return Err(CliError::Input(format!("{argument}: holds no .hcl, .json or .yaml file")));
    }
    Ok(known.into_iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

/// The bundle of a file, or of standard input for `-`.
///
/// # Errors
/// It cannot be read, and everything that is wrong with it.
pub(super) fn bundle(argument: &str) -> Result<Bundle, CliError> {
    let (name, text) = read(argument, MAX_BUNDLE_BYTES)?;
    let (name, text) = if text.starts_with(&GZIP) {
        (format!("{name}: {BUNDLE_OF_REPORT}"), unpacked(&name, &text)?)
    } else {
        (name, text)
    };
    codec::bundle(&text).map_err(|problems| CliError::input(&located(&name, problems)))
}

/// What compressed files begin with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The bundle in the archive that `meshgate bug-report` writes.
pub(super) const BUNDLE_OF_REPORT: &str = "bundle.json";

/// The bundle of a report. Of one that is larger than the codec reads there is as much as makes it refuse it.
fn unpacked(name: &str, report: &[u8]) -> Result<Vec<u8>, CliError> {
    let broken = CliError::io(name);
    let find = || {
        let mut archive = tar::Archive::new(GzDecoder::new(report));
        for entry in archive.entries()? {
            let entry = entry?;
            if entry.path()?.as_os_str() == BUNDLE_OF_REPORT {
                let mut text = Vec::new();
                entry.take(MAX_BUNDLE_BYTES as u64 + 1).read_to_end(&mut text)?;
                return Ok(text);
            }
        }
        Err(std::io::Error::other(format!("it has no {BUNDLE_OF_REPORT}: expected a file of `meshgate bug-report`")))
    };
    find().map_err(broken)
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
    format_by_name(path).unwrap_or_else(|| sniff(text))
}

fn format_by_name(path: &Path) -> Option<Format> {
    Format::from_extension(path.extension()?.to_str()?)
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
