//! A fresh control plane for each case, filled the way the case says.

use meshgate::ca::{self, Authority};
use meshgate::engine;
use meshgate::model::{DnsDomain, TrustDomain};
use meshgate::store::{Memory, Op, Store};
use reqwest::{Client, Method};
use serde_json::Value;

use super::case::Case;
use super::state;
use crate::support::mesh::{AGENT, CLUSTER_ID, Mesh};

/// The control plane of a case, with everything written.
pub(crate) async fn load(case: &Case) -> Result<Mesh, String> {
    let mesh = empty(case).await;
    mesh.restore(&state::sections(case)).await?;
    let url = mesh.serve_http().await;
    let client = Client::new();
    for made in &case.calls {
        let method = made.method.parse().map_err(|_| format!("{:?} is no method", made.method))?;
        call(&client, &url, method, &made.path, &made.body).await?;
    }
    Ok(mesh)
}

/// One call, which must succeed.
async fn call(client: &Client, url: &str, method: Method, path: &str, body: &Value) -> Result<(), String> {
    let what = format!("{method} {path}");
    let sent = client.request(method, format!("{url}{path}")).json(body).send().await;
    let answer = sent.map_err(|error| format!("{what}: {error}"))?;
    if answer.status().is_success() {
        return Ok(());
    }
    let status = answer.status();
    Err(format!("{what}: {status}: {} of {body}", answer.text().await.unwrap_or_default()))
}

/// A control plane without rows, in the datacenter and the trust domain of the case.
async fn empty(case: &Case) -> Mesh {
    let options = engine::Options {
        datacenter: case.datacenter.clone(),
        hosted: vec![case.datacenter.clone()],
        node: AGENT.into(),
        default_intention: case.default_intention_policy,
        dns_domain: DnsDomain::default(),
    };
    let (store, authority) = authority(&case.trust_domain).await;
    Mesh::over(store, authority, options)
}

fn memory() -> Store {
    Store::open(Box::new(Memory), engine::guard()).expect("memory opens").0
}

/// An authority of the trust domain. Clusters are named by UUIDs, and the authority makes no root for another name; but it
/// uses one that it finds.
async fn authority(trust_domain: &str) -> (Store, Authority) {
    let cluster = trust_domain.strip_suffix(".consul").unwrap_or(trust_domain);
    let store = memory();
    let open = async |store: &Store, cluster_id: Option<&str>| {
        let options = ca::Options { cluster_id: cluster_id.map(str::to_owned), ..ca::Options::default() };
        Authority::open(store.clone(), options).await
    };
    if let Ok(authority) = open(&store, Some(cluster)).await {
        return (store, authority);
    }
    let other = memory();
    open(&other, Some(CLUSTER_ID)).await.expect("a UUID names a cluster");
    let mut root = other.view().active_root().expect("it was just made").as_ref().clone();
    root.cluster_id = cluster.to_owned();
    root.trust_domain = TrustDomain::from(trust_domain);
    store.write(Op::PutRoot(root)).await.expect("memory takes a row");
    let authority = open(&store, None).await.expect("the root is there");
    (store, authority)
}
