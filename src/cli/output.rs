//! Results on standard output, everything else on standard error; colour only on a terminal.

use std::io::{self, Write};

use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::CliError;
use crate::telemetry::with_causes;

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    #[default]
    Pretty,
    /// For programs.
    Json,
}

/// How the result of one of meshgate's own commands is written.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct OutputOption {
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Shape,
}

/// The shapes of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Shape {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

impl OutputOption {
    /// True for programs.
    pub(crate) fn is_json(self) -> bool {
        self.output == Shape::Json
    }

    /// Writes a result, for people by `table`.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn write(
        self,
        value: &impl Serialize,
        table: impl FnOnce() -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        match self.output {
            Shape::Table => table(),
            Shape::Json => json(value),
        }
    }
}

/// Writes a line of the result.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    writeln!(anstream::stdout().lock(), "{text}").map_err(CliError::io("standard output cannot be written"))
}

/// Writes a result as JSON, indented by four spaces as Consul's commands do.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    let written = value.serialize(&mut serializer).map_err(io::Error::from).and_then(|()| {
        bytes.push(b'\n');
        io::stdout().lock().write_all(&bytes)
    });
    written.map_err(CliError::io("standard output cannot be written"))
}

/// Writes rows in columns, the first row being the heading; as wide as the content needs.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn columns(rows: &[Vec<String>]) -> Result<(), CliError> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Writes a remark that is no result.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Writes a warning.
pub(crate) fn warning(text: &str) {
    note(&format!("{} {text}", "warning:".yellow().bold()));
}

/// Writes an error with what caused it.
pub(crate) fn error(error: &CliError) {
    note(&format!("{} {}", "error:".red().bold(), with_causes(error)));
}
