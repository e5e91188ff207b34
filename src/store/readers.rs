//! Who read which key: the index that turns changed keys into work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Key;

/// Readers by the keys they read. A key is held once, however many read it.
#[derive(Debug, Clone)]
pub(crate) struct Readers<R> {
    by_key: BTreeMap<Arc<Key>, BTreeSet<R>>,
    /// Sorted.
    by_reader: BTreeMap<R, Box<[Arc<Key>]>>,
}

impl<R> Default for Readers<R> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_reader: BTreeMap::new() }
    }
}

impl<R: Ord + Clone> Readers<R> {
    /// Replaces what `reader` read.
    pub(crate) fn set(&mut self, reader: &R, keys: BTreeSet<Key>) {
        let keys: Box<[_]> = keys.into_iter().map(|key| self.index(key, reader)).collect();
        let old = self.by_reader.insert(reader.clone(), keys.clone()).unwrap_or_default();
        for key in old.iter().filter(|key| keys.binary_search(key).is_err()) {
            self.unindex(key, reader);
        }
    }

    /// Forgets `reader`.
    pub(crate) fn remove(&mut self, reader: &R) {
        for key in self.by_reader.remove(reader).unwrap_or_default() {
            self.unindex(&key, reader);
        }
    }

    /// The key as it is held.
    fn index(&mut self, key: Key, reader: &R) -> Arc<Key> {
        let known = self.by_key.get_key_value(&key).map(|(known, _)| known.clone());
        let key = known.unwrap_or_else(|| Arc::new(key));
        self.by_key.entry(key.clone()).or_default().insert(reader.clone());
        key
    }

    fn unindex(&mut self, key: &Key, reader: &R) {
        let Some(readers) = self.by_key.get_mut(key) else { return };
        readers.remove(reader);
        if readers.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// Everything that somebody read.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.by_key.keys().map(|key| &**key)
    }

    /// Everyone who read one of these keys.
    pub(crate) fn of<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> BTreeSet<R> {
        keys.filter_map(|key| self.by_key.get(key)).flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Datacenter;

    #[test]
    fn a_reader_is_found_by_what_it_read_last() {
        let partitions = Key::Partitions(Datacenter::from("dc1"));
        let mut readers = Readers::default();
        readers.set(&1, BTreeSet::from([Key::Roots]));
        readers.set(&2, BTreeSet::from([Key::Roots, partitions.clone()]));

        readers.set(&1, BTreeSet::from([Key::Datacenters]));

        assert_eq!(readers.of([&Key::Roots].into_iter()), BTreeSet::from([2]));
        assert_eq!(readers.of([&Key::Datacenters, &partitions].into_iter()), BTreeSet::from([1, 2]));
        readers.remove(&2);
        assert_eq!(readers.of([&Key::Roots, &partitions].into_iter()), BTreeSet::new());
        assert_eq!(readers.by_key.len(), 1);
    }
}
