//! Where a resource comes from: found out by changing what was read to make it, one field after the other, and making it
//! again.
//!
//! **Invariant.** What is told holds by itself: every effect was seen. Whoever makes the change that an effect names gets
//! exactly the leaves that it names, and no others, because both are made by the same code from the same state.
//!
//! Whatever was not read cannot matter, so that the keys that generation noted are all candidates that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::absent::candidates;
use super::explain::Row;
use super::leaves::Leaves;
use super::preview::{Preview, Previewed};
use super::{Options, guard};
use crate::envoy::json;
use crate::envoy::snapshot::ResourceType;
use crate::model::{FieldPath, GatewayMode, GoDuration, InstanceId, TrustDomain};
use crate::store::{CheckKey, Guard, Key, NodeKey, Op, Reader, View};

/// Most bytes of resources that are made to explain one, which takes some seconds. What is not tried is said. It is no time, so
/// that the answer does not depend on what else the machine does.
const MOST_MADE: usize = 128 << 20;
/// What a trial costs besides what it makes, in bytes of resources that take as long.
const TRIAL: usize = 4 << 10;
/// Most leaves that the effects together may have: what one change moves can be a whole list.
const MOST_LEAVES: usize = 50_000;

/// A change of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The row.
    pub row: Row,
    /// The field; empty for the row as a whole.
    pub field: FieldPath,
    /// What the field says; null if it, or the row, is not there.
    pub from: Value,
    /// What it would say; `None` if it, or the row, would not be there.
    pub to: Option<Value>,
}

impl Change {
    /// The operation that makes it; `None` if nobody could.
    pub fn op(&self, view: &View) -> Option<Op> {
        let Self { row, field, from, to } = self;
        if field.0.is_empty() {
            return row.removal();
        }
        let mut value = row.read(&Reader::new(view)).map(|(value, _)| value).or_else(|| row.blank())?;
        let is_changed = match to {
            None => field.remove(&mut value),
            Some(to) if from.is_null() => field.insert(&mut value, to.clone()),
            Some(to) => field.put(&mut value, to.clone()),
        };
        is_changed.then(|| row.to_say(value))?
    }
}

/// What a change does to a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// The change.
    pub change: Change,
    /// The leaves of the resource that are others then, as [`Leaves`] calls them, with what they say then. Empty if the resource
    /// is not there then.
    pub leaves: BTreeMap<String, Value>,
}

impl Effect {
    /// The resource is not there then, or not under its name.
    pub fn is_end(&self) -> bool {
        self.leaves.is_empty()
    }
}

/// A resource with what it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    /// The resource, as JSON.
    pub resource: Value,
    /// What changes something about it, in the order of the rows and their fields.
    pub effects: Vec<Effect>,
    /// Not everything was tried: there was too much.
    pub is_cut: bool,
}

/// What everything is asked about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What the process says about itself.
    pub options: &'a Options,
    /// The trust domain of every identity.
    pub trust_domain: &'a TrustDomain,
    /// The proxy.
    pub proxy: &'a InstanceId,
    /// The type of the resource.
    pub kind: ResourceType,
}

impl Asked<'_> {
    fn preview(self, view: &Arc<View>) -> Preview {
        Preview::new(self.options, self.trust_domain, view, [self.proxy.clone()])
    }

    /// The resource of this name, as JSON.
    fn resource(self, preview: &Preview, name: &str) -> Option<Value> {
        let found = preview.get(self.proxy)?.snapshot.get(self.kind).get(name)?;
        json::resource(self.kind, &found.body).ok()
    }

    /// The names of the resources that the proxy has of this type, sorted, and everything that was read to find them out.
    pub fn names(self, view: &Arc<View>) -> (Vec<String>, BTreeSet<Key>) {
        let preview = self.preview(view);
        let set = preview.get(self.proxy).map(|previewed| previewed.snapshot.get(self.kind));
        let names = set.map(|set| set.keys().map(ToString::to_string).collect()).unwrap_or_default();
        (names, preview.keys_read().clone())
    }

    /// Where a resource comes from; `None` if the proxy has no such resource.
    pub fn provenance(self, view: &Arc<View>, name: &str) -> Option<Provenance> {
        let preview = self.preview(view);
        let now = self.resource(&preview, name)?;
        let before = preview.get(self.proxy)?;
        // Whatever it asks for and forwards is made again for each trial.
        let bytes = |kind| before.snapshot.get(kind).values().map(|resource| resource.body.len()).sum::<usize>();
        let mut trial = Trial {
            view,
            asked: self,
            name,
            guard: guard(),
            now: (&now, &Leaves::of(&now)),
            keys: preview.keys_read(),
            before,
            made: ResourceType::ALL.into_iter().map(bytes).sum(),
            left: MOST_MADE,
            leaves: MOST_LEAVES,
            is_cut: false,
        };
        let mut effects = Vec::new();
        for row in rows(view, preview.keys_read()) {
            trial.row(&row, &mut effects);
            if trial.is_cut {
                break;
            }
        }
        for row in missing(view, preview.keys_read()) {
            trial.unsaid(&row, &Value::Null, &mut effects);
            if trial.is_cut {
                break;
            }
        }
        let is_cut = trial.is_cut;
        Some(Provenance { resource: now, effects, is_cut })
    }
}

/// The entries that were looked for in vain.
fn missing(view: &View, keys: &BTreeSet<Key>) -> Vec<Row> {
    let is_missing = |key: &&Key| matches!(key, Key::Entry(entry) if view.entry(entry).is_none());
    let entry = |key: &Key| if let Key::Entry(entry) = key { Some(Row::Entry(entry.clone())) } else { None };
    keys.iter().filter(is_missing).filter_map(entry).collect()
}

/// The rows behind what was read.
fn rows(view: &View, keys: &BTreeSet<Key>) -> BTreeSet<Row> {
    let (mut rows, reader) = (BTreeSet::new(), Reader::new(view));
    let add_instance = |rows: &mut BTreeSet<Row>, id: &InstanceId| {
        let node = NodeKey::new(&id.place, &id.node);
        let checks = view.checks_on(&node).map(|row| CheckKey::of(&row.value));
        let of_it = |check: &CheckKey| {
            let row = view.check(check);
            row.is_some_and(|row| row.value.service_id.as_str().is_empty() || row.value.service_id == id.id)
        };
        rows.extend(checks.filter(of_it).map(Row::Check));
        rows.insert(Row::Node(node));
        rows.insert(Row::Instance(id.clone()));
    };
    for key in keys {
        match key {
            Key::Entry(entry) if view.entry(entry).is_some() => drop(rows.insert(Row::Entry(entry.clone()))),
            Key::Entries(kind, partition) => {
                let entries = reader.entries(*kind, partition).into_iter();
                rows.extend(entries.map(|row| Row::Entry(row.value.key())));
            }
            Key::EntriesOfKind(kind) => {
                rows.extend(reader.entries_of_kind(*kind).map(|row| Row::Entry(row.value.key())));
            }
            Key::Instance(id) if view.service(id).is_some() => drop(rows.insert(Row::Instance(id.clone()))),
            Key::Node(place, node) => {
                let node = NodeKey::new(place, node);
                for service in view.services_on(&node) {
                    add_instance(&mut rows, &node.instance(&service.value.id));
                }
            }
            Key::Endpoints(service) => {
                let place = service.place();
                for instance in view.endpoints(service) {
                    let node = NodeKey::new(&place, &instance.node.value.node);
                    add_instance(&mut rows, &node.instance(&instance.service.value.id));
                }
            }
            Key::Service(service) => {
                let place = service.place();
                for instance in view.instances_named(service) {
                    let node = NodeKey::new(&place, &instance.node.value.node);
                    add_instance(&mut rows, &node.instance(&instance.service.value.id));
                }
            }
            Key::Gateways(place) => {
                for instance in view.mesh_gateways(place) {
                    let node = NodeKey::new(place, &instance.node.value.node);
                    add_instance(&mut rows, &node.instance(&instance.service.value.id));
                }
            }
            Key::TrustBundle(peer) => rows.extend(view.trust_bundle(peer).map(|_| Row::TrustBundle(peer.clone()))),
            Key::Peerings(place) => rows.extend(view.peerings(place).map(|row| Row::Peering(row.value.key()))),
            Key::Imported(peer, service) => {
                rows.extend(view.imported(peer, service).map(|row| Row::Imported(row.value.key())));
            }
            Key::Query(query) => rows.extend(view.query(query).map(|_| Row::Query(query.clone()))),
            // What these hold besides names is read by keys of its own, and certificates are never shown.
            Key::Datacenters
            | Key::Entry(_)
            | Key::Instance(_)
            | Key::Partitions(_)
            | Key::PartitionDefinitions(_)
            | Key::NamespaceDefinitions(_)
            | Key::Nodes(_)
            | Key::ServiceNames(_)
            | Key::MeshServiceNames(_)
            | Key::TrustBundles(_)
            | Key::ImportedFrom(_)
            | Key::ImportedNames(_)
            | Key::Queries(_)
            | Key::FederationStates
            | Key::CaConfig
            | Key::Roots
            | Key::Leaf(_)
            | Key::CertifiedPartitions => {}
        }
    }
    rows
}

/// Trying out changes, each on the state as it is.
struct Trial<'t> {
    view: &'t Arc<View>,
    asked: Asked<'t>,
    name: &'t str,
    guard: Guard,
    /// The resource as it is, and its leaves.
    now: (&'t Value, &'t Leaves),
    keys: &'t BTreeSet<Key>,
    /// What the proxy is sent now.
    before: &'t Previewed,
    /// How many bytes of resources each trial makes.
    made: usize,
    /// How many more may be made.
    left: usize,
    /// How many more leaves may differ.
    leaves: usize,
    /// Something was not tried.
    is_cut: bool,
}

impl Trial<'_> {
    /// Tries every field of a row, and at last to do without the row; then what it does not say.
    fn row(&mut self, row: &Row, effects: &mut Vec<Effect>) {
        let Some((value, _)) = row.read(&Reader::new(self.view)) else { return };
        let before = effects.len();
        for field in FieldPath::all(&value) {
            let Some(from) = field.get(&value).filter(|from| !from.is_object() && !from.is_array()).cloned() else {
                continue;
            };
            let removed = std::iter::once(None).chain(others(&from).into_iter().map(Some));
            let change = |to| Change { row: row.clone(), field: field.clone(), from: from.clone(), to };
            effects.extend(removed.map(change).find_map(|change| self.effect(change)));
        }
        let is_own = matches!(row, Row::Instance(id) if id == self.asked.proxy);
        if effects.len() == before && !is_own {
            let change = Change { row: row.clone(), field: FieldPath::default(), from: value.clone(), to: None };
            effects.extend(self.effect(change));
        }
        self.unsaid(row, &value, effects);
    }

    /// Tries what a row, which need not be there, does not say.
    fn unsaid(&mut self, row: &Row, value: &Value, effects: &mut Vec<Effect>) {
        for (field, values) in candidates(row, self.asked.proxy) {
            if field.get(value).is_some() {
                continue;
            }
            let change = |to| Change { row: row.clone(), field: field.clone(), from: Value::Null, to: Some(to) };
            effects.extend(values.into_iter().map(change).find_map(|change| self.effect(change)));
        }
    }

    /// What a change does; `None` if it does nothing, or nobody could make it.
    fn effect(&mut self, change: Change) -> Option<Effect> {
        if self.left < TRIAL + self.made || self.leaves == 0 {
            self.is_cut = true;
            return None;
        }
        // Finding out that nothing reads what would change, or that it would be refused, is work too.
        self.left -= TRIAL;
        let ops = [change.op(self.view)?];
        let after = Arc::new(self.view.after(&ops));
        after.changed_since(self.view).find(|key| self.keys.contains(*key))?;
        (self.guard)(self.view, &after, &ops).ok()?;
        self.left -= self.made;
        let preview = self.asked.preview(&after);
        // What cannot be made then stays as it is.
        let previewed = preview.get(self.asked.proxy)?;
        let is_known = |problem: &String| self.before.problems.contains(problem);
        if !previewed.is_whole && (self.before.is_whole || !previewed.problems.iter().all(is_known)) {
            return None;
        }
        let newer = self.asked.resource(&preview, self.name);
        let leaves = match &newer {
            None => BTreeMap::new(),
            Some(newer) if newer == self.now.0 => return None,
            Some(newer) => {
                let leaves = self.now.1.differences(&Leaves::of(newer));
                // None stands for a resource that is not there.
                if leaves.is_empty() {
                    return None;
                }
                leaves
            }
        };
        self.leaves = self.leaves.saturating_sub(leaves.len());
        Some(Effect { change, leaves })
    }
}

/// Other values that a field could have, those first that are most likely to be taken.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(flag) => vec![Value::from(!flag)],
        Value::Number(number) => {
            let other = number.as_i64().map(|number| if number < 100 { number + 1 } else { number - 1 });
            other.map(Value::from).into_iter().collect()
        }
        Value::String(text) => other_texts(text).into_iter().map(Value::from).collect(),
        Value::Null | Value::Array(_) | Value::Object(_) => Vec::new(),
    }
}

fn other_texts(text: &str) -> Vec<String> {
    const PROTOCOLS: [&str; 4] = ["tcp", "http", "http2", "grpc"];
    const STATUSES: [&str; 3] = ["critical", "passing", "warning"];
    let unlike = |all: &[&str]| all.iter().filter(|other| **other != text).map(|other| (*other).to_owned()).collect();
    if GatewayMode::parse(text).is_some() {
        return unlike(&["local", "remote", "none"]);
    }
    if PROTOCOLS.contains(&text) {
        return unlike(&PROTOCOLS);
    }
    if STATUSES.contains(&text) {
        return unlike(&STATUSES);
    }
    if ["allow", "deny"].contains(&text) {
        return unlike(&["allow", "deny"]);
    }
    if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
        let [a, b, c, d] = address.octets();
        return vec![std::net::Ipv4Addr::new(a, b, c, if d == 254 { 1 } else { d + 1 }).to_string()];
    }
    if text.parse::<GoDuration>().is_ok() {
        return vec!["7s".to_owned(), "8s".to_owned()];
    }
    vec![format!("{text}x")]
}
