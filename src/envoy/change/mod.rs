//! What Envoy does to live connections when it is sent another configuration, and how the two differ.
//!
//! The rules were measured on real Envoys. A filter chain is known by its whole content: whatever changes in it drains its
//! connections, and leaves those of the other chains alone, wherever in the list they are. Whatever else changes in a listener
//! drains all of them. Endpoints, routes and secrets that travel by themselves change under open connections.

mod fields;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

pub use fields::{FieldChange, differing, labels};

use super::json;
use super::snapshot::{Resource, ResourceType, Snapshot, Version};

/// Most fields that are told of one resource.
const MOST_FIELDS: usize = 200;

/// What a changed resource does to connections, the least of it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// Certificates, or whom to trust: of handshakes from now on.
    Secret,
    /// Where a cluster leads.
    Endpoints,
    /// Where requests go.
    Route,
    /// A cluster that was not there.
    ClusterAdded,
    /// A cluster with other settings.
    ClusterChanged,
    /// A cluster that is gone.
    ClusterRemoved,
    /// A listener that was not there.
    ListenerAdded,
    /// Filter chains that came, or stand elsewhere in the list.
    ChainsAdded,
    /// Filter chains that are gone or have other contents.
    ChainsDrained,
    /// A listener that is gone, or differs in more than its filter chains.
    ListenerDrained,
}

/// What becomes of connections that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing.
    Kept,
    /// They stay as they are; new ones, or new requests on them, get the new state.
    NewOnly,
    /// They are drained: HTTP is told to go at once and finishes its requests, TCP is cut when the drain time is over.
    Drained,
}

impl Impact {
    /// The name that people and programs know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Impact::Secret => "secrets",
            Impact::Endpoints => "endpoints",
            Impact::Route => "routes",
            Impact::ClusterAdded => "clusters-added",
            Impact::ClusterChanged => "clusters-changed",
            Impact::ClusterRemoved => "clusters-removed",
            Impact::ListenerAdded => "listeners-added",
            Impact::ChainsAdded => "chains-added",
            Impact::ChainsDrained => "chains-drained",
            Impact::ListenerDrained => "listeners-drained",
        }
    }

    /// What becomes of open connections.
    pub const fn effect(self) -> Effect {
        match self {
            Impact::ClusterAdded | Impact::ListenerAdded | Impact::ChainsAdded => Effect::Kept,
            Impact::Secret | Impact::Endpoints | Impact::Route | Impact::ClusterChanged | Impact::ClusterRemoved => {
                Effect::NewOnly
            }
            Impact::ChainsDrained | Impact::ListenerDrained => Effect::Drained,
        }
    }

    /// The same for people.
    pub const fn description(self) -> &'static str {
        match self {
            Impact::Secret => "new handshakes use it at once; open connections are kept",
            Impact::Endpoints => "new requests move at once; open TCP connections are kept until they close",
            Impact::Route => "new requests move at once; no connection is closed",
            Impact::ClusterAdded | Impact::ListenerAdded => "none",
            Impact::ClusterChanged => "new connections use it; open TCP connections are kept",
            Impact::ClusterRemoved => "new connections to it fail; open TCP connections are kept",
            Impact::ChainsAdded => "none; other filter chains are untouched",
            Impact::ChainsDrained => {
                "connections of these filter chains are drained: HTTP ends after its requests, TCP is cut after the drain time"
            }
            Impact::ListenerDrained => {
                "all connections of the listener are drained: HTTP ends after its requests, TCP is cut after the drain time"
            }
        }
    }
}

impl Effect {
    /// The name that people and programs know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Effect::Kept => "none",
            Effect::NewOnly => "new-only",
            Effect::Drained => "drain",
        }
    }
}

/// One resource that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceChange {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: Arc<str>,
    /// The version before; absent if it was not there.
    pub before: Option<Version>,
    /// The version after; absent if it is gone.
    pub after: Option<Version>,
    /// What it does to connections.
    pub impact: Impact,
    /// Filter chains whose connections are drained, by what they match; of a listener that is drained as a whole, all.
    pub drained: Vec<String>,
    /// The fields that differ, of its JSON form. None for secrets, and for what came or went as a whole.
    pub fields: Vec<FieldChange>,
    /// How many more there are.
    pub more_fields: usize,
    /// What the proxy is sent, in its JSON form; absent for secrets, and for what is gone.
    pub message: Option<Arc<Value>>,
    /// How many endpoints an assignment had and has.
    pub endpoints: Option<(usize, usize)>,
}

/// Compares configurations. What several proxies have in common is compared once.
#[derive(Debug, Default)]
pub struct Comparer {
    known: HashMap<Difference, Arc<ResourceChange>>,
}

/// What identifies a difference: type, name, and the contents before and after.
type Difference = (ResourceType, Arc<str>, Option<Version>, Option<Version>);

impl Comparer {
    /// What differs between two configurations of one proxy, by type and name.
    pub fn changes(&mut self, before: &Snapshot, after: &Snapshot) -> Vec<Arc<ResourceChange>> {
        let mut changes = Vec::new();
        for kind in ResourceType::ALL {
            let (old, new) = (before.get(kind), after.get(kind));
            for (name, before) in old.changes_to(new) {
                let after = new.get(name);
                let version = |resource: Option<&Arc<Resource>>| resource.map(|resource| resource.version);
                if version(before) == version(after) {
                    // What is sent is the same; what it stands in place of is not.
                    continue;
                }
                let key = (kind, name.clone(), version(before), version(after));
                let known = self.known.entry(key);
                changes.push(known.or_insert_with(|| Arc::new(compared(kind, name, before, after))).clone());
            }
        }
        changes
    }
}

fn compared(
    kind: ResourceType,
    name: &Arc<str>,
    before: Option<&Arc<Resource>>,
    after: Option<&Arc<Resource>>,
) -> ResourceChange {
    let shown = |resource: &Arc<Resource>| json::resource(kind, &resource.body).ok();
    let (old, new) = (before.and_then(shown), after.and_then(shown));
    let (impact, drained) = judged(kind, (before.is_some(), old.as_ref()), (after.is_some(), new.as_ref()));
    let mut fields = match (&old, &new) {
        (Some(old), Some(new)) if kind != ResourceType::Secret => fields::differing(old, new),
        _ => Vec::new(),
    };
    let more_fields = fields.len().saturating_sub(MOST_FIELDS);
    fields.truncate(MOST_FIELDS);
    let version = |resource: &Arc<Resource>| resource.version;
    let (before, after) = (before.map(version), after.map(version));
    let endpoints = (kind == ResourceType::Endpoint).then(|| (endpoints(old.as_ref()), endpoints(new.as_ref())));
    let message = new.filter(|_| kind != ResourceType::Secret).map(Arc::new);
    ResourceChange { kind, name: name.clone(), before, after, impact, drained, fields, more_fields, message, endpoints }
}

/// How many endpoints an assignment has.
fn endpoints(assignment: Option<&Value>) -> usize {
    let localities = assignment.and_then(|it| it.get("endpoints")).and_then(Value::as_array).into_iter().flatten();
    localities.filter_map(|locality| locality.get("lbEndpoints").and_then(Value::as_array)).map(Vec::len).sum()
}

/// What a resource does that was or was not there, and was or could not be shown.
fn judged(
    kind: ResourceType,
    (was_there, old): (bool, Option<&Value>),
    (is_there, new): (bool, Option<&Value>),
) -> (Impact, Vec<String>) {
    let impact = match kind {
        ResourceType::Secret => Impact::Secret,
        ResourceType::Endpoint => Impact::Endpoints,
        ResourceType::Route => Impact::Route,
        ResourceType::Cluster if !was_there => Impact::ClusterAdded,
        ResourceType::Cluster if !is_there => Impact::ClusterRemoved,
        ResourceType::Cluster => Impact::ClusterChanged,
        ResourceType::Listener if !was_there => Impact::ListenerAdded,
        ResourceType::Listener => return listener(old, new),
    };
    (impact, Vec::new())
}

/// What another listener of the same name, or none, does to the connections of this one.
fn listener(old: Option<&Value>, new: Option<&Value>) -> (Impact, Vec<String>) {
    let labels = |listener: Option<&Value>| chains(listener).iter().map(|chain| fields::chain_label(chain)).collect();
    let (Some(was), Some(is)) = (old, new) else { return (Impact::ListenerDrained, labels(old)) };
    if without_chains(was) != without_chains(is) {
        return (Impact::ListenerDrained, labels(old));
    }
    // As texts, which can be looked up: a gateway has a chain for each service.
    let kept: HashSet<_> = chains(new).into_iter().map(Value::to_string).collect();
    let drained: Vec<_> = chains(old).into_iter().filter(|chain| !kept.contains(&chain.to_string())).collect();
    if drained.is_empty() {
        return (Impact::ChainsAdded, Vec::new());
    }
    (Impact::ChainsDrained, drained.into_iter().map(fields::chain_label).collect())
}

fn chains(listener: Option<&Value>) -> Vec<&Value> {
    let Some(listener) = listener else { return Vec::new() };
    let listed = listener.get("filterChains").and_then(Value::as_array).into_iter().flatten();
    listed.chain(listener.get("defaultFilterChain")).collect()
}

fn without_chains(listener: &Value) -> Value {
    let mut rest = listener.clone();
    if let Value::Object(fields) = &mut rest {
        for name in ["filterChains", "defaultFilterChain", "filterChainMatcher"] {
            fields.remove(name);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(server: &str, cluster: &str) -> Value {
        json!({"filterChainMatch": {"serverNames": [server]}, "filters": [{"name": "proxy", "cluster": cluster}]})
    }

    fn with(chains: &[Value]) -> Value {
        json!({"name": "public", "filterChains": chains})
    }

    #[test]
    fn a_listener_drains_what_its_change_cannot_keep() {
        let (a, b, c) = (chain("a", "1"), chain("b", "1"), chain("c", "1"));
        let both = with(&[a.clone(), b.clone()]);
        let mut buffered = both.clone();
        buffered["perConnectionBufferLimitBytes"] = json!(7);
        let mut default = both.clone();
        default["defaultFilterChain"] = c.clone();
        let cases = [
            ("a chain more", &both, with(&[c.clone(), a.clone(), b.clone()]), Impact::ChainsAdded, vec![]),
            ("another order", &both, with(&[b.clone(), a.clone()]), Impact::ChainsAdded, vec![]),
            ("a chain less", &both, with(std::slice::from_ref(&a)), Impact::ChainsDrained, vec!["b"]),
            ("another chain", &both, with(&[a.clone(), chain("b", "2")]), Impact::ChainsDrained, vec!["b"]),
            ("another buffer", &both, buffered, Impact::ListenerDrained, vec!["a", "b"]),
            ("a default chain more", &both, default.clone(), Impact::ChainsAdded, vec![]),
            ("no default chain", &default, both.clone(), Impact::ChainsDrained, vec!["c"]),
        ];
        for (what, old, new, impact, drained) in cases {
            let drained = drained.into_iter().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(listener(Some(old), Some(&new)), (impact, drained), "{what}");
        }
        let gone = judged(ResourceType::Listener, (true, Some(&both)), (false, None));
        assert_eq!(gone, (Impact::ListenerDrained, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(judged(ResourceType::Listener, (false, None), (true, Some(&both))).0, Impact::ListenerAdded);
    }

    #[test]
    fn clusters_drain_nobody() {
        let cluster = json!({});
        let cases = [
            ((false, true), Impact::ClusterAdded),
            ((true, true), Impact::ClusterChanged),
            ((true, false), Impact::ClusterRemoved),
        ];
        for ((was, is), impact) in cases {
            let found = judged(ResourceType::Cluster, (was, Some(&cluster)), (is, Some(&cluster)));
            assert_eq!(found, (impact, vec![]));
            assert!(impact.effect() < Effect::Drained);
        }
    }
}
