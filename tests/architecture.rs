//! Dependencies between the folders of `src/` point one way.
//!
//! The table is that of `docs/architecture.md`; changing it needs a page in `docs/adr/`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Each folder, and the other folders that it may name.
const MAY_USE: [(&str, &[&str]); 17] = [
    ("model", &[]),
    ("codec", &["model"]),
    ("store", &["model", "telemetry"]),
    ("ir", &[]),
    ("resolve", &["model", "ir"]),
    ("envoy", &["ir"]),
    ("engine", &["model", "store", "resolve", "ir", "envoy", "ca", "telemetry"]),
    ("net", &[]),
    ("ads", &["ir", "envoy", "net", "telemetry"]),
    ("ca", &["model", "store", "telemetry"]),
    ("health", &["model", "store", "telemetry"]),
    ("federation", &["model", "store", "ca", "telemetry"]),
    ("api", &["codec", "model", "store", "net", "telemetry"]),
    ("telemetry", &[]),
    ("settings", ALL),
    ("cli", ALL),
    ("app", ALL),
];

const ALL: &[&str] = &[
    "ads",
    "api",
    "app",
    "ca",
    "cli",
    "codec",
    "engine",
    "envoy",
    "federation",
    "health",
    "ir",
    "model",
    "net",
    "resolve",
    "settings",
    "store",
    "telemetry",
];

/// Words of other crates, and the places that alone may say them.
const CONFINED: [(&str, &[&str], &str); 4] = [
    (
        "tokio",
        &["ads/server", "api", "app", "ca", "cli", "engine", "federation", "health", "net", "store", "telemetry"],
        "the middle is pure: no sockets, no clock, no async",
    ),
    ("envoy_types", &["ads", "envoy"], "Envoy's messages are written in one place"),
    ("std::time::SystemTime", &["ca", "cli", "health", "telemetry"], "the middle has no clock"),
    ("redb", &["store"], "the format of the store is its own business"),
];

struct Source {
    /// The path below `src/`, without `.rs`.
    path: String,
    /// The lines outside of tests and comments, with their numbers.
    lines: Vec<(usize, String)>,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a source file can be read");
        let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
        let is_code = |line: &str| !line.trim_start().starts_with("//");
        let outside_of_tests = lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]");
        let lines = outside_of_tests.filter(|(_, line)| is_code(line)).map(|(n, line)| (n, line.to_owned())).collect();
        let below = path.strip_prefix(root).expect("a file below src").with_extension("");
        Self { path: below.to_string_lossy().into_owned(), lines }
    }

    fn folder(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    fn is_in(&self, place: &str) -> bool {
        self.path == place || self.path.starts_with(&format!("{place}/"))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder can be listed") {
            let path: PathBuf = entry.expect("an entry can be read").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "tests") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") && path.file_stem().is_some_and(|s| s != "tests") {
                found.push(Source::read(&root, &path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "only {} source files found", found.len());
    found
}

/// The folders that a line names behind `crate::`.
fn named_folders(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for after in line.split("crate::").skip(1) {
        if let Some(group) = after.strip_prefix('{') {
            let inside = group.split('}').next().unwrap_or_default();
            found.extend(inside.split(',').map(|item| first_word(item.trim())));
        } else {
            found.push(first_word(after));
        }
    }
    found
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

#[test]
fn folders_name_only_what_they_may_use() {
    let mut offences = String::new();
    for source in sources() {
        if matches!(source.path.as_str(), "lib" | "main") {
            continue;
        }
        let folder = source.folder().to_owned();
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(name, _)| *name == folder)
            .unwrap_or_else(|| panic!("src/{folder} is not in the table: add it there and in docs/architecture.md"));
        for (number, line) in &source.lines {
            for named in named_folders(line) {
                let is_folder = ALL.contains(&named);
                if is_folder && named != folder && !allowed.contains(&named) {
                    let _ = writeln!(
                        offences,
                        "src/{}.rs:{number}: `{folder}` may use {allowed:?}, not `{named}`: {}",
                        source.path,
                        line.trim()
                    );
                }
            }
        }
    }
    assert!(offences.is_empty(), "\n{offences}");
}

#[test]
fn words_of_other_crates_stay_where_they_belong() {
    let mut offences = String::new();
    for source in sources() {
        for (word, places, reason) in CONFINED {
            if places.iter().any(|place| source.is_in(place)) {
                continue;
            }
            for (number, line) in source.lines.iter().filter(|(_, line)| line.contains(word)) {
                let _ = writeln!(offences, "src/{}.rs:{number}: `{word}`: {reason}: {}", source.path, line.trim());
            }
        }
    }
    assert!(offences.is_empty(), "\n{offences}");
}

#[test]
fn groups_and_several_paths_of_a_line_are_seen() {
    assert_eq!(named_folders("use crate::{model::Place, store};"), ["model", "store"]);
    assert_eq!(named_folders("crate::ir::Listener, crate::envoy::names::cluster()"), ["ir", "envoy"]);
}
