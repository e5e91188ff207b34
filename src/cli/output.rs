//! Results on standard output, everything else on standard error; colour only on a terminal.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::ops::Deref;
use std::time::Duration;

use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::CliError;
use crate::codec;
use crate::model::GoDuration;
use crate::telemetry::with_causes;

/// A view is not looked at more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// What makes a terminal forget what it shows, and begin again at its top.
const CLEARED: &str = "\u{1b}[2J\u{1b}[H";

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
    /// For people who want everything
    Wide,
    /// For programs
    Json,
    /// The same as YAML
    Yaml,
    /// Only what the rows are called, or the verdict
    Short,
}

impl OutputOption {
    /// True for programs.
    pub(crate) fn is_for_programs(self) -> bool {
        matches!(self.output, Shape::Json | Shape::Yaml)
    }

    /// True for people who want everything.
    pub(crate) fn is_wide(self) -> bool {
        self.output == Shape::Wide
    }

    /// True for people and scripts that want as little as answers their question.
    pub(crate) fn is_short(self) -> bool {
        self.output == Shape::Short
    }

    /// Writes a result, for people by `table`. Its short form is the first column of its tables, or its first line.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn write(
        self,
        value: &impl Serialize,
        table: impl FnOnce() -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        match self.output {
            Shape::Table | Shape::Wide => table(),
            Shape::Short => {
                let (written, told) = collected(table);
                if told.iter().any(|said| said.role == Role::Heading) {
                    told.iter().filter_map(Said::name).try_for_each(line)?;
                } else {
                    told.first().map_or(Ok(()), |said| line(&said.text))?;
                }
                written
            }
            Shape::Json | Shape::Yaml => self.write_value(value),
        }
    }

    /// The same, with a line for those who want it short.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub(crate) fn write_or(
        self,
        value: &impl Serialize,
        short: impl FnOnce() -> String,
        table: impl FnOnce() -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        if self.is_short() { line(&short()) } else { self.write(value, table) }
    }

    /// Writes one of many results: its line of JSON as it came, or a document of YAML.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub(crate) fn write_each(
        self,
        (json, value): (&str, &Value),
        table: impl FnOnce() -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        match self.output {
            Shape::Json => line(json),
            Shape::Yaml => line("---").and_then(|()| self.write_value(value)),
            Shape::Table | Shape::Wide | Shape::Short => table(),
        }
    }

    /// Writes a result for programs, as JSON unless YAML is asked for.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub(crate) fn write_value(self, value: &impl Serialize) -> Result<(), CliError> {
        if self.output != Shape::Yaml {
            return json(value);
        }
        let text = codec::to_yaml(value).map_err(io::Error::from);
        emit(Said::line(text.map_err(CliError::io("the result cannot be written as YAML"))?.trim_end()))
    }
}

/// How a view is written, and whether it is written again when it changes.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct ViewOption {
    #[command(flatten)]
    output: OutputOption,
    /// Write it again whenever it is another one, until interrupted; looked at every 2 s, or as often as is said
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    watch: Option<GoDuration>,
}

impl Deref for ViewOption {
    type Target = OutputOption;

    fn deref(&self) -> &OutputOption {
        &self.output
    }
}

impl ViewOption {
    /// Shows a view once, or for ever. What cannot be shown at first ends it, later it is told and tried again.
    ///
    /// # Errors
    /// As for `once`.
    pub(crate) async fn repeat(&self, once: impl AsyncFn() -> Result<(), CliError>) -> Result<(), CliError> {
        let Some(pause) = self.watch else { return once().await };
        let pause = pause.to_std().max(SHORTEST_PAUSE);
        let mut shown: Option<Vec<Said>> = None;
        loop {
            let before = COLLECTED.with(|collected| collected.replace(Some(Vec::new())));
            let outcome = once().await;
            let told = COLLECTED.with(|collected| collected.replace(before)).unwrap_or_default();
            match outcome {
                // What is wrong is told in the view.
                Ok(()) | Err(CliError::No | CliError::Pending) => {
                    if shown.as_ref() != Some(&told) {
                        if shown.is_some() {
                            clear()?;
                        }
                        told.iter().try_for_each(|said| emit(said.clone()))?;
                        shown = Some(told);
                    }
                }
                Err(failure) if shown.is_none() => return Err(failure),
                Err(failure) => error(&failure),
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// A line of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    text: String,
    role: Role,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    /// One by itself.
    Line,
    /// The first of a table.
    Heading,
    /// One of a table, with its first cell.
    Row(String),
}

impl Said {
    fn line(text: &str) -> Self {
        Self { text: text.to_owned(), role: Role::Line }
    }

    /// What it is called, in a table.
    fn name(&self) -> Option<&str> {
        if let Role::Row(name) = &self.role { Some(name) } else { None }
    }
}

thread_local! {
    /// What was said while it is collected. Commands run on one thread.
    static COLLECTED: RefCell<Option<Vec<Said>>> = const { RefCell::new(None) };
}

/// What is said meanwhile, instead of writing it.
fn collected<T>(saying: impl FnOnce() -> T) -> (T, Vec<Said>) {
    let before = COLLECTED.with(|collected| collected.replace(Some(Vec::new())));
    let outcome = saying();
    let told = COLLECTED.with(|collected| collected.replace(before));
    (outcome, told.unwrap_or_default())
}

fn emit(said: Said) -> Result<(), CliError> {
    let kept = COLLECTED.with_borrow_mut(|collected| match collected {
        Some(all) => {
            all.push(said);
            None
        }
        None => Some(said),
    });
    let Some(said) = kept else { return Ok(()) };
    writeln!(anstream::stdout().lock(), "{}", said.text).map_err(CliError::io("standard output cannot be written"))
}

/// Has a terminal forget what it shows.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn clear() -> Result<(), CliError> {
    if io::stdout().is_terminal() { emit(Said::line(CLEARED)) } else { Ok(()) }
}

/// Writes a line of the result.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    emit(Said::line(text))
}

/// Writes a result as JSON, indented by four spaces as Consul's commands do.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    let written = value.serialize(&mut serializer).map_err(io::Error::from);
    written.map_err(CliError::io("the result cannot be written as JSON"))?;
    emit(Said::line(&String::from_utf8_lossy(&bytes)))
}

/// Writes rows in columns, the first row being the heading; as wide as the content needs.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn columns(rows: &[Vec<String>]) -> Result<(), CliError> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let name = || row.first().cloned().unwrap_or_default();
        let role = if number == 0 { Role::Heading } else { Role::Row(name()) };
        emit(Said { text: cells.join("  ").trim_end().to_owned(), role })?;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(shape: Shape, table: impl FnOnce() -> Result<(), CliError>) -> Vec<String> {
        let option = OutputOption { output: shape };
        let (written, told) = collected(|| option.write(&json!({ "Name": "web", "Ports": [80] }), table));
        written.unwrap();
        told.into_iter().map(|said| said.text).collect()
    }

    #[test]
    fn the_short_form_is_what_rows_are_called_or_else_the_verdict() {
        let rows = [["ID", "STATE"], ["web", "ok"], ["api", "no"]].map(|row| row.map(str::to_owned).to_vec());
        let table = || columns(&rows).and_then(|()| line("2 of them"));

        assert_eq!(told(Shape::Table, table), ["ID   STATE", "web  ok", "api  no", "2 of them"]);
        assert_eq!(told(Shape::Short, table), ["web", "api"]);
        assert_eq!(told(Shape::Short, || line("all good").and_then(|()| line("really"))), ["all good"]);
        assert_eq!(told(Shape::Short, || columns(&rows[..1])), Vec::<String>::new());
    }

    #[test]
    fn programs_get_json_or_yaml() {
        let table = || line("for people");

        assert_eq!(
            told(Shape::Json, table).concat(),
            "{\n    \"Name\": \"web\",\n    \"Ports\": [\n        80\n    ]\n}"
        );
        assert_eq!(told(Shape::Yaml, table).concat(), "Name: web\nPorts:\n- 80");
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_is_written_again_when_it_is_another_one() {
        let view = ViewOption { watch: Some(GoDuration::from_secs(1)), ..ViewOption::default() };
        let looks = std::cell::Cell::new(0);
        let once = async || {
            looks.set(looks.get() + 1);
            match looks.get() {
                1 | 2 => line("as it was"),
                // Nobody answers for a while.
                3 => Err(CliError::Input("no answer".to_owned())),
                // What is wrong is a part of the view.
                _ => line("another one").and(Err(CliError::No)),
            }
        };
        COLLECTED.set(Some(Vec::new()));

        let watched = tokio::time::timeout(Duration::from_millis(5_500), view.repeat(once)).await;

        let told: Vec<_> = COLLECTED.take().unwrap().into_iter().map(|said| said.text).collect();
        assert_eq!((told.as_slice(), looks.get()), (&["as it was".to_owned(), "another one".to_owned()][..], 6));
        assert!(watched.is_err(), "it goes on");
        let at_first = view.repeat(async || Err(CliError::Input("no answer".to_owned()))).await;
        assert!(at_first.is_err());
    }
}
