//! Mesh gateways that fail, are in maintenance, are deregistered or gone: new connections avoid them within two seconds, and
//! come back as soon.

use std::time::{Duration, Instant};

use meshgate::cli::demo::Callee;
use meshgate::model::GatewayMode;
use serde_json::{Value, json};

use crate::support::{TestMesh, Waiting};

/// What is promised.
const PROMISE: Duration = Duration::from_secs(2);
/// Connections of one look. Were a gateway of two still used, all of them would miss it once in 4,096 looks.
const CONNECTIONS: usize = 12;
/// The service of the gateway that the test adds, and its ID.
const NAME: &str = "second-gateway";

/// A second gateway in a place where there is one already.
struct Second {
    place: &'static str,
    number: u8,
    /// The Envoy that was there before.
    other: &'static str,
    /// The Envoys that were started for it.
    envoys: [&'static str; 2],
}

impl Second {
    /// What registers it, with a check that looks as rarely as that of `connect envoy -register`.
    fn registration(&self, mesh: &TestMesh) -> Value {
        let [lan, wan] = [(self.number, 21), (100, self.number + 20)].map(|(place, host)| mesh.address(place, host));
        json!({
            "Kind": "mesh-gateway", "Name": NAME, "ID": NAME, "Address": lan, "Port": 8443,
            "TaggedAddresses": {"lan": {"Address": lan, "Port": 8443}, "wan": {"Address": wan, "Port": 8443}},
            "Proxy": {"Config": {"envoy_gateway_bind_tagged_addresses": true, "envoy_gateway_no_default_bind": true}},
            "Checks": [
                {"Name": "listening", "CheckID": "listening", "TCP": format!("{lan}:8443"), "Interval": "10s"},
                {"Name": "judged", "CheckID": "judged", "TTL": "1h", "Status": "passing"},
            ],
        })
    }

    async fn register(&self, mesh: &TestMesh) {
        self.put(mesh, "/v1/agent/service/register", &self.registration(mesh)).await;
    }

    /// Writes to its agent.
    async fn put(&self, mesh: &TestMesh, path: &str, body: &Value) {
        let separator = if path.contains('?') { '&' } else { '?' };
        mesh.put(&format!("{path}{separator}dc=dc1&partition={}", self.place), body).await;
    }

    async fn start(&self, mesh: &mut TestMesh, envoy: usize) {
        let place = ["-datacenter", "dc1", "-partition", self.place];
        let own = ["-gateway", "mesh", "-proxy-id", NAME];
        mesh.start_envoy(self.envoys[envoy], &[&own[..], &place].concat()).await.unwrap();
    }

    /// True if some of a few new connections went through one of these gateways. All must be answered, unless it `may_fail`.
    async fn carries(&self, mesh: &TestMesh, envoys: &[&'static str], may_fail: bool) -> Result<bool, String> {
        let before = mesh.received_by(envoys).await.map_err(|error| error.to_string())?;
        for _ in 0..CONNECTIONS {
            match mesh.call(Callee::OtherPartition).await {
                Ok(text) => assert!(text.contains("hello from billing"), "{text}"),
                Err(error) => {
                    assert!(may_fail, "{error:?}");
                    return Err(error.to_string());
                }
            }
        }
        let after = mesh.received_by(envoys).await.map_err(|error| error.to_string())?;
        Ok(after != before)
    }

    /// Measures how long it takes until new connections avoid it, of which none may come back to it.
    async fn is_avoided(&self, mesh: &TestMesh, envoys: &[&'static str], what: &str) {
        let since = Instant::now();
        while self.carries(mesh, envoys, false).await != Ok(false) {
            assert!(since.elapsed() < PROMISE, "{what}: not avoided within {PROMISE:?}");
        }
        assert!(since.elapsed() < PROMISE, "{what}: avoided after {:?}", since.elapsed());
        assert_eq!(self.carries(mesh, envoys, false).await, Ok(false), "{what}: it is used again");
    }

    /// Measures how long it takes until new connections use it.
    async fn is_used(&self, mesh: &TestMesh, envoys: &[&'static str], what: &str) {
        let since = Instant::now();
        while self.carries(mesh, envoys, false).await != Ok(true) {
            assert!(since.elapsed() < PROMISE, "{what}: not used within {PROMISE:?}");
        }
    }
}

/// Lets the second gateway of a place fail in every way while `web` calls `billing` in this mode.
async fn fails_in_every_way(mode: GatewayMode, second: Second) {
    let mut mesh = TestMesh::start().await;
    mesh.set_mode(mode).await;
    second.register(&mesh).await;
    second.start(&mut mesh, 0).await;
    let first = &second.envoys[..1];
    let waiting = Waiting::for_("connections through the second gateway");
    while second.carries(&mesh, first, true).await != Ok(true) {
        waiting.again().await;
    }

    second.put(&mesh, "/v1/agent/check/fail/judged", &json!({})).await;
    second.is_avoided(&mesh, first, "failing check").await;
    second.put(&mesh, "/v1/agent/check/pass/judged", &json!({})).await;
    second.is_used(&mesh, first, "passing check").await;

    let maintenance = format!("/v1/agent/service/maintenance/{NAME}?enable=");
    second.put(&mesh, &format!("{maintenance}true"), &json!({})).await;
    second.is_avoided(&mesh, first, "maintenance").await;
    second.put(&mesh, &format!("{maintenance}false"), &json!({})).await;
    second.is_used(&mesh, first, "end of maintenance").await;

    second.put(&mesh, &format!("/v1/agent/service/deregister/{NAME}"), &json!({})).await;
    second.is_avoided(&mesh, first, "deregistered").await;
    second.register(&mesh).await;
    second.is_used(&mesh, first, "registered again").await;

    // Its own check is not due for seconds: the end of its stream is what tells.
    mesh.envoys_mut().iter_mut().find(|envoy| envoy.name == second.envoys[0]).unwrap().kill().await.unwrap();
    let since = Instant::now();
    let waiting = Waiting::for_("answers without the killed gateway");
    while second.carries(&mesh, &[second.other], true).await != Ok(true) {
        waiting.again().await;
    }
    assert!(since.elapsed() < PROMISE, "killed: avoided after {:?}", since.elapsed());
    for _ in 0..3 {
        assert_eq!(second.carries(&mesh, &[second.other], false).await, Ok(true));
    }
    second.start(&mut mesh, 1).await;
    second.is_used(&mesh, &second.envoys[1..], "started again").await;

    // As in Consul, if somebody wants it so: what a gateway's own checks say counts for nothing.
    mesh.put("/v1/config?partition=default", &json!({"Kind": "mesh", "GatewayHealth": "backend"})).await;
    let team = json!({"Kind": "mesh", "Partition": "team-a", "GatewayHealth": "backend"});
    mesh.put("/v1/config?partition=team-a", &team).await;
    second.put(&mesh, &format!("{maintenance}true"), &json!({})).await;
    let (text, code) = mesh.run("wait -timeout 30s").await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(second.carries(&mesh, &second.envoys[1..], false).await, Ok(true), "it is used in maintenance");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_avoid_a_local_gateway_that_is_not_well() {
    let envoys = ["gateway dc1 second", "gateway dc1 second again"];
    let second = Second { place: "default", number: 1, other: "gateway dc1", envoys };
    fails_in_every_way(GatewayMode::Local, second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_avoid_a_remote_gateway_that_is_not_well() {
    let envoys = ["gateway team-a second", "gateway team-a second again"];
    let second = Second { place: "team-a", number: 3, other: "gateway team-a", envoys };
    fails_in_every_way(GatewayMode::Remote, second).await;
}
