//! What one proxy should have: finished resources by type, and the trait through which streams get them.
//!
//! A resource is encoded once, named by the hash of its canonical bytes, and shared by every snapshot that holds it.
//! Snapshots share what they have in common: the next one costs what changed, and the difference is found by pointer.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use sha2::{Digest, Sha256};

pub use super::resources::{Change, ResourceSet};

/// The Envoy resource types that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// Certificates and trusted roots (SDS).
    Secret,
    /// Clusters (CDS).
    Cluster,
    /// Load assignments (EDS).
    Endpoint,
    /// Listeners (LDS).
    Listener,
    /// Route configurations (RDS).
    Route,
}

impl ResourceType {
    /// Every type, in the order in which additions reach Envoy (xds-protocol, R34).
    pub const ALL: [ResourceType; 5] = [
        ResourceType::Secret,
        ResourceType::Cluster,
        ResourceType::Endpoint,
        ResourceType::Listener,
        ResourceType::Route,
    ];

    /// The type URL of its messages.
    pub const fn type_url(self) -> &'static str {
        match self {
            ResourceType::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            ResourceType::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            ResourceType::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            ResourceType::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            ResourceType::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type with this URL.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The short name that people use, such as `CDS`.
    pub const fn short_name(self) -> &'static str {
        match self {
            ResourceType::Secret => "SDS",
            ResourceType::Cluster => "CDS",
            ResourceType::Endpoint => "EDS",
            ResourceType::Listener => "LDS",
            ResourceType::Route => "RDS",
        }
    }

    /// True for the types that Envoy asks for without names.
    pub const fn is_wildcard(self) -> bool {
        matches!(self, ResourceType::Cluster | ResourceType::Listener)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.short_name())
    }
}

/// The first eight bytes of SHA-256 over canonical content, written as 16 hexadecimal digits (design, section 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 8]);

impl Version {
    /// The version of this content.
    pub fn of(canonical: &[u8]) -> Self {
        let digest = Sha256::digest(canonical);
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        Self(head)
    }

    /// The version that is written like this; `None` for anything else, such as what another control plane sent.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(u64::from(byte - b'0')),
            b'a'..=b'f' => Some(u64::from(byte - b'a' + 10)),
            _ => None,
        };
        let text = text.as_bytes().as_array::<16>()?;
        let value = text.iter().try_fold(0, |value, byte| Some(value << 4 | digit(*byte)?))?;
        Some(Self(u64::to_be_bytes(value)))
    }
}

impl Version {
    /// One version for a set of resources: the same for every stream and replica that has the same set (R14).
    pub fn of_all<'r>(resources: impl IntoIterator<Item = &'r Arc<Resource>>) -> Self {
        let mut digest = Sha256::new();
        for resource in resources {
            // Names have no NUL and versions are of one length, so no two sets are written alike.
            digest.update(resource.name.as_bytes());
            digest.update([0]);
            digest.update(resource.version.to_string());
        }
        Self::of(&digest.finalize())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One finished resource, shared by all proxies that hold it.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// The name inside the message and outside of it.
    pub name: Arc<str>,
    /// Hash of `body`.
    pub version: Version,
    /// Canonical encoding of the message itself (the `value` of its `Any`, not the `Any`).
    pub body: Bytes,
    /// Names of resources this one leads to, sorted: for a listener or route the clusters, for a cluster that takes its
    /// endpoints from EDS its own name.
    pub references: Box<[Arc<str>]>,
    /// For a listener that an operator gives under another name: the one that is generated otherwise. It is what to go on with
    /// where a client refuses the other one.
    pub instead_of: Option<Arc<Resource>>,
}

impl Resource {
    /// A resource with its version.
    pub fn new(name: &str, canonical: Bytes, references: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut references: Vec<_> = references.into_iter().collect();
        references.sort_unstable();
        references.dedup();
        Self {
            name: Arc::from(name),
            version: Version::of(&canonical),
            body: canonical,
            references: references.into_boxed_slice(),
            instead_of: None,
        }
    }
}

/// Everything that one proxy should have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    sets: [ResourceSet; 5],
    incomplete: [bool; 5],
}

impl Snapshot {
    /// The resources of one type.
    pub fn get(&self, kind: ResourceType) -> &ResourceSet {
        &self.sets[kind as usize]
    }

    /// The resources of one type, to change.
    pub fn get_mut(&mut self, kind: ResourceType) -> &mut ResourceSet {
        &mut self.sets[kind as usize]
    }

    /// True if resources of this type could not be made, and nothing is known of what they were before. What a client
    /// has from then may be one of them.
    pub fn is_incomplete(&self, kind: ResourceType) -> bool {
        self.incomplete[kind as usize]
    }

    /// Says whether resources of this type could not be made. True if that is news.
    pub fn set_incomplete(&mut self, kind: ResourceType, incomplete: bool) -> bool {
        std::mem::replace(&mut self.incomplete[kind as usize], incomplete) != incomplete
    }

    /// One version for all of it: the same for whoever has the same resources.
    pub fn version(&self) -> Version {
        self.version_of(ResourceType::ALL)
    }

    /// One version for all of it but the secrets, which are others wherever certificates are made anew.
    pub fn version_without_secrets(&self) -> Version {
        self.version_of(ResourceType::ALL.into_iter().filter(|kind| *kind != ResourceType::Secret))
    }

    fn version_of(&self, kinds: impl IntoIterator<Item = ResourceType>) -> Version {
        let of_type = |kind: ResourceType| Version::of_all(self.get(kind).values()).to_string();
        Version::of(kinds.into_iter().map(of_type).collect::<String>().as_bytes())
    }

    /// Adds or replaces a resource.
    pub fn insert(&mut self, kind: ResourceType, resource: Arc<Resource>) {
        self.get_mut(kind).insert(resource);
    }
}

/// What a stream tells about a resource version it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feedback {
    /// A stream for the proxy opened; the text is Envoy's version as it says it.
    Connected {
        /// Such as `1.40.0`; empty if the client does not say.
        user_agent_version: String,
    },
    /// Envoy took everything it was sent of this type.
    Acked {
        /// The type.
        kind: ResourceType,
    },
    /// Envoy refused a response.
    Nacked {
        /// The type.
        kind: ResourceType,
        /// Names and versions that the response carried.
        resources: Vec<(Arc<str>, Version)>,
        /// Envoy's reason, cut to a bounded length.
        message: String,
    },
}

/// A snapshot as one stream gets it.
#[derive(Debug, Clone)]
pub struct Published {
    /// Grows with every snapshot that is published for the proxy.
    pub number: u64,
    /// What the proxy should have.
    pub snapshot: Arc<Snapshot>,
}

/// Published snapshots: those after one, until another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The last one before them.
    pub after: u64,
    /// The last one of them.
    pub until: u64,
}

impl Numbers {
    /// All of them, whatever comes.
    pub const ALL: Self = Self { after: 0, until: u64::MAX };

    /// Every one until this one.
    pub fn up_to(until: u64) -> Self {
        Self { after: 0, until }
    }

    /// Those of both, and what lies between them.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { after: self.after.min(other.after), until: self.until.max(other.until) }
    }
}

/// How far a client is with the snapshot that its stream took last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The number of that snapshot.
    pub taken: u64,
    /// What the client does not hold as it should, as far as is known; bounded.
    pub unsettled: Vec<Unsettled>,
}

/// Something that a client does not hold as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// The type.
    pub kind: ResourceType,
    /// The resource; all of the type, or too many to list, if there is no name.
    pub name: Option<Arc<str>>,
    /// The snapshots one of which asked for what is not there.
    pub changed: Numbers,
    /// Why it is not.
    pub why: Open,
}

/// Why a client does not hold something as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Open {
    /// It was not sent yet, not answered, or not asked for.
    Waiting,
    /// Another process gave it to the client, perhaps for what this one could not make: it is not taken away until that is
    /// made.
    Withheld,
    /// The client refused it.
    Refused,
}

impl Unsettled {
    /// True if one of these snapshots may have asked for it.
    pub fn concerns(&self, numbers: Numbers) -> bool {
        self.changed.after < numbers.until && numbers.after < self.changed.until
    }
}

/// What a client says about itself in the first request of a stream. Empty means "not said".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeIdentity {
    /// `node.id`: the service ID of the proxy.
    pub id: Arc<str>,
    /// `node.metadata.datacenter`.
    pub datacenter: Arc<str>,
    /// `node.metadata.partition`.
    pub partition: Arc<str>,
    /// `node.metadata.namespace`.
    pub namespace: Arc<str>,
    /// `node.metadata.node_name`: the catalog node that the proxy is registered on.
    pub node_name: Arc<str>,
}

/// Where streams get snapshots from. The engine fulfils it.
pub trait SnapshotSource: Send + Sync + 'static {
    /// What the stream with this number gets of a proxy, and where it tells what happens.
    fn watch(&self, node: &NodeIdentity, stream: u64) -> Box<dyn Watch>;
}

/// The snapshots of a proxy for one stream: the current one first and then each newer one; a slow reader misses older ones.
///
/// Nothing comes while the proxy is not registered; the stream goes on and yields once it is. It never ends by itself.
/// Dropping it says that the stream has ended.
pub trait Watch: Stream<Item = Published> + Send + Unpin {
    /// Takes note of what the stream told about its proxy.
    fn report(&mut self, feedback: Feedback);

    /// Takes note of how far the client is. Told whenever nothing is on its way to the client that it will answer.
    fn progress(&mut self, _: Progress) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_back_as_it_was_written() {
        let version = Version::of(b"content");

        assert_eq!(Version::parse(&version.to_string()), Some(version));
        for other in ["", "0123", "0123456789ABCDEF", "0123456789abcdef0", "x123456789abcdef"] {
            assert_eq!(Version::parse(other), None, "{other}");
        }
    }
}
