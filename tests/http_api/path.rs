//! The way from a service to another one: each link is broken in turn, and exactly that one is told.

use std::sync::{Arc, Mutex};

use meshgate::api::{Nack, ProxyState, ProxyStatus, TypeState};
use meshgate::model::{
    Datacenter, HealthEntry, Namespace, NodeName, Partition, Place, QueryResult, ServiceId, ServiceKey, ServiceName,
    SpiffeId,
};
use meshgate::store::{NodeKey, Op};
use serde_json::{Value, json};

use crate::support::http::TestApi;

/// Proxies that are said to be connected.
#[derive(Default)]
struct Connected(Mutex<Vec<ProxyState>>);

impl ProxyStatus for Connected {
    fn proxies(&self) -> Vec<ProxyState> {
        self.0.lock().expect("no test panics while it holds this").clone()
    }
}

impl Connected {
    fn set(&self, proxies: Vec<ProxyState>) {
        *self.0.lock().expect("no test panics while it holds this") = proxies;
    }
}

fn accepted(kind: &str) -> TypeState {
    TypeState { kind: kind.to_owned(), resources: 1, acked: true, acks: 1, nacks: 0, last_nack: None }
}

/// A proxy that accepted all that it was sent.
fn connected(datacenter: &str, partition: &str, id: &str) -> ProxyState {
    ProxyState {
        datacenter: datacenter.into(),
        partition: partition.into(),
        node: "localhost".into(),
        id: id.into(),
        registered: true,
        problems: Vec::new(),
        streams: 1,
        envoy_version: "1.38.2".to_owned(),
        index: 1,
        acked: 1,
        behind: None,
        trial: None,
        types: ["CDS", "LDS", "EDS", "SDS"].map(accepted).to_vec(),
    }
}

const REGISTER: &str = "/v1/agent/service/register";
const FAR: &str = "?dc=dc2";

struct Mesh {
    api: TestApi,
    connected: Arc<Connected>,
}

impl Mesh {
    /// Web in `dc1` calls api in `dc2` through the gateways of both, and cron in partition `front` calls pay in `back`.
    async fn start() -> Self {
        let connected = Arc::new(Connected::default());
        let told = connected.clone();
        let api = TestApi::start_with(|api| {
            api.options.hosted = vec!["dc2".into()];
            api.proxies = told;
        })
        .await;
        let mesh = Self { api, connected };
        mesh.caller(json!([{ "DestinationName": "api", "Datacenter": "dc2", "LocalBindPort": 9191 }])).await;
        mesh.served("api", FAR).await;
        mesh.gateway("", ("10.1.0.7", "203.0.113.7")).await;
        mesh.gateway(FAR, ("10.2.0.7", "203.0.113.10")).await;
        let modes = json!({ "Kind": "proxy-defaults", "Name": "global", "MeshGateway": { "Mode": "local" } });
        mesh.entry("", modes).await;
        for (path, service) in [("web", ""), ("api", FAR)] {
            mesh.api.get(&format!("/v1/agent/connect/ca/leaf/{path}{service}")).await.says(200, "PRIVATE KEY");
        }
        mesh.all_connected();
        mesh
    }

    fn all_connected(&self) {
        self.connected.set(vec![
            connected("dc1", "default", "mesh-gateway"),
            connected("dc1", "default", "web-sidecar-proxy"),
            connected("dc1", "front", "cron-sidecar-proxy"),
            connected("dc2", "default", "api-sidecar-proxy"),
            connected("dc2", "default", "mesh-gateway"),
        ]);
    }

    async fn caller(&self, upstreams: Value) {
        let sidecar = json!({ "Port": 21_000, "Proxy": { "Upstreams": upstreams } });
        self.put("", json!({ "Name": "web", "Port": 8080, "Connect": { "SidecarService": sidecar } })).await;
    }

    async fn served(&self, name: &str, place: &str) {
        self.served_at(21_001, name, place).await;
    }

    async fn served_at(&self, port: u16, name: &str, place: &str) {
        let check = json!({ "CheckID": format!("{name}-up"), "TTL": "1h", "Status": "passing" });
        let sidecar = json!({ "Port": port, "Check": check });
        self.put(place, json!({ "Name": name, "Port": 8081, "Connect": { "SidecarService": sidecar } })).await;
    }

    async fn gateway(&self, place: &str, (lan, wan): (&str, &str)) {
        let addresses = json!({ "lan": { "Address": lan, "Port": 8443 }, "wan": { "Address": wan, "Port": 443 } });
        let gateway = json!({
            "Kind": "mesh-gateway", "Name": "mesh-gateway", "Address": lan, "Port": 8443, "TaggedAddresses": addresses,
            "Check": { "CheckID": "gateway-up", "TTL": "1h", "Status": "passing" },
        });
        self.put(place, gateway).await;
    }

    async fn put(&self, place: &str, service: Value) {
        self.api.put(&format!("{REGISTER}{place}"), service).await.is(200, "");
    }

    async fn entry(&self, place: &str, entry: Value) {
        self.api.put(&format!("/v1/config{place}"), entry).await.is(200, "true");
    }

    async fn path(&self, question: &str) -> Value {
        self.api.get(&format!("/v1/meshgate/path?{question}")).await.json()
    }

    /// Asserts that of the way from web to api exactly this link is broken, and that there is a way to mend it.
    async fn only_broken(&self, number: u64, detail: &str) {
        let path = self.path("from=web&to=api@dc2").await;
        assert_broken(&path, number, detail);
    }
}

fn of_status(path: &Value, status: &str) -> Vec<u64> {
    let links = path["Links"].as_array().expect("a list").iter();
    links.filter(|link| link["Status"] == status).map(|link| link["Number"].as_u64().expect("a number")).collect()
}

fn assert_broken(path: &Value, number: u64, detail: &str) {
    assert_eq!(of_status(path, "broken"), [number], "{path:#}");
    assert_eq!(of_status(path, "warning"), Vec::<u64>::new(), "{path:#}");
    assert_eq!((&path["FirstBroken"], &path["Ok"]), (&json!(number), &json!(false)));
    let link = &path["Links"][usize::try_from(number).expect("small") - 1];
    assert_eq!(link["ID"], format!("MG-PATH-{number:03}"));
    assert!(link["Detail"].as_str().expect("a text").contains(detail), "{link:#}");
    assert!(link["Fix"].as_str().expect("a command").starts_with("meshgate "), "{link:#}");
    assert_eq!(link["Fix"], path["Fix"]);
}

#[tokio::test]
async fn a_whole_path_is_followed_from_sidecar_to_application() {
    let mesh = Mesh::start().await;

    let path = mesh.path("from=web&to=api@dc2").await;

    assert_eq!((of_status(&path, "broken"), &path["Ok"]), (vec![], &json!(true)), "{path:#}");
    assert_eq!(of_status(&path, "ok"), [1, 2, 3, 4, 6, 7, 8, 9], "{path:#}");
    assert_eq!(of_status(&path, "unused"), [5]);
    let way = &path["Ways"][0];
    let hops = way["Hops"].as_array().expect("a list").iter().map(|hop| hop["Proxy"].as_str().expect("a text"));
    let ids: Vec<_> = hops.map(|hop| hop.rsplit('/').next().unwrap_or_default()).collect();
    assert_eq!(ids, ["web-sidecar-proxy", "mesh-gateway", "mesh-gateway", "api-sidecar-proxy"]);
    assert_eq!((&way["Outcome"], &way["End"]), (&json!("arrives"), &json!("127.0.0.1:8081")));
    // Neither the datacenter nor the sidecar itself needs to be said.
    assert_eq!(mesh.path("from=web&to=api").await["Links"], path["Links"]);
    assert_eq!(mesh.path("from=web-sidecar-proxy&to=api").await["Ways"], path["Ways"]);
}

#[tokio::test]
async fn of_nine_links_the_broken_one_is_told() {
    let mesh = Mesh::start().await;
    let (api, far_gateway) = (&mesh.api, ("10.2.0.7", "203.0.113.10"));

    // 1: nobody is connected.
    mesh.connected.set(Vec::new());
    mesh.only_broken(1, "no Envoy is connected").await;
    let refused = Nack {
        resources: vec!["x".to_owned()],
        message: "no such filter".to_owned(),
        time: String::new(),
        since: 0,
        index: 0,
        causes: Vec::new(),
    };
    let mut state = connected("dc1", "default", "web-sidecar-proxy");
    state.types = vec![TypeState { acked: false, nacks: 1, last_nack: Some(refused), ..accepted("LDS") }];
    mesh.connected.set(vec![state]);
    mesh.only_broken(1, "refused its last LDS: no such filter").await;
    mesh.all_connected();

    // 2: no such upstream.
    mesh.caller(json!([{ "DestinationName": "db", "LocalBindPort": 9191 }])).await;
    mesh.only_broken(2, "no upstream of web leads there").await;
    mesh.caller(json!([{ "DestinationName": "api", "Datacenter": "dc2", "LocalBindPort": 9191 }])).await;

    // 3: no gateway here.
    api.put("/v1/agent/service/deregister/mesh-gateway", "").await.is(200, "");
    mesh.only_broken(3, "there is no mesh gateway in dc1/default").await;
    mesh.gateway("", ("10.1.0.7", "203.0.113.7")).await;

    // 4: no gateway there.
    api.put(&format!("/v1/agent/service/deregister/mesh-gateway{FAR}"), "").await.is(200, "");
    mesh.only_broken(4, "there is no mesh gateway in dc2/default").await;
    mesh.gateway(FAR, far_gateway).await;

    // 6: an intention denies.
    let sources = json!([{ "Name": "web", "Action": "deny" }]);
    mesh.entry("", json!({ "Kind": "service-intentions", "Name": "api", "Sources": sources })).await;
    mesh.only_broken(6, "deny (service-intentions/api").await;
    api.delete("/v1/config/service-intentions/api").await.is(200, "{}");

    // 7: the caller has no certificate.
    let web = ServiceName::new(&Partition::default(), &Namespace::default(), "web");
    let identity = SpiffeId::Service(ServiceKey { datacenter: Datacenter::from("dc1"), service: web });
    api.store.write(vec![Op::DeleteLeaf(identity)]).await.expect("it can go");
    mesh.only_broken(7, "web has no certificate").await;
    api.get("/v1/agent/connect/ca/leaf/web").await.says(200, "PRIVATE KEY");

    // 8: the gateway there refused the cluster.
    let sni = mesh.path("from=web&to=api").await["Ways"][0]["Hops"][0]["SNI"].as_str().expect("an SNI").to_owned();
    let refused = Nack {
        resources: vec![sni],
        message: "no such field".to_owned(),
        time: String::new(),
        since: 0,
        index: 0,
        causes: Vec::new(),
    };
    let nacked = TypeState { acked: false, nacks: 1, last_nack: Some(refused), ..accepted("CDS") };
    let mut gateway = connected("dc2", "default", "mesh-gateway");
    gateway.types = vec![nacked];
    mesh.connected.set(vec![connected("dc1", "default", "web-sidecar-proxy"), gateway]);
    mesh.only_broken(8, "refused the cluster for SNI").await;
    mesh.all_connected();

    // 3 and 4: a gateway refused its listeners, and runs older ones.
    for (datacenter, number) in [("dc1", 3), ("dc2", 4)] {
        mesh.all_connected();
        let refused = Nack {
            resources: vec!["default".to_owned()],
            message: "no such address".to_owned(),
            time: String::new(),
            since: 0,
            index: 0,
            causes: Vec::new(),
        };
        let mut states = mesh.connected.proxies();
        let gateway =
            states.iter_mut().find(|it| it.datacenter.as_str() == datacenter && it.id.as_str() == "mesh-gateway");
        let nacked = TypeState { acked: false, nacks: 1, last_nack: Some(refused), ..accepted("LDS") };
        gateway.expect("it is connected").types = vec![nacked];
        mesh.connected.set(states);
        mesh.only_broken(number, "mesh-gateway refused its listeners: no such address").await;
    }
    mesh.all_connected();

    // 9: nobody is well.
    api.put(&format!("/v1/agent/check/fail/api-up{FAR}"), "").await.is(200, "");
    mesh.only_broken(9, "0 healthy / 1").await;
    api.put(&format!("/v1/agent/check/pass/api-up{FAR}"), "").await.is(200, "");
    assert_eq!(mesh.path("from=web&to=api").await["Ok"], true);
}

#[tokio::test]
async fn a_missing_export_between_partitions_is_told() {
    let mesh = Mesh::start().await;
    let upstreams = json!([{ "DestinationName": "pay", "DestinationPartition": "back", "LocalBindPort": 9191 }]);
    let sidecar = json!({ "Port": 21_000, "Proxy": { "Upstreams": upstreams } });
    mesh.put("?partition=front", json!({ "Name": "cron", "Port": 80, "Connect": { "SidecarService": sidecar } })).await;
    mesh.served("pay", "?partition=back").await;
    mesh.gateway("?partition=front", ("10.3.0.7", "203.0.113.3")).await;
    mesh.gateway("?partition=back", ("10.4.0.7", "203.0.113.4")).await;
    for partition in ["front", "back"] {
        let modes = json!({
            "Kind": "proxy-defaults", "Name": "global", "Partition": partition, "MeshGateway": { "Mode": "remote" },
        });
        mesh.entry(&format!("?partition={partition}"), modes).await;
    }
    for (service, partition) in [("cron", "front"), ("pay", "back")] {
        let leaf = format!("/v1/agent/connect/ca/leaf/{service}?partition={partition}");
        mesh.api.get(&leaf).await.says(200, "PRIVATE KEY");
    }
    let question = "from=front/cron&to=back/pay";

    let without = mesh.path(question).await;
    assert_broken(&without, 5, "exported-services/back: pay -> partition front is missing");
    assert_eq!(of_status(&without, "blocked"), [8], "{without:#}");
    assert_eq!(without["Fix"], "meshgate services export -name pay -partition back -consumer-partitions front");

    let services = json!([{ "Name": "pay", "Consumers": [{ "Partition": "front" }] }]);
    let exports = json!({ "Kind": "exported-services", "Name": "back", "Partition": "back", "Services": services });
    mesh.entry("?partition=back", exports).await;
    let with = mesh.path(question).await;
    assert_eq!((of_status(&with, "broken"), &with["Ok"]), (vec![], &json!(true)), "{with:#}");
    assert_eq!((&with["Ways"][0]["Outcome"], &with["Links"][4]["Status"]), (&json!("arrives"), &json!("ok")));
}

#[tokio::test]
async fn what_stands_in_is_no_fault() {
    let mesh = Mesh::start().await;
    mesh.served("api", "").await;
    mesh.api.get("/v1/agent/connect/ca/leaf/api").await.says(200, "PRIVATE KEY");
    let failover = json!({ "*": { "Datacenters": ["dc1"] } });
    mesh.entry("", json!({ "Kind": "service-resolver", "Name": "api", "Failover": failover })).await;
    mesh.api.put(&format!("/v1/agent/check/fail/api-up{FAR}"), "").await.is(200, "");

    let path = mesh.path("from=web&to=api@dc2").await;

    assert_eq!((of_status(&path, "broken"), of_status(&path, "warning")), (vec![], vec![9]), "{path:#}");
    assert_eq!(path["Ways"][0]["Outcome"], "arrives", "{path:#}");
}

/// Web calls `shop`, which two services share.
async fn split() -> Mesh {
    let mesh = Mesh::start().await;
    for name in ["shop", "old", "new"] {
        mesh.entry("", json!({ "Kind": "service-defaults", "Name": name, "Protocol": "http" })).await;
    }
    let splits = json!([{ "Weight": 90, "Service": "old" }, { "Weight": 10, "Service": "new" }]);
    mesh.entry("", json!({ "Kind": "service-splitter", "Name": "shop", "Splits": splits })).await;
    for (port, name) in [(21_001, "old"), (21_002, "new")] {
        mesh.served_at(port, name, "").await;
        mesh.api.get(&format!("/v1/agent/connect/ca/leaf/{name}")).await.says(200, "PRIVATE KEY");
    }
    mesh.caller(json!([{ "DestinationName": "shop", "LocalBindPort": 9191 }])).await;
    mesh
}

#[tokio::test]
async fn each_leg_of_a_splitter_has_to_arrive() {
    let mesh = split().await;
    let question = "from=web&to=shop";

    let whole = mesh.path(question).await;
    assert_eq!((of_status(&whole, "broken"), &whole["Ok"]), (vec![], &json!(true)), "{whole:#}");
    let chosen: Vec<_> = whole["Ways"].as_array().expect("a list").iter().map(|way| &way["Chosen"]).collect();
    assert!(chosen.len() == 2 && chosen[0] != chosen[1], "{whole:#}");

    // One of them is the target that the links are about, and the other one is judged by where its traffic stops.
    for dead in ["new", "old"] {
        mesh.api.put(&format!("/v1/agent/check/fail/{dead}-up"), "").await.is(200, "");
        assert_broken(&mesh.path(question).await, 9, "1 of 2 ways stop");
        mesh.api.put(&format!("/v1/agent/check/pass/{dead}-up"), "").await.is(200, "");
    }

    // Whom an intention keeps out of one leg, it keeps out of the path.
    let sources = json!([{ "Name": "web", "Action": "deny" }]);
    mesh.entry("", json!({ "Kind": "service-intentions", "Name": "new", "Sources": sources })).await;
    assert_broken(&mesh.path(question).await, 6, "1 of 2 ways stop");
}

#[tokio::test]
async fn of_many_that_are_alike_a_few_are_looked_at_and_that_is_said() {
    let mesh = Mesh::start().await;
    for number in 1..=5_u16 {
        let id = format!("api-{number}");
        let check = json!({ "CheckID": format!("{id}-up"), "TTL": "1h", "Status": "passing" });
        let sidecar = json!({ "Port": 22_000 + number, "Check": check });
        let service =
            json!({ "ID": id, "Name": "api", "Port": 8090 + number, "Connect": { "SidecarService": sidecar } });
        mesh.put(FAR, service).await;
    }

    let path = mesh.path("from=web&to=api@dc2").await;

    assert_eq!((&path["Ok"], &path["LeftOut"]), (&json!(true), &json!(["3 of 6 sidecars of api@dc2"])), "{path:#}");
    let ways = path["Ways"].as_array().expect("a list");
    assert!(ways.len() == 3 && ways.iter().all(|way| way["Outcome"] == "arrives"), "{ways:#?}");
}

#[tokio::test]
async fn a_prepared_query_is_judged_by_the_service_that_it_finds() {
    let mesh = Mesh::start().await;
    mesh.served("near", "").await;
    mesh.api.get("/v1/agent/connect/ca/leaf/near").await.says(200, "PRIVATE KEY");
    mesh.caller(json!([{ "DestinationType": "prepared_query", "DestinationName": "geo", "LocalBindPort": 9191 }]))
        .await;
    let view = mesh.api.store.view();
    let place = Place::new(&Datacenter::from("dc1"), &Partition::default());
    let node = NodeKey::new(&place, &NodeName::from("localhost"));
    let row = view.service(&node.instance(&ServiceId::from("near-sidecar-proxy"))).expect("it is registered");
    let found = HealthEntry {
        node: view.node(&node).expect("it is registered").value.clone(),
        service: row.value.clone(),
        checks: Vec::new(),
        modify_index: 0,
    };
    let query = |nodes| {
        let (datacenter, partition) = (Datacenter::from("dc1"), Partition::default());
        Op::PutQuery(QueryResult { datacenter, partition, name: "geo".to_owned(), nodes })
    };
    mesh.api.store.write(vec![query(vec![found])]).await.expect("it is accepted");
    let question = "from=web&to=prepared_query:geo";

    let path = mesh.path(question).await;
    assert_eq!((of_status(&path, "broken"), &path["Ok"]), (vec![], &json!(true)), "{path:#}");
    assert_eq!(path["To"], "dc1/default/default/near");
    assert!(path["Links"][8]["Detail"].as_str().expect("a text").starts_with("near: 1 healthy / 1"), "{path:#}");
    let sources = json!([{ "Name": "web", "Action": "deny" }]);
    mesh.entry("", json!({ "Kind": "service-intentions", "Name": "near", "Sources": sources })).await;
    assert_broken(&mesh.path(question).await, 6, "deny (service-intentions/near");
    mesh.api.delete("/v1/config/service-intentions/near").await.is(200, "{}");

    mesh.api.store.write(vec![query(Vec::new())]).await.expect("it is accepted");
    assert_broken(&mesh.path(question).await, 9, "prepared query geo finds nobody");
}

#[tokio::test]
async fn what_nobody_knows_is_not_told_as_fine() {
    let mesh = Mesh::start().await;
    let name = ServiceName::new(&Partition::default(), &Namespace::default(), "api");
    let identity = SpiffeId::Service(ServiceKey { datacenter: Datacenter::from("dc2"), service: name });
    mesh.api.store.write(vec![Op::DeleteLeaf(identity)]).await.expect("it can go");

    let path = mesh.path("from=web&to=api@dc2").await;

    assert_eq!((of_status(&path, "broken"), of_status(&path, "unknown")), (vec![], vec![2]), "{path:#}");
    assert_eq!((&path["Ok"], &path["FirstBroken"]), (&json!(false), &json!(0)), "{path:#}");
    let detail = path["Links"][1]["Detail"].as_str().expect("a text");
    assert!(detail.starts_with("nobody knows whether traffic arrives at dc2/"), "{detail}");
}

#[tokio::test]
async fn places_may_use_the_same_private_addresses() {
    let mesh = Mesh::start().await;
    mesh.gateway(FAR, ("10.1.0.7", "203.0.113.10")).await;

    let path = mesh.path("from=web&to=api@dc2").await;

    let ways = path["Ways"].as_array().expect("a list");
    let hops: Vec<_> = ways.iter().map(|way| way["Hops"].as_array().expect("a list").len()).collect();
    assert_eq!((hops, &path["Ok"]), (vec![4], &json!(true)), "{path:#}");
    assert_eq!(ways[0]["Hops"][1]["Proxy"], "dc1/default/localhost/mesh-gateway", "{path:#}");
}

#[tokio::test]
async fn questions_that_cannot_be_understood_are_refused() {
    let mesh = Mesh::start().await;

    for (question, says) in [
        ("from=web", "Missing to"),
        ("to=web", "Missing from"),
        ("from=web&to=a/b/c/d", "names no service"),
        ("from=web?peer=x&to=api", "a path starts at a service of this control plane"),
        ("from=web&to=api&http=x", "expected a method and a path"),
    ] {
        mesh.api.get(&format!("/v1/meshgate/path?{}", question.replace('?', "%3F"))).await.says(400, says);
    }
    let nobody = mesh.path("from=nobody&to=api@dc2").await;
    assert_broken(&nobody, 1, "nobody has no sidecar in dc1/default");
}
