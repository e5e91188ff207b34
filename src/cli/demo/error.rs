//! What can go wrong while the demo runs.

use std::path::PathBuf;
use std::time::Duration;

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no Envoy.
    #[error(transparent)]
    Envoy(#[from] crate::cli::envoy::EnvoyError),
    /// Something of the system is missing or taken.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The control plane or an Envoy cannot be asked.
    #[error("{url} does not answer")]
    Http {
        /// Who was asked.
        url: String,
        /// Why there is no answer.
        #[source]
        source: reqwest::Error,
    },
    /// The control plane refuses.
    #[error("{method} {path} was refused with {status}: {body}")]
    Refused {
        /// The method.
        method: &'static str,
        /// The path with its query.
        path: String,
        /// The status.
        status: u16,
        /// The reason.
        body: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {limit:?}; the logs are in {logs}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// Where to look.
        logs: PathBuf,
    },
    /// A process ended by itself.
    #[error("{name} ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// Whose process.
        name: String,
        /// How it ended.
        status: String,
        /// Its last lines.
        log: String,
    },
    /// Another demo has every network.
    #[error("every network from 127.42.0.0 to 127.249.0.0 is in use; end another demo")]
    NoNetwork,
}

impl DemoError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        |source| DemoError::Io { what: what.into(), source }
    }

    pub(super) fn http(url: &str) -> impl FnOnce(reqwest::Error) -> Self {
        |source| DemoError::Http { url: url.to_owned(), source }
    }
}
