//! `GET /v1/meshgate/check`: a checklist of everything that is looked at, with what was found.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;

use super::blocking::Size;
use super::call::Call;
use super::certs::Holders;
use super::error::ApiError;
use super::gateways;
use super::history::written_time;
use super::lint::Finding;
use super::proxies::{ShownProxy, shown};
use super::route::{Routes, get};
use crate::model::{Leaf, PeeringState, Root};
use crate::store::{Index, Reader, View};

/// A connected proxy that has not had what it should have for this long has a problem.
const BEHIND: Duration = Duration::from_secs(10);
/// In per cent of its lifetime: a leaf that is older should have been replaced.
const LEAF_AGE: i32 = 85;
/// A root is due when fewer lifetimes of a leaf are left of it.
const ROOT_LIFETIMES: i32 = 2;

/// What is looked at: the ID, which is never used for something else, and what holds if nothing is found.
const CHECKS: &[(&str, &str)] = &[
    ("MG-SRV-001", "the control plane is ready"),
    ("MG-XDS-001", "no proxy goes without something"),
    ("MG-XDS-002", "no proxy refuses what it was sent last"),
    ("MG-XDS-003", "every connected proxy has what it should have"),
    ("MG-XDS-004", "every registered sidecar is connected"),
    ("MG-GW-001", "gateways take traffic wherever a mode leads through them"),
    ("MG-GW-002", "gateways say a WAN address where there are other places"),
    ("MG-GW-003", "the checks of every gateway let it take connections"),
    ("MG-GW-004", "every gateway is connected"),
    ("MG-CERT-001", "the root that signs is valid for long enough"),
    ("MG-CERT-002", "every leaf is replaced in time"),
    ("MG-CERT-003", "every leaf in use is of the root that signs"),
    ("MG-PEER-001", "every peering is active"),
    ("MG-EXP-001", "what is exported is registered"),
    ("MG-EXP-002", "exports name peers that there are"),
    ("MG-EXP-003", "exports name partitions that there are"),
    ("MG-INT-001", "intentions are about services that are registered"),
    ("MG-INT-002", "intentions judge callers that are registered"),
    ("MG-CFG-001", "redirects lead to instances"),
    ("MG-CFG-002", "failovers lead to instances"),
    ("MG-CFG-003", "routes and splits lead to services that are registered"),
    ("MG-CFG-004", "upstreams have instances"),
    ("MG-SNI-001", "no two things have one SNI"),
];

/// The route of the checklist.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/check", get(check))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Checklist {
    /// The commit of the state.
    index: Index,
    /// There are no problems, as far as all was looked at; there may be warnings.
    ok: bool,
    checks: Vec<Checked>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    #[serde(rename = "ID")]
    id: &'static str,
    /// Its area, such as `GW`.
    category: &'static str,
    /// What holds if nothing was found.
    what: &'static str,
    /// `ok`, `warning` or `problem`; `unknown` where nobody could be asked.
    status: &'static str,
    findings: Vec<Finding>,
}

/// Everything, or what `only` and `category` name.
async fn check(call: Call) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&call)?;
    let view = call.api.store.view();
    let of_state = call.api.linter.findings(view.clone()).await;
    let is_known = of_state.is_ok();
    let mut found = of_state.unwrap_or_default();
    found.extend(Size::Large.run(|| looked(&call, &view)));
    let order = |finding: &Finding| (finding.id.clone(), finding.subject.clone(), finding.what.clone());
    found.sort_by_cached_key(order);
    let checks: Vec<_> =
        CHECKS.iter().filter(|(id, _)| wanted.has(id)).map(|item| Checked::of(item, &found, is_known)).collect();
    let ok = !checks.iter().any(|checked| matches!(checked.status, "problem" | "unknown"));
    Ok(call.meta_at(view.index())?.on(call.json(&Checklist { index: view.index(), ok, checks })))
}

/// True for what is found by `lint`, from the state alone.
fn is_of_lint(id: &str) -> bool {
    matches!(category(id), "EXP" | "INT" | "CFG" | "SNI") || matches!(id, "MG-GW-001" | "MG-GW-002")
}

/// The area of an ID: what is between its dashes.
fn category(id: &str) -> &str {
    id.split('-').nth(1).unwrap_or_default()
}

/// What somebody wants to know; everything if they name nothing.
struct Wanted {
    ids: BTreeSet<String>,
    categories: BTreeSet<String>,
}

impl Wanted {
    fn of(call: &Call) -> Result<Self, ApiError> {
        let said = |texts: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> {
            let parts = texts.flat_map(|text| text.split(',')).map(|part| part.trim().to_ascii_uppercase());
            parts.filter(|part| !part.is_empty()).collect()
        };
        let wanted = Self { ids: said(&mut call.query.all("only")), categories: said(&mut call.query.all("category")) };
        let categories: BTreeSet<_> = CHECKS.iter().map(|(id, _)| category(id)).collect();
        let is_unknown = |text: &&String| !CHECKS.iter().any(|(id, _)| id == text);
        let unknown = wanted.ids.iter().filter(is_unknown).map(|id| format!("there is no check {id}"));
        let strange = wanted.categories.iter().filter(|text| !categories.contains(text.as_str()));
        let strange = strange.map(|text| {
            format!("there is no category {text}: {}", categories.iter().copied().collect::<Vec<_>>().join(", "))
        });
        let refused: Vec<_> = unknown.chain(strange).collect();
        if refused.is_empty() { Ok(wanted) } else { Err(ApiError::Unclear(refused.join("; "))) }
    }

    fn has(&self, id: &str) -> bool {
        let all = self.ids.is_empty() && self.categories.is_empty();
        all || self.ids.contains(id) || self.categories.contains(category(id))
    }
}

impl Checked {
    /// An item with what was found. What `lint` says may not be known.
    fn of(item: &(&'static str, &'static str), found: &[Finding], is_lint_known: bool) -> Self {
        let (id, what) = *item;
        let findings: Vec<_> = found.iter().filter(|finding| finding.id == id).cloned().collect();
        let status = match findings.as_slice() {
            [] if !is_lint_known && is_of_lint(id) => "unknown",
            [] => "ok",
            findings if findings.iter().any(|finding| finding.severity == "problem") => "problem",
            _ => "warning",
        };
        Self { id, category: category(id), what, status, findings }
    }
}

fn problem(id: &'static str, subject: impl ToString, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        severity: "problem".to_owned(),
        id: id.to_owned(),
        subject: subject.to_string(),
        more: 0,
        what: what.into(),
        fix: fix.into(),
    }
}

fn warning(id: &'static str, subject: impl ToString, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { severity: "warning".to_owned(), ..problem(id, subject, what, fix) }
}

/// What is found beside the findings of `lint`: those are about the state alone.
fn looked(call: &Call, view: &View) -> Vec<Finding> {
    let waiting = call.api.readiness.waiting_for().into_iter();
    let mut found: Vec<_> = waiting
        .map(|what| problem("MG-SRV-001", what, "the control plane waits for it", "wait, and look at its log"))
        .collect();
    found.extend(shown(&call.api, true).iter().filter_map(of_proxy));
    found.extend(of_gateways(call, view));
    found.extend(of_certificates(call, view, OffsetDateTime::now_utc()));
    let peerings = view.all_peerings().filter(|row| row.value.state != PeeringState::Active);
    found.extend(peerings.map(|row| {
        let what = format!("it is {:?}", row.value.state).to_lowercase();
        let key = row.value.key();
        warning(
            "MG-PEER-001",
            format!("{}/{}", key.place, key.name),
            what,
            "see to the peer, or establish the peering again",
        )
    }));
    found
}

/// Gateways that are not connected have an item of their own.
fn of_proxy(proxy: &ShownProxy) -> Option<Finding> {
    let instance = proxy.state.instance();
    let mut refused = proxy.state.types.iter().filter(|of_type| !of_type.acked);
    let refusal = refused.find_map(|of_type| Some((&of_type.kind, of_type.last_nack.as_ref()?)));
    if let Some((kind, nack)) = refusal {
        let what = format!("it refuses {kind}: {}", nack.message);
        let fix = format!("correct what is behind it (meshgate why-changed {})", instance.id);
        return Some(problem("MG-XDS-002", instance, what, fix));
    }
    let behind = proxy.state.behind.map_or(Duration::ZERO, |milliseconds| Duration::from_secs_f64(milliseconds / 1e3));
    match proxy.sync {
        "disconnected" if proxy.kind == "connect-proxy" => {
            let fix = "start its Envoy, or deregister it";
            Some(warning("MG-XDS-004", instance, "it is registered and not connected", fix))
        }
        "behind" if behind >= BEHIND => {
            let what = format!(
                "it has acknowledged commit {} and should have {} for {} s",
                proxy.state.acked,
                proxy.state.index,
                behind.as_secs()
            );
            Some(problem("MG-XDS-003", instance, what, "look at its log and at the network between"))
        }
        _ => None,
    }
}

fn of_gateways(call: &Call, view: &View) -> Vec<Finding> {
    let mut found = Vec::new();
    for gateway in gateways::rows(&call.api, &Reader::new(view)) {
        let subject = format!("{}/{}/{}/{}", gateway.datacenter, gateway.partition, gateway.node, gateway.id);
        if !gateway.healthy {
            let what = format!("it takes no connections: {}", gateway.failing.join(", "));
            let fix = "see to what its checks say, or end its maintenance (meshgate maint -disable)";
            found.push(problem("MG-GW-003", &subject, what, fix));
        }
        if !gateway.connected {
            let fix = "start its Envoy (meshgate connect envoy -gateway mesh), or deregister it";
            found.push(warning("MG-GW-004", &subject, "it is registered and not connected", fix));
        }
    }
    found
}

fn of_certificates(call: &Call, view: &View, now: OffsetDateTime) -> Vec<Finding> {
    let Some(root) = view.active_root() else {
        let fix = "look at the log of the control plane";
        return vec![problem("MG-CERT-001", "the authority", "there is no root that signs", fix)];
    };
    let leaves = || view.leaves().map(|row| &*row.value);
    let longest = leaves().map(|leaf| leaf.not_after - leaf.not_before).max().unwrap_or_default();
    let mut found: Vec<_> = of_root(root, longest, now).into_iter().collect();
    // What nobody shows is not replaced.
    let holders = Holders::of(call, view);
    let shown = leaves().filter(|leaf| holders.know(&leaf.identity));
    found.extend(shown.filter_map(|leaf| of_leaf(leaf, root, now)));
    found
}

fn of_root(root: &Root, leaf_lifetime: time::Duration, now: OffsetDateTime) -> Option<Finding> {
    let fix = "let another root sign (meshgate cert rotate -root), or give one (meshgate connect ca set-config)";
    let until = written_time(root.not_after);
    if root.not_after <= now {
        return Some(problem("MG-CERT-001", &root.name, format!("it has expired at {until}"), fix));
    }
    let is_near = root.not_after - now < leaf_lifetime * ROOT_LIFETIMES;
    is_near.then(|| warning("MG-CERT-001", &root.name, format!("it expires at {until}"), fix))
}

fn of_leaf(leaf: &Leaf, root: &Root, now: OffsetDateTime) -> Option<Finding> {
    let (subject, until) = (&leaf.uri, written_time(leaf.not_after));
    let fix = "look at the log of the control plane, then replace it (meshgate cert rotate)";
    if leaf.not_after <= now {
        return Some(problem("MG-CERT-002", subject, format!("it has expired at {until}"), fix));
    }
    if now - leaf.not_before > (leaf.not_after - leaf.not_before) * LEAF_AGE / 100 && leaf.not_after < root.not_after {
        return Some(warning("MG-CERT-002", subject, format!("it expires at {until} and was not replaced"), fix));
    }
    let what = "another root signs by now: its successor is not made yet";
    (leaf.root_id != root.id).then(|| warning("MG-CERT-003", subject, what, fix))
}
