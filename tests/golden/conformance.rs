//! The conformance cases, for what must hold for every resource; `tests/conformance` says whether it is the right one.

#[path = "../conformance/case.rs"]
mod case;
#[path = "../conformance/server.rs"]
mod server;
#[path = "../conformance/state.rs"]
mod state;

use std::sync::Arc;

use case::Case;
use meshgate::envoy::snapshot::Snapshot;

use crate::support::mesh::Watched;

/// What the proxy of each case gets, by the name of the case. Nothing where there are no cases, and nothing of a case that
/// cannot be loaded: `tests/conformance` tells both. The roots of some peers are words, which Envoy refuses: certificates
/// take their places.
pub(crate) async fn snapshots() -> Vec<(String, Arc<Snapshot>)> {
    let files = case::files(&case::folder(), &[]).unwrap_or_default();
    let mut snapshots = Vec::new();
    for file in files {
        let mut case = Case::read(&file).expect("a case");
        for bundle in &mut case.state.peer_trust_bundles {
            let roots = bundle["RootPEMs"].as_array_mut().into_iter().flatten();
            roots.filter(|root| !root.as_str().is_some_and(is_pem)).for_each(|root| *root = certificate().into());
        }
        let Ok(mesh) = server::load(&case).await else { continue };
        let snapshot = Watched::new(&mesh.fresh_engine(), &case.identity()).next().await;
        snapshots.push((case.name, snapshot));
    }
    snapshots
}

fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN CERTIFICATE-----")
}

fn certificate() -> String {
    let made = rcgen::generate_simple_self_signed(Vec::new()).expect("a certificate is made");
    made.cert.pem()
}
