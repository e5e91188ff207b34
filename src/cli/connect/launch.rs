//! Becoming Envoy.

use std::ffi::OsString;
use std::io::{Seek, Write};
use std::path::Path;

use serde_json::Value;

use crate::cli::envoy::{EnvoyError, EnvoyVersion, version_of};
use crate::cli::{CliError, output};

/// Refuses a binary that the control plane does not support.
///
/// # Errors
/// Its minor version is not among those that are supported, or it does not tell its version.
pub(super) fn check_version(binary: &Path, supported: &[EnvoyVersion]) -> Result<(), EnvoyError> {
    if supported.is_empty() {
        output::warning("the control plane does not say which versions of Envoy it supports");
        return Ok(());
    }
    let version = version_of(binary)?;
    if supported.iter().any(|other| other.is_compatible(version)) {
        return Ok(());
    }
    let mut minors: Vec<String> =
        supported.iter().map(|version| format!("{}.{}", version.major, version.minor)).collect();
    minors.dedup();
    Err(EnvoyError::Unsupported { path: binary.to_owned(), version: version.to_string(), supported: minors.join(", ") })
}

/// Replaces this process by Envoy. Returns only if that fails.
///
/// The document reaches Envoy as its standard input, in a file that has no name any more: the token in it is never in a
/// list of processes, and nothing stays behind.
///
/// # Errors
/// The document cannot be written, or Envoy cannot be started.
#[cfg(unix)]
pub(super) fn become_envoy(binary: &Path, document: &Value, arguments: &[OsString]) -> Result<(), CliError> {
    use std::os::unix::process::CommandExt;

    let file = nameless_file(document).map_err(CliError::io("the bootstrap cannot be written"))?;
    // Envoy allows this one path of /dev to be read.
    let error =
        std::process::Command::new(binary).args(["--config-path", "/dev/fd/0"]).args(arguments).stdin(file).exec();
    Err(CliError::io(format!("{} cannot be started", binary.display()))(error))
}

#[cfg(not(unix))]
pub(super) fn become_envoy(_: &Path, _: &Value, _: &[OsString]) -> Result<(), CliError> {
    Err(CliError::Usage(
        "Envoy can be started on Unix alone: use -bootstrap, and start it with the document".to_owned(),
    ))
}

#[cfg(unix)]
fn nameless_file(document: &Value) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;

    let name = format!("meshgate-bootstrap-{}", uuid::Uuid::new_v4());
    let path = std::env::temp_dir().join(name);
    let mut file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(document.to_string().as_bytes())?;
    file.rewind()?;
    Ok(file)
}
