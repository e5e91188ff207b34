//! Conformance: cases that say which resources a proxy gets, each loaded into a fresh control plane, and the answers judged by
//! the comparer that comes with the cases.
//!
//! ```text
//! cargo test --test conformance [-- [-v] [FILTER]...]
//! ```
//!
//! The cases are in `$MESHGATE_CONFORMANCE_CASES` (else `../shared/conformance`), what is expected in
//! `$MESHGATE_CONFORMANCE_GOLDEN` (else `golden` in that folder). What came is left in `$MESHGATE_CONFORMANCE_OUT` (else a
//! folder in `target`) as `<case>/<type>.json`. A case may only differ if `docs/compatibility.md` lists it, and only those may
//! be listed. Where there are no cases, there is nothing to check.

#![allow(clippy::print_stdout, reason = "a test with its own main tells what it found")]

#[path = "../support/mod.rs"]
mod support;

mod case;
mod client;
mod judge;
mod listed;
mod secrets;
mod server;
mod state;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use meshgate::envoy::snapshot::ResourceType;
use serde_json::json;

use case::Case;
use client::Held;
use judge::Verdict;

/// Where everything is.
struct Folders {
    cases: PathBuf,
    golden: PathBuf,
    out: PathBuf,
}

impl Folders {
    fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(format!("MESHGATE_CONFORMANCE_{name}")).map(PathBuf::from);
        let cases = case::folder();
        let golden = variable("GOLDEN").unwrap_or_else(|| cases.join("golden"));
        let out = variable("OUT").unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance"));
        Self { cases, golden, out }
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Arguments {
    is_verbose: bool,
    filters: Vec<String>,
}

impl Arguments {
    /// Options that only the built-in harness knows are let pass: `cargo test` gives them to every test.
    fn read() -> Self {
        let mut read = Self::default();
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "-v" | "--verbose" => read.is_verbose = true,
                option if option.starts_with('-') => {}
                filter => read.filters.push(filter.to_owned()),
            }
        }
        read
    }
}

fn main() -> ExitCode {
    let folders = Folders::from_environment();
    if !folders.cases.is_dir() {
        println!("conformance: skipped, there is no folder {}", folders.cases.display());
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    match runtime.block_on(run(&folders, &Arguments::read())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the cases; true if nothing differs but what may.
async fn run(folders: &Folders, arguments: &Arguments) -> Result<bool, String> {
    let text = |error: std::io::Error| error.to_string();
    let files = case::files(&folders.cases, &arguments.filters).map_err(text)?;
    if files.is_empty() {
        println!("conformance: no case in {} is meant", folders.cases.display());
        return Ok(true);
    }
    let document = include_str!("../../docs/compatibility.md");
    let listed = listed::read(document).map_err(|error| format!("docs/compatibility.md: {error}"))?;
    let mut remarks = Vec::new();
    for file in &files {
        let file = file.clone();
        let out = folders.out.clone();
        // A case that nothing can be made of keeps no other from being judged.
        let told = tokio::spawn(async move { judged(&file, &out).await }).await;
        remarks.extend(told.unwrap_or_else(|panic| vec![panic.to_string()]));
    }
    let verdict = judge::compare(folders, &files, arguments.is_verbose).await?;
    Ok(conclude(&verdict, &listed, &remarks))
}

/// Leaves in `out` what the proxy of a case gets; what is to be told.
async fn judged(file: &Path, out: &Path) -> Vec<String> {
    let name = case::name(file);
    let told = |error: String| vec![format!("{name}: {error}")];
    let folder = out.join(&name);
    // What an earlier run left must not be taken for what this one gets.
    let cleared = if folder.exists() { std::fs::remove_dir_all(&folder) } else { Ok(()) };
    if let Err(error) = cleared {
        return told(error.to_string());
    }
    let case = match Case::read(file) {
        Ok(case) => case,
        Err(error) => return told(error),
    };
    let held = match outcome(&case).await {
        Ok(held) => held,
        Err(error) => return told(error),
    };
    if let Err(error) = write(&folder, &held) {
        return told(error.to_string());
    }
    held.missing().into_iter().map(|(kind, missing)| format!("{name}: {kind} {missing} does not come")).collect()
}

async fn outcome(case: &Case) -> Result<Held, String> {
    let mesh = server::load(case).await?;
    client::read(case, &mesh).await
}

/// Writes what came, one file for each type.
fn write(folder: &Path, held: &Held) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let secrets = held.resources(ResourceType::Secret).collect();
    for (kind, name) in [
        (ResourceType::Cluster, "clusters"),
        (ResourceType::Endpoint, "endpoints"),
        (ResourceType::Listener, "listeners"),
        (ResourceType::Route, "routes"),
        (ResourceType::Secret, "secrets"),
    ] {
        let resources: Vec<_> = held.resources(kind).map(|(_, body)| secrets::resolved(body, &secrets)).collect();
        let document = json!({ "typeUrl": kind.type_url(), "resources": resources });
        std::fs::write(folder.join(format!("{name}.json")), format!("{document:#}\n"))?;
    }
    Ok(())
}

/// Tells the verdict, the comparer's line last. True if only listed cases differ.
fn conclude(verdict: &Verdict, listed: &judge::Listed, remarks: &[String]) -> bool {
    println!("{}", verdict.report);
    for remark in remarks {
        println!("{remark}");
    }
    let mut is_good = true;
    for (case, is_equal) in &verdict.cases {
        match (listed.get(case), is_equal) {
            (Some(_), true) => {
                println!("{case} is equal, and docs/compatibility.md says that it is not: remove it there");
                is_good = false;
            }
            (Some((reason, decision)), false) => println!("{case} differs as listed: {reason}; {decision}"),
            (None, false) => {
                println!("{case} differs, and docs/compatibility.md does not list it");
                is_good = false;
            }
            (None, true) => {}
        }
    }
    println!("{}", verdict.last_line);
    is_good
}
