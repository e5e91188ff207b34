//! Routing as Consul does it: exact paths and prefixes, `OPTIONS` and 405 with the methods, no implied `HEAD`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::handler::Handler;
use axum::response::Response;
use axum::routing::{self, MethodRouter};
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::Api;
use super::error::{ApiError, text};

/// The routes of one resource.
pub(super) type Routes = Router<Arc<Api>>;

/// What follows a prefix, percent-decoded; it may hold slashes, and is empty for the prefix alone.
pub(super) struct Tail(pub(super) String);

impl FromRequestParts<Arc<Api>> for Tail {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let tail = <Option<Path<String>> as FromRequestParts<Arc<Api>>>::from_request_parts(parts, api).await;
        tail.map(|tail| Self(tail.map_or_else(String::new, |Path(tail)| tail))).map_err(|_| ApiError::UnreadablePath)
    }
}

impl Tail {
    /// The name that the path must have.
    pub(super) fn required(self, what: &'static str) -> Result<String, ApiError> {
        if self.0.is_empty() { Err(ApiError::Missing(what)) } else { Ok(self.0) }
    }
}

/// `GET` alone.
pub(super) fn get<T: 'static>(handler: impl Handler<T, Arc<Api>>) -> MethodRouter<Arc<Api>> {
    only(routing::get(handler), "OPTIONS,GET")
}

/// `PUT` alone.
pub(super) fn put<T: 'static>(handler: impl Handler<T, Arc<Api>>) -> MethodRouter<Arc<Api>> {
    only(routing::put(handler), "OPTIONS,PUT")
}

/// `POST` alone.
pub(super) fn post<T: 'static>(handler: impl Handler<T, Arc<Api>>) -> MethodRouter<Arc<Api>> {
    only(routing::post(handler), "OPTIONS,POST")
}

/// `GET` and `PUT`.
pub(super) fn get_put<T: 'static, U: 'static>(
    read: impl Handler<T, Arc<Api>>,
    put: impl Handler<U, Arc<Api>>,
) -> MethodRouter<Arc<Api>> {
    only(routing::get(read).put(put), "OPTIONS,GET,PUT")
}

/// `GET`, `PUT` and `DELETE`.
pub(super) fn get_put_delete<T: 'static, U: 'static, V: 'static>(
    read: impl Handler<T, Arc<Api>>,
    put: impl Handler<U, Arc<Api>>,
    delete: impl Handler<V, Arc<Api>>,
) -> MethodRouter<Arc<Api>> {
    only(routing::get(read).put(put).delete(delete), "OPTIONS,GET,PUT,DELETE")
}

/// `GET` and `DELETE`.
pub(super) fn get_delete<T: 'static, U: 'static>(
    read: impl Handler<T, Arc<Api>>,
    delete: impl Handler<U, Arc<Api>>,
) -> MethodRouter<Arc<Api>> {
    only(routing::get(read).delete(delete), "OPTIONS,GET,DELETE")
}

/// `GET` and `POST`.
pub(super) fn get_post<T: 'static, U: 'static>(
    read: impl Handler<T, Arc<Api>>,
    post: impl Handler<U, Arc<Api>>,
) -> MethodRouter<Arc<Api>> {
    only(routing::get(read).post(post), "OPTIONS,GET,POST")
}

/// A prefix with whatever follows it.
pub(super) fn prefix(path: &str, methods: MethodRouter<Arc<Api>>) -> Routes {
    Router::new().route(path, methods.clone()).route(&format!("{path}{{*tail}}"), methods)
}

/// Answers `OPTIONS`, and refuses every method that is not there, `HEAD` included.
fn only(methods: MethodRouter<Arc<Api>>, allow: &'static str) -> MethodRouter<Arc<Api>> {
    let refuse = move |method: Method| async move {
        with_allow(text(StatusCode::METHOD_NOT_ALLOWED, format!("method {method} not allowed")), allow)
    };
    methods.options(move || async move { with_allow(Response::default(), allow) }).head(refuse).fallback(refuse)
}

fn with_allow(mut response: Response, allow: &'static str) -> Response {
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
