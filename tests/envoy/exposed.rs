//! Checks that only the sidecar can ask.

use serde_json::json;

use crate::support::{Place, TestMesh, Waiting};

#[tokio::test(flavor = "multi_thread")]
async fn an_exposed_check_passes_through_the_sidecar() {
    let mut mesh = TestMesh::start().await;
    let at = Place { datacenter: "dc1", partition: "default", number: 1, host: 40 };
    // Nobody is at this address: the sidecar knows where the application really is.
    let check = json!({"CheckID": "ready", "HTTP": "http://192.0.2.1:9000/", "Interval": "1s", "Timeout": "1s"});
    let more = json!({"Check": check, "Proxy": {"Expose": {"Checks": true}}});
    mesh.add_service(at, "vault", "sidecar vault", more).await;

    let waiting = Waiting::for_("the check to pass");
    let ready = loop {
        let checks = mesh.control_plane.get("/v1/agent/checks").await.unwrap();
        match checks["ready"]["Status"] == "passing" {
            true => break checks["ready"].clone(),
            false => waiting.again().await,
        }
    };
    let port = ready["ExposedPort"].as_u64().unwrap();
    assert!((21_500..=21_755).contains(&port), "{ready}");
    assert!(ready["Output"].as_str().unwrap().contains(&format!(":{port}/: 200 OK")), "{ready}");
    let answered = format!("http.exposed_path_filter__{port}.downstream_rq_2xx");
    assert_ne!(mesh.admin("sidecar vault").sum(&answered).await, 0);
    mesh.is_clean().await;
}
