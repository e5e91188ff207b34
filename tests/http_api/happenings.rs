//! What became of changes, told by an API whose proxies the test moves.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshgate::api::{
    Happenings, LAG_BOUNDS, Nack, ProxyEventState, ProxyHappening, ProxyState, ProxyStatus, PushState, PushedState,
    ResourceState, Resources, Totals, TypeState, UnmadeState,
};
use meshgate::model::{Datacenter, InstanceId, NodeName, Partition, Place, ServiceId};
use meshgate::store::View;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::support::http::TestApi;
use crate::support::openapi;

/// What the test lets happen.
struct Told {
    pushes: Mutex<Vec<PushState>>,
    events: Mutex<Vec<ProxyEventState>>,
    states: Mutex<Vec<ProxyState>>,
    unmade: Mutex<Vec<UnmadeState>>,
    changes: watch::Sender<u64>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            pushes: Mutex::default(),
            events: Mutex::default(),
            states: Mutex::default(),
            unmade: Mutex::default(),
            changes: watch::channel(0).0,
        }
    }
}

fn proxy(node: &str, id: &str) -> InstanceId {
    let place = Place::new(&Datacenter::from("dc1"), &Partition::default());
    InstanceId { place, node: NodeName::from(node), id: ServiceId::from(id) }
}

impl Told {
    fn push(&self, since: u64, index: u64, proxies: &[&InstanceId]) {
        let pushed = |proxy: &&InstanceId| PushedState {
            proxy: Arc::new((*proxy).clone()),
            types: vec!["CDS".to_owned()],
            live_after: None,
            refused: false,
        };
        let mut pushes = self.pushes.lock().unwrap();
        let number = pushes.len() as u64;
        pushes.push(PushState {
            number,
            since,
            index,
            time: OffsetDateTime::now_utc(),
            proxies: proxies.len(),
            live: 0,
            refused: 0,
            live_after: None,
            shown: proxies.iter().map(pushed).collect(),
        });
        drop(pushes);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The last push is live.
    fn live(&self) {
        let after = Some(Duration::from_millis(30));
        let mut pushes = self.pushes.lock().unwrap();
        let last = pushes.last_mut().unwrap();
        (last.live, last.live_after) = (last.proxies, after);
        last.shown.iter_mut().for_each(|pushed| pushed.live_after = after);
        drop(pushes);
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn happened(&self, proxy: &InstanceId, what: ProxyHappening) {
        let mut events = self.events.lock().unwrap();
        let number = events.len() as u64;
        events.push(ProxyEventState { number, time: OffsetDateTime::now_utc(), proxy: Arc::new(proxy.clone()), what });
        drop(events);
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn connected(&self, proxy: &InstanceId, index: u64, acked: u64, nack: Option<Nack>) {
        let of_type = TypeState {
            kind: "CDS".to_owned(),
            resources: 1,
            acked: nack.is_none(),
            acks: 1,
            nacks: nack.is_some().into(),
            last_nack: nack,
        };
        let state = ProxyState { streams: 1, index, acked, types: vec![of_type], ..ProxyState::disconnected(proxy) };
        self.states.lock().unwrap().push(state);
    }
}

/// The same for the traits of the API.
struct Shared(Arc<Told>);

impl Happenings for Shared {
    fn pushes(&self, is_shown: &dyn Fn(&InstanceId) -> bool) -> Vec<PushState> {
        let mut pushes = self.0.pushes.lock().unwrap().clone();
        pushes.iter_mut().for_each(|push| push.shown.retain(|pushed| is_shown(&pushed.proxy)));
        pushes
    }

    fn unmade(&self) -> Vec<UnmadeState> {
        self.0.unmade.lock().unwrap().clone()
    }

    fn events_from(&self, number: u64) -> Vec<ProxyEventState> {
        self.0.events.lock().unwrap().iter().filter(|event| event.number >= number).cloned().collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn resources(&self, proxy: &InstanceId) -> Option<Resources> {
        let resource = |kind: &str| ResourceState {
            kind: kind.to_owned(),
            name: "r".to_owned(),
            version: "0".to_owned(),
            resource: json!({}),
        };
        let resources = vec![resource("CDS"), resource("LDS")];
        (proxy.id.as_str() == "web").then(|| Resources { hash: "7".to_owned(), problems: Vec::new(), resources })
    }

    fn resources_in(&self, view: &Arc<View>, proxy: &InstanceId) -> Option<Resources> {
        let web = InstanceId { id: ServiceId::from("web"), ..proxy.clone() };
        view.service(proxy).and_then(|_| self.resources(&web))
    }

    fn hashes_in(&self, _: &Arc<View>) -> BTreeMap<InstanceId, String> {
        BTreeMap::new()
    }

    fn server_names(&self, proxy: &InstanceId) -> Option<usize> {
        (proxy.id.as_str() == "web").then_some(2)
    }

    fn totals(&self) -> Totals {
        let mut lags = [0; LAG_BOUNDS.len() + 1];
        lags[7] = 2;
        let (pushed, held) = (vec![("CDS".to_owned(), 3)], vec![("CDS".to_owned(), 5)]);
        let refused = vec![("mesh-gateway".to_owned(), "RDS".to_owned(), 7)];
        Totals { pushed, live: 2, lag: Duration::from_millis(750), lags, refused, held }
    }
}

impl ProxyStatus for Shared {
    fn proxies(&self) -> Vec<ProxyState> {
        self.0.states.lock().unwrap().clone()
    }
}

async fn start() -> (TestApi, Arc<Told>) {
    let told = Arc::new(Told::default());
    let shared = told.clone();
    let api = TestApi::start_with(move |api| {
        api.happenings = Arc::new(Shared(shared.clone()));
        api.proxies = Arc::new(Shared(shared));
    });
    (api.await, told)
}

async fn write(api: &TestApi, protocol: &str) -> u64 {
    let entry = json!({ "Kind": "service-defaults", "Name": "web", "Protocol": protocol });
    api.put("/v1/config", entry).await.is(200, "true");
    api.store.view().index()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["Event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_history_says_how_far_a_commit_has_come() {
    let (api, told) = start().await;
    let (first, second) = (write(&api, "http").await, write(&api, "tcp").await);
    told.push(first - 1, first, &[&proxy("n", "web"), &proxy("n", "api")]);
    told.live();
    told.push(first, second, &[&proxy("n", "web")]);

    let history = api.get("/v1/meshgate/history?limit=3").await.json();

    let come: Vec<_> =
        history["Commits"].as_array().unwrap().iter().map(|commit| commit["Propagation"].clone()).collect();
    let pending = json!({ "Since": first, "Index": second, "Proxies": 1, "Live": 0, "Refused": 0, "Unmade": 0 });
    assert_eq!(come[0], pending);
    assert_eq!((&come[1]["Live"], &come[1]["LiveAfterMs"]), (&json!(2), &json!(30.0)));
    assert_eq!(come[2], Value::Null);
}

#[tokio::test]
async fn events_say_of_how_many_proxies_a_part_was_not_made() {
    let (api, told) = start().await;
    let index = write(&api, "http").await;
    // Of `web` something could not be made, and it has the rest; of `cron` nothing could.
    told.push(index - 1, index, &[&proxy("n", "web"), &proxy("n", "api")]);
    let unmade = |id| UnmadeState { since: index - 1, index, proxy: Arc::new(proxy("n", id)) };
    told.unmade.lock().unwrap().extend([unmade("web"), unmade("cron")]);
    told.live();

    let events = lines(&api.get("/v1/meshgate/events").await.text());

    let live = &events.iter().find(|event| event["Event"] == "live").unwrap()["Push"];
    assert_eq!(
        (&live["Proxies"], &live["Live"], &live["Unmade"], &live["LiveAfterMs"]),
        (&json!(3), &json!(1), &json!(2), &json!(30.0))
    );
    // Who follows one proxy is told of its own pushes alone.
    let of_api = lines(&api.get("/v1/meshgate/events?proxy=n/api").await.text());
    assert_eq!(kinds(&of_api), ["push", "live"]);
    assert_eq!(lines(&api.get("/v1/meshgate/events?proxy=n/cron").await.text()).len(), 0);
}

#[tokio::test]
async fn events_are_told_once_in_the_order_of_their_times() {
    let (api, told) = start().await;
    let web = proxy("n", "web");
    told.happened(&web, ProxyHappening::Connected("1.40.0".to_owned()));
    let index = write(&api, "http").await;
    told.push(index - 1, index, &[&web]);
    told.live();
    let refused = ProxyHappening::Refused {
        kind: "RDS".to_owned(),
        resources: vec!["web".to_owned()],
        message: "bad regex".to_owned(),
        index: Some(index),
    };
    told.happened(&web, refused);

    let all = api.get("/v1/meshgate/events").await;

    assert_eq!(all.header("content-type"), "application/x-ndjson");
    let all = lines(&all.text());
    // The first commit is that of the root.
    let mut shown = kinds(&all);
    let live = shown.iter().position(|kind| *kind == "live").unwrap();
    shown.remove(live);
    assert_eq!(shown, ["commit", "connected", "commit", "push", "nack"]);
    let nack = all.iter().find(|event| event["Event"] == "nack").unwrap();
    assert_eq!((&nack["Proxy"], &nack["Message"]), (&json!("dc1/default/n/web"), &json!("bad regex")));
    let of_proxy = lines(&api.get("/v1/meshgate/events?proxy=n/web").await.text());
    assert_eq!(of_proxy.len(), 4);
    assert_eq!(lines(&api.get("/v1/meshgate/events?proxy=other").await.text()).len(), 0);
    let nothing = api.get("/v1/meshgate/events?after=2999-01-01T00:00:00Z").await;
    assert_eq!(nothing.text(), "");
    api.get("/v1/meshgate/events?after=soon").await.says(400, "expected a time");
}

#[tokio::test]
async fn whoever_follows_hears_of_each_event_as_it_happens() {
    let (api, told) = start().await;
    let mut answer = reqwest::get(format!("{}/v1/meshgate/events?follow", api.url)).await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    openapi::check(("GET", "/v1/meshgate/events?follow", &[]), 200, answer.headers(), &first);
    let first = lines(std::str::from_utf8(&first).unwrap());
    assert_eq!(kinds(&first), ["commit"]);

    let index = write(&api, "http").await;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let chunk = tokio::time::timeout(Duration::from_secs(20), answer.chunk()).await.unwrap().unwrap().unwrap();
        heard.extend(lines(std::str::from_utf8(&chunk).unwrap()));
        match heard.len() {
            1 => told.push(index - 1, index, &[&proxy("n", "web")]),
            2 => told.live(),
            _ => {}
        }
    }

    assert_eq!(kinds(&heard), ["commit", "push", "live"]);
    assert_eq!(heard[2]["Push"]["LiveAfterMs"], 30.0);
    api.shutdown.cancel();
    assert_eq!(answer.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_proxy_is_told_which_commits_changed_it() {
    let (api, told) = start().await;
    let (web, other) = (proxy("n", "web"), proxy("n", "api"));
    told.connected(&web, 0, 0, None);
    told.connected(&proxy("m", "twice"), 0, 0, None);
    told.connected(&proxy("n", "twice"), 0, 0, None);
    let first = write(&api, "http").await;
    told.push(first - 1, first, &[&web, &other]);
    told.live();
    let second = write(&api, "tcp").await;
    told.push(first, second, &[&other]);
    told.happened(&web, ProxyHappening::Problem("no such thing".to_owned()));

    let why = api.get("/v1/meshgate/why-changed/web").await.json();

    let [change] = why["Changes"].as_array().unwrap().as_slice() else { panic!("{why}") };
    assert_eq!(
        (&change["Index"], &change["Types"], &change["LiveAfterMs"]),
        (&json!(first), &json!(["CDS"]), &json!(30.0))
    );
    assert_eq!(change["Commits"][0]["Rows"][0]["Name"], "service-defaults/web");
    assert_eq!(why["Events"][0]["Message"], "no such thing");
    let none = api.get("/v1/meshgate/why-changed/web?until=2000-01-01T00:00:00Z").await.json();
    assert_eq!((&none["Changes"], &none["Events"]), (&json!([]), &json!([])));
    api.get("/v1/meshgate/why-changed/web?begin=x").await.says(400, "expected a time");
    api.get("/v1/meshgate/why-changed/nobody").await.says(404, "there is no proxy \"nobody\"");
    api.get("/v1/meshgate/why-changed/twice").await.says(400, "dc1/default/m/twice, dc1/default/n/twice");
    api.get("/v1/meshgate/why-changed/n/twice").await.says(200, "dc1/default/n/twice");
}

#[tokio::test]
async fn a_refusal_is_told_with_the_entry_and_the_commit_behind_it() {
    let (api, told) = start().await;
    let index = write(&api, "http").await;
    let nack = Nack {
        resources: vec!["web".to_owned()],
        message: "bad regex".to_owned(),
        time: "2026-01-02T03:04:05Z".to_owned(),
        since: index - 1,
        index,
        causes: Vec::new(),
    };
    told.connected(&proxy("n", "web"), index, index - 1, Some(nack));
    told.connected(&proxy("n", "synced"), index, index, None);
    told.connected(&proxy("n", "behind"), index, 0, None);
    api.register(json!({ "Name": "gw", "Kind": "mesh-gateway", "Port": 8443 })).await;

    let connected = api.get("/v1/meshgate/proxies").await.json();
    let all = api.get("/v1/meshgate/proxies?registered").await.json();

    let sync = |proxies: &Value| -> Vec<String> {
        proxies
            .as_array()
            .unwrap()
            .iter()
            .map(|proxy| format!("{} {}", proxy["ID"], proxy["Sync"]).replace('"', ""))
            .collect()
    };
    assert_eq!(sync(&connected), ["web refused", "synced synced", "behind behind"]);
    let cause = &connected[0]["Types"][0]["LastNack"]["Causes"][0];
    assert_eq!((&cause["Index"], &cause["Rows"]), (&json!(index), &json!(["service-defaults/web"])));
    assert_eq!(cause["Author"]["By"], "call");
    assert_eq!(sync(&all).len(), 4);
    assert!(sync(&all).contains(&"gw disconnected".to_owned()), "{all}");

    let status = api.get("/v1/meshgate/status").await.json();
    let counts = json!({ "Synced": 1, "Behind": 1, "Refused": 1, "Disconnected": 1, "WithProblems": 0 });
    assert_eq!(status["Proxies"], counts);
    // The check of the gateway's port has not run here, and is critical.
    let problems: Vec<_> = status["Problems"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(problems[0], "dc1/default/n/web refused CDS: bad regex");
    assert_eq!(status["LastChange"]["Index"], index);
    assert_eq!(status["Datacenters"][0]["Gateways"], 1);

    let one = api.get("/v1/meshgate/proxy/web?types=lds").await.json();
    assert_eq!(one["Resources"].as_array().unwrap().len(), 1);
    assert_eq!(one["Acked"], index - 1);
    api.get("/v1/meshgate/proxy/behind").await.says(404, "nothing was made for the proxy");

    // The same of then, of those that were registered.
    let now = status["Index"].as_u64().unwrap();
    let past = api.get(&format!("/v1/meshgate/at/gw?types=cds&commit={now}")).await.json();
    assert_eq!(
        (&past["Index"], &past["Hash"], &past["Resources"][0]["Type"]),
        (&json!(now), &json!("7"), &json!("CDS"))
    );
    api.get(&format!("/v1/meshgate/at/nobody?commit={now}")).await.says(404, "there is no proxy \"nobody\"");
    api.get("/v1/meshgate/at/web").await.says(400, "commit");
    let metrics = api.get("/v1/agent/metrics").await.json();
    let value = |list: &str, name: &str, field: &str, labels: Value| {
        let all = metrics[list].as_array().unwrap().iter();
        all.clone()
            .find(|metric| metric["Name"] == name && metric["Labels"] == labels)
            .map(|metric| metric[field].clone())
    };
    for (list, name, field, labels, wanted) in [
        ("Counters", "meshgate.xds.pushed_total", "Sum", json!({ "type": "CDS" }), json!(3.0)),
        ("Counters", "meshgate.xds.nack_total", "Sum", json!({ "kind": "mesh-gateway", "type": "RDS" }), json!(7.0)),
        ("Counters", "meshgate.xds.shrink_guard_held_total", "Sum", json!({ "type": "CDS" }), json!(5.0)),
        ("Samples", "meshgate.xds.ack_lag_seconds", "Sum", json!({}), json!(0.75)),
        ("Samples", "meshgate.xds.ack_lag_seconds", "Count", json!({}), json!(2)),
        ("Gauges", "meshgate.xds.proxies", "Value", json!({ "sync": "refused" }), json!(1.0)),
        ("Gauges", "meshgate.revision", "Value", json!({ "state": "desired" }), json!(index as f64)),
        ("Gauges", "meshgate.revision", "Value", json!({ "state": "acked_min" }), json!(0.0)),
        ("Gauges", "meshgate.xds.streams", "Value", json!({}), json!(3.0)),
    ] {
        assert_eq!(value(list, name, field, labels), Some(wanted), "{name}: {metrics}");
    }
}

#[tokio::test]
async fn proxies_are_found_sorted_and_told_in_parts() {
    let (api, told) = start().await;
    let index = write(&api, "http").await;
    for (node, id, acked) in [("n2", "web-1", index), ("n1", "web-2", 0), ("n1", "api-1", index)] {
        told.connected(&proxy(node, id), index, acked, None);
    }
    for number in 1..=7 {
        let gateway = json!({ "Name": "gw", "ID": format!("gw-{number}"), "Kind": "mesh-gateway", "Port": 8443 });
        api.register(gateway).await;
    }
    let ask = async |query: &str| {
        let answer = api.get(&format!("/v1/meshgate/proxies?registered&{query}")).await;
        let ids: Vec<_> =
            answer.json().as_array().unwrap().iter().map(|it| it["ID"].as_str().unwrap().to_owned()).collect();
        (answer.header("x-meshgate-total").to_owned(), ids.join(" "))
    };
    let is = |total: &str, ids: &str| (total.to_owned(), ids.to_owned());

    assert_eq!(ask("sort=id&limit=3").await, is("10", "api-1 gw-1 gw-2"));
    assert_eq!(ask("sort=id&limit=3&offset=9").await, is("10", "web-2"));
    assert_eq!(ask("sort=id&limit=3&offset=10").await, is("10", ""));
    assert_eq!(ask("sort=-id&limit=2").await, is("10", "web-2 web-1"));
    // Whoever is behind comes before those that are not connected, and these before those that are synced.
    assert_eq!(ask("sort=sync&limit=2").await, is("10", "web-2 gw-1"));
    assert_eq!(ask("sort=-sync&limit=3").await, is("10", "api-1 web-1 gw-1"));
    assert_eq!(ask("sync=synced,behind").await, is("3", "api-1 web-2 web-1"));
    assert_eq!(ask("search=WEB&sort=-name").await, is("2", "web-1 web-2"));
    assert_eq!(ask("search=n2").await, is("1", "web-1"));
    assert_eq!(ask("kinds=mesh-gateway&offset=5").await, is("7", "gw-6 gw-7"));
    assert_eq!(ask("place=dc1/default&limit=1").await.0, "10");
    assert_eq!(ask("place=dc1&limit=1").await.0, "10");
    assert_eq!(ask("place=dc1/other").await, is("0", ""));
    assert_eq!(ask("proxy=n2/web-1").await, is("1", "web-1"));
    assert_eq!(ask("problems").await, is("0", ""));
    for (query, said) in [
        ("sort=colour", "expected name, id, kind, service, sync, envoy or lag"),
        ("sync=well", "expected synced, behind, refused or disconnected"),
        ("limit=0", "from 1 to 1000"),
        ("limit=1001", "from 1 to 1000"),
        ("offset=-1", "expected how many to leave out"),
    ] {
        api.get(&format!("/v1/meshgate/proxies?{query}")).await.says(400, said);
    }
}
