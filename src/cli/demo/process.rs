//! Child processes: the control plane and the Envoys. Each ends with the demo.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

use super::DemoError;

/// Lines of a log that an error shows.
const LAST_LINES: usize = 12;

/// A child process with its log.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`. What it prints goes to the end of `<name>.log` in `directory`.
    pub(super) fn start(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        directory: &Path,
    ) -> Result<Self, DemoError> {
        let log = directory.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.map_err(DemoError::io(format!("{} cannot be written", log.display())))?;
        let errors = output.try_clone().map_err(DemoError::io("a file descriptor cannot be copied"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // The demo decides what its processes are told.
            .env_remove("CONSUL_HTTP_ADDR")
            .env_remove("CONSUL_GRPC_ADDR")
            .kill_on_drop(true)
            .spawn()
            .map_err(DemoError::io(format!("{} cannot be started", program.display())))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Fails if the process has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(Some(status)) => {
                Err(DemoError::Ended { name: self.name.clone(), status: status.to_string(), log: self.last_lines() })
            }
            // Whether it runs cannot be told while it cannot be asked.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// The end of the log, because the file goes with the demo.
    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// Its ID; `None` after it has ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, DemoError> {
        self.child.wait().await.map_err(DemoError::io(format!("{} cannot be waited for", self.name)))
    }

    /// Ends the process at once, without a chance to tidy up.
    pub(super) async fn kill(&mut self) -> Result<(), DemoError> {
        self.child.kill().await.map_err(DemoError::io(format!("{} cannot be ended", self.name)))
    }
}
