//! The file of contexts: `meshgate/contexts.json` where the user's settings are. Nobody else may read it, as tokens may be in it.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::CliError;

/// What is said about one control plane; what is empty is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub(super) struct Context {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) token_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) datacenter: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(rename = "CAFile", skip_serializing_if = "String::is_empty")]
    pub(super) ca_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) cert_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) key_file: String,
}

/// All contexts, and which of them counts where nothing else is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub(super) struct Contexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    pub(super) contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// What the file says; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be read or understood, or others may read it.
    pub(super) fn read() -> Result<Self, CliError> {
        path().map_or(Ok(Self::default()), |path| Self::read_from(&path))
    }

    fn read_from(path: &Path) -> Result<Self, CliError> {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::io(format!("{shown} cannot be read"))(error)),
        };
        let about = std::fs::metadata(path).map_err(CliError::io(format!("{shown} cannot be looked at")))?;
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let message = format!(
                "{shown} may hold tokens and has mode {mode:03o}, so that others can read it: chmod 600 {shown}"
            );
            return Err(CliError::Input(message));
        }
        serde_json::from_str(&text).map_err(|error| CliError::Input(format!("{shown} is no file of contexts: {error}")))
    }

    /// Writes the file, which is the old or the new one at any moment.
    ///
    /// # Errors
    /// Nobody says where it is, or it cannot be written.
    pub(super) fn write(&self) -> Result<(), CliError> {
        let Some(path) = path() else {
            let message = "nobody says where contexts are kept: set XDG_CONFIG_HOME or HOME";
            return Err(CliError::Input(message.to_owned()));
        };
        self.write_to(&path)
    }

    fn write_to(&self, path: &Path) -> Result<(), CliError> {
        let failed = || CliError::io(format!("{} cannot be written", path.display()));
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed())?;
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed())?;
        file.as_file().set_permissions(Permissions::from_mode(0o600)).map_err(failed())?;
        let text = serde_json::to_string_pretty(self).map_err(|error| CliError::Input(error.to_string()))?;
        writeln!(file, "{text}").and_then(|()| file.as_file().sync_all()).map_err(failed())?;
        file.persist(path).map_err(|error| failed()(error.error))?;
        Ok(())
    }
}

/// Where the file is; `None` if the environment names no directory.
pub(super) fn path() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let settings = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")))?;
    Some(settings.join("meshgate").join("contexts.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_by_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join("contexts.json");
        let context = Context { address: "10.0.0.1:8500".to_owned(), token: "secret".to_owned(), ..Context::default() };
        let contexts = Contexts { current: None, contexts: BTreeMap::from([("prod".to_owned(), context)]) };

        assert_eq!(Contexts::read_from(&path).unwrap(), Contexts::default());
        contexts.write_to(&path).unwrap();
        assert_eq!(Contexts::read_from(&path).unwrap(), contexts);

        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = Contexts::read_from(&path).unwrap_err().to_string();
        assert!(error.contains("has mode 640") && error.contains("chmod 600"), "{error}");
    }
}
