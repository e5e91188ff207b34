//! Equal resources are held once, however many proxies have them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::envoy::snapshot::{Resource, ResourceType, Version};

/// Resources that somebody holds, by type and content. Different ones can share a name: every proxy has a certificate of its
/// own under the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Interner {
    held: HashMap<(ResourceType, Version), Vec<Weak<Resource>>>,
    /// Insertions since dead entries were last dropped.
    since_sweep: usize,
}

impl Interner {
    /// The held resource that equals this one, byte for byte, or this one from now on.
    pub(super) fn intern(&mut self, kind: ResourceType, resource: Resource) -> Arc<Resource> {
        // A version is a hash, so there is hardly ever another one.
        let same = self.held.entry((kind, resource.version)).or_default();
        if let Some(found) = same.iter().filter_map(Weak::upgrade).find(|held| **held == resource) {
            return found;
        }
        same.retain(|held| held.strong_count() > 0);
        let resource = Arc::new(resource);
        same.push(Arc::downgrade(&resource));
        self.since_sweep += 1;
        if self.since_sweep > self.held.len() {
            self.sweep();
        }
        resource
    }

    fn sweep(&mut self) {
        self.held.retain(|_, same| {
            same.retain(|held| held.strong_count() > 0);
            !same.is_empty()
        });
        self.since_sweep = 0;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn resource(body: &'static str) -> Resource {
        Resource::new("a", Bytes::from_static(body.as_bytes()), [])
    }

    #[test]
    fn equal_resources_are_one_and_unheld_ones_are_dropped() {
        let mut interner = Interner::default();

        let first = interner.intern(ResourceType::Cluster, resource("1"));
        let again = interner.intern(ResourceType::Cluster, resource("1"));
        let other = interner.intern(ResourceType::Cluster, resource("2"));

        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &other));
        drop((first, again, other));
        interner.sweep();
        assert!(interner.held.is_empty());
    }
}
