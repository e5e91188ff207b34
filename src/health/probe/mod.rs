//! One run of a check against the network.

mod grpc;
mod h2ping;
mod http;
mod tcp;
mod tls;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::report::Finding;
use crate::model::{CheckDefinition, CheckKind, GoDuration};

/// Time of one run unless the check says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The kinds of checks that use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    Grpc,
    Http,
    Tcp,
    Udp,
    H2Ping,
}

impl Probe {
    /// The probe of a kind; `None` for what is not probed.
    pub(super) fn of(kind: CheckKind) -> Option<Self> {
        match kind {
            CheckKind::Grpc => Some(Probe::Grpc),
            CheckKind::Http => Some(Probe::Http),
            CheckKind::Tcp => Some(Probe::Tcp),
            CheckKind::Udp => Some(Probe::Udp),
            CheckKind::H2Ping => Some(Probe::H2Ping),
            CheckKind::Ttl | CheckKind::Alias | CheckKind::Docker | CheckKind::Script | CheckKind::OsService => None,
        }
    }
}

/// Runs probes, a bounded number at one moment.
#[derive(Debug, Clone)]
pub(super) struct Probes {
    permits: Arc<Semaphore>,
    /// Most bytes of output that are kept.
    output_max_size: usize,
    http: http::Clients,
    tls: tls::Tls,
}

impl Probes {
    pub(super) fn new(concurrency: usize, output_max_size: usize) -> Self {
        let tls = tls::Tls::default();
        let http = http::Clients::new(tls.clone());
        Self { permits: Arc::new(Semaphore::new(concurrency)), output_max_size, http, tls }
    }

    /// Runs a probe once. Time spent waiting for a turn is not the target's fault and does not count.
    pub(super) async fn run(&self, probe: &Probe, check: &CheckDefinition) -> Finding {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let timeout = check.timeout.map(GoDuration::to_std).filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT);
        let run = async {
            match probe {
                Probe::Grpc => grpc::run(&self.tls, check).await,
                Probe::Http => self.http.run(check, check.output_limit(self.output_max_size)).await,
                Probe::Tcp => tcp::run(&self.tls, check).await,
                // A datagram that nobody answers is no failure, so this one must know the time it has.
                Probe::Udp => return udp::run(check, timeout).await,
                Probe::H2Ping => h2ping::run(&self.tls, check).await,
            }
        };
        let late = || Finding::critical(format!("no answer within {}", seconds(timeout)));
        let Finding { status, output } = tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| late());
        Finding::new(status, check.kept(&output, self.output_max_size))
    }
}

fn seconds(duration: Duration) -> GoDuration {
    GoDuration::from_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}
