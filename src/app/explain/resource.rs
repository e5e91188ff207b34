//! A resource, leaf by leaf: which rows it comes from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Explainer, label, text};
use crate::api::{FieldExplanation, ResourceExplanation, Setting, SourceExplanation, Unexplained};
use crate::codec::{hide_private_keys_in, holds_private_key};
use crate::engine::{Change, Effect, Leaves, Provenance, ProvenanceAsked, Row};
use crate::envoy::snapshot::ResourceType;
use crate::model::{InstanceId, Partition};
use crate::store::{Index, Reader};

/// The type that operators call so.
pub(super) fn kind(name: &str) -> Option<ResourceType> {
    match name {
        "listener" => Some(ResourceType::Listener),
        "cluster" => Some(ResourceType::Cluster),
        "endpoint" => Some(ResourceType::Endpoint),
        "route" => Some(ResourceType::Route),
        _ => None,
    }
}

impl Explainer {
    /// Explains one resource; what is read goes through `reader`.
    pub(super) fn explained_resource(
        &self,
        reader: &Reader<'_>,
        proxy: &InstanceId,
        (type_name, name): (&str, &str),
        field: &str,
    ) -> Result<ResourceExplanation, Unexplained> {
        let kind = kind(type_name).ok_or_else(|| {
            Unexplained::Unclear(format!("{type_name:?} is no type: expected listener, cluster, endpoint or route"))
        })?;
        let asked = ProvenanceAsked { options: &self.options, trust_domain: &self.trust_domain, proxy, kind };
        let view = Arc::new(reader.view().clone());
        let (names, keys) = asked.names(&view);
        reader.note_all(&keys);
        let found = the_one(&names, name).map_err(|why| match names.is_empty() {
            true => Unexplained::NotThere(format!("{} has no {type_name}", proxy.id)),
            false => Unexplained::NotThere(format!("{} {why}; it has {}", proxy.id, names.join(", "))),
        })?;
        let Some(provenance) = asked.provenance(&view, found) else {
            return Err(Unexplained::NotThere(format!("{} has no {type_name} {found:?}", proxy.id)));
        };
        let Provenance { mut resource, effects, is_cut } = provenance;
        let mut sources: BTreeMap<&str, Vec<SourceExplanation>> = BTreeMap::new();
        let mut exists = Vec::new();
        for effect in &effects {
            let source = source(reader, effect);
            if effect.is_end() {
                exists.push(source.clone());
            }
            for (leaf, then) in effect.leaves.iter().filter(|(leaf, _)| is_within(leaf, field)) {
                let source = SourceExplanation { then: shown_at(leaf, then), ..source.clone() };
                sources.entry(leaf).or_default().push(source);
            }
        }
        let leaves = Leaves::of(&resource).values;
        let mut fields: Vec<_> = leaves
            .iter()
            .filter(|(leaf, _)| is_within(leaf, field))
            .map(|(leaf, value)| {
                let sources = sources.remove(leaf.as_str()).unwrap_or_default();
                FieldExplanation { field: hidden(leaf), value: shown_at(leaf, value), sources }
            })
            .collect();
        // What some change would add.
        fields.extend(sources.into_iter().map(|(leaf, sources)| FieldExplanation {
            field: hidden(leaf),
            value: String::new(),
            sources,
        }));
        if fields.is_empty() {
            return Err(Unexplained::NotThere(format!("{type_name} {found:?} of {} has no field {field:?}", proxy.id)));
        }
        hide_private_keys_in(&mut resource);
        Ok(ResourceExplanation {
            proxy: proxy.id.clone(),
            kind: type_name.to_owned(),
            name: found.to_owned(),
            fields,
            exists,
            is_cut,
            resource,
        })
    }
}

/// The one name that is meant: the whole name, or the only one that begins so or has it after a `~`.
fn the_one<'n>(names: &'n [String], wanted: &str) -> Result<&'n str, String> {
    if let Some(exact) = names.iter().find(|name| *name == wanted) {
        return Ok(exact);
    }
    let begins = |name: &&String| {
        let unprefixed = name.rsplit('~').next().unwrap_or(name);
        name.starts_with(wanted) || unprefixed.starts_with(wanted)
    };
    match names.iter().filter(begins).collect::<Vec<_>>().as_slice() {
        [only] => Ok(only),
        [] => Err(format!("has none that is called {wanted:?}")),
        _ => Err(format!("has several that begin with {wanted:?}")),
    }
}

/// True for a field, and for those inside of it.
fn is_within(leaf: &str, field: &str) -> bool {
    let rest = leaf.strip_prefix(field);
    rest.is_some_and(|rest| field.is_empty() || rest.is_empty() || rest.starts_with(['.', '[', ' ']))
}

/// A value on one line, without the private keys that escape hatches can hold.
fn shown(value: &Value) -> String {
    let mut value = value.clone();
    hide_private_keys_in(&mut value);
    text(&value)
}

/// The same for a leaf, which can be in a field that holds a key.
fn shown_at(leaf: &str, value: &Value) -> String {
    if leaf.split(['.', '[']).any(holds_private_key) { "<hidden>".to_owned() } else { shown(value) }
}

/// The same for the path of a leaf, which says what an item matches where that is all it is called.
fn hidden(path: &str) -> String {
    shown(&Value::from(path))
}

fn source(reader: &Reader<'_>, effect: &Effect) -> SourceExplanation {
    let Change { row, field, from, to } = &effect.change;
    let (source, partition) = called(row);
    let modify_index: Index = row.read(reader).map_or(0, |(_, index)| index);
    let value = if field.0.is_empty() || from.is_null() { String::new() } else { shown(from) };
    SourceExplanation {
        setting: Setting { source, partition, field: field.to_string(), value, modify_index, written: None },
        instead: to.as_ref().map(shown),
        then: String::new(),
    }
}

/// What a row is called, and the partition that it is in.
fn called(row: &Row) -> (String, Partition) {
    match row {
        Row::Entry(key) => (label(key), key.name.partition.clone()),
        Row::Instance(id) => (
            format!("registration of {} on node {} ({})", id.id, id.node, id.place.datacenter),
            id.place.partition.clone(),
        ),
        Row::Node(key) => (format!("node {} ({})", key.node, key.place.datacenter), key.place.partition.clone()),
        Row::Check(key) => {
            let (node, place) = (&key.node.node, &key.node.place);
            (format!("check {} on node {node} ({})", key.check, place.datacenter), place.partition.clone())
        }
        Row::Peering(key) => (format!("peering {}", key.name), key.place.partition.clone()),
        Row::TrustBundle(key) => (format!("trust bundle of peer {}", key.name), key.place.partition.clone()),
        Row::Imported(key) => (format!("{} of peer {}", key.id, key.peer.name), key.peer.place.partition.clone()),
        Row::Query(key) => (format!("prepared query {}", key.name), key.place.partition.clone()),
    }
}
