//! Changes: what they would do, and whether they are live.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meshgate::api::{Propagation, ReachedProxy};
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType};
use meshgate::model::{Datacenter, NodeName, Partition, ServiceId};
use meshgate::store::Index;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::http::TestApi;
use crate::support::mesh::Watched;

const PLAN: &str = "/v1/meshgate/plan";
const APPLY: &str = "/v1/meshgate/apply";

async fn post(api: &TestApi, path: &str, body: impl ToString) -> crate::support::http::Answer {
    api.call(Method::POST, path, &[], body.to_string()).await
}

/// A mesh in which web calls api.
async fn mesh() -> (TestApi, meshgate::engine::Engine) {
    let (api, engine) = TestApi::with_engine().await;
    for (name, port, upstreams) in
        [("api", 21_001, json!([])), ("web", 21_000, json!([{ "DestinationName": "api", "LocalBindPort": 9191 }]))]
    {
        let sidecar = json!({ "Port": port, "Proxy": { "Upstreams": upstreams } });
        api.register(json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": sidecar } })).await;
    }
    (api, engine)
}

fn node(id: &str) -> NodeIdentity {
    NodeIdentity { id: id.into(), ..NodeIdentity::default() }
}

fn impacts(plan: &Value) -> Vec<&str> {
    let impacts = plan["Impacts"].as_array().expect("a list").iter();
    impacts.map(|impact| impact["Impact"].as_str().expect("a name")).collect()
}

fn ids(plan: &Value) -> Vec<&str> {
    plan["Findings"].as_array().expect("a list").iter().map(|it| it["ID"].as_str().expect("an ID")).collect()
}

#[tokio::test]
async fn a_plan_tells_what_is_sent_after_it_and_stores_nothing() {
    let (api, engine) = mesh().await;
    let mut web = Watched::new(&engine, &node("web-sidecar-proxy"));
    let before = web.next().await;
    let entry = json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "7s" });
    let index = api.store.view().index();

    let plan = post(&api, PLAN, &entry).await.json();

    assert_eq!(api.store.view().index(), index);
    assert_eq!(plan["Proxies"]["Total"], 2);
    assert_eq!((&plan["Proxies"]["Affected"], &plan["Proxies"]["Connected"]), (&json!(1), &json!(1)));
    assert_eq!(plan["Changes"][0]["Action"], "create");
    assert_eq!(impacts(&plan), ["clusters-changed"]);
    let proxy = &plan["Affected"][0];
    assert_eq!((&proxy["ID"], &proxy["Effect"]), (&json!("web-sidecar-proxy"), &json!("new-only")));
    let field = &proxy["Resources"][0]["Fields"][0];
    let told = (&field["Path"], &field["Old"], &field["New"]);
    assert_eq!(told, (&json!("connectTimeout"), &json!("5s"), &json!("7s")));

    let applied = post(&api, APPLY, &entry).await.json();
    assert_eq!((&applied["Changed"], applied["Index"].as_u64()), (&json!(true), Some(api.store.view().index())));
    let after = web.next().await;
    let planned = proxy["Resources"].as_array().expect("a list");
    for kind in ResourceType::ALL {
        for (name, old) in before.get(kind).changes_to(after.get(kind)) {
            let of = |it: &&Value| it["Type"] == kind.short_name() && it["Name"] == **name;
            let told = planned.iter().find(of).unwrap_or_else(|| panic!("{kind} {name} is not planned"));
            let new = after.get(kind).get(name).map(|resource| resource.version.to_string());
            let old = old.map(|resource| resource.version.to_string());
            assert_eq!((told["Before"].as_str(), told["After"].as_str()), (old.as_deref(), new.as_deref()));
        }
    }
    let sent = ResourceType::ALL.iter().map(|kind| before.get(*kind).changes_to(after.get(*kind)).len());
    assert_eq!(sent.sum::<usize>(), planned.len());

    // Now it is there.
    let again = post(&api, PLAN, &entry).await.json();
    assert_eq!((&again["Changes"][0]["Action"], &again["Proxies"]["Affected"]), (&json!("none"), &json!(0)));
    assert_eq!(post(&api, APPLY, &entry).await.json()["Changed"], false);
}

#[tokio::test]
async fn a_plan_tells_whose_connections_are_drained_and_what_would_not_work() {
    let (api, _engine) = mesh().await;

    let drained =
        post(&api, PLAN, json!({ "Kind": "service-defaults", "Name": "web", "Protocol": "http" })).await.json();
    assert!(impacts(&drained).contains(&"chains-drained"), "{drained}");
    assert!(ids(&drained).contains(&"MG-PLAN-002"), "{drained}");
    assert_eq!(drained["Affected"][0]["Effect"], "drain");

    let gone = post(&api, &format!("{PLAN}?deregister=api"), "").await.json();
    assert_eq!(impacts(&gone), ["endpoints"]);
    assert!(ids(&gone).contains(&"MG-PLAN-001"), "{gone}");
    let reasons: Vec<_> = gone["Proxies"]["Unchanged"].as_array().expect("a list").iter().collect();
    assert!(reasons.iter().any(|it| it["Reason"].as_str().is_some_and(|it| it.contains("registered no longer"))));

    let redirect = json!({ "Kind": "service-resolver", "Name": "api", "Redirect": { "Service": "nobody" } });
    let lost = post(&api, PLAN, &redirect).await.json();
    assert!(ids(&lost).contains(&"MG-CFG-001"), "{lost}");

    let service = json!({ "services": [{ "Name": "shop", "Port": 90, "Connect": { "SidecarService": {} } }] });
    let more = post(&api, PLAN, &service).await.json();
    assert_eq!((&more["Proxies"]["Total"], &more["Affected"][0]["ID"]), (&json!(3), &json!("shop-sidecar-proxy")));
    let short = post(&api, &format!("{PLAN}?limit=0"), &service).await.json();
    assert_eq!((&short["Affected"], &short["MoreAffected"]), (&json!([]), &json!(1)));
    post(&api, APPLY, &service).await.json();
    assert_eq!(api.get("/v1/agent/service/shop-sidecar-proxy").await.json()["Proxy"]["DestinationServiceName"], "shop");
}

#[tokio::test]
async fn what_would_be_refused_is_refused_as_on_write() {
    let (api, _engine) = mesh().await;
    let split = |path: &'static str| {
        let entry = json!({ "Kind": "service-splitter", "Name": "api", "Splits": [{ "Weight": 100 }] });
        post(&api, path, entry)
    };
    for path in [PLAN, APPLY] {
        let index = api.store.view().index();
        // The protocol of api is tcp, which cannot be split.
        split(path).await.says(409, "api speaks tcp");
        post(&api, path, "{}").await.says(400, "no config entry and no service");
        post(&api, path, json!({ "Kind": "mesh", "Nmae": "x" })).await.says(400, "Nmae");
        post(&api, &format!("{path}?delete=mesh"), "").await.says(404, "named by a kind and a name");
        post(&api, &format!("{path}?deregister=nobody"), "").await.says(404, "nobody");
        assert_eq!(api.store.view().index(), index);
    }
    for limit in ["many", "-1", "1001"] {
        let answer = post(&api, &format!("{PLAN}?limit={limit}"), json!({ "Kind": "mesh" })).await;
        answer.says(400, "expected a number of proxies, at most 1000");
    }

    let without = TestApi::start().await;
    post(&without, PLAN, json!({ "Kind": "mesh" })).await.says(503, "not configured");
    // Nobody who could tell is not the same as nothing found.
    without.get("/v1/meshgate/lint").await.says(503, "not configured");
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_all_at_once() {
    let (api, _engine) = mesh().await;
    let api_service = json!({ "Name": "api", "Port": 80, "Connect": { "SidecarService": {} } });
    let body = json!({
        "services": [api_service, { "Name": "web", "Port": 81 }, api_service],
        "config_entries": { "bootstrap": [{ "Kind": "service-resolver", "Name": "api" }] },
    });
    let query = "delete=service-resolver/api&deregister=web";
    for path in [PLAN, APPLY] {
        let index = api.store.view().index();

        let refused = post(&api, &format!("{path}?{query}"), &body).await;

        refused.says(400, "api is in the body, and in delete");
        for part in [
            "/web is in the body, and in deregister",
            "/api is in the body twice",
            "/api-sidecar-proxy is in the body twice",
        ] {
            refused.says(400, part);
        }
        assert_eq!(api.store.view().index(), index);
    }
}

#[tokio::test]
async fn a_check_is_part_of_what_is_planned() {
    let (api, _engine) = mesh().await;
    let service = |interval: &str| {
        let check = json!({ "HTTP": "http://10.0.0.1/", "Interval": interval });
        json!({ "services": [{ "Name": "api", "Port": 80, "Check": check }] })
    };
    post(&api, APPLY, service("10s")).await.json();

    let same = post(&api, PLAN, service("10s")).await.json();
    let other = post(&api, PLAN, service("20s")).await.json();

    assert_eq!((&same["Changed"], &same["Changes"][0]["Action"]), (&json!(false), &json!("none")));
    assert_eq!((&other["Changed"], &other["Changes"][0]["Action"]), (&json!(true), &json!("change")));
    let fields = other["Changes"][0]["Fields"].as_array().expect("a list");
    let told: Vec<_> = fields.iter().map(|it| (it["Path"].as_str(), it["Old"].as_str(), it["New"].as_str())).collect();
    assert_eq!(told, [(Some("Checks.service:api.Definition.Interval"), Some("10s"), Some("20s"))]);
}

#[tokio::test]
async fn what_was_changed_since_its_plan_is_not_overwritten() {
    let (api, _engine) = mesh().await;
    let entry = |timeout: &str| json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": timeout });
    let planned = post(&api, PLAN, entry("7s")).await.json()["Index"].as_u64().expect("an index");
    let path = format!("{APPLY}?planned={planned}");

    // What others do elsewhere does not matter.
    api.put("/v1/config", json!({ "Kind": "service-resolver", "Name": "web", "ConnectTimeout": "1s" }))
        .await
        .says(200, "");
    assert_eq!(post(&api, &path, entry("7s")).await.json()["Changed"], true);
    post(&api, &path, entry("8s")).await.says(409, "after the plan was made: plan again");
    post(&api, &format!("{APPLY}?planned={planned}&delete=service-resolver/api&deregister=web"), "")
        .await
        .says(409, "api was changed by commit");
    post(&api, &format!("{APPLY}?planned=soon"), entry("8s")).await.says(400, "planned");
    assert_eq!(api.get("/v1/config/service-resolver/api").await.json()["ConnectTimeout"], "7s");
}

#[tokio::test]
async fn what_was_changed_since_it_was_listed_does_not_go() {
    let (api, _engine) = mesh().await;
    let entry = |timeout: &str| json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": timeout });
    api.put("/v1/config", entry("7s")).await.is(200, "true");
    let listed = |row: Value| row["ModifyIndex"].as_u64().expect("an index");
    let resolver = listed(api.get("/v1/config/service-resolver").await.json()[0].clone());
    let service = listed(api.get("/v1/agent/services").await.json()["web"].clone());
    let entry_goes = format!("delete-cas={resolver}/service-resolver/api");
    let service_goes = format!("deregister-cas={service}/web");

    for path in [PLAN, APPLY] {
        post(&api, &format!("{path}?delete-cas=service-resolver/api"), "").await.says(400, "delete-cas");
        post(&api, &format!("{path}?deregister-cas=soon/web"), "").await.says(400, "deregister-cas");
    }
    let plan = post(&api, &format!("{PLAN}?{entry_goes}&{service_goes}"), "").await.json();
    let gone: Vec<_> = plan["Changes"].as_array().expect("a list").iter().map(|row| row["Name"].clone()).collect();
    assert_eq!(gone, ["api", "web", "web-sidecar-proxy"]);

    api.put("/v1/config", entry("8s")).await.is(200, "true");
    for path in [PLAN, APPLY] {
        post(&api, &format!("{path}?{entry_goes}&{service_goes}"), "")
            .await
            .says(409, "after it was listed: try again");
    }
    assert_eq!(post(&api, &format!("{APPLY}?{service_goes}"), "").await.json()["Changed"], true);
    // Who wanted it to go has what they wanted.
    assert_eq!(post(&api, &format!("{APPLY}?{service_goes}"), entry("8s")).await.json()["Changed"], false);
    assert_eq!(post(&api, &format!("{APPLY}?{service_goes}"), "").await.json()["Changed"], false);
    assert_eq!(api.get("/v1/config/service-resolver/api").await.json()["ConnectTimeout"], "8s");
}

#[tokio::test]
async fn what_is_there_already_is_told_with_the_commit_that_made_it() {
    let (api, _engine) = mesh().await;
    let entry = json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "7s" });
    let made = post(&api, APPLY, &entry).await.json()["Index"].clone();
    api.put("/v1/config", json!({ "Kind": "service-resolver", "Name": "web", "ConnectTimeout": "1s" }))
        .await
        .says(200, "");

    let again = post(&api, APPLY, &entry).await.json();

    assert_eq!((&again["Changed"], &again["Index"]), (&json!(false), &made));
}

#[tokio::test]
async fn sidecars_of_one_batch_have_ports_of_their_own() {
    let (api, _engine) = mesh().await;
    let sidecar = json!({ "SidecarService": {} });
    let service = |name: &str, port: u16| json!({ "Name": name, "Port": port, "Connect": sidecar });
    // The port of web is free once the batch gives it another one; those of the services themselves are not.
    let web = json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": { "Port": 21_100 } } });
    let services = json!({ "services": [web, service("a", 21_002), service("b", 80), service("c", 80)] });

    post(&api, APPLY, services).await.json();

    let mut ports = Vec::new();
    for name in ["a", "b", "c"] {
        let told = api.get(&format!("/v1/agent/service/{name}-sidecar-proxy")).await.json();
        ports.push(told["Port"].as_u64().expect("a port"));
    }
    assert_eq!(ports, [21_000, 21_003, 21_004]);
}

#[tokio::test]
async fn a_finding_about_several_proxies_is_told_once() {
    let (api, _engine) = mesh().await;
    let upstreams = json!([{ "DestinationName": "api", "LocalBindPort": 9191 }]);
    let sidecar = json!({ "Port": 21_009, "Proxy": { "Upstreams": upstreams } });
    api.register(json!({ "Name": "shop", "Port": 80, "Connect": { "SidecarService": sidecar } })).await;

    let gone = post(&api, &format!("{PLAN}?deregister=api"), "").await.json();

    let lost: Vec<_> =
        gone["Findings"].as_array().expect("a list").iter().filter(|it| it["ID"] == "MG-PLAN-001").collect();
    assert_eq!((lost.len(), &lost[0]["More"], &gone["MoreFindings"]), (1, &json!(1), &json!(0)), "{gone:#}");
    assert!(lost[0]["Subject"].as_str().is_some_and(|it| it.ends_with("/shop-sidecar-proxy")), "{gone:#}");
}

#[tokio::test]
async fn gateways_are_known_by_the_address_of_their_node() {
    let (api, _engine) = mesh().await;
    let gateway = |addresses: Value| {
        let service = json!({ "Service": "mesh-gateway", "Kind": "mesh-gateway", "Port": 8443 });
        json!({ "Node": "edge", "Address": "10.0.0.9", "TaggedAddresses": addresses, "Service": service })
    };
    let other = json!({ "Node": "far", "Address": "10.0.0.8", "Partition": "east", "Service": { "Service": "db" } });
    api.put("/v1/catalog/register", other).await.says(200, "true");
    let mut found = Vec::new();
    for addresses in [json!({}), json!({ "wan": "198.18.0.9" })] {
        api.put("/v1/catalog/register", gateway(addresses)).await.says(200, "true");
        found.push(ids(&api.get("/v1/meshgate/lint").await.json()).contains(&"MG-GW-002"));
    }

    assert_eq!(found, [true, false]);
}

#[tokio::test]
async fn what_leads_nowhere_is_found() {
    let (api, _engine) = mesh().await;
    assert_eq!(api.get("/v1/meshgate/lint").await.json()["Findings"], json!([]));
    let entries = json!([
        { "Kind": "exported-services", "Name": "default",
          "Services": [{ "Name": "ghost", "Consumers": [{ "Peer": "mars" }, { "Partition": "moon" }] }] },
        { "Kind": "service-resolver", "Name": "api", "Subsets": { "v1": {} },
          "Failover": { "*": { "Datacenters": ["dc9"] } } },
        { "Kind": "service-resolver", "Name": "old", "Redirect": { "Service": "nobody" } },
        { "Kind": "service-intentions", "Name": "ghost", "Sources": [{ "Name": "nobody", "Action": "allow" }] },
    ]);
    api.put("/v1/meshgate/config", entries).await.says(200, "Index");
    // Envoy compares SNIs without case.
    api.register(json!({ "Name": "V1.api", "Port": 81 })).await;
    let upstreams = json!([{ "DestinationName": "lost", "LocalBindPort": 9192 }]);
    let sidecar = json!({ "Port": 21_005, "Proxy": { "Upstreams": upstreams } });
    api.register(json!({ "Name": "shop", "Port": 82, "Connect": { "SidecarService": sidecar } })).await;

    let told = api.get("/v1/meshgate/lint").await.json();

    let expected = [
        "MG-CFG-001",
        "MG-EXP-001",
        "MG-SNI-001",
        "MG-CFG-002",
        "MG-CFG-004",
        "MG-EXP-002",
        "MG-EXP-003",
        "MG-INT-001",
        "MG-INT-002",
    ];
    let mut found = ids(&told);
    found.dedup();
    for id in expected {
        assert!(found.contains(&id), "{id}: {told:#}");
    }
    let every = told["Findings"].as_array().expect("a list").iter();
    assert!(every.clone().all(|it| it["Fix"].as_str().is_some_and(|fix| !fix.is_empty())));
    let problems = every.map(|it| it["Severity"] == "problem").collect::<Vec<_>>();
    assert!(problems.is_sorted_by(|a, b| a >= b), "problems come first: {told:#}");
}

#[tokio::test]
async fn a_revision_is_live_where_nobody_is_connected() {
    let (api, engine) = mesh().await;
    let index = api.store.view().index();

    let told = api.get(&format!("/v1/meshgate/wait?revision={index}&wait=10s")).await.json();
    assert_eq!((&told["Live"], &told["Reached"], &told["Revision"]), (&json!(true), &json!(0), &json!(index)));
    api.get("/v1/meshgate/wait?revision=999999").await.says(400, "revision");

    // Somebody who says nothing.
    let mut web = Watched::new(&engine, &node("web-sidecar-proxy"));
    web.next().await;
    let told = api.get("/v1/meshgate/wait?wait=100ms").await.json();
    assert_eq!((&told["Live"], &told["Open"][0]["State"]), (&json!(false), &json!("waiting")));
}

/// A proxy that is live from the second look on, and of which nobody tells.
#[derive(Default)]
struct Quiet {
    was_seen: AtomicBool,
}

impl Propagation for Quiet {
    fn reached(&self, _: Index) -> Option<Vec<ReachedProxy>> {
        let state = if self.was_seen.swap(true, Ordering::SeqCst) { "live" } else { "waiting" };
        Some(vec![ReachedProxy {
            datacenter: Datacenter::from("dc1"),
            partition: Partition::default(),
            node: NodeName::from("laptop"),
            id: ServiceId::from("web"),
            state: state.to_owned(),
            reason: String::new(),
        }])
    }

    fn progressed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_wait_that_is_over_tells_what_is_known_then() {
    let api = TestApi::start_with(|api| api.propagation = Arc::new(Quiet::default())).await;

    let told = api.get("/v1/meshgate/wait?wait=1ms").await.json();

    assert_eq!((&told["Live"], &told["Acknowledged"]), (&json!(true), &json!(1)));
}
