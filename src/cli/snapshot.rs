//! `meshgate snapshot`: the whole state as a file, and back.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use super::client::{Client, Target};
use super::output::OutputFormat;
use super::{CliError, output};
use crate::app::AppError;
use crate::store::{Snapshot, SnapshotError};

/// Commands on snapshots.
#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Save the state, keys of the CA included
    Save(SaveOptions),
    /// Replace the state by a saved one
    Restore(RestoreOptions),
    /// Print what a snapshot holds
    Inspect(InspectOptions),
}

/// Options of `snapshot save`.
#[derive(Debug, Args)]
pub(super) struct SaveOptions {
    /// File to write; only its owner can read it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Add these to the name of the file: version, dc, node, status
    #[arg(long, value_delimiter = ',', value_name = "FACT,FACT", hide_possible_values = true)]
    append_filename: Vec<Fact>,
    /// Save what can be read of the data directory of an agent that does not run, or cannot start because it is damaged
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "append_filename")]
    from_data_dir: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// What a file can be named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fact {
    Version,
    Dc,
    Node,
    Status,
}

/// Options of `snapshot restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreOptions {
    /// File that `snapshot save` wrote; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

/// Options of `snapshot inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectOptions {
    /// File that `snapshot save` wrote; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How the result is written
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Runs a `snapshot` command.
///
/// # Errors
/// A control plane that does not answer or refuses, or a file that cannot be written or is no snapshot.
pub(super) async fn run(command: SnapshotCommand) -> Result<(), CliError> {
    match command {
        SnapshotCommand::Save(options) => save(&options).await,
        SnapshotCommand::Restore(options) => restore(&options).await,
        SnapshotCommand::Inspect(options) => inspect(&options),
    }
}

/// A file is complete and verified, or it is not there.
async fn save(options: &SaveOptions) -> Result<(), CliError> {
    if let Some(directory) = &options.from_data_dir {
        return rescue(directory, &options.file);
    }
    let client = options.target.client()?;
    let path = named_after(&client, &options.file, &options.append_filename).await?;
    let answer = client.follow(&["snapshot"], &[]).await?;
    let archive = answer.bytes().await.map_err(|source| client.answer_error(source))?;
    let snapshot = Snapshot::from_archive(&archive).map_err(|error| refused(&error))?;
    write(&path, &archive).map_err(CliError::io(path.display().to_string()))?;
    output::line(&format!("Saved and verified snapshot to index {}", snapshot.meta.index))
}

/// Whatever is left out or doubtful is told, and the file is written all the same.
fn rescue(directory: &Path, path: &Path) -> Result<(), CliError> {
    let milliseconds = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    let rescued = Snapshot::rescue(directory, |index| format!("1-{index}-{milliseconds}")).map_err(AppError::Store)?;
    let archive = rescued.snapshot.to_archive().map_err(CliError::io(path.display().to_string()))?;
    write(path, &archive).map_err(CliError::io(path.display().to_string()))?;
    let rows: usize = rescued.snapshot.tables().values().map(|table| table.rows).sum();
    output::line(&format!("Saved snapshot to index {} with {rows} rows", rescued.snapshot.meta.index))?;
    if rescued.losses.is_empty() { Ok(()) } else { Err(CliError::input(&rescued.losses)) }
}

async fn named_after(client: &Client, path: &Path, facts: &[Fact]) -> Result<PathBuf, CliError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct About {
        config: BTreeMap<String, serde_json::Value>,
    }
    if facts.is_empty() {
        return Ok(path.to_owned());
    }
    let about: About = client.get(&["agent", "self"], &[]).await?;
    let text = |key: &str| about.config.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let fact = |fact: &Fact| match fact {
        Fact::Version => text("Version"),
        Fact::Dc => text("Datacenter"),
        Fact::Node => text("NodeName"),
        Fact::Status => "leader".to_owned(),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = std::iter::once(stem).chain(facts.iter().map(fact)).collect::<Vec<_>>().join("-");
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    Ok(path.with_file_name(format!("{name}{}", extension.unwrap_or_default())))
}

/// Writes a file of keys under its name only once all of it is there.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Temporary files can be read by their owner alone.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

async fn restore(options: &RestoreOptions) -> Result<(), CliError> {
    let archive = read(&options.file)?;
    // What is no snapshot need not be sent.
    Snapshot::from_archive(&archive).map_err(|error| refused(&error))?;
    let client = options.target.client()?;
    client.put_bytes(&["snapshot"], archive).await?;
    output::line("Restored snapshot")
}

fn inspect(options: &InspectOptions) -> Result<(), CliError> {
    let snapshot = Snapshot::from_archive(&read(&options.file)?).map_err(|error| refused(&error))?;
    let mut tables: Vec<_> = snapshot.tables().into_iter().collect();
    tables.sort_by_key(|(name, table)| (std::cmp::Reverse(table.bytes), *name));
    let total: usize = tables.iter().map(|(_, table)| table.bytes).sum();
    let meta = &snapshot.meta;
    if options.format == OutputFormat::Json {
        let stats = tables.iter().map(|(name, table)| json!({"Name": name, "Sum": table.bytes, "Count": table.rows}));
        let stats: Vec<_> = stats.collect();
        return output::json(&json!({"Meta": meta, "Stats": stats, "TotalSize": total}));
    }
    let facts = [
        ("ID", meta.id.clone()),
        ("Size", meta.size.to_string()),
        ("Index", meta.index.to_string()),
        ("Term", meta.term.to_string()),
        ("Version", meta.version.to_string()),
    ];
    output::columns(&facts.map(|(name, value)| vec![name.to_owned(), value]))?;
    output::line("")?;
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["Type", "Count", "Size"]), row(["----", "----", "----"])];
    rows.extend(tables.iter().map(|(name, table)| row([name, &table.rows.to_string(), &human(table.bytes)])));
    rows.extend([row(["----", "----", "----"]), row(["Total", "", &human(total)])]);
    output::columns(&rows)
}

/// Bytes as Consul's command shows them.
#[allow(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn human(bytes: usize) -> String {
    const UNITS: [(usize, &str); 3] = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    let unit = UNITS.into_iter().find(|(size, _)| bytes >= *size);
    unit.map_or_else(|| format!("{bytes}B"), |(size, name)| format!("{:.1}{name}", bytes as f64 / size as f64))
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map(drop)
    };
    read.map(|()| bytes).map_err(CliError::io(path.display().to_string()))
}

fn refused(error: &SnapshotError) -> CliError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    CliError::Input(format!("{error}{}", cause.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_largest_unit_that_they_fill() {
        assert_eq!(
            [0, 1023, 1024, 1740, 5 << 20, 3 << 30].map(human),
            ["0B", "1023B", "1.0KB", "1.7KB", "5.0MB", "3.0GB"]
        );
    }
}
