//! What Envoys do with callers that come past the mesh.

use std::net::SocketAddr;

use crate::support::{Certificate, TestMesh, Visit, visit, visit_in_plain_text};

const GATEWAY_PORT: u16 = 8_443;

/// Where the sidecar of api in dc2 listens.
async fn sidecar_of_api(mesh: &TestMesh) -> SocketAddr {
    let instance = mesh.instance("/v1/health/connect/api?dc=dc2").await;
    let port = u16::try_from(instance["Port"].as_u64().unwrap()).unwrap();
    SocketAddr::new(instance["Address"].as_str().unwrap().parse().unwrap(), port)
}

async fn leaf_of_web(mesh: &TestMesh) -> Certificate {
    Certificate::of_leaf(&mesh.control_plane.get("/v1/agent/connect/ca/leaf/web").await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_answers_callers_of_the_mesh_alone() {
    let mesh = TestMesh::start().await;
    let address = sidecar_of_api(&mesh).await;
    let domain = mesh.trust_domain().await;
    let sni = format!("api.default.dc2.internal.{domain}");
    let server = format!("spiffe://{domain}/ns/default/dc/dc2/svc/api");
    let web = leaf_of_web(&mesh).await;
    let foreign = Certificate::foreign(&format!("spiffe://{domain}/ns/default/dc/dc1/svc/web"));

    let welcome = visit(address, &sni, Some(&web)).await;
    let anonymous = visit(address, &sni, None).await;
    let stranger = visit(address, &sni, Some(&foreign)).await;

    assert_eq!(welcome.server, server);
    assert!(welcome.answer.contains("hello from api in dc2/default"), "{welcome:?}");
    for refused in [anonymous, stranger] {
        assert_eq!((refused.server.as_str(), refused.answer.as_str()), (server.as_str(), ""));
    }
    assert_eq!(visit_in_plain_text(address).await, "");
    mesh.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_listens_on_both_of_its_addresses_and_passes_on_what_it_knows() {
    let mesh = TestMesh::start().await;
    let domain = mesh.trust_domain().await;
    let gateway = mesh.instance("/v1/health/service/mesh-gateway?dc=dc2").await;
    let wan = &gateway["TaggedAddresses"]["wan"];
    let lan = SocketAddr::from((mesh.address(2, 1), GATEWAY_PORT));
    let wan = SocketAddr::new(wan["Address"].as_str().unwrap().parse().unwrap(), GATEWAY_PORT);
    assert_ne!(lan, wan);
    let web = leaf_of_web(&mesh).await;

    for address in [lan, wan] {
        let known = visit(address, &format!("api.default.dc2.internal.{domain}"), Some(&web)).await;
        assert_eq!(known.server, format!("spiffe://{domain}/ns/default/dc/dc2/svc/api"));
        assert!(known.answer.contains("hello from api in dc2/default"), "{known:?}");

        let unknown = [
            format!("db.default.dc2.internal.{domain}"),
            format!("api.default.dc3.internal.{domain}"),
            format!("billing.default.team-a.dc1.internal-v1.{domain}"),
            "api.default.dc2.internal.another.consul".to_owned(),
            "local_agent".to_owned(),
            "local-app".to_owned(),
        ];
        for sni in unknown {
            assert_eq!(visit(address, &sni, Some(&web)).await, Visit::default(), "{sni} at {address}");
        }
        assert_eq!(visit_in_plain_text(address).await, "", "{address}");
    }
    mesh.is_clean().await;
}
