//! What ends a command early, and the exit code it ends with.

use std::fmt;
use std::process::ExitCode;

use super::client::ClientError;
use super::demo::DemoError;
use super::envoy::EnvoyError;
use crate::app::AppError;
use crate::settings::SettingsError;

/// A command that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Options that contradict each other, or miss one.
    #[error("{0}")]
    Usage(String),
    /// The control plane did not answer, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Files or values that are wrong; every problem is listed.
    #[error("{0}")]
    Input(String),
    /// The question was answered, and the answer is no. It has been told.
    #[error("no")]
    No,
    /// Something would change. It has been told.
    #[error("changes pending")]
    Pending,
    /// The question was not answered, where no is an answer.
    #[error(transparent)]
    Unanswered(Box<CliError>),
    /// Settings that are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Envoy cannot be found, fetched or started.
    #[error(transparent)]
    Envoy(#[from] EnvoyError),
    /// An Envoy ended by itself.
    #[error("Envoy ended {}", .0.map_or_else(|| "by a signal".to_owned(), |code| format!("with exit code {code}")))]
    Ended(Option<i32>),
    /// The agent stopped with an error.
    #[error(transparent)]
    App(#[from] AppError),
    /// The demo cannot go on.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The demo showed something else than it should.
    #[error("{failed} steps of the tour failed")]
    Tour {
        /// How many.
        failed: usize,
    },
    /// Somebody ended the demo before it had shown everything.
    #[error("stopped before the tour was over")]
    TourEnded,
    /// There is nothing of what was asked for, and scripts want to know.
    #[error("{0}")]
    Nothing(String),
    /// The operating system refused something.
    #[error("{0}")]
    Io(#[source] IoError),
}

/// Something that could not be done to a file or stream.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub(crate) struct IoError {
    what: String,
    source: std::io::Error,
}

impl IoError {
    /// What the operating system says.
    pub(crate) fn kind(&self) -> std::io::ErrorKind {
        self.source.kind()
    }
}

impl CliError {
    /// An error of the operating system, with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io(IoError { what, source })
    }

    /// Several problems, one line each, as one error.
    pub(crate) fn input<T: fmt::Display>(problems: &[T]) -> Self {
        Self::Input(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }
}

/// Whose conventions a command follows for its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Consul's: 1 for whatever went wrong.
    Consuls,
    /// Our own: 1 a problem, 3 usage, 4 cannot connect, 5 denied.
    Ours,
}

impl Verb {
    /// Whose verb is named by the first argument that is none of the program's own options.
    pub(crate) fn named(name: Option<&str>) -> Self {
        match name {
            Some(
                "apply" | "at" | "bug-report" | "cert" | "check" | "completion" | "context" | "debug" | "demo" | "diff"
                | "envoy" | "events" | "explain" | "gateway" | "history" | "lint" | "path" | "plan" | "proxies"
                | "proxy" | "ps" | "ready" | "replay" | "rollback" | "simulate" | "sni" | "status" | "top" | "topology"
                | "wait" | "why-changed",
            )
            | None => Self::Ours,
            Some(_) => Self::Consuls,
        }
    }

    /// The code for arguments that cannot be understood.
    pub(crate) fn usage_code(self) -> ExitCode {
        match self {
            Self::Consuls => ExitCode::from(1),
            Self::Ours => ExitCode::from(3),
        }
    }

    /// The code for an error.
    pub(crate) fn code(self, error: &CliError) -> ExitCode {
        match (self, error) {
            // Whoever looks after the process wants to know how Envoy ended.
            (_, CliError::Ended(code)) => {
                ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code > 0).unwrap_or(1))
            }
            (_, CliError::Nothing(_) | CliError::Pending | CliError::Unanswered(_)) => ExitCode::from(2),
            (Self::Consuls, _) => ExitCode::from(1),
            (Self::Ours, CliError::Usage(_)) => ExitCode::from(3),
            (Self::Ours, CliError::Client(ClientError::Address(_) | ClientError::Status { code: 400, .. })) => {
                ExitCode::from(3)
            }
            (Self::Ours, CliError::Client(ClientError::Connect { .. })) => ExitCode::from(4),
            (Self::Ours, CliError::Client(ClientError::Status { code: 403, .. })) => ExitCode::from(5),
            (
                Self::Ours,
                CliError::Client(_)
                | CliError::Input(_)
                | CliError::No
                | CliError::Settings(_)
                | CliError::Envoy(_)
                | CliError::App(_)
                | CliError::Demo(_)
                | CliError::Tour { .. }
                | CliError::TourEnded
                | CliError::Io(_),
            ) => ExitCode::from(1),
        }
    }
}
