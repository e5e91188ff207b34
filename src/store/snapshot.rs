//! The whole state at one commit as an archive, and the one write that brings it back.
//!
//! The archive is that of Consul's tools, a compressed tar with `meta.json`, `state.bin` and `SHA256SUMS`; what `state.bin`
//! holds is our own. It holds the keys of the CA, so whoever has it can speak for everybody.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::apply::{load, rows, table_name};
use super::{Index, NodeKey, Op, StoreError, Stored, View, Write};
use crate::model::{Leaf, SpiffeId};

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
/// What `state.bin` begins with.
const FORMAT: &str = "meshgate state 1";
/// Larger files of an archive are refused, so that a small one cannot fill the memory.
const MAX_FILE: u64 = 4 << 30;
/// The version of `meta.json` that Consul's tools write.
const META_VERSION: u32 = 1;

/// The state at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the archive says about it.
    pub meta: SnapshotMeta,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an archive says about its state, under the names that Consul's tools know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapshotMeta {
    /// Version of this document.
    pub version: u32,
    /// Name of the snapshot.
    #[serde(rename = "ID")]
    pub id: String,
    /// The commit.
    pub index: Index,
    /// Always 1: one process is its own leader for ever.
    pub term: u64,
    /// Bytes of the state.
    #[serde(default)]
    pub size: u64,
}

/// Rows of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableSize {
    /// How many.
    pub rows: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is no compressed tar, or is cut short.
    #[error("the snapshot cannot be read: it is no archive of `snapshot save`, or is damaged")]
    Archive(#[source] io::Error),
    /// A file is missing.
    #[error("the snapshot holds no {0}: it is no archive of `snapshot save`, or is damaged")]
    Missing(&'static str),
    /// A file is not as it was written.
    #[error("{0} of the snapshot is damaged: its SHA-256 sum differs from that in SHA256SUMS")]
    Sum(&'static str),
    /// The meta data make no sense.
    #[error("meta.json of the snapshot cannot be read")]
    Meta(#[source] serde_json::Error),
    /// The state is not ours.
    #[error("the snapshot holds the state of another program, such as Consul, or of another version of meshgate")]
    Format,
    /// Rows make no sense.
    #[error(transparent)]
    Rows(#[from] StoreError),
}

impl Snapshot {
    /// The state of a view, named by whoever takes it.
    pub fn of(view: &View, id: String) -> Self {
        let rows = rows(view);
        let size = rows.iter().map(|(key, value)| key.len() + value.len() + 2).sum::<usize>() + FORMAT.len() + 1;
        let size = size as u64;
        Self { meta: SnapshotMeta { version: META_VERSION, id, index: view.index(), term: 1, size }, rows }
    }

    /// The archive.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn to_archive(&self) -> io::Result<Vec<u8>> {
        let meta = serde_json::to_vec(&self.meta)?;
        let state = state(&self.rows);
        let sums = format!("{}  {META}\n{}  {STATE}\n", sum(&meta), sum(&state));
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, bytes) in [(META, meta.as_slice()), (STATE, &state), (SUMS, sums.as_bytes())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, name, bytes)?;
        }
        archive.into_inner()?.finish()
    }

    /// The state of an archive, whose sums are right.
    ///
    /// # Errors
    /// It is no archive of ours, or is damaged.
    pub fn from_archive(archive: &[u8]) -> Result<Self, SnapshotError> {
        let mut files = files(archive).map_err(SnapshotError::Archive)?;
        let mut take = |name: &'static str| files.remove(name).ok_or(SnapshotError::Missing(name));
        let (meta, state, sums) = (take(META)?, take(STATE)?, take(SUMS)?);
        for (name, bytes) in [(META, &meta), (STATE, &state)] {
            let line = format!("{}  {name}", sum(bytes));
            if !String::from_utf8_lossy(&sums).lines().any(|known| known == line) {
                return Err(SnapshotError::Sum(name));
            }
        }
        let meta = serde_json::from_slice(&meta).map_err(SnapshotError::Meta)?;
        Ok(Self { meta, rows: read_state(&state).ok_or(SnapshotError::Format)? })
    }

    /// How much there is of what, by name.
    pub fn tables(&self) -> BTreeMap<&'static str, TableSize> {
        let mut tables = BTreeMap::<_, TableSize>::new();
        for (key, value) in &self.rows {
            let table = tables.entry(table_name(key)).or_default();
            table.rows += 1;
            table.bytes += key.len() + value.len();
        }
        tables
    }

    /// The state as a view.
    ///
    /// # Errors
    /// A row makes no sense.
    pub fn view(&self) -> Result<View, SnapshotError> {
        Ok(load(self.meta.index, &self.rows)?)
    }
}

impl View {
    /// The write that makes the state `wanted` of this one: what is not in it goes, and what differs comes back with the
    /// commit that last changed it. What is the same is not touched.
    pub fn to_become(&self, wanted: &View) -> Write {
        let mut ops = Vec::new();
        gone(&mut ops, &self.nodes, &wanted.nodes, Op::DeleteNode);
        gone(&mut ops, &self.services, &wanted.services, Op::DeleteService);
        gone(&mut ops, &self.checks, &wanted.checks, Op::DeleteCheck);
        gone(&mut ops, &self.entries, &wanted.entries, Op::DeleteEntry);
        gone(&mut ops, &self.datacenters, &wanted.datacenters, Op::DeleteDatacenter);
        gone(&mut ops, &self.partition_definitions, &wanted.partition_definitions, Op::DeletePartition);
        gone(&mut ops, &self.namespace_definitions, &wanted.namespace_definitions, |(partition, name)| {
            Op::DeleteNamespace(partition, name)
        });
        gone(&mut ops, &self.ca_config, &wanted.ca_config, |()| Op::DeleteCaConfig);
        gone(&mut ops, &self.federation_states, &wanted.federation_states, Op::DeleteFederationState);
        gone(&mut ops, &self.peerings, &wanted.peerings, Op::DeletePeering);
        gone(&mut ops, &self.trust_bundles, &wanted.trust_bundles, Op::DeleteTrustBundle);
        gone(&mut ops, &self.imported, &wanted.imported, Op::DeleteImported);
        gone(&mut ops, &self.queries, &wanted.queries, Op::DeleteQuery);
        gone(&mut ops, &self.roots, &wanted.roots, Op::DeleteRoot);
        // A leaf that is still good stays, so that nobody need take over another one.
        let is_good = |leaf: &Leaf| wanted.roots.contains_key(&leaf.root_id);
        let good =
            self.leaves.iter().filter(|(_, row)| is_good(&row.value)).map(|(key, row)| (key.clone(), row.clone()));
        let good: Table<SpiffeId, Leaf> = good.collect();
        let leaves = good.union(wanted.leaves.clone());
        gone(&mut ops, &self.leaves, &leaves, Op::DeleteLeaf);

        // What went may have taken along what belongs to it.
        let left = self.after(&ops);
        back(&mut ops, &left.nodes, &wanted.nodes, |_, row| Op::PutNode(row));
        back(&mut ops, &left.services, &wanted.services, |id, row| {
            Op::PutService(NodeKey::new(&id.place, &id.node), row)
        });
        back(&mut ops, &left.checks, &wanted.checks, |_, row| Op::PutCheck(row));
        back(&mut ops, &left.entries, &wanted.entries, |_, row| Op::PutEntry(row));
        back(&mut ops, &left.datacenters, &wanted.datacenters, |_, row| Op::PutDatacenter(row));
        back(&mut ops, &left.partition_definitions, &wanted.partition_definitions, |_, row| Op::PutPartition(row));
        back(&mut ops, &left.namespace_definitions, &wanted.namespace_definitions, |_, row| Op::PutNamespace(row));
        back(&mut ops, &left.ca_config, &wanted.ca_config, |(), row| Op::PutCaConfig(row));
        back(&mut ops, &left.federation_states, &wanted.federation_states, |_, row| Op::PutFederationState(row));
        back(&mut ops, &left.peerings, &wanted.peerings, |_, row| Op::PutPeering(row));
        back(&mut ops, &left.trust_bundles, &wanted.trust_bundles, |_, row| Op::PutTrustBundle(row));
        back(&mut ops, &left.imported, &wanted.imported, |_, row| Op::PutImported(row));
        back(&mut ops, &left.queries, &wanted.queries, |_, row| Op::PutQuery(row));
        back(&mut ops, &left.roots, &wanted.roots, |_, row| Op::PutRoot(row));
        back(&mut ops, &left.leaves, &leaves, |_, row| Op::PutLeaf(row));
        ops.into()
    }
}

type Table<K, T> = OrdMap<K, Stored<T>>;

fn gone<K: Ord + Clone, T>(ops: &mut Vec<Op>, now: &Table<K, T>, wanted: &Table<K, T>, delete: impl Fn(K) -> Op) {
    ops.extend(now.keys().filter(|key| !wanted.contains_key(*key)).map(|key| delete(key.clone())));
}

/// Compares values and the commit that last changed them: the one that made a row is not restored.
fn back<K: Ord + Clone, T: PartialEq + Clone>(
    ops: &mut Vec<Op>,
    now: &Table<K, T>,
    wanted: &Table<K, T>,
    put: impl Fn(&K, T) -> Op,
) {
    let is_same = |key: &K, row: &Stored<T>| {
        now.get(key).is_some_and(|old| old.modify_index == row.modify_index && old.value == row.value)
    };
    let differing = wanted.iter().filter(|(key, row)| !is_same(key, row));
    ops.extend(differing.map(|(key, row)| Op::Restore(Box::new(put(key, (*row.value).clone())), row.modify_index)));
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A headline, then a line for each row: its key, a tab, its value. JSON has neither tabs nor line ends of its own.
fn state(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut state = format!("{FORMAT}\n").into_bytes();
    for (key, value) in rows {
        state.extend_from_slice(key);
        state.push(b'\t');
        state.extend_from_slice(value);
        state.push(b'\n');
    }
    state
}

fn read_state(state: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut lines = state.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
    if lines.next()? != FORMAT.as_bytes() {
        return None;
    }
    let row = |line: &[u8]| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        Some((line[..tab].to_vec(), line[tab + 1..].to_vec()))
    };
    lines.map(row).collect()
}

/// The files of an archive by name.
fn files(archive: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(GzDecoder::new(archive)).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if entry.size() > MAX_FILE {
            return Err(io::Error::other(format!("{name} is larger than {MAX_FILE} bytes")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        found.insert(name, bytes);
    }
    Ok(found)
}
