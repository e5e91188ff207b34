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

/// Options of Envoy that speak about hot restart; whoever gives one of them decides about it.
#[cfg(unix)]
const HOT_RESTART: [&str; 8] = [
    "--base-id",
    "--base-id-path",
    "--disable-hot-restart",
    "--hot-restart-version",
    "--parent-shutdown-time-s",
    "--restart-epoch",
    "--socket-path",
    "--use-dynamic-base-id",
];

/// Replaces this process by Envoy. Returns only if that fails.
///
/// Hot restart is off unless `arguments` speak about it: it makes the second Envoy of a host refuse to start, because
/// both have the same base ID.
///
/// The document reaches Envoy as its standard input, in a file that has no name any more: the token in it is never in a
/// list of processes, and nothing stays behind.
///
/// # Errors
/// The document cannot be written, or Envoy cannot be started.
#[cfg(unix)]
pub(super) fn become_envoy(binary: &Path, document: &Value, arguments: &[OsString]) -> Result<(), CliError> {
    use std::os::unix::process::CommandExt;

    let error = command(binary, document, arguments)?.exec();
    Err(CliError::io(format!("{} cannot be started", binary.display()))(error))
}

/// Starts Envoy as a child, in the same way. It gets no signals of the terminal: whoever started it decides when it ends.
///
/// # Errors
/// As for [`become_envoy`].
#[cfg(unix)]
pub(super) fn start(
    binary: &Path,
    document: &Value,
    arguments: &[OsString],
) -> Result<tokio::process::Child, CliError> {
    let mut command = tokio::process::Command::from(command(binary, document, arguments)?);
    command.process_group(0).kill_on_drop(true);
    command.spawn().map_err(CliError::io(format!("{} cannot be started", binary.display())))
}

#[cfg(unix)]
fn command(binary: &Path, document: &Value, arguments: &[OsString]) -> Result<std::process::Command, CliError> {
    let file = nameless_file(document).map_err(CliError::io("the bootstrap cannot be written"))?;
    let mut command = std::process::Command::new(binary);
    // Envoy allows this one path of /dev to be read.
    command.args(["--config-path", "/dev/fd/0"]);
    if !speaks_of_hot_restart(arguments) {
        command.arg("--disable-hot-restart");
    }
    command.args(arguments).stdin(file);
    Ok(command)
}

/// Tells a child to end.
#[cfg(unix)]
pub(super) fn terminate(child: &tokio::process::Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        // One that has ended needs to be told nothing.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
pub(super) fn become_envoy(_: &Path, _: &Value, _: &[OsString]) -> Result<(), CliError> {
    Err(no_envoy_here())
}

#[cfg(not(unix))]
pub(super) fn start(_: &Path, _: &Value, _: &[OsString]) -> Result<tokio::process::Child, CliError> {
    Err(no_envoy_here())
}

#[cfg(not(unix))]
pub(super) fn terminate(_: &tokio::process::Child) {}

#[cfg(not(unix))]
fn no_envoy_here() -> CliError {
    CliError::Usage(
        "Envoy can be started on Unix alone: use connect envoy -bootstrap, and start it with the document".to_owned(),
    )
}

#[cfg(unix)]
fn speaks_of_hot_restart(arguments: &[OsString]) -> bool {
    arguments.iter().filter_map(|argument| argument.to_str()).any(|argument| {
        let name = argument.split_once('=').map_or(argument, |(name, _)| name);
        HOT_RESTART.contains(&name)
    })
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn speaks(arguments: &[&str]) -> bool {
        speaks_of_hot_restart(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn hot_restart_is_left_to_whoever_gives_one_of_its_options() {
        assert!(speaks(&["-l", "debug", "--base-id", "7"]));
        assert!(speaks(&["--restart-epoch=1"]));
        assert!(speaks(&["--disable-hot-restart"]));
        assert!(!speaks(&[]));
        assert!(!speaks(&["-l", "debug", "--drain-time-s", "5"]));
    }
}
