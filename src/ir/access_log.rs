//! Access logs.

use std::sync::Arc;

/// What is written about connections and requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccessLog {
    /// Where it is written.
    pub sink: LogSink,
    /// What a line says.
    pub format: LogFormat,
    /// Listeners write about connections that no filter chain takes.
    pub of_listeners: bool,
}

/// Where a log is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogSink {
    /// Envoy's standard output.
    Stdout,
    /// Envoy's standard error.
    Stderr,
    /// A file.
    File(Arc<str>),
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// An object with everything that is known of a request, and of a connection.
    Default,
    /// An object, as the text of its JSON.
    Json(Arc<str>),
    /// A text.
    Text(Arc<str>),
}
