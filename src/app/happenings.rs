//! What became of changes, as the engine noted it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;

use crate::api::{
    Happenings, ProxyEventState, ProxyHappening, PushState, PushedState, ResourceState, Resources, Totals, TrialStep,
    UnmadeState,
};
use crate::codec::hide_private_keys_in;
use crate::engine::{self, Configuration, Engine, Offline, Preview, ProxyEvent, Push, Pushed};
use crate::envoy::snapshot::{Resource, ResourceType, Snapshot};
use crate::envoy::{self, json};
use crate::model::{InstanceId, TrustDomain};
use crate::store::View;

/// The engine's journal, and what it would make of older states.
pub struct Happened {
    /// The engine.
    pub engine: Engine,
    /// The trust domain of every identity.
    pub trust_domain: TrustDomain,
}

impl Happenings for Happened {
    fn pushes(&self, is_shown: &dyn Fn(&InstanceId) -> bool) -> Vec<PushState> {
        self.engine.pushes(is_shown).into_iter().map(push_state).collect()
    }

    fn unmade(&self) -> Vec<UnmadeState> {
        let state = |it: engine::Unmade| UnmadeState { since: it.since, index: it.index, proxy: it.proxy };
        self.engine.unmade().into_iter().map(state).collect()
    }

    fn events_from(&self, number: u64) -> Vec<ProxyEventState> {
        self.engine.events_from(number).into_iter().map(event_state).collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.engine.happenings()
    }

    fn resources(&self, proxy: &InstanceId) -> Option<Resources> {
        let snapshot = self.engine.snapshot(proxy)?;
        let report = self.engine.proxies().into_iter().find(|report| report.instance == *proxy);
        Some(resources(&snapshot, report.map(|report| report.problems).unwrap_or_default()))
    }

    fn resources_in(&self, view: &Arc<View>, proxy: &InstanceId) -> Option<Resources> {
        let preview = Preview::new(self.engine.options(), &self.trust_domain, view, [proxy.clone()]);
        preview.get(proxy).map(|it| resources(&it.snapshot, it.problems.clone()))
    }

    fn hashes_in(&self, view: &Arc<View>) -> BTreeMap<InstanceId, String> {
        hashes(self.engine.options(), &self.trust_domain, view)
    }

    fn server_names(&self, proxy: &InstanceId) -> Option<usize> {
        self.engine.snapshot(proxy).map(|snapshot| envoy::server_names(&snapshot).len())
    }

    fn totals(&self) -> Totals {
        let engine::PushTotals { pushed, live, lag, lags, refused, held } = self.engine.push_totals();
        let by_type = |counts: [u64; ResourceType::ALL.len()]| -> Vec<_> {
            ResourceType::ALL.into_iter().zip(counts).map(|(kind, count)| (kind.to_string(), count)).collect()
        };
        let refused = engine::ProxyKind::ALL.into_iter().zip(refused).flat_map(|(of, counts)| {
            by_type(counts).into_iter().map(move |(kind, count)| (of.as_str().to_owned(), kind, count))
        });
        Totals { pushed: by_type(pushed), live, lag, lags, refused: refused.collect(), held: by_type(held) }
    }
}

fn push_state(push: Push) -> PushState {
    let Push { number, since, index, time, proxies, live, refused, live_after, shown } = push;
    let shown = shown.into_iter().map(pushed_state).collect();
    PushState { number, since, index, time, proxies, live, refused, live_after, shown }
}

fn pushed_state(pushed: Pushed) -> PushedState {
    let Pushed { proxy, types, live_after, is_refused } = pushed;
    let types = types.iter().map(ToString::to_string).collect();
    PushedState { proxy, types, live_after, refused: is_refused }
}

fn event_state(event: ProxyEvent) -> ProxyEventState {
    use engine::ProxyHappening as Happening;

    let ProxyEvent { number, time, proxy, what } = event;
    let what = match what {
        Happening::Connected(version) => ProxyHappening::Connected(version),
        Happening::Disconnected(streams) => ProxyHappening::Disconnected(streams),
        Happening::Refused { kind, resources, message, index } => {
            ProxyHappening::Refused { kind: kind.to_string(), resources, message, index }
        }
        Happening::Problem(message) => ProxyHappening::Problem(message),
        Happening::Trial(change, step) => ProxyHappening::Trial(change.to_string(), trial_step(step)),
    };
    ProxyEventState { number, time, proxy, what }
}

fn trial_step(step: engine::TrialStep) -> TrialStep {
    match step {
        engine::TrialStep::Begun => TrialStep::Begun,
        engine::TrialStep::Made(index) => TrialStep::Made(index),
        engine::TrialStep::Halted(why) => TrialStep::Halted(why),
    }
}

/// Hashes of what each registered proxy is sent in a state apart from secrets, by a process that starts with it.
pub(super) fn hashes(
    options: &engine::Options,
    trust_domain: &TrustDomain,
    view: &Arc<View>,
) -> BTreeMap<InstanceId, String> {
    let offline = Offline::of(options.clone(), trust_domain.clone(), view.clone());
    let hash = |(proxy, configuration): (InstanceId, Configuration)| {
        Some((proxy, configuration.snapshot?.version_without_secrets().to_string()))
    };
    offline.configurations().into_iter().filter_map(hash).collect()
}

/// The resources of a snapshot as Envoy would show them.
fn resources(snapshot: &Snapshot, problems: Vec<String>) -> Resources {
    let of_kind = |kind: ResourceType| snapshot.get(kind).values().map(move |resource| resource_state(kind, resource));
    let hash = snapshot.version().to_string();
    Resources { hash, problems, resources: ResourceType::ALL.into_iter().flat_map(of_kind).collect() }
}

fn resource_state(kind: ResourceType, resource: &Arc<Resource>) -> ResourceState {
    let mut shown = json::resource(kind, &resource.body).unwrap_or_else(|error| json!({ "error": error.to_string() }));
    // An operator can put keys into listeners and clusters of their own.
    hide_private_keys_in(&mut shown);
    ResourceState {
        kind: kind.to_string(),
        name: resource.name.to_string(),
        version: resource.version.to_string(),
        resource: shown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_api_tells_the_times_apart_that_the_engine_does() {
        assert_eq!(engine::LAGS.map(|lag| Duration::from_millis(lag).as_secs_f64()), crate::api::LAG_BOUNDS);
    }
}
