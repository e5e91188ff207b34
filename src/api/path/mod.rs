//! `/v1/meshgate/path`: the way from a service to another one, link by link, and what is broken on it.
//!
//! Nine links are looked at, each by what the state says about it. Then the path model follows the traffic through the
//! configurations that the proxies on the way are sent: where it stops although no link says why, that is told too.

mod links;
mod sample;
mod verdict;

use std::collections::BTreeMap;

use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::error::ApiError;
use super::explain::ExplainedProxy;
use super::filter::Filtered;
use super::named::Named;
use super::route::{Routes, get};
use crate::model::{InstanceId, Place, is_default};
use crate::store::Reader;

/// The routes of paths.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/path", get(path))
}

/// Follows traffic through what proxies are sent.
pub trait Paths: Send + Sync + 'static {
    /// Every way that traffic of an upstream can take. What is read goes through `reader`.
    fn trace(&self, reader: &Reader<'_>, question: &TraceQuestion) -> Trace;
}

/// What is traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceQuestion {
    /// The sidecar whose application sends.
    pub proxy: InstanceId,
    /// The upstream, as names of listeners have it.
    pub upstream: String,
    /// The request that is sent; `None` for bytes that are no HTTP.
    pub request: Option<TracedRequest>,
    /// The proxies that may be on the way, besides the sidecar.
    pub others: Vec<InstanceId>,
    /// Those that may be on the way too, and are not looked at: what leads there is not told.
    pub left_out: Vec<InstanceId>,
    /// The SNI that gateways of these places should know.
    pub sni: String,
    /// The places of those gateways.
    pub places: Vec<Place>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedRequest {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
}

/// What tracing finds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// The ways.
    pub ways: Vec<Way>,
    /// What the gateways of the places that were asked about do with the SNI: nothing is wrong, or what is.
    pub gateways: BTreeMap<InstanceId, Option<String>>,
}

/// One way that traffic can take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Way {
    /// The cluster that the routes of the first proxy choose, which may be one of several in line. Ways with the same one share
    /// the same traffic; where their first hops have different clusters, these stand in for each other.
    #[serde(default, skip_serializing_if = "is_default")]
    pub chosen: String,
    /// The proxies that it passes, in order, each with the address that it dials next.
    pub hops: Vec<Hop>,
    /// `arrives`, `leaves` (to an address that no proxy here is at) or `stops`.
    pub outcome: String,
    /// Where it ends, or why it stops.
    pub end: String,
    /// The link that this is about; 0 if it arrives or leaves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub link: usize,
}

/// A proxy on a way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Hop {
    /// The proxy, as `datacenter/partition/node/ID`.
    pub proxy: String,
    /// The cluster that it chooses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cluster: String,
    /// The SNI that it sends.
    #[serde(rename = "SNI", default, skip_serializing_if = "is_default")]
    pub sni: String,
    /// The address that it dials.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dials: String,
}

/// The way from a service to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PathAnswer {
    /// Where it starts, as `datacenter/partition/namespace/name`.
    pub from: String,
    /// Where it should end, likewise; `peer:name` stands for the datacenter where it is in a peer.
    pub to: String,
    /// The sidecar that is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ExplainedProxy>,
    /// Its upstream, as names of listeners have it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub upstream: String,
    /// Where the application dials it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listens: String,
    /// What is spoken: `http` or `tcp`.
    pub protocol: String,
    /// No link is broken, and wherever traffic is sent of what was looked at, it is known to arrive, or to leave for where
    /// nobody here can follow it.
    pub ok: bool,
    /// The links, in order.
    pub links: Vec<PathLink>,
    /// The number of the first broken one; 0 if there is none.
    pub first_broken: usize,
    /// The command that mends it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fix: String,
    /// The ways that traffic takes by the configurations of the proxies.
    pub ways: Vec<Way>,
    /// What traffic was not followed through, because there is much that is alike.
    pub left_out: Vec<String>,
}

/// A link of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PathLink {
    /// Its number.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// `ok`, `warning`, `broken`, `blocked` (by another link), `unused` or `unknown`.
    pub status: String,
    /// What was found.
    pub detail: String,
    /// What identifies the fault, such as `MG-PATH-005`.
    #[serde(rename = "ID", default, skip_serializing_if = "is_default")]
    pub id: String,
    /// The link because of which it is blocked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub because_of: usize,
    /// The command that mends it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fix: String,
}

async fn path(call: Call) -> Result<Response, ApiError> {
    let name = |name: &'static str, value: Option<&str>| {
        Named::parse(value.ok_or(ApiError::Missing(name))?).map_err(ApiError::Unclear)
    };
    let (from, to) = (name("from", call.query.value("from"))?, name("to", call.query.value("to"))?);
    let request = call.query.value("http").map(request).transpose()?;
    let answer =
        |reader: &Reader<'_>| links::Asked { call: &call, reader, from: &from, to: &to }.answer(request.clone());
    call.read_at_length(Filtered::Nothing, answer).await
}

/// Reads `GET /path` or `/path`.
fn request(text: &str) -> Result<TracedRequest, ApiError> {
    let (method, path) = text.split_once(' ').unwrap_or(("GET", text));
    if !path.starts_with('/') || method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        let expected = "expected a method and a path, such as \"GET /\"";
        return Err(ApiError::InvalidParameter { name: "http", value: text.to_owned(), expected });
    }
    Ok(TracedRequest { method: method.to_ascii_uppercase(), path: path.to_owned() })
}
