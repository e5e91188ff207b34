//! Which Envoy is started: the one that was named, else the one on PATH, else the newest that was fetched.

use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::{EnvoyError, EnvoyVersion, version_of, versions};

/// The Envoy to start.
///
/// `explicit` is a path, or a bare name that is looked up on PATH.
///
/// # Errors
/// What was named is no executable file, or there is no Envoy anywhere; the message says what to do.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, EnvoyError> {
    if let Some(path) = explicit {
        let named = if path.components().count() == 1 { on_path(path) } else { None };
        let found = named.or_else(|| is_executable(path).then(|| path.to_owned()));
        return found.ok_or_else(|| EnvoyError::NotExecutable { path: path.to_owned() });
    }
    if let Some(path) = on_path("envoy") {
        return Ok(path);
    }
    let cache = Cache::from_environment().map_err(|_| EnvoyError::NotFound)?;
    versions().iter().rev().find_map(|version| cache.binary(version)).ok_or(EnvoyError::NotFound)
}

/// The Envoy to start, which is fetched if there is none anywhere and none was named.
///
/// # Errors
/// What was named is no executable file, or Envoy cannot be fetched; the message says what to do.
pub fn find_or_install(explicit: Option<&Path>) -> Result<PathBuf, EnvoyError> {
    match find(explicit) {
        Err(EnvoyError::NotFound) => super::binary(super::DEFAULT_VERSION),
        found => found,
    }
}

/// An Envoy on this machine for which the configuration of a version is right: one of the very version if there is one.
pub fn compatible(version: EnvoyVersion) -> Option<PathBuf> {
    let cache = Cache::from_environment().ok();
    let fetched = versions().into_iter().rev().filter_map(|version| cache.as_ref()?.binary(version));
    let known = on_path("envoy").into_iter().chain(fetched).filter_map(|path| Some((version_of(&path).ok()?, path)));
    let fitting: Vec<_> = known.filter(|(found, _)| found.is_compatible(version)).collect();
    let exact = fitting.iter().find(|(found, _)| *found == version).or(fitting.first());
    exact.map(|(_, path)| path.clone())
}

/// The first executable file of this name in the directories of PATH.
pub(super) fn on_path(name: impl AsRef<Path>) -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories).map(|directory| directory.join(name.as_ref())).find(|path| is_executable(path))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_named_must_be_executable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("envoy");
        std::fs::write(&path, "").unwrap();

        let error = find(Some(&path)).unwrap_err();

        assert!(error.to_string().contains("is no executable file"), "{error}");
    }
}
