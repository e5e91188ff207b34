//! The comparer of the cases, as a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::Folders;

/// Cases that may differ, with the reason and the decision.
pub(crate) type Listed = BTreeMap<String, (String, String)>;

/// What the comparer says.
pub(crate) struct Verdict {
    /// Whether each case is equal.
    pub(crate) cases: BTreeMap<String, bool>,
    /// Its output, apart from the last line.
    pub(crate) report: String,
    /// `N of M equal`.
    pub(crate) last_line: String,
}

/// Compares what is in the output folder for the cases of these files.
pub(crate) async fn compare(folders: &Folders, files: &[PathBuf], is_verbose: bool) -> Result<Verdict, String> {
    let comparer = comparer(&folders.cases)?;
    let chosen = tempfile::tempdir().map_err(|error| error.to_string())?;
    for file in files {
        let copy = chosen.path().join(file.file_name().unwrap_or_default());
        std::fs::copy(file, copy).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let mut command = Command::new("python3");
    command.arg(&comparer).arg("--sds-equivalent").args(is_verbose.then_some("-v"));
    command.arg("--summary").arg(chosen.path()).arg("--golden").arg(&folders.golden).arg("--actual").arg(&folders.out);
    let output = command.output().await.map_err(|error| format!("python3 does not run: {error}"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    // 1 means that something differs.
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(format!("{}: {told}{}", comparer.display(), String::from_utf8_lossy(&output.stderr)));
    }
    let (report, last_line) = told.trim_end().rsplit_once('\n').unwrap_or_default();
    let verdict = |line: &str| {
        let (word, rest) = line.split_once(' ')?;
        let name = rest.trim().split(':').next()?.to_owned();
        match word {
            "equal" => Some((name, true)),
            "DIFF" => Some((name, false)),
            _ => None,
        }
    };
    let cases: BTreeMap<_, _> = report.lines().filter_map(verdict).collect();
    let count = cases.values().filter(|is_equal| **is_equal).count();
    if cases.len() != files.len() || !last_line.starts_with(&format!("{count} of {} equal", cases.len())) {
        return Err(format!("{} is not understood: {told}", comparer.display()));
    }
    Ok(Verdict { cases, report: report.trim_end().to_owned(), last_line: last_line.to_owned() })
}

/// The comparer beside the cases, else the one of the default folder.
fn comparer(cases: &Path) -> Result<PathBuf, String> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let candidates = [cases, &default].map(|folder| folder.join("compare.py"));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| "there is no compare.py".to_owned())
}
