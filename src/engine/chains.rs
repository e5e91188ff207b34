//! Compiled discovery chains: each scope's once, however many proxies ask for it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::readers::Readers;
use super::recording::Recording;
use crate::resolve::{Chain, ChainError, Scope, compile};
use crate::store::{Key, Reader, View};

/// Most chains that are kept. Nobody says when a chain is asked for no more, so that once there are too many all are
/// forgotten; those that are still needed are compiled again.
const MOST: usize = 50_000;

/// A chain that was compiled, with what was read to compile it.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) chain: Arc<Result<Chain, ChainError>>,
    pub(super) read: Arc<BTreeSet<Key>>,
}

impl Compiled {
    /// Compiles the chain of `scope` in the state of `view`.
    pub(super) fn new(view: &View, scope: &Scope) -> Self {
        let reader = Reader::new(view);
        let chain = Arc::new(compile(&Recording::new(&reader, &[]), scope));
        Self { chain, read: Arc::new(reader.into_read_set()) }
    }
}

/// The chains that were asked for since what they depend on last changed.
#[derive(Debug, Default)]
pub(super) struct Chains {
    compiled: RefCell<BTreeMap<Scope, Compiled>>,
    readers: RefCell<Readers<Scope>>,
}

impl Chains {
    /// The chain of `scope` in the state of `view`, which is the one that `advance` was last told the changes of.
    pub(super) fn get(&self, view: &View, scope: &Scope) -> Compiled {
        if let Some(known) = self.compiled.borrow().get(scope) {
            return known.clone();
        }
        if self.compiled.borrow().len() >= MOST {
            self.compiled.take();
            self.readers.take();
        }
        let compiled = Compiled::new(view, scope);
        self.readers.borrow_mut().set(scope, (*compiled.read).clone());
        self.compiled.borrow_mut().insert(scope.clone(), compiled.clone());
        compiled
    }

    /// Forgets the chains that depend on one of these keys.
    pub(super) fn advance<'k>(&mut self, changed: impl Iterator<Item = &'k Key>) {
        let readers = self.readers.get_mut();
        for scope in readers.of(changed) {
            readers.remove(&scope);
            self.compiled.get_mut().remove(&scope);
        }
    }
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
        let [web, api] = ["web", "api"].map(|name| chains.get(&store.view(), &scope(name)).chain);

        let timeout = serde_json::json!({ "Kind": "service-resolver", "Name": "api", "ConnectTimeout": "3s" });
        let (before, after) = write(timeout).await;
        chains.advance(after.changed_since(&before));

        assert!(Arc::ptr_eq(&web, &chains.get(&after, &scope("web")).chain), "web depends on nothing that changed");
        let other = chains.get(&after, &scope("api"));
        assert_ne!(other.chain, api);
        assert!(Arc::ptr_eq(&other.chain, &chains.get(&after, &scope("api")).chain));
    }
}
