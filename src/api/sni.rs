//! `/v1/meshgate/sni/`: the names that travel in TLS handshakes, written and read back, and all that there are.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::error::ApiError;
use super::filter::Filtered;
use super::named::{At, Named};
use super::route::{Routes, Tail, get, prefix};
use crate::model::{
    ConfigEntry, Datacenter, EntryKind, Place, QueryKey, ServiceKey, SniKind, SniMeaning, TrustDomain, is_default,
    is_sni,
};
use crate::store::Reader;

/// The routes under `/v1/meshgate/sni/`.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/meshgate/sni", get(list))
        .merge(prefix("/v1/meshgate/sni/encode/", get(encode)))
        .merge(prefix("/v1/meshgate/sni/decode/", get(decode)))
}

/// An SNI with what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SniRow {
    /// The SNI.
    #[serde(rename = "SNI")]
    pub sni: String,
    /// What it means.
    #[serde(flatten)]
    pub meaning: SniMeaning,
    /// The same in words.
    pub about: String,
    /// There is such a thing in the state.
    pub known: bool,
    /// What else of the state has the same SNI: Envoy compares them without regard to case, and the first one has it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conflicts: Vec<String>,
}

impl SniRow {
    fn of(meaning: SniMeaning, known: bool) -> Self {
        Self { sni: meaning.encode(), about: meaning.to_string(), meaning, known, conflicts: Vec::new() }
    }
}

/// Every SNI of the datacenter's partition, or of all with `all`; with `conflicts` only those that mean several things.
async fn list(call: Call) -> Result<Response, ApiError> {
    let (all, conflicts) = (call.query.flag("all")?, call.query.flag("conflicts")?);
    let rows = |reader: &Reader<'_>| {
        let known = Known::of(&call, reader);
        let is_here = |row: &SniRow| {
            let meaning = &row.meaning;
            all || meaning.partition == call.scope.place.partition
                && (meaning.datacenter.is_default() || meaning.datacenter == call.scope.place.datacenter)
        };
        let is_wanted = |row: &SniRow| is_here(row) && (!conflicts || !row.conflicts.is_empty());
        Ok(known.rows().into_iter().filter(is_wanted).collect::<Vec<_>>())
    };
    call.read_at_length(Filtered::Rows, rows).await
}

/// The SNI of a service.
async fn encode(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let named = Named::parse(&tail.required("service name")?).map_err(ApiError::Unclear)?;
    let subset = call.query.value("subset").unwrap_or_default();
    let row = |reader: &Reader<'_>| {
        let known = Known::of(&call, reader);
        let service = named.service(&call.scope.place.partition, &call.scope.namespace);
        let meaning = match &named.at {
            Some(at) if known.peers.iter().any(|peer| at.may_be_peer(peer)) => {
                let (At::Either(peer) | At::Peer(peer) | At::Datacenter(peer)) = at;
                SniMeaning {
                    name: service.name.to_string(),
                    namespace: service.namespace,
                    partition: service.partition,
                    peer: peer.as_str().into(),
                    ..SniMeaning::new(SniKind::Exported, &known.trust_domain)
                }
            }
            Some(At::Peer(peer)) => {
                return Err(ApiError::NotThere(format!("there is no peering {peer:?} in {}", call.scope.place)));
            }
            at => {
                let datacenter = match at {
                    Some(At::Either(name) | At::Datacenter(name)) => Datacenter::from(name.as_str()),
                    Some(At::Peer(_)) | None => call.scope.place.datacenter.clone(),
                };
                SniMeaning::of_service(&ServiceKey { datacenter, service }, subset, &known.trust_domain)
            }
        };
        let sni = meaning.encode();
        if !is_sni(&sni) {
            let length = sni.len();
            return Err(ApiError::Unclear(format!(
                "the SNI would have {length} bytes, and TLS takes no more than 255"
            )));
        }
        let is_known = known.has(&meaning);
        Ok(SniRow::of(meaning, is_known))
    };
    call.read_at_length(Filtered::Nothing, row).await
}

/// Every meaning of an SNI, those first that there is something for.
async fn decode(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let sni = tail.required("SNI")?;
    let rows = |reader: &Reader<'_>| {
        let known = Known::of(&call, reader);
        let mut rows: Vec<_> = SniMeaning::decode(&sni)
            .into_iter()
            .map(|meaning| {
                let is_known = known.has(&meaning);
                SniRow::of(meaning, is_known)
            })
            .collect();
        rows.sort_by_key(|row| !row.known);
        if rows.is_empty() {
            return Err(ApiError::Unclear(format!(
                "{sni:?} is no SNI of a mesh: expected [subset.]service.namespace.datacenter.internal.trust-domain, or \
                 one with internal-v1, external, query or peering"
            )));
        }
        Ok(rows)
    };
    call.read_at_length(Filtered::Nothing, rows).await
}

/// Every name that the state has an SNI for.
struct Known {
    trust_domain: TrustDomain,
    peers: BTreeSet<String>,
    meanings: BTreeSet<SniMeaning>,
}

impl Known {
    fn of(call: &Call, reader: &Reader<'_>) -> Self {
        let trust_domain = call.api.explanations.trust_domain().clone();
        let mut known = Self { trust_domain, peers: BTreeSet::new(), meanings: BTreeSet::new() };
        let datacenters: BTreeSet<_> = reader.datacenters().into_iter().chain(call.api.options.datacenters()).collect();
        for datacenter in datacenters {
            for partition in reader.partitions(&datacenter) {
                known.add_place(call, reader, &Place::new(&datacenter, &partition));
            }
        }
        known.peers.extend(reader.peerings(&call.scope.place).map(|row| row.value.name.to_string()));
        known
    }

    fn add_place(&mut self, call: &Call, reader: &Reader<'_>, place: &Place) {
        let domain = self.trust_domain.clone();
        let Place { datacenter, partition } = place.clone();
        self.meanings.insert(SniMeaning { datacenter, partition, ..SniMeaning::new(SniKind::Gateways, &domain) });
        let resolvers: BTreeMap<_, _> = reader
            .entries(EntryKind::ServiceResolver, &place.partition)
            .into_iter()
            .map(|row| (row.value.key().name, row.value.clone()))
            .collect();
        for service in reader.mesh_service_keys(place) {
            self.meanings.insert(SniMeaning::of_service(service, "", &domain));
            if let Some(ConfigEntry::ServiceResolver(resolver)) = resolvers.get(&service.service).map(|entry| &**entry)
            {
                let subsets = resolver.subsets.keys();
                self.meanings.extend(subsets.map(|subset| SniMeaning::of_service(service, subset, &domain)));
            }
        }
        for QueryKey { place: Place { datacenter, partition }, name } in reader.queries(place) {
            self.meanings.insert(SniMeaning {
                name,
                datacenter,
                partition,
                ..SniMeaning::new(SniKind::Query, &domain)
            });
        }
        let peers: BTreeSet<_> = reader.peerings(place).map(|row| row.value.name.clone()).collect();
        for exported in call.api.exports.of(reader, place) {
            for peer in exported.peers.intersection(&peers) {
                let service = exported.service.clone();
                self.meanings.insert(SniMeaning {
                    name: service.name.to_string(),
                    namespace: service.namespace,
                    partition: service.partition,
                    peer: peer.clone(),
                    ..SniMeaning::new(SniKind::Exported, &domain)
                });
            }
        }
        if !peers.is_empty() && place.partition.is_default() {
            let datacenter = place.datacenter.clone();
            self.meanings.insert(SniMeaning { datacenter, ..SniMeaning::new(SniKind::PeeringServers, &domain) });
        }
    }

    fn has(&self, meaning: &SniMeaning) -> bool {
        // The SNI of a query does not say its partition.
        let is_same_query = |known: &&SniMeaning| {
            known.kind == SniKind::Query && (&known.name, &known.datacenter) == (&meaning.name, &meaning.datacenter)
        };
        self.meanings.contains(meaning)
            || meaning.kind == SniKind::Query && self.meanings.iter().any(|known| is_same_query(&known))
    }

    /// All of them with what they collide with, by their SNIs.
    fn rows(&self) -> Vec<SniRow> {
        let mut by_sni: BTreeMap<String, Vec<&SniMeaning>> = BTreeMap::new();
        for meaning in &self.meanings {
            by_sni.entry(meaning.encode().to_lowercase()).or_default().push(meaning);
        }
        let rows = by_sni.values().flat_map(|same| {
            same.iter().map(|meaning| {
                let others = same.iter().filter(|other| *other != meaning).map(ToString::to_string);
                SniRow { conflicts: others.collect(), ..SniRow::of((*meaning).clone(), true) }
            })
        });
        rows.collect()
    }
}
