//! The agent: what is registered with this process itself. Its node exists once in each hosted datacenter and partition.

mod about;
mod authorize;
mod check_register;
mod checks;
mod health;
mod host;
mod maintenance;
mod members;
mod metrics;
mod monitor;
mod register;
mod registration;
mod reload;
mod services;

pub use check_register::AddedCheck;
pub(super) use registration::deregistration;
pub use registration::{Registration, RegistrationError, UsedPorts};

use super::call::Call;
use super::route::Routes;
use crate::store::NodeKey;

/// The routes under `/v1/agent/`, certificates excepted.
pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(about::routes())
        .merge(host::routes())
        .merge(authorize::routes())
        .merge(members::routes())
        .merge(metrics::routes())
        .merge(monitor::routes())
        .merge(reload::routes())
        .merge(services::routes())
        .merge(register::routes())
        .merge(maintenance::routes())
        .merge(health::routes())
        .merge(check_register::routes())
        .merge(checks::routes())
}

impl Call {
    /// The agent's node in the place that the call means.
    pub(super) fn agent_node(&self) -> NodeKey {
        NodeKey::new(&self.scope.place, &self.api.options.node)
    }
}
