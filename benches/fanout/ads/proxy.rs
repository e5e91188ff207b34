//! What one Envoy does on its stream, as a plain value: asks in Envoy's order, follows references, answers everything.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3 as core_v3;
use envoy_types::pb::envoy::r#type::v3 as type_v3;
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use envoy_types::pb::google::protobuf::{Struct, Value};

use super::contents::{ContentId, Contents, NameId};
use super::wire::{InitialVersion, Kind, Request, Response};

/// The types that are asked for by name.
const NAMED: [Kind; 3] = [Kind::Endpoint, Kind::Secret, Kind::Route];

/// Who an Envoy says it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) cluster: String,
    pub(crate) metadata: Vec<(String, String)>,
}

impl Identity {
    fn node(&self) -> core_v3::Node {
        let value = |text: &String| Value { kind: Some(ValueKind::StringValue(text.clone())) };
        let fields = self.metadata.iter().map(|(key, text)| (key.clone(), value(text))).collect();
        let version = type_v3::SemanticVersion { major_number: 1, minor_number: 40, patch: 0 };
        let build = core_v3::BuildVersion { version: Some(version), metadata: None };
        core_v3::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: Some(Struct { fields }),
            user_agent_name: "envoy".to_owned(),
            user_agent_version_type: Some(core_v3::node::UserAgentVersionType::UserAgentBuildVersion(build)),
            ..core_v3::Node::default()
        }
    }
}

/// One Envoy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    identity: Identity,
    types: [TypeState; 5],
}

/// What it knows of one type.
#[derive(Debug, Clone, Default)]
struct TypeState {
    requested: bool,
    answered: bool,
    /// Names that it asked for, sorted.
    wanted: Vec<NameId>,
    /// Those of them that were not answered yet.
    unanswered: BTreeSet<NameId>,
    /// What it holds, sorted by name.
    held: Vec<(NameId, ContentId)>,
}

impl TypeState {
    fn put(&mut self, name: NameId, content: ContentId) {
        match self.held.binary_search_by_key(&name, |(held, _)| *held) {
            Ok(at) => self.held[at].1 = content,
            Err(at) => self.held.insert(at, (name, content)),
        }
        self.unanswered.remove(&name);
    }

    fn remove(&mut self, name: NameId) {
        if let Ok(at) = self.held.binary_search_by_key(&name, |(held, _)| *held) {
            self.held.remove(at);
        }
        self.unanswered.remove(&name);
    }
}

impl Proxy {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity, types: Default::default() }
    }

    fn state(&self, kind: Kind) -> &TypeState {
        &self.types[kind as usize]
    }

    fn state_mut(&mut self, kind: Kind) -> &mut TypeState {
        &mut self.types[kind as usize]
    }

    /// True once it has everything that it needs to take traffic.
    pub(crate) fn is_complete(&self) -> bool {
        let answered = |kind| self.state(kind).answered;
        answered(Kind::Cluster) && answered(Kind::Listener) && self.types.iter().all(|it| it.unanswered.is_empty())
    }

    /// Everything that it holds.
    pub(crate) fn holdings(&self) -> impl Iterator<Item = (Kind, NameId, ContentId)> {
        let kinds = Kind::ALL.into_iter();
        kinds.flat_map(|kind| self.state(kind).held.iter().map(move |(name, content)| (kind, *name, *content)))
    }

    /// Forgets everything, as an Envoy that is started again.
    pub(crate) fn forget(&mut self) {
        self.types = Default::default();
    }

    /// The first requests of a new stream. An Envoy that holds something says so, for all types at once.
    pub(crate) fn open(&mut self, contents: &Contents) -> Vec<Request> {
        let mut requests = Vec::new();
        for kind in Kind::ALL {
            let state = self.state_mut(kind);
            state.answered = false;
            if kind != Kind::Cluster && !state.requested {
                continue;
            }
            state.requested = true;
            let text = |name: &NameId| contents.name_of(*name).to_owned();
            let versions = state.held.iter().map(|(name, content)| InitialVersion {
                name: text(name),
                version: contents.get(*content).version.clone(),
            });
            requests.push(Request {
                type_url: kind.type_url().to_owned(),
                subscribe: state.wanted.iter().map(text).collect(),
                initial_versions: versions.collect(),
                ..Request::default()
            });
        }
        if let Some(first) = requests.first_mut() {
            first.node = Some(Box::new(self.identity.node()));
        }
        requests
    }

    /// Takes a response; returns what to send, first of all the ACK. `seen` is told each content.
    ///
    /// # Errors
    /// A resource cannot be decoded.
    pub(crate) fn on_response(
        &mut self,
        response: Response,
        contents: &mut Contents,
        mut seen: impl FnMut(Kind, ContentId),
    ) -> Result<Vec<Request>, prost::DecodeError> {
        let kind = Kind::from_type_url(&response.type_url);
        let mut requests = vec![Request { type_url: response.type_url, nonce: response.nonce, ..Request::default() }];
        let Some(kind) = kind else { return Ok(requests) };
        let state = self.state_mut(kind);
        state.answered = true;
        for resource in response.resources {
            let name = contents.name(&resource.name);
            let content = contents.take(kind, resource)?;
            state.put(name, content);
            seen(kind, content);
        }
        for name in response.removed {
            state.remove(contents.name(&name));
        }
        if kind.is_wildcard() {
            self.follow_references(contents, &mut requests);
        }
        let listeners = self.state(Kind::Listener);
        // Envoy asks for listeners when its clusters are warm.
        if !listeners.requested && NAMED.iter().all(|kind| self.state(*kind).unanswered.is_empty()) {
            self.state_mut(Kind::Listener).requested = true;
            requests.push(Request { type_url: Kind::Listener.type_url().to_owned(), ..Request::default() });
        }
        Ok(requests)
    }

    /// Asks for what clusters and listeners lead to, and for nothing else any more.
    fn follow_references(&mut self, contents: &Contents, requests: &mut Vec<Request>) {
        let mut wanted: [Vec<NameId>; 5] = Default::default();
        for parent in [Kind::Cluster, Kind::Listener] {
            for (_, content) in &self.state(parent).held {
                for (kind, name) in &contents.get(*content).references {
                    wanted[*kind as usize].push(*name);
                }
            }
        }
        for kind in NAMED {
            let mut wanted = std::mem::take(&mut wanted[kind as usize]);
            wanted.sort_unstable();
            wanted.dedup();
            let state = self.state_mut(kind);
            if wanted == state.wanted {
                continue;
            }
            let fresh: Vec<_> = wanted.iter().filter(|name| state.wanted.binary_search(name).is_err()).collect();
            let gone: Vec<_> = state.wanted.iter().filter(|name| wanted.binary_search(name).is_err()).collect();
            let text = |name: &&NameId| contents.name_of(**name).to_owned();
            requests.push(Request {
                type_url: kind.type_url().to_owned(),
                subscribe: fresh.iter().map(text).collect(),
                unsubscribe: gone.iter().map(text).collect(),
                ..Request::default()
            });
            state.requested = true;
            state.unanswered.extend(fresh);
            let gone: Vec<_> = gone.into_iter().copied().collect();
            gone.into_iter().for_each(|name| state.remove(name));
            state.wanted = wanted;
        }
    }
}
