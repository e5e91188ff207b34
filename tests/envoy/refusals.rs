//! What an Envoy refuses is shown wherever somebody may look, with the reason and what is behind it.

use std::time::{Duration, Instant};

use meshgate::cli::demo::{Callee, Traffic};
use serde_json::{Value, json};

use crate::hatches::listener;
use crate::protocol::state_of_the_world;
use crate::support::{EnvoyProcess, TestMesh, Waiting};

/// Within this time after the write a refusal is shown.
const SHOWN: Duration = Duration::from_secs(1);

/// The last refusal of listeners by the sidecar of web, which is current.
fn refusal(proxies: &[Value]) -> Option<Value> {
    let web = proxies.iter().find(|proxy| proxy["ID"] == "web-sidecar-proxy")?;
    let listeners = web["Types"].as_array()?.iter().find(|kind| kind["Type"] == "LDS")?;
    (web["Sync"] == "refused").then(|| listeners["LastNack"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_shown_within_a_second_with_its_reason_and_what_is_behind_it() {
    let mesh = TestMesh::start().await;
    let url = mesh.url(Callee::OtherDatacenter);
    mesh.answers(&url).await;
    let traffic = Traffic::start(&url, Callee::OtherDatacenter.greeting());
    let clusters = mesh.admin("sidecar web").clusters().await;
    let cluster = clusters.into_iter().find(|name| name.contains("api.default.dc2")).expect("the cluster of api");
    let host = url.trim_start_matches("http://").split(':').next().unwrap().to_owned();
    // It is a listener, and Envoy wants a prefix for its statistics. It listens where the generated one does under another
    // name, so that Envoy has neither of them when it refuses it, and gets that one back.
    let document = listener(&host, &cluster, "");
    let entry = json!({"Kind": "service-defaults", "Name": "web", "UpstreamConfig": {"Overrides": [
        {"Name": "api", "EnvoyListenerJSON": document},
    ]}});

    let written = Instant::now();
    mesh.put("/v1/config", &entry).await;
    let waiting = Waiting::for_("the refusal");
    let nack = loop {
        match refusal(&mesh.proxies().await) {
            Some(nack) => break nack,
            None => waiting.again().await,
        }
    };
    assert!(written.elapsed() < SHOWN, "shown after {:?}", written.elapsed());

    // The API has the reason, the resource, the entry and the commit.
    let index = mesh.get("/v1/config/service-defaults/web").await["ModifyIndex"].clone();
    let (message, cause) = (nack["Message"].as_str().unwrap(), &nack["Causes"][0]);
    assert!(message.contains("StatPrefix") || message.contains("stat_prefix"), "{nack}");
    assert_eq!(nack["Resources"], json!(["ours"]));
    assert_eq!((&cause["Index"], &cause["Rows"]), (&index, &json!(["service-defaults/web"])), "{nack}");
    // So have the commands, at once; on one line, whatever lines Envoy writes.
    let says_why = |text: &str| text.contains("Error adding/updating listener(s)") && text.contains("StatPrefix");
    let behind = format!("<- service-defaults/web rev {index} by ");
    let (text, code) = mesh.run("ps").await;
    assert!(code == 1 && says_why(&text) && text.contains(&behind), "{code}: {text}");
    let (text, code) = mesh.run("status").await;
    assert!(code == 1 && text.contains("web-sidecar-proxy refused LDS: ") && says_why(&text), "{code}: {text}");
    let (text, code) = mesh.run("events -proxy web-sidecar-proxy").await;
    let told = text.lines().find(|line| line.contains("nack")).unwrap_or_else(|| panic!("{text}"));
    assert!(code == 0 && says_why(told) && told.contains(&format!("rev {index}")), "{code}: {told}");
    let (text, code) = mesh.run("check -only MG-XDS-002").await;
    assert!(code == 1 && text.contains("web-sidecar-proxy: it refuses LDS: "), "{code}: {text}");
    let metrics = mesh.get("/v1/agent/metrics").await;
    let counters = metrics["Counters"].as_array().unwrap().iter();
    let mut refused = counters.filter(|it| it["Name"] == "meshgate.xds.nack_total" && it["Labels"]["type"] == "LDS");
    // What is refused is tried once more when certificates change.
    assert!(refused.next().is_some_and(|it| it["Count"].as_u64() >= Some(1)), "{metrics}");

    // What was refused costs nothing but the moment in which Envoy had neither, and is over as soon as the entry is right.
    mesh.go_on(&traffic).await;
    let in_between = traffic.failed();
    mesh.control_plane.delete("/v1/config/service-defaults/web").await.unwrap();
    let waiting = Waiting::for_("the end of the refusal");
    while refusal(&mesh.proxies().await).is_some() {
        waiting.again().await;
    }
    assert_eq!(mesh.run("check -only MG-XDS-002").await.1, 0);
    mesh.go_on(&traffic).await;
    assert_eq!(traffic.failed(), in_between, "of {} requests", traffic.sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_of_the_state_of_the_world_gets_back_what_a_refused_listener_displaced() {
    let mut mesh = TestMesh::start().await;
    let url = mesh.url(Callee::OtherDatacenter);
    mesh.answers(&url).await;
    let sidecar = mesh.envoys_mut().iter_mut().find(|envoy| envoy.name == "sidecar web").unwrap();
    sidecar.kill().await.unwrap();
    let envoy = EnvoyProcess::start(&mesh, "world", &state_of_the_world(&mesh, "web-sidecar-proxy")).await;
    envoy.ready().await;
    mesh.answers(&url).await;
    let generated = envoy.admin.dynamic().await.into_keys().filter(|key| key.starts_with("dynamic_listeners"));
    let generated: Vec<String> = generated.collect();
    let cluster = envoy.admin.clusters().await.into_iter().find(|name| name.contains("api.default.dc2")).unwrap();
    let host = url.trim_start_matches("http://").split(':').next().unwrap().to_owned();
    let with = |prefix: &str| {
        json!({"Kind": "service-defaults", "Name": "web", "UpstreamConfig": {"Overrides": [
            {"Name": "api", "EnvoyListenerJSON": listener(&host, &cluster, prefix)},
        ]}})
    };

    mesh.put("/v1/config", &with("")).await;
    let waiting = Waiting::for_("the refusal");
    while refusal(&mesh.proxies().await).is_none() {
        waiting.again().await;
    }

    // Envoy has what it had, takes what else changes, and whatever comes instead of what it refused.
    mesh.answers(&url).await;
    let traffic = Traffic::start(&url, Callee::OtherDatacenter.greeting());
    let held = envoy.admin.dynamic().await;
    assert!(generated.len() >= 3 && generated.iter().all(|key| held.contains_key(key)), "{:?}", held.keys());
    mesh.put("/v1/config", &json!({"Kind": "proxy-defaults", "Name": "global", "AccessLogs": {"Enabled": true}})).await;
    let waiting = Waiting::for_("a log of the neighbours' listeners");
    while !envoy.admin.get("/config_dump").await.contains("Consul Listener Log") {
        waiting.again().await;
    }
    mesh.go_on(&traffic).await;
    assert_eq!(traffic.failed(), 0, "of {} requests", traffic.sent());
    mesh.put("/v1/config", &with("ours")).await;
    let waiting = Waiting::for_("traffic through the listener that is right now");
    while envoy.admin.sum(r"^tcp\.ours\.downstream_cx_total$").await == 0 {
        waiting.again().await;
    }
    mesh.go_on(&traffic).await;
    assert_eq!(refusal(&mesh.proxies().await), None);
}
