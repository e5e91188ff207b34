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
use super::redact::Redactor;
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

/// Parts without a name of the mesh: their labels are of closed sets (`docs/metrics.md`).
const NAMELESS: &str = "metrics.json";
/// A part of which hardly a word is left where it is redacted: the settings of the process.
const SETTINGS: &str = "self.json";

/// Options of `bug-report`.
#[derive(Debug, Args)]
#[command(after_help = "\
The report has the whole state, what became of changes, what happened to proxies, what lint says and what is counted. It has the
names and addresses of the mesh and the roots of peers, but no keys, no certificates of its own, and nothing that checks send.
With -redact, names, addresses, IDs and certificates are replaced by pseudonyms, each by the same one wherever it stands, and what people
wrote for people is hidden; the report can still be replayed.
`meshgate replay REPORT` runs a control plane with the same state, and `meshgate replay -verify REPORT` says whether this version makes
the same configuration of it.")]
pub(super) struct BugReportOptions {
    /// File to write; meshgate-report-TIME.tgz when left out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace what tells whose mesh it is: names, addresses, IDs, certificates of peers, and sentences
    #[arg(long)]
    redact: bool,
    #[command(flatten)]
    target: Target,
}

/// Asks the agent for everything, and writes the report.
///
/// # Errors
/// The state cannot be had, or the file cannot be written. What else cannot be had is told in the report.
pub(super) async fn run(options: &BugReportOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let (files, missing) = collect(&client, options.redact).await?;
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
async fn collect(client: &Client, redact: bool) -> Result<(Vec<(&'static str, Vec<u8>)>, Vec<String>), CliError> {
    let bundle = client.get_bytes(&["meshgate", "debug", "bundle"], &[("pretty", ""), ("hashes", "")]).await?;
    let mut redactor = redact.then(Redactor::new).transpose()?;
    let bundle = match &mut redactor {
        Some(redactor) => redactor.bundle(&bundle).await?,
        None => bundle,
    };
    let mut files = vec![(BUNDLE_OF_REPORT, bundle)];
    let mut missing = Vec::new();
    for (name, path, query) in PARTS {
        let answered = match client.get_bytes(path, query).await {
            Ok(bytes) => redacted(redactor.as_mut(), name, bytes),
            // What an error says may have names in it.
            Err(_) if redact => Err("the agent does not answer, or refuses".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match answered {
            Ok(bytes) => files.push((name, bytes)),
            Err(reason) => missing.push(format!("{name}: {reason}")),
        }
    }
    missing
        .extend(redactor.iter().flat_map(Redactor::left_out).map(|left_out| format!("{BUNDLE_OF_REPORT}: {left_out}")));
    if !missing.is_empty() {
        files.push(("missing.txt", missing.join("\n").into_bytes()));
    }
    Ok((files, missing))
}

/// A part as it comes into the report, or why it does not.
fn redacted(redactor: Option<&mut Redactor>, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let Some(redactor) = redactor.filter(|_| name != NAMELESS) else { return Ok(bytes) };
    let redacted = match name {
        SETTINGS => return Err("it is left out of a redacted report".to_owned()),
        name if name.ends_with(".ndjson") => redactor.lines(&bytes),
        _ => redactor.document(&bytes),
    };
    redacted.map_err(|_| "it cannot be redacted, because it is no JSON".to_owned())
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
