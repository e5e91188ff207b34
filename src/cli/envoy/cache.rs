//! Where fetched binaries are kept, and how one gets there whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::EnvoyError;

/// Tells apart the directories that one process prepares.
static PREPARED: AtomicU32 = AtomicU32::new(0);

/// The directory of all fetched Envoys.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// The cache that the environment names.
    pub(super) fn from_environment() -> Result<Self, EnvoyError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = variable("MESHGATE_CACHE_DIR")
            .or_else(|| variable("XDG_CACHE_HOME").map(|directory| directory.join("meshgate")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache").join("meshgate")))
            .ok_or(EnvoyError::NoCache)?;
        Ok(Self { directory: base.join("envoy") })
    }

    /// The binary of a version, if it was fetched.
    pub(super) fn binary(&self, version: &str) -> Option<PathBuf> {
        let path = self.slot(version).join("envoy");
        path.is_file().then_some(path)
    }

    /// Keeps others from fetching at the same time, until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, EnvoyError> {
        fs::create_dir_all(&self.directory).map_err(EnvoyError::io(&self.directory))?;
        let path = self.directory.join(".lock");
        let file = File::create(&path).map_err(EnvoyError::io(&path))?;
        file.lock().map_err(EnvoyError::io(&path))?;
        Ok(file)
    }

    /// An empty directory on the same file system, removed when it is dropped. To be called under the lock: what others
    /// have left behind goes away.
    pub(super) fn prepare(&self) -> Result<Workspace, EnvoyError> {
        self.remove_leftovers();
        let name = format!(".{}-{}", std::process::id(), PREPARED.fetch_add(1, Ordering::Relaxed));
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory).map_err(EnvoyError::io(&directory))?;
        Ok(Workspace { directory })
    }

    /// Puts a finished binary in its place, in one step: nobody ever sees half of it.
    pub(super) fn publish(&self, version: &str, binary: &Path, workspace: &Workspace) -> Result<PathBuf, EnvoyError> {
        let finished = workspace.directory.join("finished");
        fs::create_dir(&finished).map_err(EnvoyError::io(&finished))?;
        let target = finished.join("envoy");
        fs::rename(binary, &target).map_err(EnvoyError::io(binary))?;
        make_executable(&target)?;
        let slot = self.slot(version);
        match fs::rename(&finished, &slot) {
            Ok(()) => Ok(slot.join("envoy")),
            // Somebody without our lock, such as another machine on the same file system, was faster.
            Err(error) => self.binary(version).ok_or(EnvoyError::Io { path: slot, source: error }),
        }
    }

    /// Removes the directories of installations that were killed.
    fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let paths =
            entries.filter_map(Result::ok).filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."));
        for path in paths.map(|entry| entry.path()).filter(|path| path.is_dir()) {
            // What cannot be removed costs space and nothing else.
            let _ = fs::remove_dir_all(path);
        }
    }

    fn slot(&self, version: &str) -> PathBuf {
        self.directory.join(format!("{version}-{}", std::env::consts::ARCH))
    }
}

/// A directory for one installation.
#[derive(Debug)]
pub(super) struct Workspace {
    directory: PathBuf,
}

impl Workspace {
    pub(super) fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What stays behind costs space and nothing else.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<(), EnvoyError> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(EnvoyError::io(path))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<(), EnvoyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_there_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: directory.path().join("envoy") };
        let workspace = cache.prepare().unwrap();
        let unpacked = workspace.path().join("unpacked");
        fs::write(&unpacked, "binary").unwrap();
        assert_eq!(cache.binary("1.40.0"), None);

        let path = cache.publish("1.40.0", &unpacked, &workspace).unwrap();

        assert_eq!(cache.binary("1.40.0"), Some(path.clone()));
        assert_eq!(fs::read_to_string(path).unwrap(), "binary");
    }

    #[test]
    fn the_second_of_two_takes_what_the_first_has_put_there_and_nothing_is_left_over() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: directory.path().join("envoy") };
        for content in ["first", "second"] {
            let workspace = cache.prepare().unwrap();
            let unpacked = workspace.path().join("unpacked");
            fs::write(&unpacked, content).unwrap();
            let path = cache.publish("1.40.0", &unpacked, &workspace).unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), "first");
        }
        fs::create_dir_all(cache.directory.join(".1-0/package")).unwrap();
        drop(cache.prepare().unwrap());

        let left: Vec<_> = fs::read_dir(&cache.directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
