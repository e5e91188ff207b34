//! `/v1/meshgate/certs`: who has which certificate, and new ones before the old ones are due.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::{Deserialize, Serialize};
use x509_parser::pem::parse_x509_pem;

use super::ConfigureError;
use super::blocking::Size;
use super::call::Call;
use super::error::ApiError;
use super::history::written_time;
use super::route::{Routes, get, put};
use crate::model::{Leaf, Root, SpiffeId};
use crate::store::{Index, Key, Stored, View};

/// Most proxies that a refusal names.
const NAMED: usize = 3;

/// The routes of certificates beside Consul's.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/meshgate/certs", get(certificates)).route("/v1/meshgate/certs/rotate", put(rotate))
}

/// Every root and every leaf, without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateList {
    /// The trust domain of all of them.
    pub trust_domain: String,
    /// The root that signs, and those that are trusted still.
    pub roots: Vec<RootCertificate>,
    /// The leaves, by their identities.
    pub leaves: Vec<LeafCertificate>,
}

/// A root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootCertificate {
    /// The fingerprint of its certificate.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The serial number of its certificate.
    pub serial: u64,
    /// It signs; the others are only trusted.
    pub active: bool,
    /// Start of its validity, in RFC 3339 as all times here.
    pub not_before: String,
    /// End of its validity.
    pub not_after: String,
    /// Until when a root that signs no more is trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_until: Option<String>,
    /// Certificates of its key that roots before it have signed. Its leaves carry them.
    pub intermediates: Vec<Intermediate>,
    /// Leaves that it has signed and that are in use.
    pub leaves: usize,
}

/// What leads from a root to the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Intermediate {
    /// Who signed it.
    pub issuer: String,
    /// Its serial number.
    pub serial: String,
    /// End of its validity.
    pub not_after: String,
}

/// A leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LeafCertificate {
    /// Whom it speaks for, as a SPIFFE URI.
    pub identity: String,
    /// The registered proxies that show it.
    pub proxies: Vec<String>,
    /// Its serial number.
    pub serial: String,
    /// Start of its validity.
    pub not_before: String,
    /// End of its validity.
    pub not_after: String,
    /// The ID of the root that signed it.
    pub root: String,
    /// The commit that it came with.
    pub modify_index: Index,
}

/// What was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Rotated {
    /// The commits that it came with, in order.
    pub commits: Vec<Index>,
    /// The new root, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<RootCertificate>,
    /// The new leaves.
    pub leaves: Vec<LeafCertificate>,
}

/// All that there are. With `index` it answers at the next commit.
async fn certificates(call: Call) -> Result<Response, ApiError> {
    let meta = call.after_commit().await?;
    let view = call.api.store.view();
    let list = Size::Large.run(|| Holders::of(&call, &view).list(&view));
    Ok(meta.on(call.json(&list)))
}

/// New leaves for the proxies that `of` names, or for `all`; with `root` another root first, whose leaves they all are.
async fn rotate(call: Call) -> Result<Response, ApiError> {
    let (is_root, is_all, is_forced) = (call.query.flag("root")?, call.query.flag("all")?, call.query.flag("force")?);
    let named: Vec<_> = call.query.all("of").filter(|name| !name.is_empty()).collect();
    let identities = match (is_root || is_all, named.is_empty()) {
        (true, true) => None,
        (false, false) => Some(call.identities(&named)?),
        (true, false) => {
            return Err(ApiError::Unclear("of names some proxies, and all and root mean all: give one".to_owned()));
        }
        (false, true) => return Err(ApiError::Missing("of (a proxy), all or root")),
    };
    let api = &call.api;
    if is_root {
        if !is_forced {
            call.last_root_is_everywhere()?;
        }
        api.certificates.replace_root().await.map_err(|error| match error {
            ConfigureError::Refused(problems) => ApiError::RootGiven(problems),
            failed @ ConfigureError::Failed(_) => failed.into(),
        })?;
    }
    let replaced = api.certificates.replace(identities).await?;
    let view = api.store.view();
    let holders = Holders::of(&call, &view);
    let root = view.roots().into_iter().find(|row| is_root && row.value.active);
    let rotated = Rotated {
        commits: commits(root, &replaced),
        root: root.map(|row| Holders::root(&view, &row.value)),
        leaves: replaced.iter().map(|row| holders.leaf(row)).collect(),
    };
    Ok(call.json(&rotated))
}

fn commits(root: Option<&Stored<Root>>, leaves: &[Stored<Leaf>]) -> Vec<Index> {
    let commits = root.map(|row| row.modify_index).into_iter().chain(leaves.iter().map(|row| row.modify_index));
    commits.collect::<BTreeSet<_>>().into_iter().collect()
}

impl Call {
    fn identities(&self, named: &[&str]) -> Result<BTreeSet<SpiffeId>, ApiError> {
        let view = self.api.store.view();
        let identity = |name: &&str| {
            let proxy = self.known_proxy(name)?;
            let row = view.service(&proxy).ok_or_else(|| ApiError::NoProxy((*name).to_owned()))?;
            Ok(self.api.certificates.identity(&proxy, &row.value))
        };
        named.iter().map(identity).collect()
    }

    /// Leaves lead to the root before theirs and no further, so one root has to be known before the next one signs.
    fn last_root_is_everywhere(&self) -> Result<(), ApiError> {
        let last = self.api.store.view().changed_at(&Key::Roots);
        let Some(reached) = self.api.propagation.reached(last) else {
            return Err(ApiError::RootOnItsWay {
                revision: last,
                missing: "proxies that are not known yet".to_owned(),
            });
        };
        let missing: Vec<_> = reached.iter().filter(|proxy| proxy.state != "live").collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut names: Vec<_> =
            missing.iter().take(NAMED).map(|proxy| format!("{} ({})", proxy.id, proxy.state)).collect();
        if missing.len() > NAMED {
            names.push(format!("{} more", missing.len() - NAMED));
        }
        Err(ApiError::RootOnItsWay { revision: last, missing: names.join(", ") })
    }
}

/// Who shows which leaf.
pub(super) struct Holders {
    proxies: BTreeMap<SpiffeId, Vec<String>>,
}

impl Holders {
    pub(super) fn of(call: &Call, view: &View) -> Self {
        let mut proxies = BTreeMap::<_, Vec<_>>::new();
        for (proxy, row) in view.proxies() {
            let identity = call.api.certificates.identity(proxy, &row.value);
            proxies.entry(identity).or_default().push(proxy.to_string());
        }
        Self { proxies }
    }

    /// True if a registered proxy shows the leaf of this identity.
    pub(super) fn know(&self, identity: &SpiffeId) -> bool {
        self.proxies.contains_key(identity)
    }

    fn list(&self, view: &View) -> CertificateList {
        CertificateList {
            trust_domain: view.active_root().map(|root| root.trust_domain.to_string()).unwrap_or_default(),
            roots: view.roots().into_iter().map(|row| Self::root(view, &row.value)).collect(),
            leaves: view.leaves().map(|row| self.leaf(row)).collect(),
        }
    }

    fn root(view: &View, root: &Root) -> RootCertificate {
        RootCertificate {
            id: root.id.clone(),
            name: root.name.clone(),
            serial: root.serial_number,
            active: root.active,
            not_before: written_time(root.not_before),
            not_after: written_time(root.not_after),
            trusted_until: root.trusted_until.map(written_time),
            intermediates: root.intermediates.iter().filter_map(|pem| intermediate(pem)).collect(),
            leaves: view.leaves().filter(|row| row.value.root_id == root.id).count(),
        }
    }

    fn leaf(&self, row: &Stored<Leaf>) -> LeafCertificate {
        let leaf = &*row.value;
        LeafCertificate {
            identity: leaf.uri.clone(),
            proxies: self.proxies.get(&leaf.identity).cloned().unwrap_or_default(),
            serial: leaf.serial.clone(),
            not_before: written_time(leaf.not_before),
            not_after: written_time(leaf.not_after),
            root: leaf.root_id.clone(),
            modify_index: row.modify_index,
        }
    }
}

/// What a certificate says; `None` for one that cannot be read.
fn intermediate(pem: &str) -> Option<Intermediate> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(Intermediate {
        issuer: certificate.issuer().to_string(),
        serial: certificate.raw_serial_as_string(),
        not_after: written_time(certificate.validity().not_after.to_datetime()),
    })
}
