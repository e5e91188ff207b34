//! `/v1/internal/ui/...`: the catalog summed up for people, as dashboards and scripts read it (`http-api.md` 2.13).
//!
//! There is no metrics store, so `metrics-proxy` is not here.

mod gateway;
mod nodes;
mod overview;
mod services;
mod summary;
mod topology;

use super::route::{Routes, get, prefix};

/// Under which every path here is.
const UI: &str = "/v1/internal/ui";

/// The routes under `/v1/internal/ui/`.
pub(super) fn routes() -> Routes {
    let at = |path: &str| format!("{UI}/{path}");
    Routes::new()
        .route(&at("nodes"), get(nodes::all))
        .route(&at("services"), get(services::all))
        .route(&at("exported-services"), get(services::exported))
        .route(&at("catalog-overview"), get(overview::overview))
        .merge(prefix(&at("node/"), get(nodes::one)))
        .merge(prefix(&at("gateway-services-nodes/"), get(gateway::services)))
        .merge(prefix(&at("gateway-intentions/"), get(gateway::intentions)))
        .merge(prefix(&at("service-topology/"), get(topology::topology)))
}
