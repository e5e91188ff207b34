//! `/v1/meshgate/check`, and `/v1/meshgate/gateways`.

use meshgate::store::Op;
use serde_json::{Value, json};

use crate::support::http::TestApi;

fn item<'l>(list: &'l Value, id: &str) -> &'l Value {
    let checks = list["Checks"].as_array().expect("a list");
    checks.iter().find(|check| check["ID"] == id).unwrap_or_else(|| panic!("no {id} in {list}"))
}

fn gateway(id: &str, more: Value) -> Value {
    let mut body =
        json!({ "Kind": "mesh-gateway", "Name": "mesh-gateway", "ID": id, "Address": "192.0.2.1", "Port": 8443 });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

#[tokio::test]
async fn gateways_are_listed_with_their_addresses_and_what_their_checks_say() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    let wan = json!({ "TaggedAddresses": { "wan": { "Address": "198.51.100.1", "Port": 443 } } });
    api.register(gateway("gw-1", wan)).await;
    let failing = json!({ "Check": { "Name": "up", "CheckID": "up", "TTL": "1h", "Status": "critical" } });
    api.put("/v1/agent/service/register?dc=dc2&partition=team", gateway("gw-2", failing)).await.is(200, "");

    let rows = api.get("/v1/meshgate/gateways").await.json();

    let [one, two] = rows.as_array().expect("a list").as_slice() else { panic!("{rows}") };
    assert_eq!((&one["ID"], &one["Datacenter"], &one["Partition"]), (&json!("gw-1"), &json!("dc1"), &json!("default")));
    assert_eq!(
        (&one["LAN"], &one["WAN"], &one["SaysWAN"]),
        (&json!("192.0.2.1:8443"), &json!("198.51.100.1:443"), &json!(true))
    );
    assert_eq!(
        (&one["Healthy"], &one["Connected"], &one["Sync"]),
        (&json!(true), &json!(false), &json!("disconnected"))
    );
    assert_eq!((&two["ID"], &two["Datacenter"], &two["Partition"]), (&json!("gw-2"), &json!("dc2"), &json!("team")));
    assert_eq!(
        (&two["WAN"], &two["SaysWAN"], &two["Healthy"]),
        (&json!("192.0.2.1:8443"), &json!(false), &json!(false))
    );
    assert!(two["Failing"][0].as_str().expect("a text").contains("critical"), "{two}");
}

#[tokio::test]
async fn each_item_of_the_list_has_an_id_and_says_what_to_do() {
    let (api, _engine) = TestApi::with_engine().await;
    api.register(gateway("gw-1", json!({}))).await;
    let well = api.get("/v1/meshgate/check?category=GW,cert").await.json();
    let failing = json!({ "Check": { "Name": "up", "CheckID": "up", "TTL": "1h", "Status": "critical" } });
    api.register(gateway("gw-1", failing)).await;
    let exports = json!({ "Kind": "exported-services", "Name": "default",
        "Services": [{ "Name": "nothing", "Consumers": [{ "Partition": "team" }] }] });
    api.put("/v1/config", exports).await.is(200, "true");

    let list = api.get("/v1/meshgate/check").await.json();

    assert_eq!(
        (&item(&well, "MG-GW-003")["Status"], &item(&well, "MG-CERT-001")["Status"]),
        (&json!("ok"), &json!("ok"))
    );
    assert_eq!((&well["Ok"], &list["Ok"]), (&json!(true), &json!(false)));
    let finding = &item(&list, "MG-GW-003")["Findings"][0];
    assert_eq!(item(&list, "MG-GW-003")["Status"], "problem");
    assert!(finding["Subject"].as_str().expect("a text").ends_with("/gw-1"), "{finding}");
    assert!(finding["What"].as_str().expect("a text").contains("up: critical"), "{finding}");
    assert!(finding["Fix"].as_str().expect("a text").contains("meshgate maint"), "{finding}");
    assert_eq!(
        (&item(&list, "MG-GW-004")["Status"], &item(&list, "MG-EXP-001")["Status"]),
        (&json!("warning"), &json!("problem"))
    );
    let ids: Vec<_> = list["Checks"].as_array().expect("a list").iter().map(|check| &check["ID"]).collect();
    let mut unique = ids.clone();
    unique.sort_by_key(|id| id.as_str());
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let api = TestApi::start().await;
    let ids = async |query: &str| -> Vec<String> {
        let list = api.get(&format!("/v1/meshgate/check?{query}")).await.json();
        let checks = list["Checks"].as_array().expect("a list").iter();
        checks.map(|check| check["ID"].as_str().expect("a text").to_owned()).collect()
    };

    // Nobody makes configurations here, so that what only they show is not known, and not taken for well.
    let list = api.get("/v1/meshgate/check").await.json();
    assert_eq!(
        (&item(&list, "MG-EXP-001")["Status"], &item(&list, "MG-GW-003")["Status"]),
        (&json!("unknown"), &json!("ok"))
    );
    assert_eq!(list["Ok"], false);
    assert_eq!(ids("only=MG-SRV-001").await, ["MG-SRV-001"]);
    assert_eq!(ids("only=mg-srv-001&category=peer").await, ["MG-SRV-001", "MG-PEER-001"]);
    assert!(ids("category=CERT").await.iter().all(|id| id.starts_with("MG-CERT-")));
    api.get("/v1/meshgate/check?only=MG-NO-001&category=NO")
        .await
        .says(400, "there is no check MG-NO-001; there is no category NO");
}

#[tokio::test]
async fn certificates_that_were_not_replaced_in_time_are_told() {
    let api = TestApi::start().await;
    api.register(json!({ "Name": "web", "Port": 80, "Connect": { "SidecarService": {} } })).await;
    api.get("/v1/agent/connect/ca/leaf/web").await.json();
    let statuses = async || {
        let list = api.get("/v1/meshgate/check?category=CERT").await.json();
        ["MG-CERT-001", "MG-CERT-002", "MG-CERT-003"]
            .map(|id| item(&list, id)["Status"].as_str().expect("a text").to_owned())
    };
    assert_eq!(statuses().await, ["ok", "ok", "ok"]);
    let view = api.store.view();
    let (leaf, root) = (view.leaves().next().expect("one").value.clone(), view.active_root().expect("one").clone());
    let now = time::OffsetDateTime::now_utc();
    let hours = time::Duration::hours;

    let mut changed = (*leaf).clone();
    changed.not_before = now - hours(71);
    changed.not_after = now + hours(1);
    api.store.write(vec![Op::PutLeaf(changed.clone())]).await.expect("it is written");
    assert_eq!(statuses().await, ["ok", "warning", "ok"]);

    changed.not_after = now - hours(1);
    api.store.write(vec![Op::PutLeaf(changed)]).await.expect("it is written");
    assert_eq!(statuses().await, ["ok", "problem", "ok"]);

    let mut other = (*leaf).clone();
    other.root_id = "another".to_owned();
    let mut ending = (*root).clone();
    ending.not_after = now + hours(100);
    api.store.write(vec![Op::PutLeaf(other), Op::PutRoot(ending)]).await.expect("it is written");
    assert_eq!(statuses().await, ["warning", "ok", "warning"]);
}
