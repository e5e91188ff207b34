//! Changes: what they would do, and whether they are live.

use meshgate::envoy::snapshot::{NodeIdentity, ResourceType};
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
    post(&api, &format!("{PLAN}?limit=many"), "{}").await;

    let without = TestApi::start().await;
    post(&without, PLAN, json!({ "Kind": "mesh" })).await.says(503, "not configured");
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
    api.register(json!({ "Name": "v1.api", "Port": 81 })).await;
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
