//! What is wrong with the settings, and where it was said.

use std::fmt;
use std::path::PathBuf;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// On the command line, by this flag.
    Flag(&'static str),
    /// In the environment, by this variable.
    Variable(String),
    /// In a file, under this key; the whole file when the key is empty.
    File {
        /// The file.
        path: PathBuf,
        /// Line in it, counted from 1, where it is known.
        line: Option<usize>,
        /// Its key, with dots between levels.
        key: String,
    },
    /// Nowhere: a key that must be given was not.
    Missing(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(f, "-{flag}"),
            Source::Variable(name) => f.write_str(name),
            Source::File { path, line, key } => {
                write!(f, "{}", path.display())?;
                line.iter().try_for_each(|line| write!(f, ":{line}"))?;
                if key.is_empty() { Ok(()) } else { write!(f, ": {key}") }
            }
            Source::Missing(key) => f.write_str(key),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// Where it was said.
    pub source: Source,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

/// Everything that is wrong with the settings; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub Vec<SettingProblem>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => only.fmt(f),
            several => {
                write!(f, "{} settings are wrong:", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  * {problem}"))
            }
        }
    }
}

impl std::error::Error for SettingsError {}
