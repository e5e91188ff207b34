//! S7: all certificates are renewed.

use super::{Side, anybody};
use crate::Failure;
use crate::ads::Kind;
use crate::catalog::Member;
use crate::floor::Style;
use crate::measure::Measure;
use crate::options::Options;
use crate::process::Cores;
use crate::report::{Case, Report};
use crate::subject::{Clocked, Floor};

/// Measures until each proxy, which all have an identity of their own, has another certificate.
pub(super) async fn run(options: &Options, cores: Option<Cores>) -> Result<Report, Failure> {
    let count = options.proxies();
    let mut clocked = Clocked::start(cores).await?;
    let members: Vec<_> = (0..count).map(Member::alone).collect();
    let registrations = members.iter().enumerate().flat_map(|(number, member)| member.register_client(number, &[]));
    clocked.subject.http.put_all(registrations).await?;
    let naming = options.naming();
    let identities = members.iter().map(|member| member.identity(&naming));
    let mut side = Side::new(&clocked.subject.server, clocked.subject.usage, identities);
    let mut case = Case::default();
    side.connect_first(&mut case.subject).await?;

    let mut floor = Floor::start(Style::Copied, None, cores).await?;
    let mut floor_side = Side::new(&floor.server, Some(floor.usage()), anybody(count));
    let is_secret = |arrival: &crate::fleet::Arrival| arrival.kind == Some(Kind::Secret);
    let mut blocks = Vec::new();
    for _ in 0..=options.rounds.unwrap_or(4) {
        let round = side.change(0..count, is_secret, clocked.renew_all()).await?;
        blocks.push(round);
    }
    side.fleet.verify().await?;
    side.fleet.disconnect().await;
    floor_side.connect_first(&mut case.floor).await?;
    // The first round is not measured: it finds cold caches.
    for (at, sent) in blocks.iter().enumerate() {
        let message = sent.messages.last().ok_or("the first proxy got nothing")?;
        let push = floor.control.push(0..count, message);
        let round = floor_side.change(0..count, is_secret, push).await?;
        if at == 0 {
            continue;
        }
        for (round, figures) in [(sent, &mut case.subject), (&round, &mut case.floor)] {
            round.add_to(figures);
            let cpu = round.cpu_us / 1_000_000.0;
            if cpu > 0.0 {
                figures.add(Measure::PerCpuSecond, count as f64 / cpu);
            }
        }
    }
    Ok(options.report(vec![case]))
}
