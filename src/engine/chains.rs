//! Compiled discovery chains: each scope's once, however many proxies ask for it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::readers::Readers;
use super::recording::Recording;
use crate::resolve::{Chain, ChainError, Scope, compile};
use crate::store::{Key, Reader, View};

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
