//! Newtypes for the names that identify things, so that a row of strings cannot be passed in the wrong order.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// The name of the partition and of the namespace that everything belongs to unless it says otherwise.
pub(super) const DEFAULT: &str = "default";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, empty means $default:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// A name that sorts before every other, for ranges. No input can produce it where empty has a default.
            pub fn lowest() -> Self {
                Self(Arc::from(""))
            }

            /// True for the value that an unset field has.
            pub fn is_default(&self) -> bool {
                &*self.0 == $default
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(Arc::from($default))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                if text.is_empty() { Self::default() } else { Self(Arc::from(text)) }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

name!(
    /// A datacenter: a set of catalog rows with one name. Empty means "the one that is asked".
    Datacenter, empty means ""
);
name!(
    /// An admin partition: an isolated tenant inside a datacenter.
    Partition, empty means DEFAULT
);
name!(
    /// A namespace inside a partition.
    Namespace, empty means DEFAULT
);
name!(
    /// A node of the catalog.
    NodeName, empty means ""
);
name!(
    /// The ID of a service instance, unique on its node.
    ServiceId, empty means ""
);
name!(
    /// The ID of a check, unique on its node.
    CheckId, empty means ""
);
name!(
    /// The local name of a peering.
    PeerName, empty means ""
);

/// A service by its full name; it may exist in several datacenters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceName {
    /// The partition that owns the service.
    pub partition: Partition,
    /// Its namespace.
    pub namespace: Namespace,
    /// The bare name, such as `web`.
    pub name: Arc<str>,
}

impl ServiceName {
    /// A service with its tenancy.
    pub fn new(partition: &Partition, namespace: &Namespace, name: &str) -> Self {
        Self { partition: partition.clone(), namespace: namespace.clone(), name: Arc::from(name) }
    }

    /// A name that sorts before every other one of `partition`, for ranges.
    pub fn lowest(partition: &Partition) -> Self {
        Self { partition: partition.clone(), namespace: Namespace::lowest(), name: Arc::from("") }
    }

    /// A service of the default partition and namespace.
    pub fn in_default(name: &str) -> Self {
        Self { partition: Partition::default(), namespace: Namespace::default(), name: Arc::from(name) }
    }
}

impl fmt::Display for ServiceName {
    /// `web` in default tenancy, else `<partition>/<namespace>/web`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.partition.is_default() && self.namespace.is_default() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}/{}", self.partition, self.namespace, self.name)
    }
}

/// A service in one datacenter: what endpoints belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The datacenter whose catalog holds the instances.
    pub datacenter: Datacenter,
    /// The service.
    pub service: ServiceName,
}

impl ServiceKey {
    /// The place that the instances live in.
    pub fn place(&self) -> Place {
        Place { datacenter: self.datacenter.clone(), partition: self.service.partition.clone() }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.datacenter)
    }
}

/// A partition of a datacenter: the unit that mesh gateways serve and that shares a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The datacenter.
    pub datacenter: Datacenter,
    /// The partition in it.
    pub partition: Partition,
}

impl Place {
    /// A partition of a datacenter.
    pub fn new(datacenter: &Datacenter, partition: &Partition) -> Self {
        Self { datacenter: datacenter.clone(), partition: partition.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.datacenter, self.partition)
    }
}

/// What identifies a service instance in the catalog; for a sidecar or gateway also the owner of an ADS stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceId {
    /// Where it runs.
    pub place: Place,
    /// The catalog node it is registered on.
    pub node: NodeName,
    /// Its service ID, which is Envoy's `node.id`.
    pub id: ServiceId,
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.place, self.node, self.id)
    }
}

/// True for a name that can be a label of an SNI, as those of datacenters, partitions and namespaces must: with a dot in
/// it a partition could take calls that are meant for a namespace of another one.
pub fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
