//! Consul's HTTP contract, and the debug API under `/v1/meshgate/`.
//!
//! A call is read and checked once (`call`, `query`, `scope`, `body`); its handler reads the store through a
//! recorder or writes to it; `error` says what each failure looks like from outside. What other parts of the process
//! contribute comes through the traits of `seam`.
//!
//! There are no ACLs: tokens are accepted and ignored, and the ACL endpoints say that they are off. Bodies are limited to
//! 512 KiB where Consul does so and to 4 MiB elsewhere.

mod agent;
mod blocking;
mod body;
mod ca_config;
mod call;
mod catalog;
mod certs;
mod chain;
mod check;
mod config;
mod connect;
mod debug;
mod difference;
mod entries;
mod error;
mod explain;
mod exports;
mod federation;
mod filter;
mod gateways;
mod happenings;
mod health;
mod history;
mod intentions;
mod layer;
mod lint;
mod metrics;
mod named;
mod off;
mod openapi;
mod options;
mod overview;
mod page;
mod path;
mod plan;
mod proxies;
mod query;
mod route;
mod scope;
mod seam;
mod serve;
mod simulate;
mod snapshot;
mod sni;
mod status;
mod tenancy;
mod topology;
mod transaction;
mod trial;
mod ui;
mod wait;
mod wire;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

pub use agent::{AddedCheck, Registration, RegistrationError, UsedPorts};
pub use certs::{CertificateList, Intermediate, LeafCertificate, RootCertificate, Rotated};
pub use chain::{
    ChainFailover, ChainNode, ChainOverrides, ChainResolver, ChainRoute, ChainSplit, ChainTarget, CompiledChain,
};

pub use explain::{
    Behind, EndpointExplanation, ExplainedProxy, Explanations, FieldExplanation, GatewayExplanation, ModeExplanation,
    Removal, RemovedTarget, ResourceExplanation, RungExplanation, Setting, SourceExplanation, TargetExplanation,
    TargetService, Unexplained, UpstreamExplanation, Written,
};
pub use gateways::GatewayRow;
pub use happenings::{
    Happenings, LAG_BOUNDS, NoHappenings, ProxyEventState, ProxyHappening, PushState, PushedState, ResourceState,
    Resources, Totals, TrialStep, UnmadeState,
};
pub use intentions::{IntentionExplanation, RankedIntention, WithoutIntention};
pub use lint::{Finding, Findings, Linter, NoLinter};
pub use metrics::Metrics;
pub use named::{At, Named};
pub use openapi::document as openapi;
pub use options::{Access, NodeMeta, Options, Waits};
pub use path::{Hop, PathAnswer, PathLink, Paths, Trace, TraceQuestion, TracedRequest, Way};
pub use plan::{
    AffectedProxy, Applied, Detail, Field, NoPlanner, Plan, PlanError, PlannedImpact, PlannedProxies, PlannedResource,
    Planner, RowChange, Tried, Unchanged,
};
pub use proxies::Cause;
pub use seam::{
    CentralConfig, Certificates, CheckReports, ConfigureError, DiscoveryChains, Exported, Exports, Files, IssueError,
    Nack, NoFiles, ProxyState, ProxyStatus, RotationState, TypeState,
};
pub use serve::{ServeOptions, serve};
pub use simulate::{Destination, DownInstance, Failure, SimulatedCounts, SimulatedUpstream, Simulation};
pub use sni::SniRow;
pub use topology::{Dialled, Edge, EdgeExample, EdgeWay};
pub use trial::{Candidate, Tested, TrialError, TrialProxy, TrialQuestion, TrialReport, TrialTerms};
pub use wait::{Looks, NoPropagation, Propagation, Reached, ReachedProxy};

use crate::model::Datacenter;
use crate::store::Store;
use crate::telemetry::{Logs, Readiness};

/// Everything that the API works with.
#[derive(Clone)]
pub struct Api {
    /// What it was told at start.
    pub options: Options,
    /// The state.
    pub store: Store,
    /// Whether the process is ready.
    pub readiness: Readiness,
    /// Who issues certificates.
    pub certificates: Arc<dyn Certificates>,
    /// Who knows the connected proxies.
    pub proxies: Arc<dyn ProxyStatus>,
    /// Who knows what became of changes.
    pub happenings: Arc<dyn Happenings>,
    /// Who is told about reports on TTL checks.
    pub reports: Arc<dyn CheckReports>,
    /// Who merges config entries into proxies.
    pub central: Arc<dyn CentralConfig>,
    /// Who compiles discovery chains.
    pub chains: Arc<dyn DiscoveryChains>,
    /// Who follows traffic through configurations.
    pub paths: Arc<dyn Paths>,
    /// Who explains configuration.
    pub explanations: Arc<dyn Explanations>,
    /// Who knows what is exported.
    pub exports: Arc<dyn Exports>,
    /// Who knows what a change does to proxies.
    pub planner: Arc<dyn Planner>,
    /// Who looks for what is wrong with the state.
    pub linter: Arc<dyn Linter>,
    /// Who knows which proxies have acknowledged what.
    pub propagation: Arc<dyn Propagation>,
    /// What those who wait for it share.
    pub looks: Arc<Looks>,
    /// Who reads the files of the process again.
    pub files: Arc<dyn Files>,
    /// What is logged.
    pub logs: Logs,
    /// Cancelled when somebody asks the process to stop.
    pub leave: CancellationToken,
    /// Ends the calls that wait for a change, when the process stops.
    pub shutdown: CancellationToken,
    /// What it counts about itself.
    pub metrics: Metrics,
}

impl Api {
    /// True for a datacenter whose catalog can be read here: hosted, or known from elsewhere.
    fn knows(&self, datacenter: &Datacenter) -> bool {
        self.options.hosts(datacenter) || self.store.view().knows_datacenter(datacenter)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("options", &self.options).field("store", &self.store).finish_non_exhaustive()
    }
}

/// The routes with everything around them.
pub fn router(api: Api) -> Router {
    let (metrics, access) = (api.metrics.clone(), api.options.access.clone());
    layer::wrap(routes().with_state(Arc::new(api)), metrics, access)
}

/// Every route.
fn routes() -> route::Routes {
    route::Routes::new()
        .merge(agent::routes())
        .merge(catalog::routes())
        .merge(health::routes())
        .merge(chain::routes())
        .merge(config::routes())
        .merge(connect::routes())
        .merge(ca_config::routes())
        .merge(exports::routes())
        .merge(federation::routes())
        .merge(intentions::routes())
        .merge(tenancy::routes())
        .merge(status::routes())
        .merge(snapshot::routes())
        .merge(transaction::routes())
        .merge(ui::routes())
        .merge(debug::routes())
        .merge(explain::routes())
        .merge(sni::routes())
        .merge(path::routes())
        .merge(entries::routes())
        .merge(certs::routes())
        .merge(gateways::routes())
        .merge(check::routes())
        .merge(lint::routes())
        .merge(plan::routes())
        .merge(simulate::routes())
        .merge(wait::routes())
        .merge(history::routes())
        .merge(happenings::routes())
        .merge(proxies::routes())
        .merge(overview::routes())
        .merge(topology::routes())
        .merge(openapi::routes())
        .merge(page::routes())
        .merge(off::routes())
}
