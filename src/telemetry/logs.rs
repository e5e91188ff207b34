//! Logs: one line per event on standard output, for people or as JSON, and the same for whoever listens.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::monitor::Monitor;
use super::traces::{TraceOptions, Traces};

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// A level (`info`), or directives by part of the program (`info,meshgate::ads=debug`). `info` unless said.
    pub level: String,
    /// One JSON object per line. Off unless said.
    pub json: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

/// A level that cannot be understood, or logging that was set up already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Neither a level nor directives.
    #[error(
        "{0:?} is no log level: use trace, debug, info, warn or error, or directives such as \
         \"info,meshgate::ads=debug\""
    )]
    Level(String),
    /// Something else in the process has set up logging.
    #[error("logging is set up already")]
    SetUp,
    /// Traces cannot be sent as the settings say.
    #[error("traces cannot be sent: {0}")]
    Traces(String),
}

impl LogOptions {
    /// A level or directives, in the spelling that `level` has.
    ///
    /// # Errors
    /// [`LogError::Level`].
    pub fn parse_level(text: &str) -> Result<String, LogError> {
        // Consul writes levels in capitals, and calls one by a shorter name.
        let level = match text.to_ascii_lowercase().as_str() {
            "err" => "error".to_owned(),
            lower if is_level(lower) => lower.to_owned(),
            _ => text.to_owned(),
        };
        // Without a level, EnvFilter takes any word for a part of the program and logs all of it.
        let understood = level.split(',').all(|part| part.contains('=') || is_level(part));
        if understood && EnvFilter::try_new(&level).is_ok() { Ok(level) } else { Err(LogError::Level(text.to_owned())) }
    }

    /// Starts logging, and sending traces if it is said where to. Colour is used on a terminal only.
    ///
    /// # Errors
    /// The level cannot be understood, traces cannot be sent so, or logging was set up already.
    pub fn start(&self, traces: Option<&TraceOptions>) -> Result<Logs, LogError> {
        let (wanted, handle) = reload::Layer::new(filter(&self.level)?);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = if self.json {
            Box::new(tracing_subscriber::fmt::layer().json().flatten_event(true))
        } else {
            let colour =
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Box::new(tracing_subscriber::fmt::layer().with_ansi(colour))
        };
        let monitor = Monitor::default();
        let traces = traces.map(Traces::start).transpose().map_err(LogError::Traces)?;
        let layers = tracing_subscriber::registry().with(lines.with_filter(wanted)).with(monitor.layer());
        let layers = layers.with(traces.as_ref().map(Traces::layer));
        layers.try_init().map_err(|_| LogError::SetUp)?;
        let set = move |level: &str| handle.reload(filter(level)?).map_err(|_| LogError::SetUp);
        Ok(Logs { monitor, set: Some(Arc::new(set)), traces })
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|_| LogError::Level(level.to_owned()))
}

/// Logging that was started; by default it was not, and nobody hears anything. Clones share it.
#[derive(Clone, Default)]
pub struct Logs {
    monitor: Monitor,
    set: Option<Arc<SetLevel>>,
    traces: Option<Traces>,
}

type SetLevel = dyn Fn(&str) -> Result<(), LogError> + Send + Sync;

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("monitor", &self.monitor).finish_non_exhaustive()
    }
}

impl Logs {
    /// Changes what is logged on standard output.
    ///
    /// # Errors
    /// The level cannot be understood.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        self.set.as_ref().map_or(Ok(()), |set| set(level))
    }

    /// Sends the traces that are queued, for a short while. Blocks, so it is for the end of the process.
    pub fn finish(self) {
        if let Some(traces) = self.traces {
            traces.finish();
        }
    }

    /// Where others hear of events as they happen.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }
}

fn is_level(text: &str) -> bool {
    matches!(text, "trace" | "debug" | "info" | "warn" | "error" | "off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_taken_as_consul_and_as_tracing_write_them() {
        let cases = [
            ("INFO", Some("info")),
            ("err", Some("error")),
            ("warn,meshgate::ads=debug", Some("warn,meshgate::ads=debug")),
            ("verbose", None),
            ("info,meshgate=loud", None),
            ("", None),
        ];

        for (text, level) in cases {
            assert_eq!(LogOptions::parse_level(text).ok().as_deref(), level, "{text:?}");
        }
    }
}
