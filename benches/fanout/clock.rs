//! A control plane whose clock can be moved, so that all certificates are due at once.

use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use meshgate::ca::{self, Authority};
use meshgate::engine;
use meshgate::model::{Datacenter, IntentionPolicy};
use meshgate::store::{Memory, Store};
use meshgate::telemetry::Readiness;
use meshgate::{ads, model, net};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::support::mesh::{Mesh, options};

/// Most of the lifetime of a certificate: after this time it is replaced.
const STEP: time::Duration = time::Duration::hours(60);

/// Serves until standard input ends. Prints where the HTTP API and ADS listen; each line that is read renews all
/// certificates.
///
/// # Errors
/// It cannot start.
pub(crate) async fn serve() -> Result<(), Failure> {
    let steps = Arc::new(AtomicI64::new(0));
    let clock = steps.clone();
    let clock = move || OffsetDateTime::now_utc() + STEP * clock.load(Ordering::Relaxed) as f64;
    let (store, _) = Store::open(Box::new(Memory), engine::guard())?;
    let settings = ca::Options { clock: Arc::new(clock), ..ca::Options::default() };
    let authority = Authority::open(store.clone(), settings).await?;
    let options = options(&[Datacenter::from("dc1")], IntentionPolicy::Allow);
    let mesh = Mesh::over(store.clone(), authority.clone(), options);
    let http = mesh.serve_http().await;
    let listener = net::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    println!("{} {}", http.trim_start_matches("http://"), listener.local_addr()?);
    let source = Arc::new(mesh.engine.clone());
    let shutdown = CancellationToken::new();
    tokio::spawn(ads::serve([listener.into()], source, ads::Options::default(), Readiness::default(), shutdown));
    tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            line?;
            steps.fetch_add(1, Ordering::Relaxed);
            let identities: Vec<model::SpiffeId> =
                store.view().leaves().map(|leaf| leaf.value.identity.clone()).collect();
            authority.request(identities);
        }
        Ok(())
    })
    .await?
}
