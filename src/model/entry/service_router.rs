//! `service-router`: which HTTP requests to a service go where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HeaderModifiers, validate_service_name};
use crate::model::{GoDuration, Namespace, Partition, Problems, is_default};

/// The routes of a service: the first that matches a request decides. What none matches goes to the service itself.
///
/// ```hcl
/// Kind = "service-router"
/// Name = "web"
/// Routes = [{ Match { HTTP { PathPrefix = "/admin" } }, Destination { Service = "admin" } }]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceRouter {
    /// The service.
    pub name: String,
    /// Its partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// The routes, in the order in which they are tried.
    pub routes: Vec<Route>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Route {
    /// Which requests; all of them when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#match: Option<RouteMatch>,
    /// Where they go; to the service itself when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<RouteDestination>,
}

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteMatch {
    /// Which HTTP requests; all of them when not set.
    #[serde(rename = "HTTP", skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpMatch>,
}

/// Which HTTP requests a route takes: those that fit all that is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HttpMatch {
    /// This very path.
    #[serde(skip_serializing_if = "is_default")]
    pub path_exact: String,
    /// Paths that start so.
    #[serde(skip_serializing_if = "is_default")]
    pub path_prefix: String,
    /// Paths that fit this regular expression as a whole.
    #[serde(skip_serializing_if = "is_default")]
    pub path_regex: String,
    /// Upper and lower case of the path are the same.
    #[serde(skip_serializing_if = "is_default")]
    pub case_insensitive: bool,
    /// Conditions on headers.
    #[serde(skip_serializing_if = "is_default")]
    pub header: Vec<HeaderMatch>,
    /// Conditions on the parameters of the query.
    #[serde(skip_serializing_if = "is_default")]
    pub query_param: Vec<QueryParamMatch>,
    /// Methods, any of which fits; all of them when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub methods: Vec<String>,
}

/// A condition on a header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeaderMatch {
    /// The header.
    pub name: String,
    /// It is there.
    #[serde(skip_serializing_if = "is_default")]
    pub present: bool,
    /// Its value is this.
    #[serde(skip_serializing_if = "is_default")]
    pub exact: String,
    /// Its value starts so.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix: String,
    /// Its value ends so.
    #[serde(skip_serializing_if = "is_default")]
    pub suffix: String,
    /// Its value fits this regular expression as a whole.
    #[serde(skip_serializing_if = "is_default")]
    pub regex: String,
    /// The condition is turned round.
    #[serde(skip_serializing_if = "is_default")]
    pub invert: bool,
}

/// A condition on a parameter of the query.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryParamMatch {
    /// The parameter.
    pub name: String,
    /// It is there.
    #[serde(skip_serializing_if = "is_default")]
    pub present: bool,
    /// Its value is this.
    #[serde(skip_serializing_if = "is_default")]
    pub exact: String,
    /// Its value fits this regular expression as a whole.
    #[serde(skip_serializing_if = "is_default")]
    pub regex: String,
}

/// Where requests go, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteDestination {
    /// The service; the router's own when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub service: String,
    /// The subset of it.
    #[serde(skip_serializing_if = "is_default")]
    pub service_subset: String,
    /// Its namespace; the entry's when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Its partition; the entry's when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// What replaces the part of the path that matched.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix_rewrite: String,
    /// Time for one request: 0 leaves Envoy's own limit, a negative one means no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub request_timeout: GoDuration,
    /// Time without any traffic: 0 leaves Envoy's own limit, a negative one means no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub idle_timeout: GoDuration,
    /// How often a request is tried again.
    #[serde(skip_serializing_if = "is_default")]
    pub num_retries: u32,
    /// Try again when no connection could be made.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on_connect_failure: bool,
    /// Conditions of Envoy on which a request is tried again.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on: Vec<String>,
    /// Statuses on which a request is tried again.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on_status_codes: Vec<u32>,
    /// Changes of request headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<HeaderModifiers>,
    /// Changes of response headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<HeaderModifiers>,
}

impl ServiceRouter {
    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        validate_service_name(&self.name, "Name", problems);
    }
}
