//! `meshgate bug-report`: all that somebody else needs to see what happened, in one file.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use time::OffsetDateTime;
use time::macros::format_description;

use super::client::{Client, Target};
use super::files::BUNDLE_OF_REPORT;
use super::{CliError, output};

/// A file of a report, the path of the API that it comes from, and the query.
type Part = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

/// What a report holds beside the bundle.
const PARTS: [Part; 9] = [
    ("status.json", &["meshgate", "status"], &[]),
    ("proxies.json", &["meshgate", "proxies"], &[("registered", "")]),
    ("history.json", &["meshgate", "history"], &[("limit", "1000")]),
    ("events.ndjson", &["meshgate", "events"], &[]),
    ("lint.json", &["meshgate", "lint"], &[]),
    ("sni.json", &["meshgate", "sni"], &[("all", "")]),
    ("metrics.json", &["agent", "metrics"], &[]),
    ("self.json", &["agent", "self"], &[]),
    ("ready.json", &["meshgate", "ready"], &[]),
];

/// Options of `bug-report`.
#[derive(Debug, Args)]
#[command(after_help = "\
The report has the whole state, what became of changes, what happened to proxies, what lint says and what is counted. It has the
names and addresses of the mesh and the roots of peers, but no keys, no certificates of its own, and nothing that checks send.
`meshgate replay REPORT` runs a control plane with the same state, and `meshgate replay -verify REPORT` says whether this version makes
the same configuration of it.")]
pub(super) struct BugReportOptions {
    /// File to write; meshgate-report-TIME.tgz when left out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Asks the agent for everything, and writes the report.
///
/// # Errors
/// The state cannot be had, or the file cannot be written. What else cannot be had is told in the report.
pub(super) async fn run(options: &BugReportOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let (files, missing) = collect(&client).await?;
    let path = options.output.clone().unwrap_or_else(usual_name);
    let failed = |error| CliError::io(path.display().to_string())(error);
    let mut archive = tar::Builder::new(GzEncoder::new(private_file(&path).map_err(failed)?, Compression::default()));
    for (name, bytes) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, bytes.as_slice()).map_err(failed)?;
    }
    archive.into_inner().and_then(GzEncoder::finish).and_then(|mut file| file.flush()).map_err(failed)?;
    for reason in &missing {
        output::note(&format!("not in the report: {reason}"));
    }
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    output::line(&format!("{}: {}", path.display(), names.join(", ")))
}

/// The files of a report, and what is missing and why.
async fn collect(client: &Client) -> Result<(Vec<(&'static str, Vec<u8>)>, Vec<String>), CliError> {
    let bundle = client.get_bytes(&["meshgate", "debug", "bundle"], &[("pretty", ""), ("hashes", "")]).await?;
    let mut files = vec![(BUNDLE_OF_REPORT, bundle)];
    let mut missing = Vec::new();
    for (name, path, query) in PARTS {
        match client.get_bytes(path, query).await {
            Ok(bytes) => files.push((name, bytes)),
            Err(error) => missing.push(format!("{name}: {error}")),
        }
    }
    if !missing.is_empty() {
        files.push(("missing.txt", missing.join("\n").into_bytes()));
    }
    Ok((files, missing))
}

fn usual_name() -> PathBuf {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = OffsetDateTime::now_utc().format(format).unwrap_or_default();
    PathBuf::from(format!("meshgate-report-{time}.tgz"))
}

/// A new file that others cannot read: it tells how the mesh is built.
fn private_file(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // One that was there keeps who may read it.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}
