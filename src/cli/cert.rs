//! `meshgate cert`: the certificates of the mesh.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use time::OffsetDateTime;

use super::change::{follow, open, summary};
use super::client::{Client, Target};
use super::output::{OutputOption, ViewOption};
use super::status::left;
use super::{CliError, output};
use crate::api::{CertificateList, LeafCertificate, Reached, RootCertificate, Rotated};
use crate::model::GoDuration;

/// As many characters of a fingerprint as tell roots apart.
const SHORT: usize = 11;

/// Commands about certificates.
#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// List the roots and the leaves
    Ls(ListOptions),
    /// Replace certificates before they are due
    Rotate(RotateOptions),
}

/// Options of `cert ls`.
#[derive(Debug, Args)]
#[command(after_help = "The same over HTTP: GET /v1/meshgate/certs")]
pub(super) struct ListOptions {
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Options of `cert rotate`.
#[derive(Debug, Args)]
#[command(after_help = "\
No connection is closed and no listener or cluster is replaced: certificates travel by SDS. Leaves of a new root are verified
with the one before it too, which is trusted until its last leaf has expired; so one root is everywhere before the next one
signs, unless -force says that this does not matter.
With -wait the exit code is 1 if a connected proxy has refused a new certificate, or has not acknowledged it in time.
The same over HTTP: PUT /v1/meshgate/certs/rotate?of=PROXY, then GET /v1/meshgate/wait?revision=N for each commit")]
pub(super) struct RotateOptions {
    /// Proxies whose leaves are replaced, each an ID, node/ID or datacenter/partition/node/ID
    #[arg(value_name = "PROXY", required_unless_present_any = ["all", "root"], conflicts_with_all = ["all", "root"])]
    proxies: Vec<String>,
    /// Replace every leaf
    #[arg(long)]
    all: bool,
    /// Let another root sign, and replace every leaf
    #[arg(long)]
    root: bool,
    /// With -root: although a proxy does not have the last root yet
    #[arg(long, requires = "root")]
    force: bool,
    /// Return only when every connected proxy that is concerned has acknowledged
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    timeout: GoDuration,
    #[command(flatten)]
    output: OutputOption,
    #[command(flatten)]
    target: Target,
}

/// Runs a `cert` command.
///
/// # Errors
/// A control plane that does not answer or refuses, and proxies that have not acknowledged new certificates in time.
pub(super) async fn run(command: CertCommand) -> Result<(), CliError> {
    match command {
        CertCommand::Ls(options) => options.output.repeat(async || list(&options).await).await,
        CertCommand::Rotate(options) => rotate(&options).await,
    }
}

async fn list(ListOptions { output, target }: &ListOptions) -> Result<(), CliError> {
    let list: CertificateList = target.client()?.get(&["meshgate", "certs"], &[]).await?;
    output.write(&list, || {
        output::columns(&roots(&list.roots, OffsetDateTime::now_utc()))?;
        output::line("")?;
        output::columns(&leaves(&list, OffsetDateTime::now_utc()))
    })
}

async fn rotate(options: &RotateOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let flags = [("all", options.all), ("root", options.root), ("force", options.force)];
    let flags = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (name, ""));
    let query: Vec<_> = flags.chain(options.proxies.iter().map(|proxy| ("of", proxy.as_str()))).collect();
    let sent = client.put(&["meshgate", "certs", "rotate"], &query, None).await;
    let text = sent.map_err(|error| if options.wait { error.or_next() } else { error })?;
    let rotated: Rotated = serde_json::from_str(&text)
        .map_err(|error| CliError::Input(format!("the control plane is of another version: {error}")))?;
    let reached = match options.wait {
        true => follow_all(&client, &rotated.commits, options.timeout.to_std()).await?,
        false => Vec::new(),
    };
    let missing: Vec<_> = reached.iter().filter(|it| !it.live).collect();
    options.output.write(&json!({ "Rotated": rotated, "Reached": reached }), || {
        if let Some(root) = &rotated.root {
            output::line(&format!("Another root signs: {} ({})", root.name, short(&root.id)))?;
        }
        let count = rotated.leaves.len();
        output::line(&format!("{count} {} replaced", if count == 1 { "leaf was" } else { "leaves were" }))?;
        for reached in &missing {
            open(reached).iter().chain([&summary(reached)]).try_for_each(|line| output::line(line))?;
        }
        if options.wait && missing.is_empty() {
            output::line("Every connected proxy that is concerned has acknowledged")?;
        }
        Ok(())
    })?;
    if missing.is_empty() { Ok(()) } else { Err(CliError::No) }
}

/// Asks of each commit until it is live, can be so no more, or the time is up.
async fn follow_all(client: &Client, commits: &[u64], timeout: Duration) -> Result<Vec<Reached>, CliError> {
    let start = Instant::now();
    let mut reached = Vec::new();
    for commit in commits {
        reached.push(follow(client, *commit, timeout.saturating_sub(start.elapsed()), false).await?);
    }
    Ok(reached)
}

fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

fn until(time: &str, now: OffsetDateTime) -> String {
    left(time, now).map_or_else(|| time.to_owned(), |left| format!("{time} ({left})"))
}

fn roots(roots: &[RootCertificate], now: OffsetDateTime) -> Vec<Vec<String>> {
    let heading = ["ROOT", "NAME", "STATE", "NOT AFTER", "LEAVES", "CROSS-SIGNED BY"].map(str::to_owned).to_vec();
    let row = |root: &RootCertificate| {
        let state = match (&root.trusted_until, root.active) {
            (_, true) => "signs".to_owned(),
            (Some(time), false) => format!("trusted until {time}"),
            (None, false) => "trusted".to_owned(),
        };
        let signed: Vec<_> = root.intermediates.iter().map(|it| it.issuer.clone()).collect();
        let signed = if signed.is_empty() { "-".to_owned() } else { signed.join("; ") };
        vec![
            short(&root.id).to_owned(),
            root.name.clone(),
            state,
            until(&root.not_after, now),
            root.leaves.to_string(),
            signed,
        ]
    };
    std::iter::once(heading).chain(roots.iter().map(row)).collect()
}

fn leaves(list: &CertificateList, now: OffsetDateTime) -> Vec<Vec<String>> {
    let heading = ["IDENTITY", "PROXIES", "NOT AFTER", "SERIAL", "ROOT"].map(str::to_owned).to_vec();
    let domain = format!("spiffe://{}", list.trust_domain);
    let row = |leaf: &LeafCertificate| {
        let identity = leaf.identity.strip_prefix(&domain).unwrap_or(&leaf.identity);
        let proxies = match leaf.proxies.as_slice() {
            [] => "-".to_owned(),
            [only] => only.clone(),
            [first, others @ ..] => format!("{first} (+{} more)", others.len()),
        };
        vec![
            identity.to_owned(),
            proxies,
            until(&leaf.not_after, now),
            leaf.serial.clone(),
            short(&leaf.root).to_owned(),
        ]
    };
    std::iter::once(heading).chain(list.leaves.iter().map(row)).collect()
}
