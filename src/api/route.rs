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
use crate::codec::Shape;

/// The routes of one resource, with a record of what they serve.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<Api>>,
    served: Vec<Served>,
}

/// A path or prefix that is served.
#[derive(Debug, Clone)]
pub(super) struct Served {
    /// The path; it ends with a slash where a name follows.
    pub(super) path: String,
    /// A name follows.
    pub(super) is_prefix: bool,
    /// Its methods, `OPTIONS` aside, as in `Allow`.
    pub(super) methods: Vec<&'static str>,
    /// What bodies of the methods are decoded from.
    pub(super) bodies: Vec<(Method, fn() -> Shape)>,
}

/// The methods of a path.
#[derive(Clone)]
pub(super) struct Methods {
    router: MethodRouter<Arc<Api>>,
    allow: &'static str,
    bodies: Vec<(Method, fn() -> Shape)>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Serves a path.
    pub(super) fn route(mut self, path: &str, methods: Methods) -> Self {
        self.served.push(methods.served(path, false));
        Self { router: self.router.route(path, methods.router), served: self.served }
    }

    /// The routes of both.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.served.extend(other.served);
        Self { router: self.router.merge(other.router), served: self.served }
    }

    /// Answers whatever is asked under a path of a feature that is off. That is not served.
    pub(super) fn off<T: 'static>(self, path: &str, answer: impl Handler<T, Arc<Api>>) -> Self {
        Self { router: self.router.route(path, routing::any(answer)), served: self.served }
    }

    /// Answers `GET` and `HEAD` with what is no part of the API, such as a page. That does not count as served.
    pub(super) fn page<T: 'static>(self, path: &str, answer: impl Handler<T, Arc<Api>>) -> Self {
        Self { router: self.router.route(path, routing::get(answer)), served: self.served }
    }

    /// Answers for every path that is not served.
    pub(super) fn fallback<T: 'static>(self, answer: impl Handler<T, Arc<Api>>) -> Self {
        Self { router: self.router.fallback(answer), served: self.served }
    }

    /// What is served, in the order of the paths.
    pub(super) fn served(&self) -> Vec<Served> {
        let mut served = self.served.clone();
        served.sort_by(|left, right| left.path.cmp(&right.path));
        served
    }

    /// The router for an API.
    pub(super) fn with_state(self, api: Arc<Api>) -> Router {
        self.router.with_state(api)
    }
}

impl Methods {
    /// The same, with what the body of `method` is decoded from.
    pub(super) fn taking(mut self, method: Method, body: fn() -> Shape) -> Self {
        self.bodies.push((method, body));
        self
    }

    fn served(&self, path: &str, is_prefix: bool) -> Served {
        let methods = self.allow.split(',').filter(|method| *method != "OPTIONS").collect();
        Served { path: path.to_owned(), is_prefix, methods, bodies: self.bodies.clone() }
    }
}

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
pub(super) fn get<T: 'static>(handler: impl Handler<T, Arc<Api>>) -> Methods {
    only(routing::get(handler), "OPTIONS,GET")
}

/// `PUT` alone.
pub(super) fn put<T: 'static>(handler: impl Handler<T, Arc<Api>>) -> Methods {
    only(routing::put(handler), "OPTIONS,PUT")
}

/// `POST` alone.
pub(super) fn post<T: 'static>(handler: impl Handler<T, Arc<Api>>) -> Methods {
    only(routing::post(handler), "OPTIONS,POST")
}

/// `GET` and `PUT`.
pub(super) fn get_put<T: 'static, U: 'static>(
    read: impl Handler<T, Arc<Api>>,
    put: impl Handler<U, Arc<Api>>,
) -> Methods {
    only(routing::get(read).put(put), "OPTIONS,GET,PUT")
}

/// `GET`, `PUT` and `DELETE`.
pub(super) fn get_put_delete<T: 'static, U: 'static, V: 'static>(
    read: impl Handler<T, Arc<Api>>,
    put: impl Handler<U, Arc<Api>>,
    delete: impl Handler<V, Arc<Api>>,
) -> Methods {
    only(routing::get(read).put(put).delete(delete), "OPTIONS,GET,PUT,DELETE")
}

/// `GET` and `DELETE`.
pub(super) fn get_delete<T: 'static, U: 'static>(
    read: impl Handler<T, Arc<Api>>,
    delete: impl Handler<U, Arc<Api>>,
) -> Methods {
    only(routing::get(read).delete(delete), "OPTIONS,GET,DELETE")
}

/// `GET` and `POST`.
pub(super) fn get_post<T: 'static, U: 'static>(
    read: impl Handler<T, Arc<Api>>,
    post: impl Handler<U, Arc<Api>>,
) -> Methods {
    only(routing::get(read).post(post), "OPTIONS,GET,POST")
}

/// A prefix with whatever follows it.
pub(super) fn prefix(path: &str, methods: Methods) -> Routes {
    let served = vec![methods.served(path, true)];
    let router = Router::new().route(path, methods.router.clone()).route(&format!("{path}{{*tail}}"), methods.router);
    Routes { router, served }
}

/// Answers `OPTIONS`, and refuses every method that is not there, `HEAD` included.
fn only(methods: MethodRouter<Arc<Api>>, allow: &'static str) -> Methods {
    let refuse = move |method: Method| async move {
        with_allow(text(StatusCode::METHOD_NOT_ALLOWED, format!("method {method} not allowed")), allow)
    };
    let options = move || async move { with_allow(Response::default(), allow) };
    Methods { router: methods.options(options).head(refuse).fallback(refuse), allow, bodies: Vec::new() }
}

fn with_allow(mut response: Response, allow: &'static str) -> Response {
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
