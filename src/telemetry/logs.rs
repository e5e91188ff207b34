//! Logs: one line per event on standard output, for people or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

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

    /// Starts logging. Colour is used on a terminal only.
    ///
    /// # Errors
    /// The level cannot be understood, or logging was set up already.
    pub fn start(&self) -> Result<(), LogError> {
        let filter = EnvFilter::try_new(&self.level).map_err(|_| LogError::Level(self.level.clone()))?;
        let logs = tracing_subscriber::fmt().with_env_filter(filter);
        let started = if self.json {
            logs.json().flatten_event(true).try_init()
        } else {
            let colour =
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            logs.with_ansi(colour).try_init()
        };
        started.map_err(|_| LogError::SetUp)
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
