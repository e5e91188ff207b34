//! One call: what it asks for, and how its answer is written.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::Api;
use super::error::ApiError;
use super::query::Query;
use super::scope::Scope;
use super::serve::Caller;
use crate::store::{Author, Store};

/// How JSON is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// No spaces, no newline at the end.
    Compact,
    /// Indented, as development mode does.
    Indented,
    /// Indented and ended by a newline, as `?pretty` asks for.
    Pretty,
}

/// What every handler takes: the request line, read and checked.
#[derive(Debug)]
pub(super) struct Call {
    /// The API.
    pub(super) api: Arc<Api>,
    /// Its parameters.
    pub(super) query: Query,
    /// Where it reads or writes.
    pub(super) scope: Scope,
    /// Who calls.
    author: Author,
    layout: Layout,
}

impl FromRequestParts<Arc<Api>> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let scope = Scope::of(&query, &parts.headers, &api.options)?;
        if !(is_read_of_state(parts) && api.knows(&scope.place.datacenter)) {
            scope.require_hosted(&api.options)?;
        }
        let layout = match (query.has("pretty"), api.options.pretty) {
            (true, _) => Layout::Pretty,
            (false, true) => Layout::Indented,
            (false, false) => Layout::Compact,
        };
        let author = Author::Call(parts.extensions.get::<Caller>().map(|caller| caller.0));
        Ok(Self { api: api.clone(), query, scope, author, layout })
    }
}

/// True for calls that only look at what the store holds. Others, such as the agent's, need a datacenter that is here.
fn is_read_of_state(parts: &Parts) -> bool {
    parts.method == Method::GET && !parts.uri.path().starts_with("/v1/agent/")
}

impl Call {
    /// The store, for writes that are known as those of the caller.
    pub(super) fn store(&self) -> Store {
        self.api.store.by(self.author)
    }

    /// A JSON answer.
    pub(super) fn json(&self, value: &impl Serialize) -> Response {
        self.written(match self.layout {
            Layout::Compact => write(value, CompactFormatter),
            Layout::Indented | Layout::Pretty => write(value, PrettyFormatter::with_indent(b"    ")),
        })
    }

    /// A JSON answer that is laid out already.
    pub(super) fn written(&self, mut body: Vec<u8>) -> Response {
        if self.layout == Layout::Pretty {
            body.push(b'\n');
        }
        let mut response = Response::new(body.into());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// The same with another status.
    pub(super) fn json_with_status(&self, status: StatusCode, value: &impl Serialize) -> Response {
        let mut response = self.json(value);
        *response.status_mut() = status;
        response
    }
}

fn write(value: &impl Serialize, formatter: impl Formatter) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    let mut serializer = Serializer::with_formatter(&mut body, formatter);
    value.serialize(&mut serializer).expect("answers have string keys, and a vector takes every byte");
    body
}
