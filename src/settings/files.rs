//! Files and directories of settings, in the order of the command line.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::definitions::{self, is_entry};
use super::draft::{Draft, Given};
use super::error::Source;
use super::inputs::Inputs;
use super::keys::{self, CHECKS, DEFINITIONS, GROUPS};
use crate::codec::{self, Format, MAX_BYTES, Member, Tree};

/// Reads every file into the draft.
pub(super) fn collect(inputs: &Inputs, draft: &mut Draft) {
    for path in &inputs.files {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => collect_directory(inputs, path, draft),
            Ok(_) => collect_named(inputs, path, draft),
            Err(error) => draft.file_problem(path, error.to_string()),
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
        None => draft.file_problem(path, "is no .hcl, .json or .yaml file: rename it, or add -config-format"),
    }
}

/// The files of a directory, sorted by name, without those of its directories.
fn collect_directory(inputs: &Inputs, directory: &Path, draft: &mut Draft) {
    let listed = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<PathBuf> = match listed {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect(),
        Err(error) => return draft.file_problem(directory, error.to_string()),
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
    Format::from_extension(path.extension()?.to_str()?)
}

fn collect_file(path: &Path, format: Format, draft: &mut Draft) {
    // One byte more than is allowed is enough for the codec to refuse it.
    let read = std::fs::File::open(path).and_then(|file| {
        let mut text = Vec::new();
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    });
    match read {
        Ok(text) => collect_text(path, &text, format, draft),
        Err(error) => draft.file_problem(path, error.to_string()),
    }
}

fn collect_text(path: &Path, text: &[u8], format: Format, draft: &mut Draft) {
    match codec::parse_documents(text, format) {
        Ok(documents) => documents.into_iter().for_each(|document| collect_document(path, document, draft)),
        Err(problem) => draft.located_problem(path, problem),
    }
}

fn collect_document(path: &Path, mut document: Tree, draft: &mut Draft) {
    if is_entry(&document) {
        return definitions::collect(path, &document, draft);
    }
    let defined = document.split_off(&DEFINITIONS);
    let checks = document.split_off(&CHECKS);
    let Some(members) = document.members() else {
        return draft.file_problem(path, "holds no keys: expected settings, services or config entries");
    };
    collect_moved(path, members, draft);
    let mut ignored = Vec::new();
    collect_keys(path, members, "", draft, &mut ignored);
    if !ignored.is_empty() {
        draft.warnings.push(format!("{}: without effect in meshgate: {}", path.display(), ignored.join(", ")));
    }
    definitions::collect(path, &defined, draft);
    definitions::collect_checks(path, &checks, draft);
}

/// Takes what older versions call otherwise, before all else of the file: what stands there by its name of today counts.
fn collect_moved(path: &Path, members: &[Member], draft: &mut Draft) {
    for Member { key, value, .. } in members {
        let Some(now) = keys::moved(key) else { continue };
        let source = Source::File { path: path.to_owned(), line: Some(value.line), key: key.clone() };
        draft.warnings.push(format!("{source}: is {now} now, and counts as that where nothing else is said there"));
        draft.give(now, Given { value: json!(value), source });
    }
}

/// Takes the keys of a map; those that have no meaning here are added to `ignored`.
fn collect_keys(path: &Path, members: &[Member], prefix: &str, draft: &mut Draft, ignored: &mut Vec<String>) {
    for Member { key, value, .. } in members {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let source = Source::File { path: path.to_owned(), line: Some(value.line), key: key.clone() };
        if keys::find(&key).is_some() {
            draft.give(&key, Given { value: json!(value), source });
        } else if keys::moved(&key).is_some() {
            // Taken already.
        } else if GROUPS.contains(&key.as_str()) {
            match value.members() {
                Some(inner) => collect_keys(path, inner, &key, draft, ignored),
                None => draft.problem(source, "expected one block of keys"),
            }
        } else if key == "acl.enabled" {
            refuse_acl(source, &json!(value), draft);
        } else if keys::is_ignored(&key) {
            ignored.push(key);
        } else {
            let meant = keys::similar(&key).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
            draft.problem(source, format!("invalid config key {key}{meant}"));
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
fn refuse_acl(source: Source, value: &Value, draft: &mut Draft) {
    if super::parse::switch(value) != Ok(false) {
        let message = "access control lists are not enforced: remove the key, and keep the ports away from those who must \
                       not use them";
        draft.problem(source, message);
    }
}
