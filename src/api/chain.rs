//! `/v1/discovery-chain/:service`: where a service's name leads, as the code that configures Envoy compiles it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use http::Method;
use serde::{Deserialize, Serialize};

use super::body::{Body, LARGE};
use super::call::Call;
use super::error::{ApiError, Decoder};
use super::filter::Filtered;
use super::route::{Routes, Tail, get_post, prefix};
use crate::codec::{self, shape_of};
use crate::model::entry::{LoadBalancer, Route, Split, Subset};
use crate::model::{Datacenter, GoDuration, MeshGateway, Namespace, Partition, PeerName, ServiceKey, is_default};

/// The routes under `/v1/discovery-chain/`.
pub(super) fn routes() -> Routes {
    prefix("/v1/discovery-chain/", get_post(read, compile).taking(Method::POST, shape_of::<ChainOverrides>))
}

/// What a caller's settings ask of a chain: the body of a POST.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ChainOverrides {
    /// The caller's gateway mode.
    pub override_mesh_gateway: MeshGateway,
    /// The protocol that the caller speaks; empty for the chain's own.
    pub override_protocol: String,
    /// The caller's time to connect; zero for the chain's own.
    pub override_connect_timeout: GoDuration,
}

/// A compiled chain as Consul shows it (`http-api.md` 2.7).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompiledChain {
    /// The service that was asked for.
    pub service_name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its partition.
    pub partition: Partition,
    /// The datacenter that its name is understood in.
    pub datacenter: Datacenter,
    /// Prefix of the clusters, if the overrides changed something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customization_hash: Option<String>,
    /// Nothing but defaults contributed.
    #[serde(skip_serializing_if = "is_default")]
    pub default: bool,
    /// What is spoken.
    pub protocol: &'static str,
    /// The key of the first node.
    pub start_node: String,
    /// The nodes by their keys.
    pub nodes: BTreeMap<String, ChainNode>,
    /// The targets by their IDs.
    pub targets: BTreeMap<String, ChainTarget>,
}

/// A node of a chain.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChainNode {
    /// `router`, `splitter` or `resolver`.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// Its key without the kind.
    pub name: String,
    /// The routes of a router, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<ChainRoute>>,
    /// The parts of a splitter, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits: Option<Vec<ChainSplit>>,
    /// What a resolver does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<ChainResolver>,
    /// How requests are spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
}

/// A route of a router.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChainRoute {
    /// The route as its entry says it.
    pub definition: Route,
    /// The key of the node that it leads to.
    pub next_node: String,
}

/// A part of a splitter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChainSplit {
    /// The split as its entry says it.
    pub definition: Split,
    /// Its share in percent, with the shares of the splitters that lead to it multiplied in.
    pub weight: f64,
    /// The key of the node that it leads to.
    pub next_node: String,
}

/// What a resolver does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChainResolver {
    /// Nothing but defaults made it.
    #[serde(skip_serializing_if = "is_default")]
    pub default: bool,
    /// Time to connect.
    pub connect_timeout: GoDuration,
    /// Time for a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<GoDuration>,
    /// The ID of its target.
    pub target: String,
    /// What stands in for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<ChainFailover>,
}

/// What stands in for a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChainFailover {
    /// IDs of the targets, in order.
    pub targets: Vec<String>,
}

/// Where traffic can go.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChainTarget {
    /// Its full name.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service.
    pub service: String,
    /// Its subset.
    #[serde(skip_serializing_if = "is_default")]
    pub service_subset: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its partition; for what a peer exports, the one that imports it.
    pub partition: Partition,
    /// Its datacenter; left out for what a peer exports.
    #[serde(skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// The peer that exports it.
    #[serde(skip_serializing_if = "is_default")]
    pub peer: PeerName,
    /// Its gateway mode.
    pub mesh_gateway: MeshGateway,
    /// The filter of its subset.
    pub subset: Subset,
    /// Time to connect.
    pub connect_timeout: GoDuration,
    /// It is outside of the mesh.
    #[serde(skip_serializing_if = "is_default")]
    pub external: bool,
    /// The SNI that is sent.
    #[serde(rename = "SNI")]
    pub sni: String,
    /// The SNI by which clusters and gateways know it.
    pub name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    chain: CompiledChain,
}

async fn read(call: Call, tail: Tail) -> Result<Response, ApiError> {
    answer(call, tail, ChainOverrides::default()).await
}

async fn compile(call: Call, tail: Tail, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let overrides = if body.iter().all(u8::is_ascii_whitespace) {
        ChainOverrides::default()
    } else {
        codec::weak(&body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Entry, problems })?
    };
    answer(call, tail, overrides).await
}

async fn answer(call: Call, tail: Tail, overrides: ChainOverrides) -> Result<Response, ApiError> {
    let mut service: ServiceKey = call.scope.service(&tail.required("service name")?);
    if let Some(datacenter) = call.query.value("compile-dc") {
        service.datacenter = Datacenter::from(datacenter);
    }
    let chains = Arc::clone(&call.api.chains);
    let compiled = |reader: &crate::store::Reader<'_>| {
        let chain = chains.compile(reader, &service, &overrides).map_err(ApiError::Chain)?;
        Ok(Answer { chain })
    };
    call.read(Filtered::Nothing, compiled).await
}
