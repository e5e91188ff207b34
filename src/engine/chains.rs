//! What many proxies ask for is found out once: discovery chains by scope, and what each place exports to peers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::recording::Recording;
use crate::model::Place;
use crate::resolve::{Chain, ChainError, PeerExports, Scope, compile};
use crate::store::{Key, Reader, Readers, View};

/// Most chains that are kept. Nobody says when a chain is asked for no more, so that once there are too many all are
/// forgotten; those that are still needed are compiled again.
const MOST: usize = 50_000;

/// What follows from a state, with what was read to find it out.
#[derive(Debug)]
pub(super) struct Derived<T> {
    pub(super) value: Arc<T>,
    pub(super) read: Arc<BTreeSet<Key>>,
}

impl<T> Clone for Derived<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), read: self.read.clone() }
    }
}

impl<T> Derived<T> {
    fn new(view: &View, derive: impl FnOnce(&Reader<'_>) -> T) -> Self {
        let reader = Reader::new(view);
        let value = Arc::new(derive(&reader));
        Self { value, read: Arc::new(reader.into_read_set()) }
    }
}

/// A compiled chain.
pub(super) type Compiled = Derived<Result<Chain, ChainError>>;

/// What was found out since what it depends on last changed.
#[derive(Debug, Clone)]
struct Memory<K, T> {
    known: BTreeMap<K, Derived<T>>,
    readers: Readers<K>,
}

impl<K, T> Default for Memory<K, T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), readers: Readers::default() }
    }
}

impl<K: Ord + Clone, T> Memory<K, T> {
    fn keep(&mut self, key: &K, derived: &Derived<T>) {
        if self.known.len() >= MOST {
            *self = Self::default();
        }
        self.readers.set(key, (*derived.read).clone());
        self.known.insert(key.clone(), derived.clone());
    }

    fn advance<'k>(&mut self, changed: impl Iterator<Item = &'k Key>) {
        for key in self.readers.of(changed) {
            self.readers.remove(&key);
            self.known.remove(&key);
        }
    }
}

/// The chains, and the exports to peers, that were asked for since what they depend on last changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Chains {
    chains: RefCell<Memory<Scope, Result<Chain, ChainError>>>,
    exports: RefCell<Memory<Place, PeerExports>>,
}

impl Chains {
    /// The chain of `scope` in the state of `view`, which is the one that `advance` was last told the changes of.
    pub(super) fn get(&self, view: &View, scope: &Scope) -> Compiled {
        if let Some(known) = self.chains.borrow().known.get(scope) {
            return known.clone();
        }
        let compiled = compiled(view, scope);
        self.chains.borrow_mut().keep(scope, &compiled);
        compiled
    }

    /// What `place` exports to peers, in the same state.
    pub(super) fn exports(&self, view: &View, place: &Place) -> Derived<PeerExports> {
        if let Some(known) = self.exports.borrow().known.get(place) {
            return known.clone();
        }
        let exports = Derived::new(view, |reader| PeerExports::of(&Recording::new(reader, &[]).sharing(self), place));
        self.exports.borrow_mut().keep(place, &exports);
        exports
    }

    /// Forgets what depends on one of these keys.
    pub(super) fn advance<'k>(&mut self, changed: impl Iterator<Item = &'k Key> + Clone) {
        self.chains.get_mut().advance(changed.clone());
        self.exports.get_mut().advance(changed);
    }
}

/// Compiles the chain of `scope` in the state of `view`.
pub(super) fn compiled(view: &View, scope: &Scope) -> Compiled {
    Derived::new(view, |reader| compile(&Recording::new(reader, &[]), scope))
}

/// Finds out what `place` exports to peers in the state of `view`.
pub(super) fn exports(view: &View, place: &Place) -> Derived<PeerExports> {
    Derived::new(view, |reader| PeerExports::of(&Recording::new(reader, &[]), place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConfigEntry, Datacenter, ServiceName};
    use crate::store::{Memory, Op, Store};

    #[tokio::test]
    async fn a_chain_is_compiled_once_until_something_that_it_depends_on_changes() {
        let (store, _) = Store::open(Box::new(Memory), Arc::new(|_, _, _| Ok(()))).expect("memory opens");
        let write = async |entry: serde_json::Value| {
            let entry = ConfigEntry::from_stored(entry).expect("an entry");
            let before = store.view();
            store.write(vec![Op::PutEntry(entry)]).await.expect("it is taken");
            (before, store.view())
        };
        let scope = |service: &str| Scope {
            service: ServiceName::new(&Default::default(), &Default::default(), service),
            datacenter: Datacenter::from("dc1"),
            is_plain: false,
        };
        let mut chains = Chains::default();
        let [web, api] = ["web", "api"].map(|name| chains.get(&store.view(), &scope(name)).value);

        let timeout = serde_json::json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "3s" });
        let (before, after) = write(timeout).await;
        let changed: Vec<_> = after.changed_since(&before).collect();
        chains.advance(changed.into_iter());

        assert!(Arc::ptr_eq(&web, &chains.get(&after, &scope("web")).value), "web depends on nothing that changed");
        let other = chains.get(&after, &scope("api"));
        assert_ne!(other.value, api);
        assert!(Arc::ptr_eq(&other.value, &chains.get(&after, &scope("api")).value));
    }
}
