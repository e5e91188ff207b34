//! Filter expressions where answers take them.

use serde_json::{Value, json};

use crate::support::http::TestApi;

async fn api() -> TestApi {
    let api = TestApi::start().await;
    for (name, env) in [("web", "prod"), ("api", "test")] {
        let sidecar =
            json!({ "Name": name, "Port": 80, "Meta": { "env": env }, "Tags": [env], "Check": { "TTL": "1h" } });
        api.register(sidecar).await;
    }
    api
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

fn count(value: &Value) -> usize {
    value.as_array().expect("a list").len()
}

#[tokio::test]
async fn objects_and_lists_are_filtered() {
    let api = api().await;

    let services = api.get("/v1/agent/services?filter=Meta.env%20==%20prod").await.json();
    let checks = api.get("/v1/agent/checks?filter=ServiceName==api").await.json();
    let named = api.get("/v1/catalog/services?filter=ServiceMeta.env==test").await.json();

    assert_eq!(keys(&services), ["web"]);
    assert_eq!(keys(&checks), ["service:api"]);
    assert_eq!(named, json!({ "api": ["test"] }));
    for (path, matching) in [
        ("catalog/nodes?filter=Node==localhost", 1),
        ("catalog/nodes?filter=Node!=localhost", 0),
        ("catalog/service/web?filter=ServiceMeta.env==prod", 1),
        ("catalog/service/web?filter=ServiceMeta.env==test", 0),
        ("health/service/web?filter=Service.Meta.env==prod", 1),
        ("health/service/web?filter=%22prod%22%20in%20Service.Tags%20and%20Checks.Status==critical", 1),
        ("health/service/web?filter=Checks.Status==passing", 0),
        ("health/state/any?filter=ServiceName==web", 1),
        ("agent/members?filter=Name==localhost", 1),
    ] {
        assert_eq!(count(&api.get(&format!("/v1/{path}")).await.json()), matching, "{path}");
    }
}

#[tokio::test]
async fn the_services_of_a_node_are_filtered_inside_it() {
    let api = api().await;

    let node = api.get("/v1/catalog/node/localhost?filter=Service==web").await.json();
    let list = api.get("/v1/catalog/node-services/localhost?filter=Service==web").await.json();

    assert_eq!(keys(&node["Services"]), ["web"]);
    assert_eq!((count(&list["Services"]), &list["Node"]["Node"]), (1, &json!("localhost")));
}
