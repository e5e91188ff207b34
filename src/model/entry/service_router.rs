//! `service-router`: which HTTP requests to a service go where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::http_match::{PathCondition, normalize_methods, validate_conditions, validate_expression, validate_methods};
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

/// Conditions on which Envoy tries again. gRPC's are behind HTTP's.
const RETRY_CONDITIONS: [&str; 12] = [
    "5xx",
    "gateway-error",
    "reset",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

impl ServiceRouter {
    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
        for http in self.routes.iter_mut().filter_map(|route| route.r#match.as_mut()?.http.as_mut()) {
            normalize_methods(&mut http.methods);
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        validate_service_name(&self.name, "Name", problems);
        for (position, route) in self.routes.iter().enumerate() {
            route.validate(&format!("Routes[{position}]"), problems);
        }
    }
}

impl Route {
    /// Which HTTP requests; `None` means all of them.
    pub fn http(&self) -> Option<&HttpMatch> {
        self.r#match.as_ref()?.http.as_ref()
    }

    fn validate(&self, path: &str, problems: &mut Problems) {
        if let Some(http) = self.http() {
            http.validate(&format!("{path}.Match.HTTP"), problems);
        }
        let Some(destination) = &self.destination else { return };
        let has_path = self.http().is_some_and(|http| !(http.path_exact.is_empty() && http.path_prefix.is_empty()));
        if !destination.prefix_rewrite.is_empty() && !has_path {
            let message = "needs a PathExact or PathPrefix in the match, which it replaces";
            problems.rule(format!("{path}.Destination.PrefixRewrite"), message);
        }
        destination.validate(&format!("{path}.Destination"), problems);
    }
}

impl HttpMatch {
    fn validate(&self, path: &str, problems: &mut Problems) {
        let condition = PathCondition { exact: &self.path_exact, prefix: &self.path_prefix, regex: &self.path_regex };
        condition.validate(path, problems);
        for (position, header) in self.header.iter().enumerate() {
            let path = format!("{path}.Header[{position}]");
            let conditions = [
                ("Present", header.present),
                ("Exact", !header.exact.is_empty()),
                ("Prefix", !header.prefix.is_empty()),
                ("Suffix", !header.suffix.is_empty()),
                ("Regex", !header.regex.is_empty()),
            ];
            validate_conditions(&header.name, &conditions, &path, problems);
            validate_expression(&header.regex, &format!("{path}.Regex"), problems);
        }
        for (position, parameter) in self.query_param.iter().enumerate() {
            let path = format!("{path}.QueryParam[{position}]");
            let conditions = [
                ("Present", parameter.present),
                ("Exact", !parameter.exact.is_empty()),
                ("Regex", !parameter.regex.is_empty()),
            ];
            validate_conditions(&parameter.name, &conditions, &path, problems);
            validate_expression(&parameter.regex, &format!("{path}.Regex"), problems);
            if parameter.name.len() > LONGEST_PARAMETER {
                problems.rule(format!("{path}.Name"), format!("a name has at most {LONGEST_PARAMETER} bytes"));
            }
        }
        validate_methods(&self.methods, &format!("{path}.Methods"), problems);
    }
}

/// Longest name of a query parameter that Envoy takes.
const LONGEST_PARAMETER: usize = 1024;

/// Longest time that Envoy takes, a little more than 292 years.
const LONGEST_TIMEOUT: GoDuration = GoDuration::from_secs(9_223_372_035);

impl RouteDestination {
    fn validate(&self, path: &str, problems: &mut Problems) {
        if self.prefix_rewrite.contains(['\0', '\r', '\n']) {
            problems.rule(format!("{path}.PrefixRewrite"), "must hold neither zero bytes nor line ends");
        }
        for (field, timeout) in [("RequestTimeout", self.request_timeout), ("IdleTimeout", self.idle_timeout)] {
            if timeout > LONGEST_TIMEOUT {
                problems.rule(format!("{path}.{field}"), format!("must be at most {LONGEST_TIMEOUT}"));
            }
        }
        for (position, condition) in self.retry_on.iter().enumerate() {
            if !RETRY_CONDITIONS.contains(&condition.as_str()) {
                let known = RETRY_CONDITIONS.join(", ");
                let message = format!("unknown condition {condition:?}: expected one of {known}");
                problems.rule(format!("{path}.RetryOn[{position}]"), message);
            }
        }
        let changes = [("RequestHeaders", &self.request_headers), ("ResponseHeaders", &self.response_headers)];
        for (field, headers) in changes {
            if let Some(headers) = headers {
                headers.validate(&format!("{path}.{field}"), problems);
            }
        }
    }
}
