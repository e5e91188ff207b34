//! What the API needs from other parts of the process. `app` fulfils these traits with `ca`, `ads`, `health` and `engine`.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use serde::Serialize;

use super::chain::{ChainOverrides, CompiledChain};
use super::proxies::Cause;
use crate::model::{
    CaConfig, CheckId, Datacenter, InstanceId, Leaf, NodeName, Partition, PeerName, Place, Problems, Proxy, Service,
    ServiceId, ServiceKey, ServiceName, SpiffeId,
};
use crate::store::{CheckKey, Index, NodeKey, Reader, Stored};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No certificate can say this name.
    #[error("{0}")]
    Identity(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It may work later, for example once the process is ready.
    #[error("certificates cannot be issued at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It went wrong.
    #[error("the certificate could not be issued")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why the authority does not take a configuration over.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// It breaks rules.
    #[error("{0}")]
    Refused(Problems),
    /// It went wrong.
    #[error("the configuration could not be taken over")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How often certificates of one kind were replaced by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationState {
    /// `leaf` or `root`.
    pub kind: &'static str,
    /// How many were.
    pub ok: u64,
    /// How many times one should have been and was not.
    pub failed: u64,
}

/// Issues leaf certificates.
pub trait Certificates: Send + Sync + 'static {
    /// Takes over how certificates are signed, and by whom.
    ///
    /// # Errors
    /// Every broken rule, or what went wrong. Nothing was changed then.
    fn configure(&self, config: CaConfig) -> BoxFuture<'_, Result<(), ConfigureError>>;

    /// The leaf of an identity, as the store holds it; issued first if there is none.
    ///
    /// # Errors
    /// It cannot be issued. The API stops waiting after half a minute.
    fn leaf(&self, identity: SpiffeId) -> BoxFuture<'_, Result<Stored<Leaf>, IssueError>>;

    /// Makes another root that signs; the one before it is trusted on for a while.
    ///
    /// # Errors
    /// An operator gave the root, or what went wrong. Nothing was changed then.
    fn replace_root(&self) -> BoxFuture<'_, Result<(), ConfigureError>>;

    /// Replaces leaves before they are due: these, or all that somebody needs. Returns the new ones.
    ///
    /// # Errors
    /// They cannot be issued; some may be replaced.
    fn replace(&self, identities: Option<BTreeSet<SpiffeId>>) -> BoxFuture<'_, Result<Vec<Stored<Leaf>>, IssueError>>;

    /// How often certificates were replaced by others since the process started.
    fn rotations(&self) -> Vec<RotationState> {
        Vec::new()
    }

    /// Whom the certificate of a proxy speaks for.
    fn identity(&self, proxy: &InstanceId, service: &Service) -> SpiffeId;
}

/// Reads the files that the process was started with once more.
pub trait Files: Send + Sync + 'static {
    /// Takes over what the files hold now: what they no longer have goes, what came by HTTP stays.
    ///
    /// # Errors
    /// What is wrong with them, as a text; nothing was taken over.
    fn reload(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// There are no files.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Learns of every report on a TTL check, also of those that change nothing, because each one starts the time anew.
pub trait CheckReports: Send + Sync + 'static {
    /// Somebody reports on this check. Called before the row is written, so that an expiry at the same moment comes
    /// either too late or before the write, which then overwrites it.
    fn reported(&self, key: CheckKey);
}

/// Knows which proxies are connected and what they accepted.
pub trait ProxyStatus: Send + Sync + 'static {
    /// The proxies with a stream, sorted.
    fn proxies(&self) -> Vec<ProxyState>;
}

/// One proxy with its streams, as `GET /v1/meshgate/proxies` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProxyState {
    /// Datacenter of the proxy.
    pub datacenter: Datacenter,
    /// Its partition.
    pub partition: Partition,
    /// The node it is registered on.
    pub node: NodeName,
    /// Its service ID.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// It is in the catalog, so that it gets configuration.
    pub registered: bool,
    /// What keeps parts of it at an older state or empty.
    pub problems: Vec<String>,
    /// Open streams.
    pub streams: usize,
    /// Envoy's version as it says it; empty if it does not.
    pub envoy_version: String,
    /// The last commit that changed what it should have; 0 while nothing was made for it.
    pub index: Index,
    /// The last such commit whose outcome it has acknowledged as a whole since it connected; 0 for none.
    pub acked: Index,
    /// How long it has not had what it should have, in milliseconds.
    #[serde(rename = "BehindMs", skip_serializing_if = "Option::is_none")]
    pub behind: Option<f64>,
    /// The change that it tries, which is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<String>,
    /// What became of the responses of each type.
    pub types: Vec<TypeState>,
}

/// What a proxy holds of one resource type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TypeState {
    /// The short name, such as `CDS`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Resources that the proxy should have.
    pub resources: usize,
    /// True if the proxy accepted the last response that it answered; false as well while it has answered none, as when
    /// it came back with all that it should have.
    pub acked: bool,
    /// Accepted responses.
    pub acks: u64,
    /// Refused responses.
    pub nacks: u64,
    /// The last refusal, kept after a later acceptance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_nack: Option<Nack>,
}

/// A refused response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Nack {
    /// The resources that the response carried.
    pub resources: Vec<String>,
    /// The proxy's reason.
    pub message: String,
    /// When it came, in RFC 3339.
    pub time: String,
    /// What was refused came with the commits after this one.
    pub since: Index,
    /// And with none after this one.
    pub index: Index,
    /// The commits that it came from, as far as they are kept; the newest first. The API fills it in.
    pub causes: Vec<Cause>,
}

impl ProxyState {
    /// What identifies it.
    pub fn instance(&self) -> InstanceId {
        let place = Place::new(&self.datacenter, &self.partition);
        InstanceId { place, node: self.node.clone(), id: self.id.clone() }
    }

    /// What it refused and has taken nothing newer of since.
    pub fn refusals(&self) -> impl Iterator<Item = &Nack> {
        self.types.iter().filter(|of_type| !of_type.acked).filter_map(|of_type| of_type.last_nack.as_ref())
    }

    /// In one word: `synced`, `behind`, `refused` or `disconnected`.
    pub fn sync(&self) -> &'static str {
        match (self.streams, self.refusals().next(), self.acked == self.index && self.index > 0) {
            (0, ..) => "disconnected",
            (_, Some(_), _) => "refused",
            (_, None, true) => "synced",
            (_, None, false) => "behind",
        }
    }

    /// A proxy that is registered and not connected.
    pub fn disconnected(proxy: &InstanceId) -> Self {
        Self {
            datacenter: proxy.place.datacenter.clone(),
            partition: proxy.place.partition.clone(),
            node: proxy.node.clone(),
            id: proxy.id.clone(),
            registered: true,
            problems: Vec::new(),
            streams: 0,
            envoy_version: String::new(),
            index: 0,
            acked: 0,
            behind: None,
            trial: None,
            types: Vec::new(),
        }
    }
}

/// Merges the config entries that apply to a proxy into what it registered (`http-api.md` 3.9).
pub trait CentralConfig: Send + Sync + 'static {
    /// The proxy block that the registration and the entries make together. What is read goes through `reader`, so that
    /// whoever waits for a change is woken by one of the entries.
    fn merged(&self, reader: &Reader<'_>, place: &Place, service: &Service) -> Proxy;

    /// The ports at which sidecars expose the checks of a node, because the entries or their registrations say so.
    fn exposed_ports(&self, reader: &Reader<'_>, node: &NodeKey) -> BTreeMap<CheckId, u16>;
}

/// Compiles discovery chains.
pub trait DiscoveryChains: Send + Sync + 'static {
    /// The chain of a service, for a caller with these settings; `service` says in which datacenter its name is understood.
    /// What is read goes through `reader`.
    ///
    /// # Errors
    /// What the entries contradict each other in, as a text.
    fn compile(
        &self,
        reader: &Reader<'_>,
        service: &ServiceKey,
        overrides: &ChainOverrides,
    ) -> Result<CompiledChain, String>;
}

/// Knows what is exported.
pub trait Exports: Send + Sync + 'static {
    /// The services that a place exports, sorted by name, with those that wildcards stand for. What is read goes through
    /// `reader`.
    fn of(&self, reader: &Reader<'_>, place: &Place) -> Vec<Exported>;
}

/// A service with those that may reach it from other partitions and clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The service.
    pub service: ServiceName,
    /// The peers that import it.
    pub peers: BTreeSet<PeerName>,
    /// The other partitions of the datacenter that do.
    pub partitions: BTreeSet<Partition>,
}
