//! Config entries in files: good ones mean the same in every format, bad ones are refused for the reasons on record.
//!
//! `testdata/entries/<kind>/` holds `ok-*` and `bad-*` files. Files with the same stem are the same entry in several
//! formats; `.kubernetes.yaml` is the format of Kubernetes resources. Beside every bad one stands a `.problems` file, which
//! `UPDATE_GOLDEN=1` rewrites.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod fields;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use meshgate::codec::{Format, config_entry, items, parse_documents};
use meshgate::model::{ConfigEntry, EntryKind, Namespace, Partition, Problem, ProblemKind, Problems};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/entries")
}

/// Every file of every kind.
fn all_files() -> Vec<PathBuf> {
    let list = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut files: Vec<_> = list(&root()).iter().flat_map(|folder| list(folder)).collect();
    files.sort();
    files
}

/// The inputs with this prefix.
fn inputs(prefix: &str) -> Vec<PathBuf> {
    let mut files = all_files();
    files.retain(|file| name(file).starts_with(prefix) && !name(file).ends_with(".problems"));
    files
}

fn name(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

fn kind(file: &Path) -> &str {
    name(file.parent().unwrap())
}

fn read(file: &Path) -> Result<ConfigEntry, Problems> {
    let format = Format::from_extension(file.extension().unwrap().to_str().unwrap()).expect("a known extension");
    let canonical = |entry: &ConfigEntry| {
        let mut entry = entry.clone();
        entry.normalize(&Partition::default(), &Namespace::default());
        entry
    };
    let text = fs::read(file).unwrap();
    let entry = if is_resource(file) {
        let documents = parse_documents(&text, format)?;
        let mut items = items(&documents);
        items.entries.iter_mut().for_each(|decoded| decoded.judge(|entry| canonical(entry).validate()));
        items.into_result()?.entries.pop().expect("one resource")
    } else {
        let mut decoded = config_entry(&text, format);
        decoded.judge(|entry| canonical(entry).validate());
        decoded.into_result()?
    };
    let mut stored = canonical(&entry);
    stored.arrange();
    Ok(stored)
}

fn is_resource(file: &Path) -> bool {
    name(file).ends_with(".kubernetes.yaml")
}

/// What an entry says, without what no resource can say.
fn without_meta(entry: &ConfigEntry) -> serde_json::Value {
    let mut value = serde_json::to_value(entry).unwrap();
    value.as_object_mut().unwrap().remove("Meta");
    value
}

#[test]
fn every_kind_has_good_and_bad_files() {
    let all: BTreeSet<_> = EntryKind::ALL.map(EntryKind::as_str).into();

    for prefix in ["ok-", "bad-"] {
        let files = inputs(prefix);
        assert_eq!(files.iter().map(|file| kind(file)).collect::<BTreeSet<_>>(), all, "{prefix}");
    }
}

#[test]
fn good_files_mean_the_same_in_every_format() {
    let mut by_stem: BTreeMap<PathBuf, Vec<(PathBuf, ConfigEntry)>> = BTreeMap::new();
    for file in inputs("ok-") {
        let entry = read(&file).unwrap_or_else(|problems| panic!("{}: {problems}", file.display()));
        assert_eq!(entry.kind().as_str(), kind(&file), "{}", file.display());
        by_stem.entry(file.with_extension("").with_extension("")).or_default().push((file, entry));
    }

    for readings in by_stem.into_values() {
        assert!(readings.len() > 1, "{}: no other format to compare with", readings[0].0.display());
        for (file, entry) in &readings[1..] {
            if is_resource(file) {
                assert_eq!(without_meta(entry), without_meta(&readings[0].1), "{}", file.display());
            } else {
                assert_eq!(*entry, readings[0].1, "{} and {}", file.display(), readings[0].0.display());
            }
        }
    }
}

#[test]
fn every_kind_is_written_as_a_resource_too() {
    let kinds: BTreeSet<_> = inputs("ok-").into_iter().filter(|file| is_resource(file)).collect();

    assert_eq!(
        kinds.iter().map(|file| kind(file)).collect::<BTreeSet<_>>(),
        EntryKind::ALL.map(EntryKind::as_str).into()
    );
}

fn line(problem: &Problem) -> String {
    let kind = match problem.kind {
        ProblemKind::Syntax => "syntax",
        ProblemKind::UnknownKey => "unknown key",
        ProblemKind::Type => "type",
        ProblemKind::Rule => "rule",
    };
    format!("[{kind}] {problem}\n")
}

#[test]
fn bad_files_are_refused_for_the_reasons_on_record() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failures = Vec::new();
    for file in inputs("bad-") {
        let Err(problems) = read(&file) else { panic!("{} was accepted", file.display()) };
        let actual: String = problems.0.iter().map(line).collect();
        let golden = PathBuf::from(format!("{}.problems", file.display()));
        if is_update {
            fs::write(&golden, &actual).unwrap();
        }
        let recorded = fs::read_to_string(&golden).unwrap_or_default();
        if recorded != actual {
            failures.push(format!("{}\nrecorded:\n{recorded}\nactual:\n{actual}", golden.display()));
        }
    }
    assert!(failures.is_empty(), "UPDATE_GOLDEN=1 cargo test --test entries\n\n{}", failures.join("\n"));
}

#[test]
fn every_problems_file_has_its_input() {
    for file in all_files() {
        if let Some(input) = file.to_str().unwrap().strip_suffix(".problems") {
            assert!(Path::new(input).exists(), "{} belongs to no file", file.display());
        }
    }
}
