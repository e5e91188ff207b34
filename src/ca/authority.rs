//! The authority: opens the root, hands out leaves, renews them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::issue::{Signer, Terms, check_identity};
use super::renewal::{EndTold, due, end_to_tell, is_fit, is_valid};
use super::root::Cluster;
use super::rotation::{first, outlived};
use super::tally::{Replaced, Rotations, Tally};
use super::{CaError, Options};
use crate::model::{CaConfig, KeyKind, Leaf, Root, SpiffeId, TrustDomain};
use crate::store::{Index, Key, Op, Store, Stored, View, Write};

/// Most leaves of one commit, so that the first of a fleet do not wait for the last.
const BATCH: usize = 256;
/// The same where their keys are RSA, each of which takes as long to make as hundreds of others.
const BATCH_OF_RSA: usize = 8;
/// Time between two looks for leaves that are due. Short against the lifetime of a leaf, and the clock may jump.
const LOOK: Duration = Duration::from_secs(60);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Shortest lifetime of a leaf: a renewal that comes one look late is in time.
const MIN_LEAF_TTL: Duration = Duration::from_secs(5 * 60);

/// The certificate authority of the process. Clones share everything.
#[derive(Debug, Clone)]
pub struct Authority {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) options: Options,
    trust_domain: TrustDomain,
    /// Identities that somebody waits for. They leave it when their leaf is committed, so that nobody who stops waiting
    /// takes them along.
    wanted: Mutex<BTreeSet<SpiffeId>>,
    /// Identities that were requested since the process started. Their leaves are renewed even when nobody is registered
    /// with them any more: a proxy that is still connected keeps what it has.
    asked: Mutex<BTreeSet<SpiffeId>>,
    /// Held while leaves are made: whoever gets it makes all that are wanted.
    pub(super) issuing: tokio::sync::Mutex<()>,
    /// What was said last about the end of the active root.
    end_told: Mutex<Option<EndTold>>,
    pub(super) tally: Tally,
    wake: Notify,
}

impl Authority {
    /// Opens the authority of a store; makes the root if there is none.
    ///
    /// # Errors
    /// An option is wrong, the store belongs to another cluster, or it cannot be written.
    pub async fn open(store: Store, options: Options) -> Result<Self, CaError> {
        if options.leaf_ttl < MIN_LEAF_TTL {
            return Err(CaError::LeafTtl(options.leaf_ttl));
        }
        let view = store.view();
        let root = match view.active_root() {
            Some(root) => {
                if options.config.as_ref().is_some_and(|given| is_overruled(&view, given)) {
                    tracing::warn!(
                        "connect.ca_provider and connect.ca_config are for a new data directory, and this one has a certificate \
                         authority that is configured otherwise: change that with meshgate connect ca set-config"
                    );
                }
                root.clone()
            }
            None => create_root(&store, &options).await?,
        };
        if let Some(wanted) = &options.cluster_id
            && !wanted.eq_ignore_ascii_case(&root.cluster_id)
        {
            return Err(CaError::OtherCluster { wanted: wanted.clone(), found: root.cluster_id.clone() });
        }
        let trust_domain = root.trust_domain.clone();
        let shared = Shared {
            store,
            options,
            trust_domain,
            wanted: Mutex::default(),
            asked: Mutex::default(),
            issuing: tokio::sync::Mutex::default(),
            end_told: Mutex::default(),
            tally: Tally::default(),
            wake: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The trust domain of every identity that it signs.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.shared.trust_domain
    }

    /// The leaf of an identity: the stored one until it is due for renewal, else a new one, which is durable when this
    /// returns. Callers who ask at the same time share it.
    ///
    /// # Errors
    /// The identity fits into no certificate, or none can be made or stored.
    pub async fn leaf(&self, identity: &SpiffeId) -> Result<Stored<Leaf>, CaError> {
        if let Some(leaf) = self.shared.stored(identity, is_fit) {
            return Ok(leaf);
        }
        check_identity(identity, &self.shared.trust_domain)?;
        self.shared.wanted().insert(identity.clone());
        loop {
            let turn = self.shared.issuing.lock().await;
            if let Some(leaf) = self.shared.stored(identity, is_fit) {
                return Ok(leaf);
            }
            self.shared.wanted().insert(identity.clone());
            self.shared.issue_batch(Some(identity)).await?;
            drop(turn);
            // Unless the root was changed meanwhile, the new leaf is valid.
            if let Some(leaf) = self.shared.stored(identity, is_valid) {
                return Ok(leaf);
            }
        }
    }

    /// How often leaves were replaced by others since the process started.
    pub fn leaf_rotations(&self) -> Rotations {
        self.shared.tally.total(Replaced::Leaf)
    }

    /// How often the root was.
    pub fn root_rotations(&self) -> Rotations {
        self.shared.tally.total(Replaced::Root)
    }

    /// Asks for the leaves of identities without waiting. `run` issues those that are missing or due, many in one
    /// commit; whoever watches [`Key::Leaf`] learns of them.
    pub fn request(&self, identities: impl IntoIterator<Item = SpiffeId>) {
        let mut is_wanted = false;
        for identity in identities {
            self.shared.asked().insert(identity.clone());
            if self.shared.stored(&identity, is_fit).is_some() {
                continue;
            }
            match check_identity(&identity, &self.shared.trust_domain) {
                Ok(()) => is_wanted |= self.shared.wanted().insert(identity),
                Err(error) => tracing::warn!(%error, "identity without a certificate"),
            }
        }
        if is_wanted {
            self.shared.wake.notify_one();
        }
    }

    /// Issues what was requested, and replaces leaves before they expire, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut roots_at = self.shared.store.view().changed_at(&Key::Roots);
        let mut next_look = Instant::now();
        loop {
            let is_look = tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.shared.wake.notified() => false,
                () = tokio::time::sleep_until(next_look) => true,
                () = roots_changed(&self.shared.store, roots_at) => true,
            };
            if is_look {
                roots_at = self.shared.store.view().changed_at(&Key::Roots);
                next_look = Instant::now() + LOOK;
            }
            if let Err(error) = self.shared.maintain(is_look).await {
                tracing::error!(error = &error as &dyn std::error::Error, "certificates cannot be issued");
                next_look = Instant::now() + RETRY;
            }
        }
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, BTreeSet<SpiffeId>> {
        // The sets are whole after every single call, so a panic elsewhere cannot have broken them.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn asked(&self) -> MutexGuard<'_, BTreeSet<SpiffeId>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        (self.options.clock)()
    }

    /// How long a leaf is valid that is made now.
    pub(super) fn leaf_ttl(&self, view: &View) -> Duration {
        view.ca_config().map_or(self.options.leaf_ttl, |row| row.value.config.leaf_cert_ttl.to_std())
    }

    /// What leaves are made like now.
    fn terms(&self, view: &View) -> Terms {
        let kind = view.ca_config().and_then(|row| row.value.config.key_kind());
        Terms { now: self.now(), ttl: self.leaf_ttl(view), key: kind.unwrap_or_default() }
    }

    /// Most leaves of one commit.
    pub(super) fn batch_size(&self, view: &View) -> usize {
        match self.terms(view).key {
            KeyKind::Ec256 | KeyKind::Ec384 => BATCH,
            KeyKind::Rsa2048 | KeyKind::Rsa4096 => BATCH_OF_RSA,
        }
    }

    /// The stored leaf, if it is good enough for the root that signs now.
    fn stored(&self, identity: &SpiffeId, is_good: fn(&Leaf, &Root, OffsetDateTime) -> bool) -> Option<Stored<Leaf>> {
        let view = self.store.view();
        let leaf = view.leaf(identity)?;
        is_good(&leaf.value, view.active_root()?, self.now()).then(|| leaf.clone())
    }

    /// Warns that the active root ends soon.
    fn tell_end(&self) {
        let view = self.store.view();
        let Some(root) = view.active_root() else { return };
        let mut told = self.end_told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(now_told) = end_to_tell(told.as_ref(), root, self.leaf_ttl(&view), self.now()) else { return };
        tracing::warn!(
            root = root.name,
            not_after = %root.not_after,
            "the root certificate ends soon, and no leaf is valid for longer: put another one into the configuration of the \
             authority (PUT /v1/connect/ca/configuration)"
        );
        *told = Some(now_told);
    }

    /// Issues all that is wanted; before that, if asked to, looks for leaves that are due, roots that are over, and one that
    /// soon will be.
    async fn maintain(&self, look_for_due: bool) -> Result<(), CaError> {
        if look_for_due {
            self.tell_end();
            let found = due(&self.store.view(), self.now(), &self.asked());
            self.wanted().extend(found.renew);
            if !found.drop.is_empty() {
                self.drop_expired(found.drop).await?;
            }
            let now = self.now();
            if !outlived(&self.store.view(), now).is_empty() {
                self.store.write_with(move |view| Ok(Write::from(outlived(view, now)))).await?;
            }
        }
        while !self.wanted().is_empty() {
            let _turn = self.issuing.lock().await;
            self.issue_batch(None).await?;
        }
        Ok(())
    }

    /// Makes one batch of the wanted leaves and commits it. The caller holds `issuing`.
    async fn issue_batch(&self, first: Option<&SpiffeId>) -> Result<(), CaError> {
        let view = self.store.view();
        let root = view.active_root().ok_or(CaError::NoRoot)?.clone();
        let now = self.now();
        let batch = self.batch(first, &view, &root, now);
        self.issue(&view, root, batch.clone(), move |root, _, stored| {
            stored.is_none_or(|stored| !is_fit(stored, root, now))
        })
        .await?;
        // Those that a change of the root came in between stay wanted.
        let is_done = |identity: &SpiffeId| batch.contains(identity) && self.stored(identity, is_valid).is_some();
        self.wanted().retain(|identity| !is_done(identity));
        Ok(())
    }

    /// Makes leaves and commits those that `is_needed` still says yes to beside the stored ones, and that the active root has
    /// signed. Counts those that replace another one. The caller holds `issuing`.
    pub(super) async fn issue(
        &self,
        view: &View,
        root: Arc<Root>,
        identities: BTreeSet<SpiffeId>,
        is_needed: impl Fn(&Root, &SpiffeId, Option<&Leaf>) -> bool + Send + 'static,
    ) -> Result<(), CaError> {
        let serial = |view: &View, identity: &SpiffeId| view.leaf(identity).map(|row| row.value.serial.clone());
        let had = identities.iter().filter_map(|identity| Some((identity.clone(), serial(view, identity)?)));
        let had: Vec<_> = had.collect();
        let issued = self.issue_anyway(view, root, identities, is_needed).await;
        let now = self.store.view();
        let replaced = had.iter().filter(|(identity, before)| serial(&now, identity).is_some_and(|it| it != *before));
        let counts = match issued {
            Ok(()) => Rotations { ok: replaced.count() as u64, failed: 0 },
            Err(_) => Rotations { ok: 0, failed: had.len() as u64 },
        };
        self.tally.add(Replaced::Leaf, counts);
        issued
    }

    async fn issue_anyway(
        &self,
        view: &View,
        root: Arc<Root>,
        identities: BTreeSet<SpiffeId>,
        is_needed: impl Fn(&Root, &SpiffeId, Option<&Leaf>) -> bool + Send + 'static,
    ) -> Result<(), CaError> {
        let terms = self.terms(view);
        let span = tracing::debug_span!("sign", leaves = identities.len());
        let leaves = tokio::task::spawn_blocking(move || {
            let _span = span.entered();
            let signer = Signer::new(&root)?;
            identities.iter().map(|identity| signer.leaf(identity, terms)).collect::<Result<Vec<_>, CaError>>()
        });
        let leaves = leaves.await.map_err(|_| CaError::Stopped)??;
        let still_needed = move |view: &View| {
            let Some(root) = view.active_root() else { return Ok(Write::from(Vec::<Op>::new())) };
            let stored = |leaf: &Leaf| view.leaf(&leaf.identity).map(|row| &*row.value);
            let is_needed = |leaf: &Leaf| leaf.root_id == root.id && is_needed(root, &leaf.identity, stored(leaf));
            Ok(Write::from(leaves.into_iter().filter(is_needed).map(Op::PutLeaf).collect::<Vec<_>>()))
        };
        self.store.write_with(still_needed).await?;
        Ok(())
    }

    /// The next identities that need a leaf, `first` in any case. Those that got one meanwhile are forgotten.
    fn batch(&self, first: Option<&SpiffeId>, view: &View, root: &Root, now: OffsetDateTime) -> BTreeSet<SpiffeId> {
        let mut wanted = self.wanted();
        wanted.retain(|identity| view.leaf(identity).is_none_or(|leaf| !is_fit(&leaf.value, root, now)));
        let others = wanted.iter().filter(|identity| first != Some(*identity));
        first.into_iter().chain(others).take(self.batch_size(view)).cloned().collect()
    }

    async fn drop_expired(&self, identities: Vec<SpiffeId>) -> Result<(), CaError> {
        let now = self.now();
        let expired = move |view: &View| {
            let is_expired = |identity: &SpiffeId| view.leaf(identity).is_some_and(|leaf| leaf.value.not_after <= now);
            let ops: Vec<_> = identities.into_iter().filter(is_expired).map(Op::DeleteLeaf).collect();
            Ok(Write::from(ops))
        };
        self.store.write_with(expired).await?;
        Ok(())
    }
}

/// True if a configuration for a store without a root says something else than the one in force. Keys are not compared, as
/// none is kept with a configuration.
pub(super) fn is_overruled(view: &View, given: &CaConfig) -> bool {
    let in_force = view.ca_config().map(|row| (*row.value).clone()).unwrap_or_default();
    let cert = given.config.root_cert.trim();
    let without_root = |config: &CaConfig| {
        let mut config = config.clone();
        (config.config.private_key, config.config.root_cert) = Default::default();
        config
    };
    without_root(given) != without_root(&in_force) || !(cert.is_empty() || cert == in_force.config.root_cert.trim())
}

/// Makes the root, unless somebody else does so first.
async fn create_root(store: &Store, options: &Options) -> Result<Arc<Root>, CaError> {
    let cluster_id = match &options.cluster_id {
        Some(text) => Uuid::parse_str(text).map_err(|_| CaError::ClusterId(text.clone()))?,
        None => Uuid::new_v4(),
    };
    let (config, now) = (options.config.clone(), (options.clock)());
    let is_kept = config.is_some();
    let made = tokio::task::spawn_blocking(move || {
        first(config.unwrap_or_default(), Cluster::new(cluster_id.to_string()), now)
    });
    let (config, root) = made.await.map_err(|_| CaError::Stopped)??;
    let if_first = move |view: &View| {
        if view.active_root().is_some() {
            return Ok(Write::default());
        }
        let config = Some(config).filter(|_| is_kept).map(Op::PutCaConfig);
        Ok(Write::from(config.into_iter().chain([Op::PutRoot(root)]).collect::<Vec<_>>()))
    };
    store.write_with(if_first).await?;
    store.view().active_root().cloned().ok_or(CaError::NoRoot)
}

/// Returns when the roots are others than those of commit `seen`; never, once the store is closed.
async fn roots_changed(store: &Store, seen: Index) {
    if store.changed(BTreeSet::from([Key::Roots]), seen).await.is_err() {
        std::future::pending().await
    }
}
