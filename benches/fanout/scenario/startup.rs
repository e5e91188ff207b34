//! S4 and S5: all proxies connect at once, with nothing or with what they had.

use std::time::Instant;

use super::fanout::Mesh;
use super::{Round, Side, anybody};
use crate::Failure;
use crate::fleet::Fleet;
use crate::floor::Style;
use crate::identities::Identities;
use crate::measure::{Figures, Measure};
use crate::options::Options;
use crate::process::{Cores, Usage};
use crate::report::{Case, Report};
use crate::subject::{Floor, Subject};

/// What the proxies have when they connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing: Envoys that were just started. The floor sends them the same bytes.
    Fresh,
    /// Everything: Envoys that lost their connection. The floor sends them empty responses.
    Again,
}

/// Measures how long it takes until each proxy is complete.
pub(super) async fn run(options: &Options, cores: Option<Cores>, start: Start) -> Result<Report, Failure> {
    let count = options.proxies();
    let tls = options.tls.then(Identities::new).transpose()?;
    let subject = Subject::start(options, tls.as_ref(), cores).await?;
    let mesh = Mesh::new(count, options.upstreams);
    mesh.register(&subject).await?;
    let mut side = Side::new(&subject.server, subject.usage, mesh.identities(&options.naming()));
    let mut case = Case { name: if options.tls { "mutual TLS".to_owned() } else { String::new() }, ..Case::default() };

    // Not measured: certificates are made, once for all starts.
    side.fleet.capture();
    side.connect_first(&mut case.subject).await?;
    let (messages, full) = (side.fleet.captured(), side.fleet.traffic());
    side.fleet.disconnect().await;

    let mut floor = Floor::start(Style::Shared, tls.as_ref(), cores).await?;
    let mut floor_side = match start {
        Start::Fresh => {
            floor.control.script(&messages).await?;
            Side::new(&floor.server, Some(floor.usage()), anybody(count))
        }
        // What they say that they have is part of the load.
        Start::Again => Side { fleet: side.fleet.elsewhere(floor.server.clone()), usage: Some(floor.usage()) },
    };
    floor_side.connect_first(&mut case.floor).await?;
    floor_side.fleet.disconnect().await;

    for _ in 0..options.rounds.unwrap_or(5) {
        storm(&mut side, start, &mut case.subject).await?.disconnect().await;
        storm(&mut floor_side, start, &mut case.floor).await?.disconnect().await;
    }
    if start == Start::Again {
        let bytes = case.subject.summary(Measure::BytesPerDelivery).map_or(0.0, |bytes| bytes.median);
        case.subject.add(Measure::ShareOfFullConfig, 100.0 * bytes * count as f64 / full.bytes as f64);
    }
    side.connect().await?;
    side.fleet.verify().await?;
    Ok(options.report(vec![case]))
}

/// One start of all.
async fn storm<'a>(side: &'a mut Side, start: Start, figures: &mut Figures) -> Result<&'a mut Fleet, Failure> {
    if start == Start::Fresh {
        side.fleet.forget();
    }
    let (cpu, traffic) = (side.idle().await, side.fleet.traffic());
    let client = Usage::own().cpu_us();
    let begin = Instant::now();
    let arrivals = side.fleet.connect().await?;
    let client_us = Usage::own().cpu_us() - client;
    side.fleet.settle().await?;
    let cpu_us = side.idle().await - cpu;
    let traffic = side.fleet.traffic().since(traffic);
    figures.add(Measure::Refusals, traffic.refusals as f64);
    Round { times: arrivals.since(begin), cpu_us, client_us, traffic, messages: Vec::new() }.add_to(figures);
    Ok(&mut side.fleet)
}
