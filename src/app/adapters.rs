//! What `api` asks of the other parts, answered by them.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use time::format_description::well_known::Rfc3339;

use crate::api::{
    CentralConfig, Certificates, CheckReports, ConfigureError, IssueError, Nack, ProxyState, ProxyStatus,
    RotationState, TypeState,
};
use crate::ca::{Authority, CaError, Rotations};
use crate::engine::{self, Engine, NackReport, ProxyReport, TypeReport};
use crate::envoy::snapshot::ResourceType;
use crate::health::{Exposures, Runner};
use crate::model::{CaConfig, CheckId, InstanceId, Leaf, Place, Proxy, Service, SocketEndpoint, SpiffeId};
use crate::resolve::ExposedCheck;
use crate::store::{CheckKey, NodeKey, Reader, StoreError, Stored, View};

/// The certificate authority.
pub struct Issuer(pub Authority);

impl Certificates for Issuer {
    fn leaf(&self, identity: SpiffeId) -> BoxFuture<'_, Result<Stored<Leaf>, IssueError>> {
        async move { self.0.leaf(&identity).await.map_err(issue_error) }.boxed()
    }

    fn configure(&self, config: CaConfig) -> BoxFuture<'_, Result<(), ConfigureError>> {
        async move { self.0.configure(config).await.map_err(configure_error) }.boxed()
    }

    fn replace_root(&self) -> BoxFuture<'_, Result<(), ConfigureError>> {
        async move { self.0.replace_root().await.map_err(configure_error) }.boxed()
    }

    fn replace(&self, identities: Option<BTreeSet<SpiffeId>>) -> BoxFuture<'_, Result<Vec<Stored<Leaf>>, IssueError>> {
        let identities = identities.unwrap_or_else(|| self.0.identities());
        async move { self.0.replace(identities).await.map_err(issue_error) }.boxed()
    }

    fn rotations(&self) -> Vec<RotationState> {
        let state = |kind, Rotations { ok, failed }| RotationState { kind, ok, failed };
        vec![state("leaf", self.0.leaf_rotations()), state("root", self.0.root_rotations())]
    }

    fn identity(&self, proxy: &InstanceId, service: &Service) -> SpiffeId {
        engine::identity(proxy, service)
    }
}

fn issue_error(error: CaError) -> IssueError {
    let kind = match &error {
        CaError::Identity { .. } => IssueError::Identity,
        CaError::Stopped => IssueError::Unavailable,
        CaError::Store(_)
        | CaError::ClusterId(_)
        | CaError::OtherCluster { .. }
        | CaError::Refused(_)
        | CaError::LeafTtl(_)
        | CaError::RootExpired(_)
        | CaError::NoRoot
        | CaError::Certificate(_) => IssueError::Failed,
    };
    kind(Box::new(error))
}

fn configure_error(error: CaError) -> ConfigureError {
    if let CaError::Refused(problems) | CaError::Store(StoreError::Rejected(problems)) = error {
        return ConfigureError::Refused(problems);
    }
    ConfigureError::Failed(Box::new(error))
}

/// The health checks.
pub(super) struct Reports(pub(super) Runner);

impl CheckReports for Reports {
    fn reported(&self, key: CheckKey) {
        self.0.reported(&key);
    }
}

/// What the engine knows about connected proxies.
pub(super) struct Proxies(pub(super) Engine);

impl ProxyStatus for Proxies {
    fn proxies(&self) -> Vec<ProxyState> {
        self.0.proxies().into_iter().map(proxy_state).collect()
    }
}

fn proxy_state(report: ProxyReport) -> ProxyState {
    ProxyState {
        datacenter: report.instance.place.datacenter,
        partition: report.instance.place.partition,
        node: report.instance.node,
        id: report.instance.id,
        registered: report.is_registered,
        problems: report.problems,
        streams: report.streams,
        envoy_version: report.envoy_version,
        index: report.index,
        acked: report.acked,
        behind: report.behind.map(|behind| behind.as_micros() as f64 / 1000.0),
        trial: report.trial.map(|change| change.to_string()),
        types: report.types.into_iter().map(type_state).collect(),
    }
}

fn type_state((kind, report): (ResourceType, TypeReport)) -> TypeState {
    TypeState {
        kind: kind.to_string(),
        resources: report.resources,
        acked: report.is_acked,
        acks: report.acks,
        nacks: report.nacks,
        last_nack: report.last_nack.map(|nack| *nack).map(|NackReport { message, resources, at, commits }| Nack {
            resources,
            message,
            time: at.format(&Rfc3339).unwrap_or_default(),
            since: commits.0,
            index: commits.1,
            causes: Vec::new(),
        }),
    }
}

/// What sidecars make of the checks of their applications.
pub(super) const EXPOSURES: Exposures = Exposures { exposes, of_node: exposures };

fn exposes(view: &View, id: &InstanceId) -> bool {
    let reader = Reader::new(view);
    reader.service(id).is_some_and(|row| engine::exposes_checks(&reader, &row.value))
}

fn exposures(view: &View, node: &NodeKey) -> BTreeMap<CheckId, SocketEndpoint> {
    let exposed = engine::exposed_checks(&Reader::new(view), node);
    let address = |exposed: &ExposedCheck| SocketEndpoint::new(&exposed.host, exposed.path.listener_port);
    exposed.iter().map(|exposed| (exposed.check.clone(), address(exposed))).collect()
}

/// Central configuration, merged by the code that configures Envoy.
#[derive(Debug, Clone, Copy)]
pub struct Central;

impl CentralConfig for Central {
    fn merged(&self, reader: &Reader<'_>, _: &Place, service: &Service) -> Proxy {
        engine::merged_proxy(reader, service)
    }

    fn exposed_ports(&self, reader: &Reader<'_>, node: &NodeKey) -> BTreeMap<CheckId, u16> {
        let exposed = engine::exposed_checks(reader, node);
        exposed.into_iter().map(|exposed| (exposed.check, exposed.path.listener_port)).collect()
    }
}
