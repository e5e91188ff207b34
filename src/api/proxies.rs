//! `/v1/meshgate/proxies` and `/v1/meshgate/proxy`: which proxies there are, how far they have come, and what they should
//! have.

use std::collections::BTreeSet;

use axum::response::Response;
use serde::Serialize;

use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::happenings::Resources;
use super::history::{ShownAuthor, written_time};
use super::route::{Routes, Tail, get, prefix};
use super::{Api, Nack, ProxyState};
use crate::model::InstanceId;
use crate::store::{Class, Index, View};

/// Most commits behind a refusal that are told.
const CAUSES: usize = 5;
/// Most rows of each.
const ROWS: usize = 5;

/// The routes of proxies.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/meshgate/proxies", get(proxies))
        .merge(prefix("/v1/meshgate/proxy/", get(resources)))
        .merge(prefix("/v1/meshgate/at/", get(past)))
}

/// A proxy with what the catalog says about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShownProxy {
    #[serde(flatten)]
    pub(super) state: ProxyState,
    /// Its kind, such as `mesh-gateway`; empty if it is not registered.
    pub(super) kind: String,
    /// The service that it stands for.
    pub(super) service: String,
    /// In one word: `synced`, `behind`, `refused` or `disconnected`.
    pub(super) sync: &'static str,
}

/// A commit behind a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cause {
    /// The commit.
    index: Index,
    /// When it became durable.
    time: String,
    /// Who wrote it.
    author: ShownAuthor,
    /// What it changed, such as `service-router/web`.
    rows: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownResources {
    proxy: String,
    /// The last commit that changed what it should have.
    index: Index,
    /// The last one whose outcome it has acknowledged as a whole.
    acked: Index,
    #[serde(flatten)]
    all: Resources,
}

/// What a proxy should have had once.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Past {
    proxy: String,
    /// The commit after which that was so.
    index: Index,
    #[serde(flatten)]
    all: Resources,
}

/// The proxies with open streams, and what became of the responses they were sent; all that are registered if asked.
async fn proxies(call: Call) -> Result<Response, ApiError> {
    let is_all = call.query.flag("registered")?;
    Ok(call.json(&shown(&call.api, is_all)))
}

/// Every connected proxy, and on request every registered one.
pub(super) fn shown(api: &Api, is_all: bool) -> Vec<ShownProxy> {
    let view = api.store.view();
    let mut states = api.proxies.proxies();
    if is_all {
        let connected: BTreeSet<_> = states.iter().map(ProxyState::instance).collect();
        let missing = view.proxies().map(|(id, _)| id).filter(|id| !connected.contains(id));
        states.extend(missing.map(ProxyState::disconnected));
        states.sort_by_key(ProxyState::instance);
    }
    states.into_iter().map(|state| ShownProxy::of(api, &view, state)).collect()
}

impl ShownProxy {
    fn of(api: &Api, view: &View, mut state: ProxyState) -> Self {
        let nacks = state.types.iter_mut().filter_map(|of_type| of_type.last_nack.as_mut());
        nacks.for_each(|nack| nack.causes = causes(api, nack));
        let row = view.service(&state.instance());
        let sync = state.sync();
        let service = row.map(|row| {
            let named = row.value.mesh_destination().map(|service| service.to_string());
            named.unwrap_or_else(|| row.value.full_name().to_string())
        });
        Self {
            kind: row.map(|row| row.value.kind.as_str().to_owned()).unwrap_or_default(),
            service: service.unwrap_or_default(),
            sync,
            state,
        }
    }
}

/// The commits of entries that what was refused came from.
fn causes(api: &Api, nack: &Nack) -> Vec<Cause> {
    let commits = api.store.history().commits(None);
    let within = |index: Index| nack.since < index && index <= nack.index;
    // What operators wrote comes first; of the rest only what is left when there is nothing of that.
    let behind: Vec<_> = commits.iter().filter(|commit| within(commit.index)).collect();
    let written: Vec<_> = behind.iter().filter(|commit| commit.class == Class::Config).copied().collect();
    let told = if written.is_empty() { behind } else { written };
    let cause = |commit: &&std::sync::Arc<crate::store::Commit>| Cause {
        index: commit.index,
        time: written_time(commit.time),
        author: commit.author.into(),
        rows: commit.changes(ROWS).into_iter().map(|row| row.name).collect(),
    };
    told.iter().take(CAUSES).map(cause).collect()
}

/// What a proxy should have, by the control plane.
async fn resources(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = tail.required("ID of a proxy")?;
    let proxy: InstanceId = call.known_proxy(&name)?;
    let state = call.api.proxies.proxies().into_iter().find(|state| state.instance() == proxy);
    let _turn = Size::Large.turn().await;
    Size::Large.run(|| {
        let all = call.api.happenings.resources(&proxy).ok_or_else(|| ApiError::NotConfigured(name))?;
        let (index, acked) = state.map_or((0, 0), |state| (state.index, state.acked));
        Ok(call.json(&ShownResources { proxy: proxy.to_string(), index, acked, all: call.asked(all) }))
    })
}

/// What a proxy should have had after a commit, or at a time.
async fn past(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = tail.required("ID of a proxy")?;
    let current = call.api.store.view();
    let index = call.moment("commit", call.query.value("commit").ok_or(ApiError::Missing("commit"))?, &current)?;
    let view = call.api.store.history().state_at(index, &current)?;
    let proxy = call.proxy_in(&view, &name)?;
    let _turn = Size::Large.turn().await;
    Size::Large.run(|| {
        let all = call.api.happenings.resources_in(&view, &proxy).ok_or_else(|| ApiError::NotConfigured(name))?;
        Ok(call.json(&Past { proxy: proxy.to_string(), index, all: call.asked(all) }))
    })
}

impl Call {
    /// The resources of the type that was asked for, or all.
    fn asked(&self, mut all: Resources) -> Resources {
        if let Some(kind) = self.query.value("types").map(str::to_ascii_uppercase) {
            all.resources.retain(|resource| resource.kind == kind);
        }
        all
    }
}
