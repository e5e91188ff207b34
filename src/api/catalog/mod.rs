//! The catalog: nodes, services and checks of every node, whoever registered them.

mod gateway_services;
mod lists;
mod node;
mod register;
mod service;

pub(super) use gateway_services::{GatewayService, bound_to, bound_to_all};
pub(super) use register::check_row;
pub(super) use service::has_node_meta;

use super::route::Routes;

/// The routes under `/v1/catalog/`.
pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(gateway_services::routes())
        .merge(lists::routes())
        .merge(node::routes())
        .merge(register::routes())
        .merge(service::routes())
}
