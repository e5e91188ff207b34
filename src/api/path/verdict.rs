//! What the ways of traffic say about the links.
//!
//! A way is only there if the proxies send traffic along it. So each of them has to arrive: one that stops is a share of the
//! traffic that fails, be it one leg of a splitter, one of several gateways, or a failover that is needed already. What
//! stands in for what is ill, and takes all of its traffic, is the only way there is.

use std::collections::{BTreeMap, BTreeSet};

use super::links::{Found, Subject};
use super::{Trace, Way};

/// Judges links by others, and by the traffic itself. True if it is known that traffic arrives wherever it is sent, or leaves
/// for where nobody here can follow it.
pub(super) fn settle(found: &mut [Found; 9], subject: &Subject, trace: &Trace) -> bool {
    block(found, subject);
    let ways = &trace.ways;
    if ways.iter().any(Way::stops) {
        blame(found, subject, ways);
        return false;
    }
    let shares = shares(ways);
    let all = |is_so: fn(&Way) -> bool| shares.values().all(|share| share.iter().any(|way| is_so(way)));
    if !ways.is_empty() && all(Way::arrives) {
        soften(found, ways);
    }
    let is_known = !ways.is_empty() && all(|way| way.arrives() || way.leaves());
    if !is_known && !(1..=9).any(|number| is_broken(found, number)) {
        let unknown = shares.values().find(|share| !share.iter().any(|way| way.arrives() || way.leaves()));
        let why = unknown.and_then(|share| share.first()).map(|way| {
            let at = way.hops.last().map(|hop| format!(" at {}", hop.proxy)).unwrap_or_default();
            format!("{at}: {}", way.end)
        });
        let why = why.unwrap_or_else(|| ": it was followed nowhere".to_owned());
        found[1] = Found::Unknown(format!("nobody knows whether traffic arrives{why}"));
    }
    is_known
}

/// The ways by the cluster that the caller's routes choose. Those of one share stand in for each other.
fn shares(ways: &[Way]) -> BTreeMap<&str, Vec<&Way>> {
    let mut shares: BTreeMap<&str, Vec<&Way>> = BTreeMap::new();
    for way in ways {
        shares.entry(way.chosen.as_str()).or_default().push(way);
    }
    shares
}

fn is_broken(found: &[Found; 9], number: usize) -> bool {
    matches!(found[number - 1], Found::Broken(..))
}

/// Links of which nothing can be known because of others.
fn block(found: &mut [Found; 9], subject: &Subject) {
    if is_broken(found, 8) {
        // Without an export or an instance, a gateway has nothing to have a cluster for.
        if let Some(cause) = [5, 9].into_iter().find(|cause| is_broken(found, *cause)) {
            found[7] = Found::Blocked(cause);
        }
    }
    if is_broken(found, 5) && subject.is_in_peer() {
        for number in [3, 4, 8, 9] {
            found[number - 1] = Found::Blocked(5);
        }
    }
    if is_broken(found, 7) && subject.is_in_peer() && subject.target.is_none() {
        for number in [3, 4, 8, 9] {
            found[number - 1] = Found::Blocked(7);
        }
    }
}

/// Nothing stops: another target stands in, or what is ill is used all the same.
fn soften(found: &mut [Found; 9], ways: &[Way]) {
    let arrive = ways.iter().filter(|way| way.arrives()).count();
    let share = match ways.len() {
        all if all == arrive => "traffic arrives all the same".to_owned(),
        all => format!("{arrive} of {all} ways arrive all the same, and none is known to stop"),
    };
    for number in [3, 4, 5, 6, 9] {
        if let Found::Broken(detail, fix) = &found[number - 1] {
            found[number - 1] = Found::Warning(format!("{detail}; {share}"), fix.clone());
        }
    }
}

/// Tells the stops that no link explains, each at the link that it is about.
fn blame(found: &mut [Found; 9], subject: &Subject, ways: &[Way]) {
    let explained = (2..=9).any(|number| is_broken(found, number));
    // The links are about one target: they explain nothing of what happens to traffic for others.
    let own = subject.target.as_ref().map(|target| target.cluster.as_str()).unwrap_or_default();
    let is_own = |way: &Way| way.hops.first().is_none_or(|hop| hop.cluster.is_empty() || hop.cluster == own);
    let stops: Vec<&Way> = ways.iter().filter(|way| way.stops()).collect();
    if stops.len() < ways.len() {
        for link in found.iter_mut().skip(2) {
            if let Found::Broken(detail, _) = link {
                detail.push_str(&format!("; {} of {} ways stop", stops.len(), ways.len()));
            }
        }
    }
    let news: Vec<&Way> = stops.iter().copied().filter(|way| !(explained && is_own(way))).collect();
    for number in news.iter().map(|way| way.link).collect::<BTreeSet<_>>() {
        let here: Vec<&Way> = news.iter().copied().filter(|way| way.link == number).collect();
        let (Some(way), Some(link)) = (here.first(), number.checked_sub(1).and_then(|at| found.get_mut(at))) else {
            continue;
        };
        let at = way.hops.last().map(|hop| hop.proxy.clone()).unwrap_or_default();
        let what = match ways.len() {
            all if all == here.len() => "traffic stops".to_owned(),
            all => format!("{} of {all} ways stop", here.len()),
        };
        let mut detail = format!("{what} at {at}: {}", way.end);
        if ways.iter().any(|other| other.arrives() && other.stands_in_for(way)) {
            detail.push_str("; what stands in for it arrives, and does not take all of the traffic");
        }
        match link {
            Found::Broken(known, _) => known.push_str(&format!("; {detail}")),
            Found::Ok(_) | Found::Warning(..) | Found::Blocked(_) | Found::Unused(_) | Found::Unknown(_) => {
                let fix = format!("meshgate debug bundle -output bundle.json   # holds the configuration of {at}");
                *link = Found::Broken(detail, fix);
            }
        }
    }
}

impl Way {
    fn arrives(&self) -> bool {
        self.outcome == "arrives"
    }

    fn leaves(&self) -> bool {
        self.outcome == "leaves"
    }

    fn stops(&self) -> bool {
        self.outcome == "stops"
    }

    /// Both are of one share of the traffic, by different targets.
    fn stands_in_for(&self, other: &Self) -> bool {
        let leg = |way: &Self| way.hops.first().map(|hop| hop.cluster.clone());
        self.chosen == other.chosen && leg(self) != leg(other)
    }
}
