//! The names that travel in TLS handshakes.

use meshgate::model::{Datacenter, Namespace, Partition, PeerName, QueryResult, SniKind, SniMeaning, TrustDomain};
use meshgate::store::Op;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::http::TestApi;

fn label() -> impl Strategy<Value = String> {
    // Words that say what kind an SNI is are names like any other.
    prop_oneof![
        4 => "[a-z][a-z0-9-]{0,5}",
        1 => prop::sample::select(vec!["internal", "internal-v1", "external", "query", "peering", "server", "default"])
            .prop_map(str::to_owned),
    ]
}

fn meaning() -> impl Strategy<Value = SniMeaning> {
    let kind = prop::sample::select(vec![
        SniKind::Service,
        SniKind::Exported,
        SniKind::Gateways,
        SniKind::Query,
        SniKind::PeeringServers,
    ]);
    let names = (prop::collection::vec(label(), 1..4), label(), label(), label(), label());
    (kind, names, any::<bool>(), "[0-9a-f]{8}").prop_map(|(kind, names, has_subset, id)| {
        let (name, namespace, partition, datacenter, other) = names;
        let domain = TrustDomain::from(format!("{id}.consul").as_str());
        let (namespace, partition) = (Namespace::from(namespace), Partition::from(partition));
        let datacenter = Datacenter::from(datacenter);
        let new = SniMeaning::new(kind, &domain);
        match kind {
            SniKind::Service => SniMeaning {
                name: name.join("."),
                namespace,
                partition,
                datacenter,
                subset: if has_subset { other } else { String::new() },
                ..new
            },
            SniKind::Exported => {
                SniMeaning { name: name.join("."), namespace, partition, peer: PeerName::from(other), ..new }
            }
            SniKind::Gateways => SniMeaning { partition, datacenter, ..new },
            SniKind::Query => SniMeaning { name: name.join("."), datacenter, ..new },
            SniKind::PeeringServers => SniMeaning { datacenter, ..new },
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(meaning in meaning()) {
        let sni = meaning.encode();
        let read = SniMeaning::decode(&sni);

        prop_assert!(read.contains(&meaning), "{sni}: {read:?}");
        for other in read {
            prop_assert_eq!(other.encode(), sni.clone());
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,60}") {
        for meaning in SniMeaning::decode(&text) {
            prop_assert_eq!(meaning.encode(), text.clone());
        }
    }
}

#[test]
fn a_dotted_name_means_a_subset_too() {
    let said = |sni: &str| SniMeaning::decode(sni).iter().map(ToString::to_string).collect::<Vec<_>>();

    assert_eq!(
        said("v2.api.default.dc2.internal.T1"),
        ["service v2.api in dc2/default/default", "subset v2 of service api in dc2/default/default"]
            .map(str::to_owned)
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );
    assert_eq!(said("team-a.dc1.internal-v1.T1"), ["whatever is in dc1/team-a"]);
    assert_eq!(said("api.default.default.p.external.T2"), ["service api of default/default, exported to peer p"]);
    assert_eq!(said("server.dc1.peering.T1"), ["the servers of dc1, for peers"]);
    assert_eq!(said("geo.default.dc1.query.T1"), ["prepared query geo of dc1"]);
    assert_eq!(said("www.example.org"), Vec::<String>::new());
    assert_eq!(said("internal"), Vec::<String>::new());
}

async fn domain(api: &TestApi) -> String {
    let roots = api.get("/v1/connect/ca/roots").await.json();
    roots["TrustDomain"].as_str().expect("a trust domain").to_owned()
}

fn served(name: &str) -> Value {
    json!({ "Name": name, "Port": 80, "Connect": { "SidecarService": {} } })
}

#[tokio::test]
async fn names_are_written_and_read_by_what_there_is() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    api.register(served("api")).await;
    let domain = domain(&api).await;
    let subsets = json!({ "Kind": "service-resolver", "Name": "api", "Subsets": { "v2": {} } });
    api.put("/v1/config", subsets).await.is(200, "true");

    let here = api.get("/v1/meshgate/sni/encode/api").await.json();
    let there = api.get("/v1/meshgate/sni/encode/api@dc2?subset=v2").await.json();
    let apart = api.get("/v1/meshgate/sni/encode/team-a%2Fapi").await.json();

    assert_eq!(here["SNI"], format!("api.default.dc1.internal.{domain}"));
    assert_eq!((&here["Known"], &there["Known"]), (&json!(true), &json!(false)));
    assert_eq!(there["SNI"], format!("v2.api.default.dc2.internal.{domain}"));
    assert_eq!(apart["SNI"], format!("api.default.team-a.dc1.internal-v1.{domain}"));
    let decoded = api.get(&format!("/v1/meshgate/sni/decode/v2.api.default.dc1.internal.{domain}")).await.json();
    let abouts: Vec<_> = decoded.as_array().expect("a list").iter().map(|row| (&row["About"], &row["Known"])).collect();
    assert_eq!(
        abouts,
        [
            (&json!("subset v2 of service api in dc1/default/default"), &json!(true)),
            (&json!("service v2.api in dc1/default/default"), &json!(false)),
        ]
    );
    api.get("/v1/meshgate/sni/decode/www.example.org").await.says(400, "is no SNI of a mesh");
    api.get("/v1/meshgate/sni/encode/api%3Fpeer=x").await.says(404, "there is no peering \"x\"");
}

#[tokio::test]
async fn what_means_two_things_is_listed() {
    let api = TestApi::start_with(|api| api.options.hosted = vec!["dc2".into()]).await;
    api.register(served("api")).await;
    let domain = domain(&api).await;
    api.get("/v1/meshgate/sni?conflicts").await.is(200, "[]");
    let subsets = json!({ "Kind": "service-resolver", "Name": "api", "Subsets": { "v2": {} } });
    api.put("/v1/config", subsets).await.is(200, "true");
    api.register(served("v2.api")).await;

    let conflicts = api.get("/v1/meshgate/sni?conflicts").await.json();
    let here = api.get("/v1/meshgate/sni").await.json();
    let all = api.get("/v1/meshgate/sni?all").await.json();

    let names = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().expect("a list").iter();
        rows.map(|row| row["SNI"].as_str().expect("a name").replace(&domain, "T")).collect()
    };
    let both = "v2.api.default.dc1.internal.T";
    assert_eq!(names(&conflicts), [both, both]);
    assert_eq!(conflicts[0]["Conflicts"], json!([conflicts[1]["About"]]));
    assert_eq!(names(&here), ["api.default.dc1.internal.T", "dc1.internal.T", both, both]);
    assert_eq!(names(&all).len(), 5, "{all:#}");
}

#[tokio::test]
async fn prepared_queries_are_known_and_conflict_across_partitions() {
    let api = TestApi::start().await;
    let query = |partition: &str| {
        let (datacenter, partition) = (Datacenter::from("dc1"), Partition::from(partition));
        Op::PutQuery(QueryResult { datacenter, partition, name: "geo".to_owned(), nodes: Vec::new() })
    };
    api.put("/v1/agent/service/register", json!({ "Name": "web", "Port": 80 })).await.is(200, "");
    api.store.write(vec![query("default")]).await.expect("it is accepted");
    let list = api.get("/v1/meshgate/sni?all").await.json();
    let rows = list.as_array().expect("a list");
    let geo = rows.iter().find(|row| row["Kind"] == "query").expect("the query is listed");
    let sni = geo["SNI"].as_str().expect("a text").to_owned();
    assert!(sni.starts_with("geo.default.dc1.query."), "{sni}");

    let decoded = api.get(&format!("/v1/meshgate/sni/decode/{sni}")).await.json();
    assert_eq!((&decoded[0]["Kind"], &decoded[0]["Known"]), (&json!("query"), &json!(true)), "{decoded:#}");
    let other = api.get(&format!("/v1/meshgate/sni/decode/{}", sni.replace("geo", "far"))).await.json();
    assert_eq!(other[0]["Known"], false, "{other:#}");
    assert_eq!(api.get("/v1/meshgate/sni?all&conflicts").await.json(), json!([]));

    api.put("/v1/agent/service/register?partition=front", json!({ "Name": "web", "Port": 80 })).await.is(200, "");
    api.store.write(vec![query("front")]).await.expect("it is accepted");
    let conflicts = api.get("/v1/meshgate/sni?all&conflicts").await.json();
    assert_eq!(conflicts.as_array().map(Vec::len), Some(2), "{conflicts:#}");
}
