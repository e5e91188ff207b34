//! The pages at `/ui/`, opened in a real browser on a real agent.
//!
//! Pictures of what the browser shows are kept in the folder `ui` of the target directory's `tmp`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../support/agent.rs"]
mod agent;
mod browser;
mod mesh;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use browser::{Browser, ENTER, TAB};
use mesh::{HOSTILE, Mesh};

/// The page of the sidecar of web.
const WEB: &str = "#/proxy/dc1/default/n1/web-sidecar-proxy";

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_what_is_to_be_looked_at() {
    let mesh = Mesh::start().await;
    let Some(browser) = Browser::start(&mesh.agent.http).await else { return };

    browser.open("").await;

    browser.shows(".verdict", "to look at").await;
    browser.shows(".problems", "api-sidecar-proxy refused LDS").await;
    browser.shows(".problems", "datacenter dc2: 1 of 2 mesh gateways take no connections").await;
    assert_eq!(browser.texts(".legend a").await, ["3 synced", "0 behind", "1 refused", "4 not connected"]);
    browser.shows("tbody", "dc1").await;
    browser.shows("#panel-changes", "Last changes").await;
    browser.picture("overview").await;
    // Whoever looks at it sees what happens without doing anything.
    mesh.put("config", json!({ "Kind": "service-defaults", "Name": "web", "Protocol": "http" })).await;
    browser.shows("main", "service-defaults/web").await;
    browser.until("[...document.querySelectorAll('.propagation')].length > 0").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_draws_places_gateways_and_ways() {
    let mesh = Mesh::start().await;
    let Some(browser) = Browser::start(&mesh.agent.http).await else { return };

    browser.open("#/topology").await;

    browser.shows(".map", "gateway-1").await;
    assert_eq!(browser.texts(".datacenter .name").await, ["dc1", "dc2"]);
    assert_eq!(browser.texts(".place .partition").await, ["default", "team-a", "default"]);
    let gateways = browser.texts(".gateway .id").await;
    assert_eq!(gateways, ["gateway-1", "gateway-a", "gateway-2", "gateway-3"]);
    assert_eq!(browser.texts(".gateway.bad .id").await, ["gateway-3"]);
    let mut labels = browser.texts(".way-label text").await;
    labels.sort();
    assert_eq!(labels, ["local · 1", "none · 1", "remote · 0/1", "remote · 1"]);
    let lines = browser.run("return document.querySelectorAll('.map > .way-line').length").await;
    assert_eq!(lines, 4);
    // Nothing is drawn outside of the picture.
    let outside = "const map = document.querySelector('.map').getBoundingClientRect();
        return [...document.querySelectorAll('.map rect, .map > path')].map((it) => it.getBoundingClientRect())
            .filter((it) => it.left < map.left - 1 || it.right > map.right + 1 || it.bottom > map.bottom + 1).length";
    assert_eq!(browser.run(outside).await, 0);
    browser.picture("topology").await;
    // A way leads to the links that it is made of.
    browser.run("document.querySelector('.way-label.bad').dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }))").await;
    browser.shows(".verdict", "Broken at link").await;
    browser.shows("tbody .first-broken", "broken").await;
    browser.picture("path").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_shown_with_its_upstreams_and_what_envoy_is_sent() {
    let mesh = Mesh::start().await;
    let Some(browser) = Browser::start(&mesh.agent.http).await else { return };

    browser.open(WEB).await;
    browser.shows(".title", "synced").await;
    browser.shows(".title", "connect-proxy · for web · Envoy 1.38.0").await;
    browser.shows("tbody", "CDS clusters").await;
    browser.picture("proxy").await;

    browser.open(&format!("{WEB}?tab=upstreams&upstream=api%3Fdc%3Ddc2")).await;
    browser.shows("#panel-upstream", "Why api?dc=dc2 leads where it does").await;
    browser.shows("main", "dials local gateways of dc1/default").await;
    browser.shows("main", "10.1.0.7:8443").await;
    browser.picture("upstreams").await;

    browser.open(&format!("{WEB}?tab=envoy")).await;
    browser.shows(".resources", "public_listener").await;
    let open_all = "document.querySelectorAll('.resource > summary').forEach((it) => it.click())";
    browser.run(open_all).await;
    browser.shows(".lines", "TCP to").await;
    browser.shows("main", "intentions").await;
    browser.shows(".json pre", "\"@type\"").await;
    let hidden = browser.run("return document.body.textContent.includes('PRIVATE KEY')").await;
    assert_eq!(hidden, false, "a key is shown");
    browser.run("[...document.querySelectorAll('.inside button')].at(-1).click()").await;
    browser.shows("main", "It is there because of").await;
    browser.picture("envoy").await;

    browser.open(&format!("{WEB}?tab=timeline")).await;
    browser.shows("main", "connected").await;
    browser.picture("timeline").await;

    // What it had then stays at its address, whatever comes.
    let entry = json!({ "Kind": "service-defaults", "Name": "web", "Protocol": "http" });
    mesh.put("config", entry).await;
    browser.shows("tbody", "service-defaults/web").await;
    browser.run("[...document.querySelectorAll('[data-key^=then-]')].at(-1).click()").await;
    browser.shows(".notice", "As it was after revision").await;
    browser.run(open_all).await;
    browser.shows(".lines", "TCP to").await;
    browser.picture("envoy-then").await;
    browser.run("document.querySelector('[data-key=now]').click()").await;
    browser.until("document.querySelector('.notice') === null").await;
    browser.shows(".resources", "public_listener").await;
    browser.run(open_all).await;
    browser.shows("main", "HTTP by routes").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_shown_with_their_fields_and_how_far_they_have_come() {
    let mesh = Mesh::start().await;
    let Some(browser) = Browser::start(&mesh.agent.http).await else { return };
    let entry = |mode: &str| json!({ "Kind": "proxy-defaults", "Name": "global", "MeshGateway": { "Mode": mode } });
    mesh.put("config", entry("remote")).await;

    browser.open("#/changes?class=config").await;
    browser.shows("tbody", "proxy-defaults/global").await;
    browser.shows("tbody tr .propagation", "1/1 live").await;
    browser.picture("changes").await;

    browser.run("document.querySelector('tbody a').click()").await;
    browser.shows("h1", "Change ").await;
    browser.shows("td.removed", "local").await;
    browser.shows("td.added", "remote").await;
    browser.shows("main", "meshgate rollback proxy-defaults/global --to").await;
    browser.shows("main", "Live: each of the 1 connected proxy").await;
    browser.picture("change").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_proxies_come_in_parts() {
    let mesh = Mesh::empty();
    mesh.crowd(5000).await;
    let Some(browser) = Browser::start(&mesh.agent.http).await else { return };
    let first = "document.querySelector('tbody th a')?.textContent";

    browser.open("#/proxies?sort=id").await;
    browser.shows(".pager", "1–50 of 5,000 proxies").await;
    assert_eq!(browser.texts("tbody th a").await.len(), 50);
    browser.until(&format!("{first} === 'crowd-0000'")).await;
    browser.picture("proxies").await;

    browser.run("document.querySelector('[data-key=page-last]').click()").await;
    browser.shows(".pager", "4,951–5,000 of 5,000 proxies").await;
    browser.run("document.querySelector('[data-key=sort-id]').click()").await;
    browser.until(&format!("{first} === 'crowd-4999'")).await;
    browser.shows("th[aria-sort=descending]", "Proxy").await;

    // What is typed is searched by the control plane, and what is typed next is not lost meanwhile.
    browser.keys("/").await;
    browser.keys("CROWD-123").await;
    browser.shows(".pager", "1–10 of 10 proxies").await;
    assert_eq!(browser.texts("tbody th a").await[0], "crowd-1239");
    assert_eq!(browser.run("return document.activeElement.value").await, "CROWD-123");
    assert_eq!(browser.run("return location.hash").await, "#/proxies?sort=-id&search=CROWD-123");

    // A page of them is small, and does not ask for all of them.
    let asked = "return performance.getEntriesByType('resource').filter((it) => it.name.includes('/proxies?'))
        .map((it) => [new URL(it.name).searchParams.get('limit'), it.decodedBodySize])";
    for answer in browser.run(asked).await.as_array().unwrap() {
        assert_eq!(answer[0], "50");
        assert!(answer[1].as_u64() < Some(64_000), "{answer}");
    }
    browser.open("#/topology").await;
    browser.shows(".map", "5,000 sidecars, 0 connected").await;
    browser.open("#/overview").await;
    browser.shows(".legend", "5,000 not connected").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_never_become_a_part_of_a_page() {
    let mesh = Mesh::start().await;
    let Some(browser) = Browser::start(&mesh.agent.http).await else { return };
    mesh.sidecar(("dc1", "default", "n1"), HOSTILE, "web", json!([])).await;
    let routes = json!([{ "Match": { "HTTP": { "PathPrefix": format!("/{HOSTILE}") } } }]);
    mesh.put("config", json!({ "Kind": "service-defaults", "Name": "api", "Protocol": "http" })).await;
    mesh.put("config", json!({ "Kind": "service-router", "Name": "api", "Routes": routes })).await;
    let newest = mesh.get("status").await.0["LastChange"]["Index"].clone();
    let hostile: String = HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();

    for page in [
        "#/overview".to_owned(),
        "#/topology".to_owned(),
        format!("#/proxies?search={hostile}"),
        format!("#/proxy/dc1/default/n1/{hostile}"),
        "#/proxy/dc2/default/n3/api-sidecar-proxy?tab=timeline".to_owned(),
        format!("#/change/{newest}"),
    ] {
        browser.open(&page).await;
        let text = if page == "#/topology" { "gateway-1" } else { HOSTILE };
        browser.until(&format!("document.body.textContent.includes({})", json!(text))).await;
        let images = browser.run("return document.querySelectorAll('main img').length").await;
        assert_eq!(images, 0, "{page}");
        let title = browser.run("return document.title").await;
        assert!(title.as_str().unwrap().ends_with("– meshgate"), "{page}: {title}");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_used_by_keyboard() {
    let mesh = Mesh::start().await;
    let Some(browser) = Browser::start(&mesh.agent.http).await else { return };

    browser.open("#/overview").await;
    browser.shows(".verdict", "to look at").await;
    let mut order = Vec::new();
    for _ in 0..9 {
        browser.keys(TAB).await;
        order.push(browser.focus().await);
    }
    let wanted = ["Skip to content", "meshgate", "Overview", "Topology", "Proxies", "Changes", "Path", "Theme: system"];
    assert_eq!(order[..8], wanted);
    assert_eq!(order[8], "3 synced");

    // The theme can be chosen, and is remembered.
    browser.open("#/proxies").await;
    browser.shows("tbody", "gateway-1").await;
    browser.run("document.getElementById('theme').focus()").await;
    browser.keys(ENTER).await;
    browser.keys(ENTER).await;
    assert_eq!(browser.focus().await, "Theme: dark");
    let background = "return getComputedStyle(document.body).backgroundColor";
    let dark = browser.run(background).await;
    browser.open("#/proxies").await;
    browser.shows("tbody", "gateway-1").await;
    assert_eq!(browser.run(background).await, dark);
    browser.keys(TAB).await;
    browser.keys(ENTER).await;
    assert_eq!(browser.run("return document.activeElement.id").await, "main");

    // The focus stays where it is when what it is in is drawn anew.
    browser.run("document.querySelector('[data-key=sort-kind]').focus()").await;
    browser.keys(ENTER).await;
    browser.shows("th[aria-sort=ascending]", "Kind").await;
    assert_eq!(browser.focus().await, "Kind ↑");
    // Another page starts at its beginning.
    browser.run("document.querySelector('tbody th a').focus()").await;
    browser.keys(ENTER).await;
    browser.shows("h1", "-sidecar-proxy").await;
    browser.until("document.activeElement.id === 'main'").await;
    browser.shows("#announce", "Proxy ").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_says_the_command_and_the_call() {
    let mesh = Mesh::start().await;
    let Some(browser) = Browser::start(&mesh.agent.http).await else { return };
    let newest = mesh.get("status").await.0["LastChange"]["Index"].clone();
    let last = mesh.get("history").await.0["Commits"][0]["Index"].clone();
    let pages = [
        ("#/overview".to_owned(), 3),
        ("#/topology".to_owned(), 3),
        ("#/proxies?kinds=mesh-gateway&sync=disconnected&place=dc2&search=gate&sort=-lag".to_owned(), 1),
        ("#/changes?class=catalog".to_owned(), 1),
        (format!("#/change/{newest}"), 2),
        ("#/path?from=web&to=api@dc2&dc=dc1&partition=default".to_owned(), 1),
        (WEB.to_owned(), 1),
        (format!("{WEB}?tab=upstreams&upstream=team-a%2Fdefault%2Fbilling"), 2),
        (format!("{WEB}?tab=envoy&type=CDS"), 1),
        (format!("{WEB}?tab=envoy&at={last}"), 1),
        (format!("{WEB}?tab=timeline"), 1),
    ];
    let client = reqwest::Client::new();

    for (page, panels) in pages {
        browser.open(&page).await;
        let loaded = "[...document.querySelectorAll('.panel .body')].filter((it) => it.childElementCount > 0)";
        browser.until(&format!("{loaded}.length === {panels}")).await;
        let (commands, calls) = (browser.texts(".same-command").await, browser.texts(".same-call").await);
        assert_eq!((commands.len(), calls.len()), (panels, panels), "{page}");
        for command in commands {
            let line = command.replacen("meshgate", env!("CARGO_BIN_EXE_meshgate"), 1);
            let mut shell = Command::new("sh");
            let output = shell.args(["-c", &line]).env("CONSUL_HTTP_ADDR", &mesh.agent.http).output().unwrap();
            // 1 stands for what is wrong with the mesh, as something is.
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(0 | 1)) && said.is_empty(), "{page}: {command}: {said}");
        }
        for call in calls {
            let url = call.strip_prefix("curl ").unwrap().trim_matches('\'');
            let answer = client.get(url).timeout(Duration::from_secs(20)).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{page}: {call}");
            answer.json::<Value>().await.unwrap();
        }
        assert_eq!(browser.faint_texts().await, Vec::<String>::new(), "{page}: texts that are hard to read");
    }
    browser.close().await;
}
