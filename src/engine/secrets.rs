//! Secrets: a certificate for each identity, and whom to trust; one message for each, however many streams hold it.

use super::shared::{Made, SharedKey, World};
use crate::envoy::snapshot::ResourceType;
use crate::envoy::{self, names};
use crate::ir::SecretName;
use crate::model::SpiffeId;
use crate::resolve::{TrustSource, trust};
use crate::store::Reader;

/// What identifies a secret. Every proxy knows its own certificate under one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SecretKey {
    /// The certificate and key of an identity.
    Leaf(SpiffeId),
    /// Whom to trust.
    Trust(SecretName, TrustSource),
}

impl SharedKey for SecretKey {
    const KIND: ResourceType = ResourceType::Secret;

    fn name(&self) -> String {
        match self {
            SecretKey::Leaf(_) => names::secret(&SecretName::Leaf),
            SecretKey::Trust(name, _) => names::secret(name),
        }
    }

    fn make(&self, reader: &Reader<'_>, world: World<'_>) -> Made {
        match self {
            SecretKey::Leaf(identity) => {
                // The certificate may still be on its way.
                let leaf = reader.leaf(identity).map(|row| &row.value);
                let resource = leaf.map(|leaf| envoy::leaf_secret(&leaf.cert_pem, leaf.key_pem.expose()));
                Made { resource, omissions: Vec::new() }
            }
            SecretKey::Trust(name, source) => {
                let (trust, distrust) = trust(&world.state(reader), world.trust_domain, source);
                Made {
                    resource: trust.map(|trust| envoy::trust_secret(name, &trust)),
                    omissions: distrust.iter().map(ToString::to_string).collect(),
                }
            }
        }
    }
}
