//! `meshgate demo`: a mesh of two datacenters and two partitions with real Envoys, set up by itself, and a tour of it.

mod application;
mod control_plane;
mod error;
mod mesh;
mod network;
mod parts;
mod process;
mod proxy;
mod report;
mod site;
mod tour;
mod traffic;
mod wait;

use std::path::{Path, PathBuf};

use clap::Args;

pub use control_plane::ControlPlane;
pub use error::DemoError;
pub use mesh::Mesh;
pub use proxy::EnvoyProxy;
pub use report::{Progress, Quiet};
pub use site::Callee;
pub use traffic::Traffic;
pub(super) use traffic::{client, request};

use self::parts::Part;
use self::report::{Report, Spinner};
use super::{CliError, envoy};

/// Options of `meshgate demo`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Everything runs on loopback addresses of this machine and in a temporary directory, as this user, and ends with the demo.
Envoy is taken from -envoy-binary, from PATH, or from the cache of `meshgate envoy install`; without one it is installed \
there."
)]
pub(super) struct DemoOptions {
    #[command(subcommand)]
    part: Option<Part>,
    /// End after the tour; the exit code is 1 if a step failed
    #[arg(long)]
    once: bool,
    /// Envoy to use
    #[arg(long, value_name = "FILE")]
    envoy_binary: Option<PathBuf>,
}

/// Runs the demo, or a part of it.
///
/// # Errors
/// It cannot start, a step of the tour failed, or a request was not answered.
pub(super) fn run(options: &DemoOptions) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("the runtime cannot be started"))?;
    match &options.part {
        Some(part) => runtime.block_on(parts::run(part)),
        None => runtime.block_on(show(options)),
    }
}

async fn show(options: &DemoOptions) -> Result<(), CliError> {
    let (progress, mut report) = (Spinner::new(), Report::default());
    let mesh = tokio::select! {
        mesh = tour(options, &mut report, &progress) => mesh?,
        () = told_to_end() => return Err(CliError::TourEnded),
    };
    drop(progress);
    let failed = report.end();
    if failed > 0 {
        return Err(CliError::Tour { failed });
    }
    if !options.once {
        report.text(&what_to_try(&mesh));
        told_to_end().await;
    }
    Ok(())
}

async fn tour(options: &DemoOptions, report: &mut Report, progress: &Spinner) -> Result<Mesh, CliError> {
    let program = std::env::current_exe().map_err(CliError::io("this program cannot be found"))?;
    progress.step("looking for Envoy");
    let explicit = options.envoy_binary.clone();
    let found = tokio::task::spawn_blocking(move || envoy::find_or_install(explicit.as_deref())).await;
    let envoy = found.map_err(|error| CliError::io("Envoy cannot be looked for")(std::io::Error::other(error)))?;
    let envoy = envoy.map_err(DemoError::from)?;
    let mut mesh = Mesh::start(&program, &envoy, progress).await?;
    tour::run(&mut mesh, report, progress).await?;
    Ok(mesh)
}

/// Ends when somebody asks the demo to end. What it has started ends with it, but not if it is killed.
async fn told_to_end() {
    let interrupted = async {
        // Without a way to be told there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = interrupted => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => drop(terminate.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

/// What a visitor can do next.
fn what_to_try(mesh: &Mesh) -> String {
    let mut text = format!(
        "\nThe mesh is still up. Logs are in {}. Try:\n  export CONSUL_HTTP_ADDR={}\n  curl {}\n  curl {}\n",
        mesh.directory().display(),
        mesh.control_plane.http_address(),
        mesh.url(Callee::OtherDatacenter),
        mesh.url(Callee::OtherPartition),
    );
    let program = as_typed();
    text += &format!("  {program} catalog services -datacenter dc2\n");
    text += &format!("  {program} config read -kind proxy-defaults -name global\n");
    text += "  curl \"$CONSUL_HTTP_ADDR/v1/meshgate/proxies?pretty\"\n";
    text += &format!("  in a browser: http://{}/ui/\n", mesh.control_plane.http_address());
    text += "  Envoys' admin interfaces:\n";
    for envoy in mesh.envoys() {
        text += &format!("    {:<16} http://{}\n", envoy.name, envoy.admin());
    }
    text + "Ctrl-C ends everything."
}

/// This program as it can be typed here: its path, from the working directory if it is below it.
fn as_typed() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("meshgate"));
    let below = std::env::current_dir().ok().and_then(|here| program.strip_prefix(here).map(Path::to_owned).ok());
    below.unwrap_or(program).display().to_string()
}
