//! `/v1/meshgate/proxies` and `/v1/meshgate/proxy`: which proxies there are, how far they have come, and what they should
//! have.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;
use http::HeaderName;
use serde::Serialize;

use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::happenings::{ProxyName, Resources};
use super::history::{ShownAuthor, parse_limit, written_time};
use super::route::{Routes, Tail, get, prefix};
use super::{Api, Nack, ProxyState};
use crate::model::InstanceId;
use crate::store::{Class, Commit, Index, View};

/// The header with the number of proxies that fit a question, of which the answer may hold a part.
const TOTAL: HeaderName = HeaderName::from_static("x-meshgate-total");
/// How far a proxy can be, in one word.
const SYNC: [&str; 4] = ["synced", "behind", "refused", "disconnected"];

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
    /// When it was made.
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

/// What is asked about proxies: which of them, in which order, and which part of that.
#[derive(Debug)]
struct Question {
    /// Those too that are registered and not connected.
    is_all: bool,
    /// In one of these states; in any if there are none.
    sync: Vec<String>,
    /// Of one of these kinds; of any if there are none.
    kinds: Vec<String>,
    /// In this datacenter, or in this partition of it.
    place: Option<(String, Option<String>)>,
    /// Those of this name.
    proxy: Option<ProxyName>,
    /// With this in what they are called, in small letters.
    search: String,
    /// Only those that go without something.
    with_problems: bool,
    sort: Sort,
    is_descending: bool,
    offset: usize,
    /// Everything if it is not said.
    limit: Option<usize>,
}

/// What proxies can be sorted by. Those that are equal in it come in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Datacenter, partition, node and ID.
    Name,
    /// The ID first.
    Id,
    Kind,
    Service,
    /// What somebody should look at comes first.
    Sync,
    Envoy,
    /// The shortest first.
    Lag,
}

impl Sort {
    fn parse(text: &str) -> Result<Self, ApiError> {
        Ok(match text {
            "name" => Self::Name,
            "id" => Self::Id,
            "kind" => Self::Kind,
            "service" => Self::Service,
            "sync" => Self::Sync,
            "envoy" => Self::Envoy,
            "lag" => Self::Lag,
            _ => {
                let expected = "expected name, id, kind, service, sync, envoy or lag, with - in front for the reverse";
                return Err(ApiError::InvalidParameter { name: "sort", value: text.to_owned(), expected });
            }
        })
    }

    fn compare(self, left: &ShownProxy, right: &ShownProxy) -> Ordering {
        match self {
            Self::Name => Ordering::Equal,
            Self::Id => left.state.id.cmp(&right.state.id),
            Self::Kind => left.kind.cmp(&right.kind),
            Self::Service => left.service.cmp(&right.service),
            Self::Sync => left.urgency().cmp(&right.urgency()),
            Self::Envoy => version(&left.state.envoy_version).cmp(&version(&right.state.envoy_version)),
            Self::Lag => left.lag().total_cmp(&right.lag()),
        }
    }
}

/// The numbers of a version, so that 1.9 comes before 1.10.
fn version(text: &str) -> Vec<u64> {
    text.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

impl Question {
    fn of(call: &Call) -> Result<Self, ApiError> {
        let query = &call.query;
        let list = |text: Option<&str>| -> Vec<String> {
            text.into_iter().flat_map(|text| text.split(',')).map(str::to_owned).collect()
        };
        let sort = query.value("sort").unwrap_or("name");
        let sync = list(query.value("sync"));
        if let Some(unknown) = sync.iter().find(|sync| !SYNC.contains(&sync.as_str())) {
            let expected = "expected synced, behind, refused or disconnected, or several with commas between them";
            return Err(ApiError::InvalidParameter { name: "sync", value: unknown.clone(), expected });
        }
        let place = query.value("place").map(|text| match text.split_once('/') {
            Some((datacenter, partition)) => (datacenter.to_owned(), Some(partition.to_owned())),
            None => (text.to_owned(), None),
        });
        let offset = query.value("offset").unwrap_or("0");
        Ok(Self {
            is_all: query.flag("registered")?,
            sync,
            kinds: list(query.value("kinds")),
            place,
            proxy: query.value("proxy").map(ProxyName::new),
            search: query.value("search").unwrap_or_default().to_lowercase(),
            with_problems: query.flag("problems")?,
            sort: Sort::parse(sort.strip_prefix('-').unwrap_or(sort))?,
            is_descending: sort.starts_with('-'),
            offset: offset.parse().map_err(|_| ApiError::InvalidParameter {
                name: "offset",
                value: offset.to_owned(),
                expected: "expected how many to leave out, such as 100",
            })?,
            limit: query.value("limit").map(parse_limit).transpose()?,
        })
    }

    /// The part that is asked for, and how many there are in all parts.
    fn answer(&self, api: &Api) -> (Vec<ShownProxy>, usize) {
        let mut proxies = shown(api, self.is_all);
        proxies.retain(|proxy| self.means(proxy));
        let total = proxies.len();
        // They come sorted by name, and the sort is stable.
        proxies.sort_by(|left, right| {
            let order = self.sort.compare(left, right);
            if self.is_descending { order.reverse() } else { order }
        });
        if self.is_descending && self.sort == Sort::Name {
            proxies.reverse();
        }
        let part = proxies.into_iter().skip(self.offset).take(self.limit.unwrap_or(usize::MAX));
        let mut part: Vec<_> = part.collect();
        explain_refusals(api, &mut part);
        (part, total)
    }

    fn means(&self, proxy: &ShownProxy) -> bool {
        let ProxyState { datacenter, partition, node, id, problems, .. } = &proxy.state;
        let is_in = |(of_datacenter, of_partition): &(String, Option<String>)| {
            datacenter.as_str() == of_datacenter
                && of_partition.as_ref().is_none_or(|wanted| partition.as_str() == wanted)
        };
        let names = [id.as_str(), node.as_str(), &proxy.service];
        (self.sync.is_empty() || self.sync.iter().any(|sync| sync == proxy.sync))
            && (self.kinds.is_empty() || self.kinds.contains(&proxy.kind))
            && self.place.as_ref().is_none_or(is_in)
            && self.proxy.as_ref().is_none_or(|name| name.means(&proxy.state.instance()))
            && (self.search.is_empty() || names.iter().any(|name| name.to_lowercase().contains(&self.search)))
            && (!self.with_problems || !problems.is_empty())
    }
}

/// The proxies with open streams, and what became of the responses they were sent; all that are registered if asked.
async fn proxies(call: Call) -> Result<Response, ApiError> {
    let question = Question::of(&call)?;
    let meta = call.after_commit().await?;
    let (part, total) = Size::Large.compute(|| question.answer(&call.api)).await;
    let mut response = meta.on(call.json(&part));
    response.headers_mut().insert(TOTAL, total.into());
    Ok(response)
}

/// Every connected proxy, and on request every registered one, in the order of their names. The commits behind refusals
/// are not filled in.
pub(super) fn shown(api: &Api, is_all: bool) -> Vec<ShownProxy> {
    let view = api.store.view();
    let mut states = api.proxies.proxies();
    if is_all {
        let connected: BTreeSet<_> = states.iter().map(ProxyState::instance).collect();
        let missing = view.proxies().map(|(id, _)| id).filter(|id| !connected.contains(id));
        states.extend(missing.map(ProxyState::disconnected));
        states.sort_by_cached_key(ProxyState::instance);
    }
    states.into_iter().map(|state| ShownProxy::of(&view, state)).collect()
}

/// Fills in which commits are behind refusals.
fn explain_refusals(api: &Api, proxies: &mut [ShownProxy]) {
    let types = proxies.iter_mut().flat_map(|proxy| &mut proxy.state.types);
    let mut nacks = types.filter_map(|of_type| of_type.last_nack.as_mut()).peekable();
    if nacks.peek().is_some() {
        let commits = api.store.history().commits(None);
        nacks.for_each(|nack| nack.causes = causes(&commits, nack));
    }
}

impl ShownProxy {
    pub(super) fn of(view: &View, state: ProxyState) -> Self {
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

    /// How soon somebody should look at it: a smaller number comes first.
    fn urgency(&self) -> usize {
        let by_sync = ["refused", "behind", "disconnected", "synced"].iter().position(|sync| *sync == self.sync);
        // Of two in one state, the one that goes without something is worse.
        by_sync.unwrap_or_default() * 2 + usize::from(self.state.problems.is_empty())
    }

    fn lag(&self) -> f64 {
        self.state.behind.filter(|_| self.state.streams > 0).unwrap_or_default()
    }
}

/// The commits of entries that what was refused came from.
fn causes(commits: &[Arc<Commit>], nack: &Nack) -> Vec<Cause> {
    let within = |index: Index| nack.since < index && index <= nack.index;
    // What operators wrote comes first; of the rest only what is left when there is nothing of that.
    let behind: Vec<_> = commits.iter().filter(|commit| within(commit.index)).collect();
    let written: Vec<_> = behind.iter().filter(|commit| commit.class == Class::Config).copied().collect();
    let told = if written.is_empty() { behind } else { written };
    let cause = |commit: &&Arc<Commit>| Cause {
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
    let _turn = Size::Large.turn().await;
    Size::Large.run(|| {
        let view = call.api.store.history().state_at(index, &current)?;
        let proxy = call.proxy_in(&view, &name)?;
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
