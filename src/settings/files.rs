//! Files and directories of settings, in the order of the command line.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::definitions::{self, is_entry};
use super::draft::{Draft, Given};
use super::error::Source;
use super::inputs::Inputs;
use super::keys::{self, DEFINITIONS, GROUPS};
use crate::codec::{self, Format, Tree};

/// The largest file that is read.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Reads every file into the draft.
pub(super) fn collect(inputs: &Inputs, draft: &mut Draft) {
    for path in &inputs.files {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => collect_directory(inputs, path, draft),
            Ok(_) => collect_named(inputs, path, draft),
            Err(error) => draft.file_problem(path, "", error.to_string()),
        }
    }
    for text in &inputs.snippets {
        collect_text(Path::new("-hcl"), text.as_bytes(), Format::Hcl, draft);
    }
}

/// A file that was named itself must have a format.
fn collect_named(inputs: &Inputs, path: &Path, draft: &mut Draft) {
    match format_of(path).or(inputs.file_format.map(Format::from)) {
        Some(format) => collect_file(path, format, draft),
        None => draft.file_problem(path, "", "is no .hcl, .json or .yaml file: rename it, or add -config-format"),
    }
}

/// The files of a directory, sorted by name, without those of its directories.
fn collect_directory(inputs: &Inputs, directory: &Path, draft: &mut Draft) {
    let listed = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<PathBuf> = match listed {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect(),
        Err(error) => return draft.file_problem(directory, "", error.to_string()),
    };
    paths.sort();
    for path in paths {
        match format_of(&path).or(inputs.file_format.map(Format::from)) {
            Some(format) => collect_file(&path, format, draft),
            None => {
                draft.warnings.push(format!("{}: skipped, because it is no .hcl, .json or .yaml file", path.display()));
            }
        }
    }
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "hcl" => Some(Format::Hcl),
        "json" => Some(Format::Json),
        "yaml" | "yml" => Some(Format::Yaml),
        _ => None,
    }
}

fn collect_file(path: &Path, format: Format, draft: &mut Draft) {
    let read = std::fs::metadata(path).and_then(|metadata| {
        if metadata.len() > MOST_BYTES {
            let message = format!("larger than {} MiB", MOST_BYTES >> 20);
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
        }
        std::fs::read(path)
    });
    match read {
        Ok(text) => collect_text(path, &text, format, draft),
        Err(error) => draft.file_problem(path, "", error.to_string()),
    }
}

fn collect_text(path: &Path, text: &[u8], format: Format, draft: &mut Draft) {
    if text.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    match codec::parse_documents(text, format) {
        Ok(documents) => documents.into_iter().for_each(|document| collect_document(path, document, draft)),
        Err(problem) => definitions::report(path, problem.into(), draft),
    }
}

fn collect_document(path: &Path, mut document: Tree, draft: &mut Draft) {
    if is_entry(&document) {
        return definitions::collect(path, &document, draft);
    }
    let defined = document.split_off(&DEFINITIONS);
    let Ok(Value::Object(settings)) = serde_json::to_value(&document) else {
        return draft.file_problem(path, "", "holds no keys: expected settings, services or config entries");
    };
    let mut ignored = Vec::new();
    collect_keys(path, &settings, "", draft, &mut ignored);
    if !ignored.is_empty() {
        draft.warnings.push(format!("{}: without effect in meshgate: {}", path.display(), ignored.join(", ")));
    }
    if defined.members().is_some_and(|members| !members.is_empty()) {
        definitions::collect(path, &defined, draft);
    }
}

/// Takes the keys of a map; those that have no meaning here are added to `ignored`.
fn collect_keys(path: &Path, keys: &Map<String, Value>, prefix: &str, draft: &mut Draft, ignored: &mut Vec<String>) {
    for (key, value) in keys {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if keys::find(&key).is_some() {
            let source = Source::File { path: path.to_owned(), key: key.clone() };
            draft.give(&key, Given { value: value.clone(), source });
        } else if GROUPS.contains(&key.as_str()) {
            match one_map(value) {
                Some(inner) => collect_keys(path, inner, &key, draft, ignored),
                None => draft.file_problem(path, &key, "expected one block of keys"),
            }
        } else if key == "acl.enabled" {
            refuse_acl(path, value, draft);
        } else if keys::is_ignored(&key) {
            ignored.push(key);
        } else {
            let meant = keys::similar(&key).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
            draft.file_problem(path, &key, format!("invalid config key {key}{meant}"));
        }
    }
}

/// A block of HCL is a list with one map.
pub(super) fn one_map(value: &Value) -> Option<&Map<String, Value>> {
    match value.as_array().map(Vec::as_slice) {
        Some([only]) => only.as_object(),
        Some(_) => None,
        None => value.as_object(),
    }
}

/// Whoever asks for access control must not be left without it unawares.
fn refuse_acl(path: &Path, value: &Value, draft: &mut Draft) {
    if super::parse::switch(value) != Ok(false) {
        draft.file_problem(
            path,
            "acl.enabled",
            "access control lists are not enforced: remove the key, and keep the ports away from those who must not use them",
        );
    }
}
