//! Secrets: one message for the roots, and one for each identity's certificate, however many streams hold it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::intern::Interner;
use crate::ca::trust_bundle;
use crate::envoy;
use crate::envoy::snapshot::{Resource, ResourceType};
use crate::model::SpiffeId;
use crate::store::{Index, Key, View};

/// Encoded secrets, by what they were made from.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    roots: Option<(Index, Arc<Resource>)>,
    leaves: BTreeMap<SpiffeId, (Index, Arc<Resource>)>,
    /// How many proxies have each identity.
    users: BTreeMap<SpiffeId, usize>,
}

impl Secrets {
    /// The roots of the trust domain.
    pub(super) fn roots(&mut self, view: &View, interner: &mut Interner) -> Arc<Resource> {
        let at = view.changed_at(&Key::Roots);
        match &self.roots {
            Some((known, resource)) if *known == at => resource.clone(),
            Some(_) | None => {
                let resource = interner.intern(ResourceType::Secret, envoy::roots_secret(&trust_bundle(view)));
                self.roots = Some((at, resource.clone()));
                resource
            }
        }
    }

    /// The certificate of an identity, if it has one.
    pub(super) fn leaf(&mut self, identity: &SpiffeId, view: &View, interner: &mut Interner) -> Option<Arc<Resource>> {
        let row = view.leaf(identity)?;
        match self.leaves.get(identity) {
            Some((known, resource)) if *known == row.modify_index => Some(resource.clone()),
            Some(_) | None => {
                let secret = envoy::leaf_secret(&row.value.cert_pem, row.value.key_pem.expose());
                let resource = interner.intern(ResourceType::Secret, secret);
                self.leaves.insert(identity.clone(), (row.modify_index, resource.clone()));
                Some(resource)
            }
        }
    }

    /// One more proxy has this identity.
    pub(super) fn join(&mut self, identity: Option<&SpiffeId>) {
        if let Some(identity) = identity {
            *self.users.entry(identity.clone()).or_default() += 1;
        }
    }

    /// One proxy less has this identity; the last one takes its certificate along.
    pub(super) fn leave(&mut self, identity: Option<&SpiffeId>) {
        let Some(identity) = identity else { return };
        let Some(users) = self.users.get_mut(identity) else { return };
        *users -= 1;
        if *users == 0 {
            self.users.remove(identity);
            self.leaves.remove(identity);
        }
    }
}
