//! `/v1/meshgate/explain/`: why configuration is what it is, told by the code that makes it.

use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::error::ApiError;
use super::filter::Filtered;
use super::history::{ShownAuthor, written_time};
use super::intentions;
use super::named::{self, Named};
use super::route::{Routes, Tail, get, prefix};
use super::topology::Dialled;
use crate::model::{
    Datacenter, InstanceId, Namespace, NodeName, Partition, PeerName, Place, ServiceId, TrustDomain, is_default,
};
use crate::store::{Index, Reader};

/// The routes under `/v1/meshgate/explain/`.
pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(prefix("/v1/meshgate/explain/upstream/", get(upstream)))
        .merge(prefix("/v1/meshgate/explain/mode/", get(modes)))
        .merge(prefix("/v1/meshgate/explain/resource/", get(resource)))
        .route("/v1/meshgate/explain/intention", get(intentions::explain))
}

/// Explains what proxies are sent.
pub trait Explanations: Send + Sync + 'static {
    /// Where an upstream of a sidecar leads, and why. What is read goes through `reader`.
    ///
    /// # Errors
    /// The proxy has no such upstream.
    fn upstream(
        &self,
        reader: &Reader<'_>,
        proxy: &InstanceId,
        upstream: &Named,
    ) -> Result<UpstreamExplanation, Unexplained>;

    /// The trust domain of every identity.
    fn trust_domain(&self) -> &TrustDomain;

    /// The mesh gateways of a place as callers see them, in the order of their IDs. What is read goes through `reader`.
    fn gateways(&self, reader: &Reader<'_>, place: &Place) -> Vec<GatewayExplanation>;

    /// Who dials whom: the upstreams of every sidecar, resolved. At most `most` of them are; sidecars that are registered
    /// alike are resolved once and count as one there. What is read goes through `reader`.
    fn dialled(&self, reader: &Reader<'_>, most: usize) -> Dialled;

    /// Which rows a resource of a proxy comes from, or one field of it. `resource` is its type and name. What is read goes
    /// through `reader`.
    ///
    /// # Errors
    /// The proxy has no such resource, or that has no such field.
    fn resource(
        &self,
        reader: &Reader<'_>,
        proxy: &InstanceId,
        resource: (&str, &str),
        field: &str,
    ) -> Result<ResourceExplanation, Unexplained>;

    /// The gateway modes of all upstreams of a sidecar. What is read goes through `reader`.
    ///
    /// # Errors
    /// It is no sidecar.
    fn modes(&self, reader: &Reader<'_>, proxy: &InstanceId) -> Result<Vec<ModeExplanation>, Unexplained>;
}

/// Why something cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum Unexplained {
    /// There is nothing of that name.
    #[error("{0}")]
    NotThere(String),
    /// The name means several things, or cannot be understood.
    #[error("{0}")]
    Unclear(String),
}

impl From<Unexplained> for ApiError {
    fn from(error: Unexplained) -> Self {
        match error {
            Unexplained::NotThere(what) => Self::NotThere(what),
            Unexplained::Unclear(what) => Self::Unclear(what),
        }
    }
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedProxy {
    /// Its service ID.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// The node it is registered on.
    pub node: NodeName,
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Its partition.
    pub partition: Partition,
    /// The service that it stands for; a gateway's own name.
    pub service: String,
    /// The commit that last changed its registration.
    pub modify_index: Index,
}

/// A setting: a field of a row, and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Setting {
    /// The row, such as `service-defaults/web` or `proxy registration`.
    pub source: String,
    /// The partition that the row is in.
    pub partition: Partition,
    /// The field.
    pub field: String,
    /// What it says; empty if it says nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: String,
    /// The commit that last changed the row; 0 if there is no such row.
    pub modify_index: Index,
    /// When that was, and by whom; absent if it is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
}

/// When a commit was written, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Written {
    /// When it was made.
    pub time: String,
    /// Who wrote it: `call`, `files` and so on.
    pub by: String,
    /// The address of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl Written {
    /// What is remembered of the commits of these settings, added to them.
    pub(super) fn add<'s>(call: &Call, settings: impl IntoIterator<Item = &'s mut Setting>) {
        let history = call.api.store.history();
        for setting in settings {
            let commit = history.commit(setting.modify_index);
            setting.written = commit.map(|commit| {
                let ShownAuthor { by, address } = commit.author.into();
                Self { time: written_time(commit.time), by: by.to_owned(), address }
            });
        }
    }
}

/// A rung of the ladder of gateway modes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RungExplanation {
    /// Its number; the rung with the highest one that is set wins.
    pub rung: usize,
    /// What it says.
    #[serde(flatten)]
    pub setting: Setting,
    /// `wins`, `overridden` or `unset`.
    pub status: String,
}

/// Where an upstream leads, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpstreamExplanation {
    /// Whose upstream it is.
    pub proxy: ExplainedProxy,
    /// The upstream, as names of listeners have it.
    pub upstream: String,
    /// The service that the upstream names.
    pub names: TargetService,
    /// Where the application dials it; empty if nowhere.
    pub listens: String,
    /// Requests are told apart.
    #[serde(rename = "HTTP")]
    pub http: bool,
    /// The caller's side of the gateway mode, strongest rung first.
    pub ladder: Vec<RungExplanation>,
    /// What is particular about this ladder.
    pub notes: Vec<String>,
    /// The config entries that the discovery chain is made of.
    pub chain: Vec<Setting>,
    /// The targets, the primary one first.
    pub targets: Vec<TargetExplanation>,
    /// What would be without each of the rungs that are set.
    pub removals: Vec<Removal>,
    /// Why it leads nowhere, or goes without some targets.
    pub problems: Vec<String>,
}

/// Where traffic of an upstream can go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetExplanation {
    /// Its full name.
    pub target: String,
    /// The service that it is.
    pub service: TargetService,
    /// The cluster of the sidecar.
    pub cluster: String,
    /// Its turn, where it is one of several that stand in for each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leg: Option<usize>,
    /// The mode; empty if nothing sets one.
    pub mode: String,
    /// What set it.
    pub because: String,
    /// The target's side of the mode, which counts only where the caller's side says nothing.
    pub target_side: Vec<Setting>,
    /// The mode makes a difference.
    pub applies: bool,
    /// Why it does or does not.
    pub applies_because: String,
    /// `instances`, `local gateways` or `remote gateways`.
    pub dials: String,
    /// The place of the gateways that are dialled, as `datacenter/partition`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gateways_of: String,
    /// Which addresses are dialled: `lan` or `wan`, and why.
    pub addresses: String,
    /// The SNI of its connections.
    #[serde(rename = "SNI")]
    pub sni: String,
    /// Who may answer.
    pub identities: Vec<String>,
    /// What is dialled.
    pub endpoints: Vec<EndpointExplanation>,
    /// The instances behind the gateways, whose health counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// What is missing among the endpoints, and why.
    pub omissions: Vec<String>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointExplanation {
    /// Its address, as the sidecar dials it.
    pub address: String,
    /// The instance; empty if it is not known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instance: String,
    /// Its node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: String,
    /// Envoy sends it traffic.
    pub healthy: bool,
    /// The instance's checks that do not pass, as `id: status`.
    pub failing: Vec<String>,
}

/// The instances of a service that is reached through gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Behind {
    /// The service, as `datacenter/partition/namespace/name`.
    pub service: String,
    /// How many of its instances take traffic.
    pub healthy: usize,
    /// How many there are.
    pub total: usize,
    /// The instances.
    pub instances: Vec<EndpointExplanation>,
}

/// A service by its full name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetService {
    /// Its name; that of the query for a prepared query.
    pub name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its partition; for what a peer exports, the one that imports it.
    pub partition: Partition,
    /// Its datacenter; empty for what a peer exports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// The peer that exports it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub peer: PeerName,
}

/// What would be without a setting: found out by resolving without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Removal {
    /// The rung that is taken away.
    pub rung: usize,
    /// The targets then.
    pub targets: Vec<RemovedTarget>,
    /// Why there would be none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub problem: String,
}

/// A target without a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemovedTarget {
    /// Its full name.
    pub target: String,
    /// Its cluster.
    pub cluster: String,
    /// Its mode.
    pub mode: String,
    /// What would set it.
    pub because: String,
    /// What would be dialled.
    pub endpoints: Vec<String>,
    /// Something of this is other than now.
    pub changes: bool,
}

/// A mesh gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GatewayExplanation {
    /// Its service ID.
    pub instance: String,
    /// Its node.
    pub node: String,
    /// The address inside of its own place.
    pub lan: String,
    /// The address for other places.
    pub wan: String,
    /// It says an address for other places; otherwise that of its own place stands for it.
    pub says_wan: bool,
    /// Its checks let it take traffic.
    pub healthy: bool,
    /// Its checks that do not pass, as `id: status`.
    pub failing: Vec<String>,
}

/// Which rows a resource comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceExplanation {
    /// The proxy that has it.
    pub proxy: ServiceId,
    /// Its type: `listener`, `cluster`, `endpoint` or `route`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its leaves, with what changes them; leaves that only some change would add have no value.
    pub fields: Vec<FieldExplanation>,
    /// What it would not be there without, at least not under its name.
    pub exists: Vec<SourceExplanation>,
    /// Not everything was tried, because there was too much.
    #[serde(rename = "Cut")]
    pub is_cut: bool,
    /// The resource as it is, as Envoy's JSON.
    pub resource: serde_json::Value,
}

/// A leaf of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FieldExplanation {
    /// The leaf.
    pub field: String,
    /// What it says.
    pub value: String,
    /// What it comes from; nothing for what stays the same as long as the resource is there under its name.
    pub sources: Vec<SourceExplanation>,
}

/// A field of a row that a resource comes from: found out by changing it and making the resource again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SourceExplanation {
    /// The field; an empty one stands for the row as a whole.
    #[serde(flatten)]
    pub setting: Setting,
    /// What was tried in its place; absent if it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// What the leaf says then.
    pub then: String,
}

/// The mode of one target of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModeExplanation {
    /// The upstream, as names of listeners have it.
    pub upstream: String,
    /// The target; empty if it leads nowhere.
    pub target: String,
    /// The mode; empty if nothing sets one.
    pub mode: String,
    /// What set it.
    pub because: String,
    /// What is dialled.
    pub dials: String,
    /// Why it leads nowhere.
    #[serde(default, skip_serializing_if = "is_default")]
    pub problem: String,
}

async fn upstream(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let (name, explanations) = (tail.required("proxy ID")?, call.api.explanations.clone());
    let upstream = call.query.value("upstream").ok_or(ApiError::Missing("upstream"))?;
    let upstream = Named::parse(upstream).map_err(ApiError::Unclear)?;
    let explained = |reader: &Reader<'_>| {
        let proxy = named::proxy(reader, &call.scope.place, call.query.value("node"), &name)?;
        let mut told = explanations.upstream(reader, &proxy, &upstream)?;
        let ladder = told.ladder.iter_mut().map(|rung| &mut rung.setting);
        let of_targets = told.targets.iter_mut().flat_map(|target| &mut target.target_side);
        Written::add(&call, ladder.chain(&mut told.chain).chain(of_targets));
        Ok(told)
    };
    call.read_at_length(Filtered::Nothing, explained).await
}

async fn resource(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let (name, explanations) = (tail.required("proxy ID")?, call.api.explanations.clone());
    let kind = call.query.value("type").ok_or(ApiError::Missing("type"))?;
    let resource = call.query.value("resource").ok_or(ApiError::Missing("resource"))?;
    let field = call.query.value("field").unwrap_or_default();
    let explained = |reader: &Reader<'_>| {
        let proxy = named::proxy(reader, &call.scope.place, call.query.value("node"), &name)?;
        let mut told = explanations.resource(reader, &proxy, (kind, resource), field)?;
        let of_fields = told.fields.iter_mut().flat_map(|field| &mut field.sources);
        Written::add(&call, of_fields.chain(&mut told.exists).map(|source| &mut source.setting));
        Ok(told)
    };
    call.read_at_length(Filtered::Nothing, explained).await
}

async fn modes(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let (name, explanations) = (tail.required("proxy ID")?, call.api.explanations.clone());
    let explained = |reader: &Reader<'_>| {
        let proxy = named::proxy(reader, &call.scope.place, call.query.value("node"), &name)?;
        Ok(explanations.modes(reader, &proxy)?)
    };
    call.read_at_length(Filtered::Nothing, explained).await
}
