//! Partitions and namespaces (`http-api.md` 2.12).
//!
//! A partition or namespace exists from the first row that names it. Making one keeps what is said about it; deleting one
//! takes all that is in it along, in one commit, where Consul does so in the background.

mod namespaces;
mod partitions;

use std::collections::BTreeMap;
use std::fmt;

use axum::response::{IntoResponse, Response};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::{Body, LARGE};
use super::call::Call;
use super::error::{ApiError, Decoder};
use super::filter::Filtered;
use super::route::{Routes, Tail, get, get_put_delete, prefix, put};
use crate::codec::{self, shape_of};
use crate::model::{Problem, is_label};
use crate::store::{Index, Op, Reader, Stored, View, Write};

/// The routes of partitions and namespaces.
pub(super) fn routes() -> Routes {
    let partitions = routes_of::<partitions::Sent>("/v1/partition", "/v1/partitions");
    partitions.merge(routes_of::<namespaces::Sent>("/v1/namespace", "/v1/namespaces"))
}

/// What somebody says about a partition or a namespace: the body of a write.
trait Tenant: DeserializeOwned + Send + 'static {
    /// What it is called in messages.
    const KIND: &'static str;
    /// The same, where the path misses its name.
    const IN_PATH: &'static str;
    /// Its name.
    type Name: From<String> + Ord + fmt::Display + Send + Sync;
    /// How it is shown.
    type Row: Serialize + Send;

    /// The name in the body.
    fn name(&self) -> &str;

    /// The same with another name.
    fn named(self, name: String) -> Self;

    /// True for the one that is always there.
    fn is_default(name: &Self::Name) -> bool;

    /// The call in the place that the body says.
    fn scoped(&self, call: Call) -> Result<Call, ApiError> {
        Ok(call)
    }

    /// The tenants that there are, whether somebody made them or rows name them.
    fn rows(call: &Call, reader: &Reader<'_>) -> BTreeMap<Self::Name, Self::Row>;

    /// What keeps what is said.
    fn into_op(self, call: &Call) -> Result<Op, ApiError>;

    /// What ends a tenant with all that is in it.
    fn removal(call: &Call, name: Self::Name) -> Box<dyn FnOnce(&View) -> Write + Send>;
}

fn routes_of<T: Tenant>(one: &str, all: &str) -> Routes {
    Routes::new().route(one, put(create::<T>).taking(Method::PUT, shape_of::<T>)).route(all, get(list::<T>)).merge(
        prefix(
            &format!("{one}/"),
            get_put_delete(read::<T>, update::<T>, delete::<T>).taking(Method::PUT, shape_of::<T>),
        ),
    )
}

async fn create<T: Tenant>(call: Call, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let sent: T = decode(&body)?;
    if sent.name().is_empty() {
        return Err(ApiError::Missing("Name"));
    }
    keep(call, sent).await
}

/// Makes it where it is not there. The body may leave the name out, and must not say another one.
async fn update<T: Tenant>(call: Call, tail: Tail, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let sent: T = decode(&body)?;
    let path = tail.required(T::IN_PATH)?;
    if !sent.name().is_empty() && sent.name() != path {
        return Err(ApiError::OtherName { path, body: sent.name().to_owned() });
    }
    keep(call, sent.named(path)).await
}

async fn read<T: Tenant>(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = T::Name::from(tail.required(T::IN_PATH)?);
    let (row, meta) = call.current(|reader| Ok(T::rows(&call, reader).remove(&name))).await?;
    Ok(meta.on(match row {
        Some(row) => call.json(&row),
        None => ApiError::TenantNotFound { kind: T::KIND, name: name.to_string() }.into_response(),
    }))
}

async fn list<T: Tenant>(call: Call) -> Result<Response, ApiError> {
    let all = |reader: &Reader<'_>| Ok(T::rows(&call, reader).into_values().collect::<Vec<_>>());
    call.read(Filtered::Nothing, all).await
}

/// Removing what is not there is no error.
async fn delete<T: Tenant>(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = T::Name::from(tail.required(T::IN_PATH)?);
    if T::is_default(&name) {
        let message = format!("the default {} cannot be deleted", T::KIND.to_lowercase());
        return Err(ApiError::Refused(Problem::rule("", message).into()));
    }
    let removal = T::removal(&call, name);
    call.store().write_with(move |view| Ok(removal(view))).await?;
    Ok(Response::default())
}

fn decode<T: Tenant>(body: &[u8]) -> Result<T, ApiError> {
    codec::strict(body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })
}

async fn keep<T: Tenant>(call: Call, sent: T) -> Result<Response, ApiError> {
    checked(sent.name())?;
    let call = sent.scoped(call)?;
    let name = T::Name::from(sent.name().to_owned());
    call.store().write(sent.into_op(&call)?).await?;
    let view = call.api.store.view();
    Ok(call.json(&T::rows(&call, &Reader::new(&view)).remove(&name)))
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
