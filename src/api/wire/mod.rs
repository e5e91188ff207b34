//! Rows as Consul shows them. Each type here holds a row, costs a reference count to make, and is written only once it is
//! sent.

mod agent_service;
mod check;
mod node;
mod service;

pub(super) use agent_service::AgentService;
pub(super) use check::HealthCheck;
pub(super) use node::CatalogNode;
pub(super) use service::{CatalogService, HealthRow, NodeService};
