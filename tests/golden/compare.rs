//! Expected files: compared, or written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use similar::TextDiff;

/// What nobody writes but a person.
const INPUT: &str = "input.yaml";

/// A value as it stands in a file.
fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The files of a case, apart from its input.
fn files(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("the folder of a case can be read");
    let names = entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    names.filter(|name| name != INPUT).collect()
}

/// Writes what came out, and deletes every other file.
pub(crate) fn write(folder: &Path, outputs: &BTreeMap<&str, Value>) {
    for orphan in files(folder).iter().filter(|name| !outputs.contains_key(name.as_str())) {
        std::fs::remove_file(folder.join(orphan)).expect("an output can be deleted");
    }
    for (name, value) in outputs {
        std::fs::write(folder.join(name), text(value)).expect("an output can be written");
    }
}

/// What differs from the files, each difference as a text.
pub(crate) fn differences(folder: &Path, outputs: &BTreeMap<&str, Value>) -> Vec<String> {
    let names: BTreeSet<String> = files(folder).into_iter().chain(outputs.keys().map(ToString::to_string)).collect();
    let difference = |name: String| {
        let path = folder.join(&name);
        let expected = std::fs::read_to_string(&path).ok();
        let found = outputs.get(name.as_str()).map(text);
        match (expected, found) {
            (None, found) => Some(format!("{} is missing; it would be\n{}", path.display(), found.unwrap_or_default())),
            (Some(_), None) => Some(format!("{} is there, and nothing comes out for it", path.display())),
            (Some(expected), Some(found)) => (expected != found).then(|| {
                let diff = TextDiff::from_lines(&expected, &found);
                let shown = diff.unified_diff().context_radius(6).header("expected", "found").to_string();
                format!("{} differs\n{shown}", path.display())
            }),
        }
    };
    names.into_iter().filter_map(difference).collect()
}
