//! What is tried, and what must hold whatever comes in.

use std::io::Read;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use meshgate::ads::{AdsService, Options};
use meshgate::codec::{self, Format};
use meshgate::model::{ConfigEntry, Filter, Namespace, Partition};
use meshgate::store::{Memory, Op, Snapshot, Store};
use meshgate::telemetry::Readiness;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::support::source::{self, Source};

/// Something that reads bytes of others.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Folders of test data with the suffix of the files that fit.
    pub(crate) others: &'static [(&'static str, &'static str)],
    /// Inputs that are made when they are needed.
    pub(crate) made: fn() -> Vec<Vec<u8>>,
    /// What its grammar is made of.
    pub(crate) words: &'static [&'static str],
    /// Reads; says what does not hold.
    pub(crate) run: fn(&[u8]) -> Result<(), String>,
}

const NONE: fn() -> Vec<Vec<u8>> = Vec::new;

const NAMES: &[&str] = &["Kind", "Name", "service", "config_entries", "bootstrap", "mesh_gateway", "<<", "&a", "*a"];

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "hcl",
        others: &[("entries", ".hcl")],
        made: NONE,
        words: &["=", "{}", "<<EOT\n", "/*", "#", "${", "0x", "0644", "service", "Kind"],
        run: |input| definitions(input, Format::Hcl),
    },
    Target {
        name: "json",
        others: &[("entries", ".json")],
        made: NONE,
        words: NAMES,
        run: |input| definitions(input, Format::Json),
    },
    Target {
        name: "yaml",
        others: &[("entries", "full.yaml"), ("examples", ".yaml")],
        made: NONE,
        words: NAMES,
        run: |input| definitions(input, Format::Yaml),
    },
    Target {
        name: "kubernetes",
        others: &[("entries", ".kubernetes.yaml")],
        made: NONE,
        words: &[
            "apiVersion: consul.hashicorp.com/v1alpha1\n",
            "kind: List\n",
            "items:\n",
            "metadata:",
            "spec:",
            "---\n",
        ],
        run: |input| definitions(input, Format::Yaml),
    },
    Target {
        name: "transaction",
        others: &[],
        made: NONE,
        words: &["Node", "Service", "Verb", "cas"],
        run: transaction,
    },
    Target { name: "bundle", others: &[], made: NONE, words: NAMES, run: bundle },
    Target { name: "snapshot", others: &[], made: snapshots, words: &[], run: snapshot },
    Target { name: "state", others: &[], made: states, words: NAMES, run: state },
    Target {
        name: "filter",
        others: &[],
        made: NONE,
        words: &["==", "!=", " in ", " and ", " not ", " contains ", " is empty", " matches ", "`", "Meta.", "[\"a\"]"],
        run: filter,
    },
    Target {
        name: "requests",
        others: &[],
        made: requests,
        words: &["type.googleapis.com/envoy.config.cluster.v3.Cluster", "*"],
        run: ads,
    },
    Target {
        name: "query",
        others: &[],
        made: NONE,
        words: &[
            "index=1&wait=1ms",
            "%",
            "%00",
            "%ff",
            "filter=",
            "ns=*",
            "partition=",
            "dc=",
            "near=_agent",
            "stale",
            "..",
            "//",
        ],
        run: call,
    },
];

/// Registrations and config entries: what is decoded and breaks no rule is the same in every format.
fn definitions(input: &[u8], format: Format) -> Result<(), String> {
    let Ok(found) = codec::definitions(input, format) else { return Ok(()) };
    for service in found.services {
        let partition = service.partition.clone().unwrap_or_default();
        let _ = service.validate(&partition);
    }
    for mut entry in found.entries {
        entry.normalize(&Partition::default(), &Namespace::default());
        if entry.validate().0.is_empty() {
            same_in_every_format(&entry)?;
        }
    }
    Ok(())
}

fn same_in_every_format(entry: &ConfigEntry) -> Result<(), String> {
    let texts = [
        (Format::Json, codec::to_json_pretty(entry)),
        (Format::Hcl, codec::to_hcl(entry)),
        (Format::Yaml, codec::to_yaml(entry)),
    ];
    for (format, text) in texts {
        let text = text.map_err(|error| format!("{format:?} cannot say it: {error}"))?;
        let back = codec::config_entry(text.as_bytes(), format).into_result();
        // YAML is read to a lesser depth than the others.
        if back.as_ref().is_err_and(|problems| problems.to_string().contains("nested deeper than")) {
            continue;
        }
        let mut back = back.map_err(|problems| format!("{format:?} does not come back: {problems}\n{text}"))?;
        back.normalize(&Partition::default(), &Namespace::default());
        if back != *entry {
            return Err(format!("{format:?} comes back as something else:\n{text}\n{entry:?}\n{back:?}"));
        }
    }
    Ok(())
}

fn transaction(input: &[u8]) -> Result<(), String> {
    let _ = codec::transaction(input);
    Ok(())
}

/// A bundle that was read is the same once written.
fn bundle(input: &[u8]) -> Result<(), String> {
    let Ok(bundle) = codec::bundle(input) else { return Ok(()) };
    let text = codec::bundle_to_json(&bundle).map_err(|error| error.to_string())?;
    let back =
        codec::bundle(text.as_bytes()).map_err(|problems| format!("it does not come back: {problems}\n{text}"))?;
    if back == bundle { Ok(()) } else { Err(format!("it comes back as something else:\n{text}")) }
}

/// An archive of a state with a config entry.
fn snapshots() -> Vec<Vec<u8>> {
    let archive = runtime().block_on(async {
        let (store, _) = Store::open(Box::new(Memory), Arc::new(|_, _, _| Ok(()))).expect("memory opens");
        let entry = codec::config_entry(b"Kind = \"service-defaults\"\nName = \"web\"", Format::Hcl);
        store.write(Op::PutEntry(entry.into_result().expect("an entry"))).await.expect("it is written");
        Snapshot::of(&store.view(), "1-2-3".to_owned()).to_archive().expect("it can be made")
    });
    vec![archive]
}

fn snapshot(input: &[u8]) -> Result<(), String> {
    if let Ok(snapshot) = Snapshot::from_archive(input) {
        let _ = snapshot.view();
    }
    Ok(())
}

/// What such an archive says of the rows, without what protects it.
fn states() -> Vec<Vec<u8>> {
    let part = |archive: Vec<u8>| {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive.as_slice()));
        let mut entries = archive.entries().expect("an archive").map(|entry| entry.expect("whole"));
        let mut state = entries.find(|entry| entry.path().is_ok_and(|path| path.ends_with("state.bin")))?;
        let mut bytes = Vec::new();
        state.read_to_end(&mut bytes).ok().map(|_| bytes)
    };
    snapshots().into_iter().filter_map(part).collect()
}

/// Rows of a whole archive: a state, or a reason why not; and a state can take the place of another.
fn state(input: &[u8]) -> Result<(), String> {
    let meta = r#"{"Version":1,"ID":"1-2-3","Index":9,"Term":1}"#.as_bytes();
    let sum = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sums = format!("{}  meta.json\n{}  state.bin\n", sum(meta), sum(input));
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, bytes) in [("meta.json", meta), ("state.bin", input), ("SHA256SUMS", sums.as_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).map_err(|error| error.to_string())?;
    }
    let archive = archive.into_inner().and_then(flate2::write::GzEncoder::finish).map_err(|error| error.to_string())?;
    if let Ok(view) = Snapshot::from_archive(&archive).and_then(|snapshot| snapshot.view()) {
        let _ = meshgate::store::View::default().to_become(&view);
    }
    Ok(())
}

/// An expression that was read judges every row, or says what the row lacks.
fn filter(input: &[u8]) -> Result<(), String> {
    static ROW: LazyLock<serde_json::Value> = LazyLock::new(|| {
        serde_json::json!({ "Node": "n1", "ID": "", "Meta": { "a": "b" }, "Tags": ["x", "y"], "Port": 80, "Native": false,
            "Checks": [{ "Status": "passing" }], "Proxy": null })
    });
    let text = String::from_utf8_lossy(input);
    if let Ok(filter) = Filter::parse(&text) {
        let _ = filter.matches(&ROW);
    }
    Ok(())
}

/// One stream of requests, of both variants, as gRPC frames them.
fn requests() -> Vec<Vec<u8>> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        [&[number << 3 | 2, length][..], content].concat()
    }
    fn frame(message: &[u8]) -> Vec<u8> {
        [&[0][..], &u32::try_from(message.len()).expect("short").to_be_bytes(), message].concat()
    }
    let node = field(1, &[field(1, b"web-sidecar-proxy"), field(2, b"web")].concat());
    let url = b"type.googleapis.com/envoy.config.cluster.v3.Cluster";
    let first = [node.clone(), field(2, url), field(3, b"*")].concat();
    let nack = [field(2, url), field(6, b"1"), field(7, &field(2, b"no"))].concat();
    let sotw = [field(2, &node[2..]), field(4, url)].concat();
    vec![[frame(&first), frame(&nack)].concat(), frame(&sotw)]
}

fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts"));
    &RUNTIME
}

/// Streams end with what they are sent, and with a status.
fn ads(input: &[u8]) -> Result<(), String> {
    let (source, readiness) = (Arc::new(Source::default()), Readiness::default());
    // What is sent can then be taken and refused.
    source.publish("web-sidecar-proxy", source::snapshot(&[("api", "one"), ("db", "two")]));
    let mut service = AdsService::new(source, Options::default(), readiness, CancellationToken::new());
    for method in ["DeltaAggregatedResources", "StreamAggregatedResources"] {
        let uri = format!("/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}");
        let request = http::Request::post(uri).body(Full::new(Bytes::copy_from_slice(input))).expect("well formed");
        let ended = runtime().block_on(async {
            let response = service.call(request).now_or_never().expect("it answers at once").expect("it never fails");
            let body = response.into_body().collect();
            tokio::time::timeout(Duration::from_secs(20), body).await.is_ok()
        });
        if !ended {
            return Err(format!("{method} does not end with its requests"));
        }
    }
    Ok(())
}

/// The first line is what follows `GET /v1/`, the rest a body. No call makes the API fail.
fn call(input: &[u8]) -> Result<(), String> {
    static API: LazyLock<axum::Router> = LazyLock::new(|| runtime().block_on(crate::support::http::router()));
    let text = String::from_utf8_lossy(input);
    let (path, body) = text.split_once('\n').unwrap_or((&text, ""));
    let (method, path) = path.split_once(' ').unwrap_or(("GET", path));
    let request = http::Request::builder().method(method).uri(path).body(axum::body::Body::from(body.to_owned()));
    // What no client can send is not told to the API.
    let Ok(request) = request else { return Ok(()) };
    // A wait that is not told ends after five minutes.
    let waits = path.contains("index") || path.contains("hash");
    let is_brief = path.split_once('?').is_some_and(|(_, query)| {
        // The first one counts.
        query.split('&').find(|pair| pair.starts_with("wait")) == Some("wait=1ms")
    });
    if path.contains("/monitor") || (waits && !is_brief) {
        return Ok(());
    }
    let mut api = API.clone();
    let answer = async {
        let response = api.call(request).await.expect("a router never fails");
        let status = response.status();
        (status, response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default())
    };
    let answer = runtime().block_on(async { tokio::time::timeout(Duration::from_secs(20), answer).await });
    let Ok((status, said)) = answer else { return Err("it is not answered".to_owned()) };
    let said = String::from_utf8_lossy(&said);
    if said.contains("internal error") || said.contains("because of a bug") {
        return Err(format!("{status}: {said}"));
    }
    Ok(())
}
