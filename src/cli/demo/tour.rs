//! The tour: what the demo shows, each step with its own proof.

use std::time::Duration;

use tokio::time::Instant;

use super::mesh::Mesh;
use super::report::Report;
use super::site::Callee;
use super::traffic::Traffic;
use super::wait::Wait;
use super::{DemoError, Progress};
use crate::model::GatewayMode;
use crate::resolve::{LADDER, Rung, Sources};

/// Requests of one look at the hops.
const REQUESTS: u64 = 20;
/// Requests that must pass between two looks while a client keeps sending.
const BETWEEN: u64 = 4;
/// How long a change may take to move the traffic.
const MOVE: Duration = Duration::from_secs(10);
/// Silence after which the sidecar has accepted all that a change brings.
const QUIET: Duration = Duration::from_millis(30);
/// How long the traffic goes on after the last change of a part of the tour.
const AFTER: Duration = Duration::from_millis(500);

/// Goes through all of it.
pub(super) async fn run(mesh: &mut Mesh, report: &mut Report, progress: &dyn Progress) -> Result<(), DemoError> {
    every_mode(mesh, report, progress).await?;
    every_level(mesh, report, progress).await?;
    exports(mesh, report, progress).await?;
    restart(mesh, report, progress).await
}

/// Every mode, to the other datacenter and to the other partition: which Envoys carry the requests.
async fn every_mode(mesh: &mut Mesh, report: &mut Report, progress: &dyn Progress) -> Result<(), DemoError> {
    report.heading("Hops by gateway mode, proved by what each Envoy received");
    for callee in Callee::ALL {
        report.subheading(callee.title());
        for mode in GatewayMode::ALL {
            progress.step(&format!("sending requests in mode {mode}"));
            mesh.set_modes(Sources::default().with(Rung::ProxyDefaults, Some(mode))).await?;
            let expected = callee.hops(mode);
            settle(mesh, callee, &expected).await?;
            let (hops, failed) = look(mesh, callee, REQUESTS).await?;
            let is_good = hops == expected && failed == 0;
            report.step(
                is_good,
                &format!("{mode:<8}"),
                &format!("{}   {}/{REQUESTS} ok", hops.join(" > "), REQUESTS - failed),
            );
        }
    }
    Ok(())
}

/// Sends requests until they take the expected way.
async fn settle(mesh: &Mesh, callee: Callee, expected: &[&str]) -> Result<(), DemoError> {
    let what = format!("the way {}", expected.join(" > "));
    let mut wait = Wait::up_to(MOVE, what, &mesh.directory());
    while look(mesh, callee, 2).await?.0 != expected {
        wait.again().await?;
    }
    Ok(())
}

/// Sends requests; returns the Envoys that carried some of them, in the order of the way, and how many failed.
async fn look(mesh: &Mesh, callee: Callee, requests: u64) -> Result<(Vec<&'static str>, u64), DemoError> {
    let all: Vec<&'static str> = mesh.envoys().iter().map(|envoy| envoy.name).collect();
    let before = mesh.received_by(&all).await?;
    let mut failed = 0;
    for _ in 0..requests {
        let is_good = mesh.call(callee).await.is_ok_and(|text| text.contains(callee.greeting()));
        failed += u64::from(!is_good);
    }
    let after = mesh.received_by(&all).await?;
    // The longest way names every Envoy that should ever take part; any other would show up behind them.
    let way = callee.hops(GatewayMode::Local);
    let others = all.into_iter().filter(|name| !way.contains(name));
    Ok((way.iter().copied().chain(others).filter(|name| after[name] > before[name]).collect(), failed))
}

/// The mode set at each level of the ladder, weakest first, while a client keeps sending.
async fn every_level(mesh: &mut Mesh, report: &mut Report, progress: &dyn Progress) -> Result<(), DemoError> {
    report.heading("The ladder, weakest level first, while a client keeps sending");
    report.text("  accepted: the sidecar has ACKed all of the change; moved: by then requests take the new way");
    for callee in Callee::ALL {
        mesh.set_modes(Sources::default()).await?;
        settle(mesh, callee, &callee.hops(GatewayMode::None)).await?;
        report.subheading(callee.title());
        let columns = ["accepted", "moved", "failed", "on the way"];
        report.text(&format!("{:<73}{:>8} {:>8} {:>7}   {}", "", columns[0], columns[1], columns[2], columns[3]));
        let traffic = Traffic::start(&mesh.url(callee), callee.greeting());
        let mut sources = Sources::default();
        // Each level says something else than the one below, so that the traffic shows who wins.
        let modes = [GatewayMode::Local, GatewayMode::Remote].into_iter().cycle();
        for (rung, mode) in LADDER.into_iter().zip(modes) {
            progress.step(&format!("setting {rung} to {mode}"));
            sources = sources.with(rung, Some(mode));
            change(mesh, report, &traffic, (callee, sources), &format!("{rung} = {mode}")).await?;
        }
        progress.step("taking every level away again");
        change(mesh, report, &traffic, (callee, Sources::default()), "nothing set any more").await?;
        tokio::time::sleep(AFTER).await;
        let (sent, failed) = (traffic.sent(), traffic.failed());
        report.step(failed == 0, "requests", &format!("{sent} sent, {failed} failed"));
    }
    Ok(())
}

/// Makes one change and tells how long it took.
async fn change(
    mesh: &mut Mesh,
    report: &mut Report,
    traffic: &Traffic,
    (callee, sources): (Callee, Sources),
    title: &str,
) -> Result<(), DemoError> {
    let failed_before = traffic.failed();
    let acked_before = acks_of_web(mesh).await?;
    let expected = callee.hops(sources.climb().mode().unwrap_or(GatewayMode::None));
    let started = Instant::now();
    mesh.set_modes(sources).await?;
    let mesh = &*mesh;
    let (accepted, moved) =
        tokio::try_join!(accepted(mesh, acked_before, started), moved(mesh, traffic, callee, &expected, started))?;
    let (accepted, moved) = (accepted.as_millis(), moved.as_millis());
    let failed = traffic.failed() - failed_before;
    let way = match expected.len() - 2 {
        0 => "no gateway",
        1 => "1 gateway",
        _ => "2 gateways",
    };
    let text = format!("{accepted:>5} ms {moved:>5} ms {failed:>7}   {way}");
    report.step(failed == 0, &format!("{title:<64}"), &text);
    Ok(())
}

/// The time by which requests take the expected way.
async fn moved(
    mesh: &Mesh,
    traffic: &Traffic,
    callee: Callee,
    expected: &[&str],
    started: Instant,
) -> Result<Duration, DemoError> {
    let mut wait = Wait::up_to(MOVE, format!("the way {}", expected.join(" > ")), &mesh.directory());
    loop {
        // Looking takes some requests, so the time is an upper bound.
        if carried_by(mesh, traffic, callee).await? == expected {
            return Ok(started.elapsed());
        }
        wait.again().await?;
    }
}

/// The time of the last ACK of `web`'s sidecar, once it has accepted something new and is quiet again.
async fn accepted(mesh: &Mesh, mut acked: u64, started: Instant) -> Result<Duration, DemoError> {
    let mut wait = Wait::up_to(MOVE, "an answer of the sidecar of web", &mesh.directory());
    let mut last = None;
    loop {
        let now = acks_of_web(mesh).await?;
        if now > acked {
            (acked, last) = (now, Some(started.elapsed()));
        }
        if let Some(last) = last.filter(|last| started.elapsed() > *last + QUIET) {
            return Ok(last);
        }
        wait.again().await?;
    }
}

/// The Envoys that carry the traffic at the moment, in the order of the way.
async fn carried_by(mesh: &Mesh, traffic: &Traffic, callee: Callee) -> Result<Vec<&'static str>, DemoError> {
    let way = callee.hops(GatewayMode::Local);
    let before = mesh.received_by(&way).await?;
    let sent = traffic.sent();
    let mut wait = Wait::up_to(MOVE, "requests of the client", &mesh.directory());
    while traffic.sent() < sent + BETWEEN {
        wait.again().await?;
    }
    let after = mesh.received_by(&way).await?;
    Ok(way.into_iter().filter(|name| after[name] > before[name]).collect())
}

/// Responses that the sidecar of `web` has accepted so far.
async fn acks_of_web(mesh: &Mesh) -> Result<u64, DemoError> {
    let proxies = mesh.control_plane.get("/v1/meshgate/proxies").await?;
    let of_web = proxies.as_array().into_iter().flatten().filter(|proxy| proxy["ID"] == "web-sidecar-proxy");
    let types = of_web.flat_map(|proxy| proxy["Types"].as_array().cloned().unwrap_or_default());
    Ok(types.filter_map(|kind| kind["Acks"].as_u64()).sum())
}

/// Without an export there is no way into another partition.
async fn exports(mesh: &mut Mesh, report: &mut Report, progress: &dyn Progress) -> Result<(), DemoError> {
    report.heading("exported-services decides what another partition may reach");
    let callee = Callee::OtherPartition;
    for mode in GatewayMode::ALL {
        mesh.set_modes(Sources::default().with(Rung::ProxyDefaults, Some(mode))).await?;
        settle(mesh, callee, &callee.hops(mode)).await?;
        progress.step(&format!("taking the export of billing away in mode {mode}"));
        mesh.export_billing(false).await?;
        let mut wait = Wait::up_to(MOVE, "the end of the way to billing", &mesh.directory());
        while mesh.call(callee).await.is_ok() {
            wait.again().await?;
        }
        let closed = wait.elapsed().as_millis();
        mesh.export_billing(true).await?;
        settle(mesh, callee, &callee.hops(mode)).await?;
        report.step(
            true,
            &format!("{mode:<8}"),
            &format!("no export: no way after {closed} ms; exported again: the way is back"),
        );
    }
    Ok(())
}

/// The control plane is killed and started again; nobody notices.
async fn restart(mesh: &mut Mesh, report: &mut Report, progress: &dyn Progress) -> Result<(), DemoError> {
    report.heading("The control plane is killed and started again under traffic");
    let callee = Callee::OtherDatacenter;
    mesh.set_modes(Sources::default().with(Rung::ProxyDefaults, Some(GatewayMode::Local))).await?;
    settle(mesh, callee, &callee.hops(GatewayMode::Local)).await?;
    let traffic = Traffic::start(&mesh.url(callee), callee.greeting());
    progress.step("killing the control plane");
    mesh.control_plane.kill().await?;
    tokio::time::sleep(AFTER).await;
    progress.step("starting it again");
    mesh.control_plane.start_again().await?;
    let reconnected = Instant::now();
    let mut wait = Wait::up_to(Duration::from_secs(40), "every proxy's new stream", &mesh.directory());
    while connected(mesh).await? < mesh.envoys().len() {
        wait.again().await?;
    }
    let back = reconnected.elapsed().as_millis();
    tokio::time::sleep(AFTER).await;
    let (sent, failed) = (traffic.sent(), traffic.failed());
    let text = format!("{sent} sent, {failed} failed; every proxy connected again after {back} ms");
    report.step(failed == 0, "requests", &text);
    Ok(())
}

/// Proxies with a stream.
async fn connected(mesh: &Mesh) -> Result<usize, DemoError> {
    let proxies = mesh.control_plane.get("/v1/meshgate/proxies").await?;
    let has_stream = |proxy: &&serde_json::Value| proxy["Streams"].as_u64().unwrap_or_default() > 0;
    Ok(proxies.as_array().into_iter().flatten().filter(has_stream).count())
}
