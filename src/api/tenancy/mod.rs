//! Partitions and namespaces (`http-api.md` 2.12).
//!
//! A partition or namespace exists from the first row that names it. Making one keeps what is said about it; deleting one
//! takes all that is in it along, in one commit, where Consul does so in the background.

mod namespaces;
mod partitions;

use std::collections::BTreeMap;

use axum::Router;

use super::error::ApiError;
use super::route::Routes;
use crate::model::is_label;
use crate::store::{Index, Stored};

/// The routes of partitions and namespaces.
pub(super) fn routes() -> Routes {
    Router::new().merge(partitions::routes()).merge(namespaces::routes())
}

/// The first and the last commit of the rows of a tenant.
#[derive(Debug, Clone, Copy)]
struct Commits {
    create: Index,
    modify: Index,
}

impl Commits {
    fn of<T>(row: &Stored<T>) -> Self {
        Self { create: row.create_index, modify: row.modify_index }
    }
}

/// Adds a row to the commits of its tenant. What makes a tenant known is its oldest row, and no later change of it is news
/// about the tenant.
fn known_by<K: Ord, T>(tenants: &mut BTreeMap<K, Commits>, tenant: K, row: &Stored<T>) {
    let at = row.create_index;
    let commits = tenants.entry(tenant).or_insert(Commits { create: at, modify: at });
    *commits = Commits { create: commits.create.min(at), modify: commits.modify.min(at) };
}

/// The name that a body or path gives to a tenant: a label of an SNI.
fn checked(name: &str) -> Result<(), ApiError> {
    if is_label(name) {
        return Ok(());
    }
    let expected = "expected letters, digits, - and _, at most 63 of them";
    Err(ApiError::InvalidParameter { name: "Name", value: name.to_owned(), expected })
}

/// The name in the path, with which that of the body must agree.
fn agreed(path: String, body: &str) -> Result<String, ApiError> {
    if !body.is_empty() && body != path {
        return Err(ApiError::OtherName { path, body: body.to_owned() });
    }
    Ok(path)
}
