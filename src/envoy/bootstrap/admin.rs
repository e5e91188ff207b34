//! Where the requests to Envoy's admin interface are logged.

use serde_json::{Value, json};

/// An access log.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminLog {
    /// Where the lines go.
    pub sink: LogSink,
    /// How a line is written; Envoy's own format when `None`.
    pub format: Option<LogFormat>,
}

/// Where the lines of a log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSink {
    /// To the file at this path.
    File(String),
    /// To Envoy's standard output.
    Stdout,
    /// To Envoy's standard error.
    Stderr,
}

/// How a line of a log is written.
#[derive(Debug, Clone, PartialEq)]
pub enum LogFormat {
    /// A line of text with Envoy's placeholders.
    Text(String),
    /// An object with Envoy's placeholders as values.
    Json(Value),
}

impl AdminLog {
    /// A log that is written to a file in Envoy's own format.
    pub fn file(path: &str) -> Self {
        Self { sink: LogSink::File(path.to_owned()), format: None }
    }

    pub(super) fn to_json(&self) -> Value {
        let (name, message) = match self.sink {
            LogSink::File(_) => ("envoy.access_loggers.file", "file.v3.FileAccessLog"),
            LogSink::Stdout => ("envoy.access_loggers.stdout", "stream.v3.StdoutAccessLog"),
            LogSink::Stderr => ("envoy.access_loggers.stderr", "stream.v3.StderrAccessLog"),
        };
        let mut typed = json!({"@type": format!("type.googleapis.com/envoy.extensions.access_loggers.{message}")});
        if let LogSink::File(path) = &self.sink {
            typed["path"] = json!(path);
        }
        match &self.format {
            Some(LogFormat::Text(text)) => {
                typed["log_format"] = json!({"text_format_source": {"inline_string": text}});
            }
            Some(LogFormat::Json(object)) => typed["log_format"] = json!({"json_format": object}),
            None => {}
        }
        json!({"name": name, "typed_config": typed})
    }
}
