//! `GET /v1/meshgate/gateways`: the mesh gateways of all places, as callers see them and as they are connected.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::error::ApiError;
use super::filter::Filtered;
use super::proxies::{ShownProxy, shown};
use super::route::{Routes, get};
use super::{Api, GatewayExplanation};
use crate::model::{InstanceId, NodeName, Place, ServiceId};
use crate::store::Reader;

/// The route of gateways.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/gateways", get(list))
}

/// A mesh gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GatewayRow {
    /// Its datacenter.
    pub datacenter: String,
    /// Its partition.
    pub partition: String,
    /// The node it is registered on.
    pub node: String,
    /// Its service ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// The address inside of its own place.
    #[serde(rename = "LAN")]
    pub lan: String,
    /// The address for other places.
    #[serde(rename = "WAN")]
    pub wan: String,
    /// It says an address for other places; otherwise that of its own place stands for it.
    #[serde(rename = "SaysWAN")]
    pub says_wan: bool,
    /// Its checks let it take connections.
    pub healthy: bool,
    /// Its checks that do not pass, as `id: status`.
    pub failing: Vec<String>,
    /// It has a stream.
    pub connected: bool,
    /// Envoy's version as it says it; empty if it does not.
    pub envoy_version: String,
    /// How far it has come: `synced`, `behind`, `refused` or `disconnected`.
    pub sync: String,
    /// Clusters that it should have.
    pub clusters: usize,
    /// SNIs by which it chooses the way.
    #[serde(rename = "SNIs")]
    pub snis: usize,
}

async fn list(call: Call) -> Result<Response, ApiError> {
    call.read_at_length(Filtered::Nothing, |reader| Ok(rows(&call.api, reader))).await
}

/// The gateways, by their places.
pub(super) fn rows(api: &Api, reader: &Reader<'_>) -> Vec<GatewayRow> {
    let proxies: BTreeMap<InstanceId, ShownProxy> =
        shown(api, false).into_iter().map(|proxy| (proxy.state.instance(), proxy)).collect();
    let datacenters: BTreeSet<_> = reader.datacenters().into_iter().chain(api.options.datacenters()).collect();
    let places = datacenters.iter().flat_map(|datacenter| {
        reader.partitions(datacenter).into_iter().map(move |partition| Place::new(datacenter, &partition))
    });
    let rows = places.flat_map(|place| {
        let gateways = api.explanations.gateways(reader, &place);
        gateways.into_iter().map(|gateway| row(api, &place, gateway, &proxies)).collect::<Vec<_>>()
    });
    rows.collect()
}

fn row(
    api: &Api,
    place: &Place,
    gateway: GatewayExplanation,
    proxies: &BTreeMap<InstanceId, ShownProxy>,
) -> GatewayRow {
    let GatewayExplanation { instance: id, node, lan, wan, says_wan, healthy, failing } = gateway;
    let instance =
        InstanceId { place: place.clone(), node: NodeName::from(node.as_str()), id: ServiceId::from(id.as_str()) };
    let proxy = proxies.get(&instance).filter(|proxy| proxy.state.streams > 0);
    let clusters = proxy.and_then(|proxy| proxy.state.types.iter().find(|of_type| of_type.kind == "CDS"));
    GatewayRow {
        datacenter: place.datacenter.to_string(),
        partition: place.partition.to_string(),
        node,
        id,
        lan,
        wan,
        says_wan,
        healthy,
        failing,
        connected: proxy.is_some(),
        envoy_version: proxy.map(|proxy| proxy.state.envoy_version.clone()).unwrap_or_default(),
        sync: proxy.map_or("disconnected", |proxy| proxy.sync).to_owned(),
        clusters: clusters.map_or(0, |clusters| clusters.resources),
        snis: proxy.and_then(|_| api.happenings.server_names(&instance)).unwrap_or_default(),
    }
}
