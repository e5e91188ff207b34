//! `/v1/meshgate/events` and `/v1/meshgate/why-changed`: what happened to proxies, and which commit was behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::Api;
use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::history::{ShownCommit, written_time};
use super::route::{Routes, Tail, get, prefix};
use crate::model::{InstanceId, NodeName};
use crate::store::{Commit, Index, View};

/// How long a follower waits at least from one look to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// Most rows of a commit that an event shows.
const ROWS: usize = 5;
/// Most rows of each commit behind a change of a proxy.
const CAUSE_ROWS: usize = 20;

/// Knows what became of changes, and what happened to proxies.
pub trait Happenings: Send + Sync + 'static {
    /// The pushes that are remembered, the oldest one first; of their proxies, those that `is_shown` is true for.
    fn pushes(&self, is_shown: &dyn Fn(&InstanceId) -> bool) -> Vec<PushState>;

    /// The connected proxies of which something could not be made that still cannot be.
    fn unmade(&self) -> Vec<UnmadeState>;

    /// What else happened to proxies, from an event with this number on, in order.
    fn events_from(&self, number: u64) -> Vec<ProxyEventState>;

    /// Yields whenever something happened.
    fn changes(&self) -> watch::Receiver<u64>;

    /// What a connected proxy should have; `None` while nothing was made for it.
    fn resources(&self, proxy: &InstanceId) -> Option<Resources>;

    /// What a proxy should have had in this state, computed from it alone; `None` if it was not registered then, or is of a
    /// kind that is not configured.
    fn resources_in(&self, view: &Arc<View>, proxy: &InstanceId) -> Option<Resources>;

    /// Hashes of what each registered proxy should have in a state apart from secrets, computed from it alone.
    fn hashes_in(&self, view: &Arc<View>) -> BTreeMap<InstanceId, String>;

    /// By how many SNIs a connected proxy chooses the way; `None` while nothing was made for it.
    fn server_names(&self, proxy: &InstanceId) -> Option<usize>;

    /// How many times what happened since the process started.
    fn totals(&self) -> Totals;
}

/// The times until proxies have what they are sent that are told apart, in seconds.
pub const LAG_BOUNDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// How many times what happened since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Snapshots that were sent towards proxies, by the types, such as `CDS`, that differ in them.
    pub pushed: Vec<(String, u64)>,
    /// Snapshots whose proxy has them, or something newer.
    pub live: u64,
    /// The time until then, added up.
    pub lag: Duration,
    /// How many had it in at most as long as each of [`LAG_BOUNDS`], but not as the one before; then all others.
    pub lags: [u64; LAG_BOUNDS.len() + 1],
    /// Refused responses by the kind of proxy, such as `mesh-gateway`, and their type, such as `CDS`.
    pub refused: Vec<(String, String, u64)>,
    /// How many times it began that resources of a type, such as `CDS`, were not taken away from a proxy because another process
    /// gave them to it, perhaps for what this one cannot make.
    pub held: Vec<(String, u64)>,
}

/// What followed from the commits after `since` until `index`.
#[derive(Debug, Clone, PartialEq)]
pub struct PushState {
    /// Its number; they grow.
    pub number: u64,
    /// The last commit that it has nothing of; the same as `index` for proxies that came.
    pub since: Index,
    /// The last commit that it has.
    pub index: Index,
    /// When it was sent.
    pub time: OffsetDateTime,
    /// How many proxies it touched.
    pub proxies: usize,
    /// How many of them have it, or something newer.
    pub live: usize,
    /// How many refused a part of it and have nothing newer yet.
    pub refused: usize,
    /// The time until the last of all had it; `None` while one has not.
    pub live_after: Option<Duration>,
    /// Those that were asked for.
    pub shown: Vec<PushedState>,
}

/// A proxy of which something could not be made that the commits after `since` until `index` asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmadeState {
    /// The last commit that did not ask for it.
    pub since: Index,
    /// The last commit that did.
    pub index: Index,
    /// The proxy.
    pub proxy: Arc<InstanceId>,
}

/// One proxy of a push.
#[derive(Debug, Clone, PartialEq)]
pub struct PushedState {
    /// The proxy.
    pub proxy: Arc<InstanceId>,
    /// The resource types in which what it has changed, such as `CDS`.
    pub types: Vec<String>,
    /// The time until it had all of it, or something newer.
    pub live_after: Option<Duration>,
    /// It refused a part of it.
    pub refused: bool,
}

/// Something that happened to a proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyEventState {
    /// Its number; they grow.
    pub number: u64,
    /// When it happened.
    pub time: OffsetDateTime,
    /// The proxy.
    pub proxy: Arc<InstanceId>,
    /// What happened.
    pub what: ProxyHappening,
}

/// What can happen to a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyHappening {
    /// A stream for it opened; the text is Envoy's version as it says it.
    Connected(String),
    /// A stream of it ended; so many are left.
    Disconnected(usize),
    /// It refused a response.
    Refused {
        /// The type, such as `CDS`.
        kind: String,
        /// The first of the resources in it.
        resources: Vec<String>,
        /// Envoy's reason.
        message: String,
        /// The commit that what it was sent belongs to; none if it was a change that it tried.
        index: Option<Index>,
    },
    /// A part of it cannot be made, and stays as it was.
    Problem(String),
    /// It tries this change, or did so.
    Trial(String, TrialStep),
}

/// How far a change is that a proxy tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialStep {
    /// The proxy is sent it.
    Begun,
    /// It became the state with this commit.
    Made(Index),
    /// The proxy is given back what the state is, and why.
    Halted(String),
}

/// The configuration of a proxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Resources {
    /// The hash of all of it: equal for equal configurations.
    pub hash: String,
    /// What could not be made, and why.
    pub problems: Vec<String>,
    /// By type and name.
    pub resources: Vec<ResourceState>,
}

/// A resource of a proxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceState {
    /// The type, such as `CDS`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The hash of its content.
    pub version: String,
    /// The content as Envoy would show it, without keys.
    pub resource: Value,
}

/// Nothing happens.
#[derive(Debug, Clone)]
pub struct NoHappenings(watch::Sender<u64>);

impl Default for NoHappenings {
    fn default() -> Self {
        Self(watch::channel(0).0)
    }
}

impl Happenings for NoHappenings {
    fn pushes(&self, _: &dyn Fn(&InstanceId) -> bool) -> Vec<PushState> {
        Vec::new()
    }

    fn unmade(&self) -> Vec<UnmadeState> {
        Vec::new()
    }

    fn events_from(&self, _: u64) -> Vec<ProxyEventState> {
        Vec::new()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn resources(&self, _: &InstanceId) -> Option<Resources> {
        None
    }

    fn resources_in(&self, _: &Arc<View>, _: &InstanceId) -> Option<Resources> {
        None
    }

    fn hashes_in(&self, _: &Arc<View>) -> BTreeMap<InstanceId, String> {
        BTreeMap::new()
    }

    fn server_names(&self, _: &InstanceId) -> Option<usize> {
        None
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }
}

/// The routes of what happened.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/events", get(events)).merge(prefix("/v1/meshgate/why-changed/", get(why_changed)))
}

/// How far a change has come, as the history shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Propagation {
    since: Index,
    index: Index,
    proxies: usize,
    live: usize,
    refused: usize,
    /// Proxies of which a part could not be made.
    unmade: usize,
    #[serde(rename = "LiveAfterMs", skip_serializing_if = "Option::is_none")]
    live_after: Option<f64>,
}

impl From<&PushState> for Propagation {
    fn from(push: &PushState) -> Self {
        Self {
            since: push.since,
            index: push.index,
            proxies: push.proxies,
            live: push.live,
            refused: push.refused,
            unmade: 0,
            live_after: push.live_after.map(milliseconds),
        }
    }
}

impl Propagation {
    /// The same where a part of these proxies was not made: they are touched, and do not have it.
    fn without(self, unmade: &BTreeSet<&InstanceId>, push: Option<&PushState>) -> Self {
        let sent = push.iter().flat_map(|push| &push.shown).filter(|it| unmade.contains(&*it.proxy));
        let sent: Vec<_> = sent.collect();
        let live = self.live - sent.iter().filter(|it| it.live_after.is_some()).count();
        let more = unmade.iter().filter(|proxy| !sent.iter().any(|it| *it.proxy == ***proxy)).count();
        Self { proxies: self.proxies + more, live, unmade: unmade.len(), live_after: None, ..self }
    }
}

/// How far commits have come, as far as that is remembered.
#[derive(Debug)]
pub(super) struct Propagations {
    /// Of their proxies, those of which something could not be made are shown.
    pushes: Vec<PushState>,
    unmade: Vec<UnmadeState>,
}

impl Propagations {
    /// As it is now.
    pub(super) fn now(happenings: &dyn Happenings) -> Self {
        Self::showing(happenings, |_| false)
    }

    /// The same, with those proxies shown too that `is_shown` is true for.
    fn showing(happenings: &dyn Happenings, is_shown: impl Fn(&InstanceId) -> bool) -> Self {
        let unmade = happenings.unmade();
        let proxies: BTreeSet<_> = unmade.iter().map(|it| &*it.proxy).collect();
        Self { pushes: happenings.pushes(&|proxy| proxies.contains(proxy) || is_shown(proxy)), unmade }
    }

    /// How far a commit has come, if it touched any connected proxy. One of which a part could not be made is touched, and
    /// does not have the commit although it may have the rest of it.
    pub(super) fn of(&self, commit: Index) -> Option<Propagation> {
        let push = self.pushes.iter().find(|push| push.since < commit && commit <= push.index);
        let unmade = self.unmade_of(commit - 1, commit);
        if unmade.is_empty() {
            return push.map(Propagation::from);
        }
        let nothing = Propagation { since: commit - 1, index: commit, ..Propagation::default() };
        Some(push.map_or(nothing, From::from).without(&unmade, push))
    }

    /// How far a push has come, of whose commits something may not have been made.
    fn of_push(&self, push: &PushState) -> Propagation {
        let unmade = self.unmade_of(push.since, push.index);
        let told = Propagation::from(push);
        if unmade.is_empty() { told } else { told.without(&unmade, Some(push)) }
    }

    /// The proxies of which something could not be made that a commit after `since` until `index` asked for.
    fn unmade_of(&self, since: Index, index: Index) -> BTreeSet<&InstanceId> {
        let of = self.unmade.iter().filter(|it| it.since < index && since < it.index);
        of.map(|it| &*it.proxy).collect()
    }
}

/// A time in milliseconds, to the microsecond.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// What was told already.
#[derive(Debug, Default)]
struct Teller {
    /// Commits after this one are news.
    commit: Index,
    /// Events from this number on are.
    event: u64,
    /// Pushes from this number on are.
    push: u64,
    /// Pushes that are not live yet, by their numbers.
    awaited: BTreeSet<u64>,
    /// Only what concerns these proxies.
    proxy: Option<ProxyName>,
    /// Only what happened after this.
    after: Option<OffsetDateTime>,
}

/// A proxy as an operator names it: `id`, `node/id` or `datacenter/partition/node/id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProxyName(String);

impl ProxyName {
    pub(super) fn new(text: &str) -> Self {
        Self(text.trim_matches('/').to_owned())
    }

    /// True for the proxy, and for all of that ID if no more is said.
    pub(super) fn means(&self, proxy: &InstanceId) -> bool {
        match self.0.split_once('/') {
            None => proxy.id.as_str() == self.0,
            Some((node, id)) if !id.contains('/') => proxy.id.as_str() == id && proxy.node == NodeName::from(node),
            Some(_) => proxy.to_string() == self.0,
        }
    }
}

/// One JSON object on each line; with `follow`, until somebody ends it.
async fn events(call: Call) -> Result<Response, ApiError> {
    let is_following = call.query.flag("follow")?;
    let after = call.query.value("after").map(|text| parse_time("after", text)).transpose()?;
    let proxy = call.query.value("proxy").map(ProxyName::new);
    let mut commits = call.api.store.history().watch();
    let mut changes = call.api.happenings.changes();
    // What happens from here on wakes the stream.
    commits.borrow_and_update();
    changes.borrow_and_update();
    let mut teller = Teller { proxy, after, ..Teller::default() };
    let first = Size::Large.run(|| teller.news(&call.api));
    let rest = stream::unfold(
        (call, commits, changes, teller),
        move |(call, mut commits, mut changes, mut teller)| async move {
            if !is_following {
                return None;
            }
            let shutdown = call.api.shutdown.clone();
            loop {
                let happened = async {
                    tokio::select! {
                        changed = commits.changed() => changed.is_ok(),
                        changed = changes.changed() => changed.is_ok(),
                    }
                };
                if !shutdown.run_until_cancelled(happened).await? {
                    return None;
                }
                // What comes together is told together: looking costs all that is noted.
                tokio::time::sleep(PAUSE).await;
                commits.borrow_and_update();
                changes.borrow_and_update();
                let news = Size::Large.run(|| teller.news(&call.api));
                if !news.is_empty() {
                    return Some((Ok::<_, Infallible>(news), (call, commits, changes, teller)));
                }
            }
        },
    );
    let lines = futures::StreamExt::chain(stream::iter([Ok(first)]), rest);
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    // A compressor would keep lines back until it has enough of them.
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
    Ok(response)
}

fn parse_time(name: &'static str, text: &str) -> Result<OffsetDateTime, ApiError> {
    let expected = "expected a time such as 2026-01-02T15:04:05Z";
    let wrong = |_| ApiError::InvalidParameter { name, value: text.to_owned(), expected };
    OffsetDateTime::parse(text, &Rfc3339).map_err(wrong)
}

impl Teller {
    /// Everything that was not told yet, sorted by time, one object a line.
    fn news(&mut self, api: &Api) -> Bytes {
        let mut news = self.of_proxies(api);
        news.extend(self.of_pushes(api));
        if self.proxy.is_none() {
            news.extend(self.of_commits(api));
        }
        news.retain(|(time, _)| self.after.is_none_or(|after| *time > after));
        news.sort_by_key(|(time, _)| *time);
        let lines = news.into_iter().map(|(time, mut event)| {
            event["Time"] = written_time(time).into();
            format!("{event}\n")
        });
        lines.collect::<String>().into()
    }

    fn of_commits(&mut self, api: &Api) -> Vec<(OffsetDateTime, Value)> {
        let told = self.commit;
        let mut commits = api.store.history().commits_after(told);
        commits.sort_by_key(|commit| commit.index);
        self.commit = commits.last().map_or(told, |last| last.index);
        let event =
            |commit: &Arc<Commit>| (commit.time, json!({ "Event": "commit", "Commit": ShownCommit::of(commit, ROWS) }));
        commits.iter().map(event).collect()
    }

    fn of_pushes(&mut self, api: &Api) -> Vec<(OffsetDateTime, Value)> {
        let proxy = self.proxy.clone();
        let is_meant = |id: &InstanceId| proxy.as_ref().is_some_and(|proxy| proxy.means(id));
        let propagations = Propagations::showing(&*api.happenings, is_meant);
        let pushes = &propagations.pushes;
        let is_wanted = |push: &&PushState| proxy.is_none() || push.shown.iter().any(|it| is_meant(&it.proxy));
        let mut news = Vec::new();
        for push in pushes.iter().filter(is_wanted) {
            if push.number >= self.push {
                // How far it has come is told when it is there.
                let sent = json!({ "Since": push.since, "Index": push.index, "Proxies": push.proxies });
                news.push((push.time, json!({ "Event": "push", "Push": sent })));
                self.awaited.insert(push.number);
            }
            if let Some(live_after) = push.live_after
                && self.awaited.remove(&push.number)
            {
                // Those that could be made have it since then.
                let told = Propagation { live_after: Some(milliseconds(live_after)), ..propagations.of_push(push) };
                news.push((push.time + live_after, json!({ "Event": "live", "Push": told })));
            }
        }
        if let Some(last) = pushes.last() {
            self.push = last.number + 1;
        }
        // What is forgotten is never live.
        let oldest = pushes.first().map_or(0, |push| push.number);
        self.awaited.retain(|number| *number >= oldest);
        news
    }

    fn of_proxies(&mut self, api: &Api) -> Vec<(OffsetDateTime, Value)> {
        let events = api.happenings.events_from(self.event);
        if let Some(last) = events.last() {
            self.event = last.number + 1;
        }
        let is_wanted = |event: &&ProxyEventState| self.proxy.as_ref().is_none_or(|proxy| proxy.means(&event.proxy));
        events.iter().filter(is_wanted).map(|event| (event.time, told(event))).collect()
    }
}

/// An event of a proxy, without its time.
fn told(event: &ProxyEventState) -> Value {
    let mut value = match &event.what {
        ProxyHappening::Connected(version) => json!({ "Event": "connected", "EnvoyVersion": version }),
        ProxyHappening::Disconnected(streams) => json!({ "Event": "disconnected", "Streams": streams }),
        ProxyHappening::Refused { kind, resources, message, index } => {
            let mut nack = json!({ "Event": "nack", "Type": kind, "Resources": resources, "Message": message });
            if let Some(index) = index {
                nack["Index"] = (*index).into();
            }
            nack
        }
        ProxyHappening::Problem(message) => json!({ "Event": "problem", "Message": message }),
        ProxyHappening::Trial(change, TrialStep::Begun) => {
            json!({ "Event": "trial", "Step": "begun", "Change": change })
        }
        ProxyHappening::Trial(change, TrialStep::Made(index)) => {
            json!({ "Event": "trial", "Step": "made", "Change": change, "Index": index })
        }
        ProxyHappening::Trial(change, TrialStep::Halted(why)) => {
            json!({ "Event": "trial", "Step": "halted", "Change": change, "Message": why })
        }
    };
    value["Proxy"] = event.proxy.to_string().into();
    value
}

/// The changes of one proxy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct WhyChanged {
    proxy: String,
    /// In the order in which they happened.
    changes: Vec<Change>,
    events: Vec<Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    time: String,
    since: Index,
    index: Index,
    /// The commits whose outcome it is, as far as they are kept.
    commits: Vec<ShownCommit>,
    types: Vec<String>,
    refused: bool,
    #[serde(rename = "LiveAfterMs", skip_serializing_if = "Option::is_none")]
    live_after: Option<f64>,
}

async fn why_changed(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = tail.required("ID of a proxy")?;
    let from = call.query.value("begin").map(|text| parse_time("begin", text)).transpose()?;
    let until = call.query.value("until").map(|text| parse_time("until", text)).transpose()?;
    let meta = call.after_commit().await?;
    let proxy = call.known_proxy(&name)?;
    let _turn = Size::Large.turn().await;
    let is_within =
        |time: OffsetDateTime| from.is_none_or(|from| from <= time) && until.is_none_or(|until| time <= until);
    let pushes = call.api.happenings.pushes(&|id| *id == proxy);
    let history = call.api.store.history().commits(None);
    let changes = pushes.iter().filter(|push| is_within(push.time)).filter_map(|push| {
        let pushed = push.shown.first()?;
        let behind = history.iter().rev().filter(|commit| push.since < commit.index && commit.index <= push.index);
        Some(Change {
            time: written_time(push.time),
            since: push.since,
            index: push.index,
            commits: behind.map(|commit| ShownCommit::of(commit, CAUSE_ROWS)).collect(),
            types: pushed.types.clone(),
            refused: pushed.refused,
            live_after: pushed.live_after.map(milliseconds),
        })
    });
    let events = call.api.happenings.events_from(0).into_iter();
    let events = events.filter(|event| *event.proxy == proxy && is_within(event.time)).map(|event| {
        let mut value = told(&event);
        value["Time"] = written_time(event.time).into();
        value
    });
    let shown = WhyChanged { proxy: proxy.to_string(), changes: changes.collect(), events: events.collect() };
    Ok(meta.on(call.json(&shown)))
}

impl Call {
    /// The one proxy of this name, in the place of the call unless the name says another, that is connected, registered,
    /// or was connected as long as that is remembered.
    pub(super) fn known_proxy(&self, text: &str) -> Result<InstanceId, ApiError> {
        let connected = self.api.proxies.proxies().into_iter().map(|state| state.instance());
        let remembered = || self.api.happenings.events_from(0).into_iter().map(|event| (*event.proxy).clone());
        let registered = registered(&self.api.store.view());
        let known = self.one_of(text, registered.into_iter().chain(connected));
        if matches!(known, Err(ApiError::NoProxy(_))) { self.one_of(text, remembered()) } else { known }
    }

    /// The one proxy of this name that is registered in a state.
    pub(super) fn proxy_in(&self, view: &View, text: &str) -> Result<InstanceId, ApiError> {
        self.one_of(text, registered(view).into_iter())
    }

    fn one_of(&self, text: &str, proxies: impl Iterator<Item = InstanceId>) -> Result<InstanceId, ApiError> {
        let name = ProxyName::new(text);
        let says_place = name.0.matches('/').count() > 1;
        let is_meant = |id: &InstanceId| name.means(id) && (says_place || id.place == self.scope.place);
        let mut found = proxies.filter(is_meant).collect::<BTreeSet<_>>().into_iter();
        match (found.next(), found.next()) {
            (Some(proxy), None) => Ok(proxy),
            (None, _) => Err(ApiError::NoProxy(text.to_owned())),
            (Some(first), Some(second)) => {
                Err(ApiError::SeveralProxies { name: text.to_owned(), found: format!("{first}, {second}") })
            }
        }
    }
}

fn registered(view: &View) -> Vec<InstanceId> {
    view.proxies().map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_goes_without_a_part_is_touched_and_does_not_have_the_commit() {
        let id = |name: &str| {
            let place = Place::new(&Datacenter::from("dc1"), &Partition::default());
            Arc::new(InstanceId { place, node: NodeName::from("n"), id: ServiceId::from(name) })
        };
        let live = Some(Duration::from_millis(3));
        let sent = |name| PushedState { proxy: id(name), types: Vec::new(), live_after: live, refused: false };
        let push = |index, shown: Vec<PushedState>| PushState {
            number: index,
            since: index - 1,
            index,
            time: OffsetDateTime::UNIX_EPOCH,
            proxies: 2,
            live: 2,
            refused: 0,
            live_after: live,
            shown,
        };
        let unmade = |name, index| UnmadeState { since: index - 1, index, proxy: id(name) };
        // Of commit 5 `a` has all but a part, of 6 `c` has nothing; 7 could be made nowhere.
        let propagations = Propagations {
            pushes: vec![push(5, vec![sent("a")]), push(6, Vec::new()), push(8, Vec::new())],
            unmade: vec![unmade("a", 5), unmade("c", 6), unmade("c", 7), unmade("c", 7)],
        };

        let told = |commit| propagations.of(commit).map(|it| (it.proxies, it.live, it.unmade, it.live_after.is_some()));

        assert_eq!(told(5), Some((2, 1, 1, false)));
        assert_eq!(told(6), Some((3, 2, 1, false)));
        assert_eq!(told(7), Some((1, 0, 1, false)));
        assert_eq!(told(8), Some((2, 2, 0, true)));
        assert_eq!(told(9), None);
    }
    use crate::model::{Datacenter, Partition, Place, ServiceId};

    #[test]
    fn a_proxy_is_named_by_as_much_as_is_needed() {
        let place = Place::new(&Datacenter::from("dc1"), &Partition::default());
        let proxy = InstanceId { place, node: NodeName::from("n1"), id: ServiceId::from("web") };
        let whole = proxy.to_string();

        for (name, means) in [("web", true), ("n1/web", true), ("n2/web", false), ("api", false), (&*whole, true)] {
            assert_eq!(ProxyName::new(name).means(&proxy), means, "{name}");
        }
    }
}
