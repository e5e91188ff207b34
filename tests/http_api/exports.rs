//! What is exported and imported.

use meshgate::model::{Imported, PeerName, Peering};
use meshgate::store::Op;
use serde_json::{Value, json};

use crate::support::http::TestApi;

const EXPORTED: &str = "/v1/exported-services";
const IMPORTED: &str = "/v1/imported-services";

async fn export(api: &TestApi, partition: &str, services: Value) {
    let entry = json!({ "Kind": "exported-services", "Name": partition, "Partition": partition, "Services": services });
    api.put(&format!("/v1/config?partition={partition}"), entry).await.is(200, "true");
}

#[tokio::test]
async fn a_wildcard_is_shown_as_the_services_that_it_stands_for() {
    let api = TestApi::start().await;
    api.get(EXPORTED).await.is(200, "[]");
    for name in ["web", "db"] {
        api.register(json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": {} } })).await;
    }

    export(
        &api,
        "default",
        json!([
            { "Name": "*", "Consumers": [{ "Peer": "west" }, { "Partition": "team-a" }] },
            { "Name": "db", "Consumers": [{ "Peer": "west" }, { "Peer": "east" }] },
        ]),
    )
    .await;

    let exported = json!([
        { "Service": "db", "Consumers": { "Peers": ["east", "west"] } },
        { "Service": "web", "Consumers": { "Peers": ["west"], "Partitions": ["team-a"] } },
    ]);
    assert_eq!(api.get(EXPORTED).await.json(), exported);
    let filtered = api.get(&format!("{EXPORTED}?filter=Service%20==%20web")).await.json();
    assert_eq!(filtered, json!([exported[1]]));
    let filtered = api.get(&format!("{EXPORTED}?filter=%22east%22%20in%20Consumers.Peers")).await.json();
    assert_eq!(filtered, json!([exported[0]]));
}

#[tokio::test]
async fn who_waits_for_exports_is_woken_by_a_service_that_a_wildcard_stands_for() {
    let api = TestApi::start().await;
    export(&api, "default", json!([{ "Name": "*", "Consumers": [{ "Peer": "west" }] }])).await;
    let seen = api.get(EXPORTED).await.index();

    let waiting = format!("{EXPORTED}?index={seen}&wait=10s");
    let web = json!({ "Name": "web", "Port": 80, "Connect": { "Native": true } });
    let (woken, ()) = tokio::join!(api.get(&waiting), api.register(web));

    assert!(woken.index() > seen);
    assert_eq!(woken.json(), json!([{ "Service": "web", "Consumers": { "Peers": ["west"] } }]));
}

#[tokio::test]
async fn what_peers_and_partitions_export_to_us_is_imported() {
    let api = TestApi::start().await;
    api.get(IMPORTED).await.is(200, "[]");
    let peering = Peering { datacenter: "dc1".into(), name: PeerName::from("west"), ..Peering::default() };
    let row = |service: Value| -> Imported {
        let row = json!({ "Datacenter": "dc1", "PeerName": "west", "Node": { "Node": "w1", "Address": "10.9.0.1" },
            "Service": service });
        serde_json::from_value(row).expect("a row")
    };
    let db = row(json!({ "ID": "db", "Service": "db", "PeerName": "west" }));
    let sidecar = row(json!({ "Kind": "connect-proxy", "ID": "mq-sidecar-proxy", "Service": "mq-sidecar-proxy",
        "PeerName": "west", "Proxy": { "DestinationServiceName": "mq" } }));
    let ops = vec![Op::PutPeering(peering), Op::PutImported(db), Op::PutImported(sidecar)];
    api.store.write(ops).await.expect("it is written");
    let billing = json!({ "Name": "billing", "Port": 80, "Connect": { "SidecarService": {} } });
    api.put("/v1/agent/service/register?partition=team-a", billing).await.is(200, "");
    let to_default = json!([{ "Name": "billing", "Consumers": [{ "Partition": "default" }] }]);

    export(&api, "team-a", to_default).await;

    let imported = json!([
        { "Service": "billing", "SourcePartition": "team-a" },
        { "Service": "db", "SourcePeer": "west" },
        { "Service": "mq", "SourcePeer": "west" },
    ]);
    assert_eq!(api.get(IMPORTED).await.json(), imported);
    let of_team = api.get(&format!("{EXPORTED}?partition=team-a")).await.json();
    let row = json!({ "Service": "billing", "Partition": "team-a", "Consumers": { "Partitions": ["default"] } });
    assert_eq!(of_team, json!([row]));
}
