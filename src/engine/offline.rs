//! What proxies would be sent, computed without streams by the code that configures Envoy.
//!
//! **Problem.** `plan` asks what a change would do, history asks what was sent once, and neither may send anything.
//!
//! **Invariant.** What is computed here is what a running engine publishes for the same state, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Options;
use super::core::{Core, Issuer};
use super::journal::Journal;
use crate::envoy::snapshot::Snapshot;
use crate::model::{InstanceId, TrustDomain};
use crate::store::{Key, View};

/// The configurations of all registered proxies in some state.
///
/// Certificates are those that the state holds. A proxy whose certificate is not made yet, because no stream has asked for
/// the proxy, is configured all the same; only the secret with the certificate is missing.
///
/// ```text
/// Offline::of(options, trust_domain, view)   from nothing: what a process that has just started would send
/// Engine::offline()                          from the running engine: with what it kept of parts that cannot be made
///        .advance(view)                      what it would send next, at the cost of what differs
/// ```
pub struct Offline {
    core: Core,
    /// Of the engine that it comes from.
    _turn: Option<OwnedSemaphorePermit>,
}

/// What one proxy is sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Configuration {
    /// All of its resources; absent if it is of a kind that is not configured, or no longer registered and never was
    /// configured.
    pub snapshot: Option<Arc<Snapshot>>,
    /// It is in the catalog, as a proxy of a kind that is configured.
    pub is_registered: bool,
    /// What keeps parts of it at an older state or empty.
    pub problems: Vec<String>,
}

impl Offline {
    /// The configurations in the state of `view`, as a process would make them that starts with it and that signs for
    /// `trust_domain`.
    ///
    /// Equal views give equal bytes. A running process can differ from it only where a part cannot be made, which stays as
    /// it last was there and is missing here; both say so in [`Configuration::problems`].
    pub fn of(options: Options, trust_domain: TrustDomain, view: Arc<View>) -> Self {
        let mut core = Core::new(options, Issuer::Nobody(trust_domain), view, Journal::default());
        core.include_registered();
        Self { core, _turn: None }
    }

    /// Goes on to another state, which is mostly a newer one.
    pub fn advance(&mut self, view: Arc<View>) {
        self.core.advance(view);
        self.core.include_registered();
    }

    /// What each proxy is sent. A proxy that is registered no longer keeps what it has.
    pub fn configurations(&self) -> BTreeMap<InstanceId, Configuration> {
        let configuration = |(proxy, problems): (&super::proxy::Proxy, Vec<String>)| {
            let snapshot = proxy.snapshot().cloned();
            (proxy.instance.clone(), Configuration { snapshot, is_registered: proxy.is_registered, problems })
        };
        self.core.proxies().map(configuration).collect()
    }

    /// The proxies of whose configuration something was made from one of these keys.
    pub fn readers_of(&self, keys: &[&Key]) -> BTreeSet<InstanceId> {
        self.core.readers_of(keys).into_iter().cloned().collect()
    }
}

impl Offline {
    /// Of a core without streams.
    pub(super) fn from(mut core: Core, turn: OwnedSemaphorePermit) -> Self {
        core.include_registered();
        Self { core, _turn: Some(turn) }
    }
}
