//! Waiting for something to become true, with a limit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::DemoError;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A wait with a limit.
#[derive(Debug)]
pub(super) struct Wait {
    what: String,
    limit: Duration,
    started: Instant,
    logs: PathBuf,
}

impl Wait {
    /// Starts to wait.
    pub(super) fn up_to(limit: Duration, what: impl Into<String>, logs: &Path) -> Self {
        Self { what: what.into(), limit, started: Instant::now(), logs: logs.to_owned() }
    }

    /// How long it has been.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Pauses before the next look.
    pub(super) async fn again(&mut self) -> Result<(), DemoError> {
        if self.elapsed() > self.limit {
            return Err(DemoError::Timeout { what: self.what.clone(), limit: self.limit, logs: self.logs.clone() });
        }
        tokio::time::sleep(LOOK).await;
        Ok(())
    }
}
