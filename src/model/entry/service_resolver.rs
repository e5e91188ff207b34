//! `service-resolver`: where a service's name leads, and what happens when nobody is there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::validate_service_name;
use crate::model::{Datacenter, Filter, FilterError, GoDuration, Namespace, Partition, PeerName, Problems, is_default};

/// Where a service's name leads.
///
/// ```hcl
/// Kind = "service-resolver"
/// Name = "api"
/// Redirect { Datacenter = "dc2" }
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceResolver {
    /// The service.
    pub name: String,
    /// Its partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// The subset that is meant when none is named.
    #[serde(skip_serializing_if = "is_default")]
    pub default_subset: String,
    /// Named parts of the instances.
    #[serde(skip_serializing_if = "is_default")]
    pub subsets: BTreeMap<String, Subset>,
    /// Another service that stands in for this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// By subset, or `*`: where to go when no instance is healthy.
    #[serde(skip_serializing_if = "is_default")]
    pub failover: BTreeMap<String, Failover>,
    /// Time to connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<GoDuration>,
    /// Time for one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<GoDuration>,
    /// How requests are spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// A named part of a service's instances.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Subset {
    /// Filter expression over the instances; all of them when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub filter: String,
    /// Instances with a warning count as unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub only_passing: bool,
}

impl Subset {
    /// The filter over rows of `Node`, `Service` and `Checks`; none if every instance belongs to the subset.
    ///
    /// # Errors
    /// A text that is no filter, or a filter over other rows.
    pub fn compiled_filter(&self) -> Result<Option<Filter>, FilterError> {
        if self.filter.is_empty() {
            return Ok(None);
        }
        Filter::parse(&self.filter)?.over(&["Node", "Service", "Checks"]).map(Some)
    }
}

/// Another service that stands in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Redirect {
    /// The service; this one when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub service: String,
    /// The subset of it.
    #[serde(skip_serializing_if = "is_default")]
    pub service_subset: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Its partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// Its datacenter.
    #[serde(skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// The peer that exports it.
    #[serde(skip_serializing_if = "is_default")]
    pub peer: PeerName,
    /// A group of partitions and peers; refused.
    #[serde(skip_serializing_if = "is_default")]
    pub sameness_group: String,
}

/// Where to go when no instance is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Failover {
    /// Another service.
    #[serde(skip_serializing_if = "is_default")]
    pub service: String,
    /// Another subset.
    #[serde(skip_serializing_if = "is_default")]
    pub service_subset: String,
    /// Another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Other datacenters, in order.
    #[serde(skip_serializing_if = "is_default")]
    pub datacenters: Vec<Datacenter>,
    /// Targets of any kind, in order.
    #[serde(skip_serializing_if = "is_default")]
    pub targets: Vec<FailoverTarget>,
    /// Order by locality; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<serde_json::Value>,
    /// A group of partitions and peers; refused.
    #[serde(skip_serializing_if = "is_default")]
    pub sameness_group: String,
}

/// One failover target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FailoverTarget {
    /// The service; this one when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub service: String,
    /// The subset of it.
    #[serde(skip_serializing_if = "is_default")]
    pub service_subset: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Its partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// Its datacenter.
    #[serde(skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// The peer that exports it.
    #[serde(skip_serializing_if = "is_default")]
    pub peer: PeerName,
}

/// How requests are spread.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LoadBalancer {
    /// `random`, `round_robin`, `least_request`, `ring_hash` or `maglev`.
    #[serde(skip_serializing_if = "is_default")]
    pub policy: String,
    /// Options of `ring_hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_hash_config: Option<RingHashConfig>,
    /// Options of `least_request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_request_config: Option<LeastRequestConfig>,
    /// What the hashing policies hash.
    #[serde(skip_serializing_if = "is_default")]
    pub hash_policies: Vec<HashPolicy>,
}

/// Options of `ring_hash`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RingHashConfig {
    /// Smallest ring.
    #[serde(skip_serializing_if = "is_default")]
    pub minimum_ring_size: u64,
    /// Largest ring.
    #[serde(skip_serializing_if = "is_default")]
    pub maximum_ring_size: u64,
}

/// Options of `least_request`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LeastRequestConfig {
    /// Hosts compared for one request.
    #[serde(skip_serializing_if = "is_default")]
    pub choice_count: u32,
}

/// One thing to hash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HashPolicy {
    /// `header`, `cookie` or `query_parameter`.
    #[serde(skip_serializing_if = "is_default")]
    pub field: String,
    /// Its name.
    #[serde(skip_serializing_if = "is_default")]
    pub field_value: String,
    /// Options of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie_config: Option<CookieConfig>,
    /// Hash the caller's address.
    #[serde(rename = "SourceIP", skip_serializing_if = "is_default")]
    pub source_ip: bool,
    /// Later policies are not looked at when this one applies.
    #[serde(skip_serializing_if = "is_default")]
    pub terminal: bool,
}

/// Options of a hashed cookie.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CookieConfig {
    /// Ends with the browser session.
    #[serde(skip_serializing_if = "is_default")]
    pub session: bool,
    /// Time to live.
    #[serde(rename = "TTL", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<GoDuration>,
    /// Path.
    #[serde(skip_serializing_if = "is_default")]
    pub path: String,
}

impl ServiceResolver {
    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        validate_service_name(&self.name, "Name", problems);
        for (name, subset) in &self.subsets {
            if let Err(error) = subset.compiled_filter() {
                problems.rule(
                    format!("Subsets.{name}.Filter"),
                    format!("{:?} is not a valid filter: {error}", subset.filter),
                );
            }
            if !is_subset_name(name) {
                problems.rule(
                    format!("Subsets.{name}"),
                    "a subset name has 1 to 63 lower-case letters, digits or -, and neither starts nor ends with -",
                );
            }
        }
        self.validate_own_subset(&self.default_subset, "DefaultSubset", problems);
        if let Some(redirect) = &self.redirect {
            if !self.failover.is_empty() {
                problems.rule("Redirect", "Redirect and Failover exclude each other");
            }
            self.validate_redirect(redirect, problems);
        }
        for (key, failover) in &self.failover {
            if key != "*" && !self.subsets.contains_key(key) {
                problems.rule(format!("Failover.{key}"), "the key is neither * nor a defined subset");
            }
            self.validate_failover(failover, &format!("Failover.{key}"), problems);
        }
        for (field, timeout) in [("ConnectTimeout", self.connect_timeout), ("RequestTimeout", self.request_timeout)] {
            if timeout.is_some_and(|timeout| timeout < GoDuration::default()) {
                problems.rule(field, "must not be negative");
            }
        }
        if let Some(load_balancer) = &self.load_balancer {
            load_balancer.validate(problems);
        }
    }

    fn validate_own_subset(&self, subset: &str, path: &str, problems: &mut Problems) {
        if !subset.is_empty() && !self.subsets.contains_key(subset) {
            problems.rule(path, format!("subset {subset:?} is not defined"));
        }
    }

    /// True if `service` names this very service or nothing.
    fn is_own(&self, service: &str) -> bool {
        service.is_empty() || service == self.name
    }

    fn validate_redirect(&self, redirect: &Redirect, problems: &mut Problems) {
        if *redirect == Redirect::default() {
            problems.rule("Redirect", "is empty");
        }
        let needs_service = [
            ("ServiceSubset", !redirect.service_subset.is_empty()),
            ("Namespace", redirect.namespace.is_some()),
            ("Partition", redirect.partition.is_some()),
            ("Peer", !redirect.peer.as_str().is_empty()),
        ];
        if redirect.service.is_empty() {
            for (field, _) in needs_service.into_iter().filter(|(_, is_set)| *is_set) {
                problems.rule(format!("Redirect.{field}"), format!("{field} is set, so Service must be set too"));
            }
        }
        if !redirect.sameness_group.is_empty() {
            problems.rule("Redirect.SamenessGroup", "sameness groups are not supported");
        }
        if self.is_own(&redirect.service) && redirect.peer.as_str().is_empty() {
            self.validate_own_subset(&redirect.service_subset, "Redirect.ServiceSubset", problems);
        }
        let place = Reach {
            peer: &redirect.peer,
            subset: &redirect.service_subset,
            partition: redirect.partition.as_ref(),
            datacenter: &redirect.datacenter,
        };
        place.validate(&self.partition, "Redirect", problems);
    }

    fn validate_failover(&self, failover: &Failover, path: &str, problems: &mut Problems) {
        if !failover.sameness_group.is_empty() {
            problems.rule(format!("{path}.SamenessGroup"), "sameness groups are not supported");
        }
        if failover.policy.as_ref().is_some_and(|policy| policy.get("Mode").is_some_and(|mode| *mode != "")) {
            problems.rule(
                format!("{path}.Policy"),
                "is not supported; without it targets are tried in the order in which they are listed",
            );
        }
        if (Failover { policy: None, ..failover.clone() }) == Failover::default() {
            problems.rule(path, "set one of Service, ServiceSubset, Namespace, Datacenters or Targets");
        }
        let beside_targets = [
            ("Datacenters", !failover.datacenters.is_empty()),
            ("Service", !failover.service.is_empty()),
            ("ServiceSubset", !failover.service_subset.is_empty()),
        ];
        if !failover.targets.is_empty() {
            for (field, _) in beside_targets.into_iter().filter(|(_, is_set)| *is_set) {
                problems.rule(format!("{path}.{field}"), format!("{field} and Targets exclude each other"));
            }
        }
        if self.is_own(&failover.service) {
            self.validate_own_subset(&failover.service_subset, &format!("{path}.ServiceSubset"), problems);
        }
        if failover.datacenters.iter().any(|datacenter| datacenter.as_str().is_empty()) {
            problems.rule(format!("{path}.Datacenters"), "a datacenter name must not be empty");
        }
        if !failover.datacenters.is_empty() && !self.partition.is_default() {
            problems.rule(format!("{path}.Datacenters"), "only the default partition reaches other datacenters");
        }
        for (position, target) in failover.targets.iter().enumerate() {
            let path = format!("{path}.Targets[{position}]");
            if self.is_own(&target.service) && target.peer.as_str().is_empty() {
                self.validate_own_subset(&target.service_subset, &format!("{path}.ServiceSubset"), problems);
            }
            let place = Reach {
                peer: &target.peer,
                subset: &target.service_subset,
                partition: target.partition.as_ref(),
                datacenter: &target.datacenter,
            };
            place.validate(&self.partition, &path, problems);
        }
    }
}

/// How far a redirect or failover target reaches.
struct Reach<'a> {
    peer: &'a PeerName,
    subset: &'a str,
    partition: Option<&'a Partition>,
    datacenter: &'a Datacenter,
}

impl Reach<'_> {
    /// Never a peer and anything else, never a datacenter and a partition (design, section 8).
    fn validate(&self, own: &Partition, path: &str, problems: &mut Problems) {
        let has_datacenter = !self.datacenter.as_str().is_empty();
        if !self.peer.as_str().is_empty() {
            let others = [
                ("ServiceSubset", !self.subset.is_empty()),
                ("Partition", self.partition.is_some()),
                ("Datacenter", has_datacenter),
            ];
            for (field, _) in others.into_iter().filter(|(_, is_set)| *is_set) {
                problems.rule(format!("{path}.{field}"), format!("{field} and Peer exclude each other"));
            }
        }
        if has_datacenter && !own.is_default() {
            problems.rule(format!("{path}.Datacenter"), "only the default partition reaches other datacenters");
        }
        if has_datacenter && self.partition.is_some_and(|partition| partition != own) {
            problems.rule(format!("{path}.Partition"), "Datacenter and another Partition exclude each other");
        }
    }
}

fn is_subset_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len()) && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

impl LoadBalancer {
    /// True for policies that send equal requests to the same host.
    pub fn is_hashing(&self) -> bool {
        matches!(self.policy.as_str(), "ring_hash" | "maglev")
    }

    fn validate(&self, problems: &mut Problems) {
        let policy = self.policy.as_str();
        if !matches!(policy, "" | "random" | "round_robin" | "least_request" | "ring_hash" | "maglev") {
            problems.rule("LoadBalancer.Policy", format!("unknown policy {policy:?}"));
        }
        for (field, is_set, owner) in [
            ("RingHashConfig", self.ring_hash_config.is_some(), "ring_hash"),
            ("LeastRequestConfig", self.least_request_config.is_some(), "least_request"),
        ] {
            if is_set && policy != owner {
                problems.rule(format!("LoadBalancer.{field}"), format!("is only for the policy \"{owner}\""));
            }
        }
        if let Some(ring) = &self.ring_hash_config {
            ring.validate(problems);
        }
        if self.least_request_config.as_ref().is_some_and(|config| config.choice_count == 1) {
            problems.rule("LoadBalancer.LeastRequestConfig.ChoiceCount", "must be at least 2: one is no choice");
        }
        if !self.hash_policies.is_empty() && !self.is_hashing() {
            problems.rule("LoadBalancer.HashPolicies", "are only for the policies \"ring_hash\" and \"maglev\"");
        }
        for (position, policy) in self.hash_policies.iter().enumerate() {
            policy.validate(&format!("LoadBalancer.HashPolicies[{position}]"), problems);
        }
    }
}

impl RingHashConfig {
    /// Envoy's sizes where none is given, and the largest that it accepts.
    const MINIMUM: u64 = 1024;
    const MAXIMUM: u64 = 8 * 1024 * 1024;

    fn validate(&self, problems: &mut Problems) {
        let or = |size: u64, default| if size == 0 { default } else { size };
        let minimum = or(self.minimum_ring_size, Self::MINIMUM);
        let maximum = or(self.maximum_ring_size, Self::MAXIMUM);
        for (field, size) in [("MinimumRingSize", minimum), ("MaximumRingSize", maximum)] {
            if size > Self::MAXIMUM {
                let message = format!("must be from 1 to {}, or 0 for Envoy's own", Self::MAXIMUM);
                problems.rule(format!("LoadBalancer.RingHashConfig.{field}"), message);
            }
        }
        if minimum > maximum {
            problems.rule(
                "LoadBalancer.RingHashConfig.MaximumRingSize",
                format!("{maximum} is less than MinimumRingSize, which is {minimum} (1024 where none is given)"),
            );
        }
    }
}

impl HashPolicy {
    fn validate(&self, path: &str, problems: &mut Problems) {
        if !matches!(self.field.as_str(), "" | "header" | "cookie" | "query_parameter") {
            problems.rule(format!("{path}.Field"), format!("unknown field {:?}", self.field));
        }
        if self.source_ip && !(self.field.is_empty() && self.field_value.is_empty()) {
            problems.rule(format!("{path}.SourceIP"), "SourceIP and Field exclude each other");
        }
        if !self.source_ip && self.field.is_empty() != self.field_value.is_empty() {
            problems.rule(format!("{path}.FieldValue"), "Field and FieldValue come together");
        }
        if self.field == "header" && self.field_value.contains(char::is_control) {
            problems.rule(format!("{path}.FieldValue"), "the name of a header has no control characters");
        }
        let Some(cookie) = &self.cookie_config else { return };
        if self.field != "cookie" {
            problems.rule(format!("{path}.CookieConfig"), "is only for the field \"cookie\"");
        }
        if cookie.session && cookie.ttl.is_some_and(|ttl| ttl != GoDuration::default()) {
            problems.rule(format!("{path}.CookieConfig.TTL"), "a session cookie has no time to live");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(load_balancer: LoadBalancer) -> String {
        let mut problems = Problems::default();
        load_balancer.validate(&mut problems);
        problems.into_result().err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_ring_has_sizes_that_envoy_accepts() {
        let ring = |minimum_ring_size, maximum_ring_size| {
            problems_of(LoadBalancer {
                policy: "ring_hash".to_owned(),
                ring_hash_config: Some(RingHashConfig { minimum_ring_size, maximum_ring_size }),
                ..LoadBalancer::default()
            })
        };
        let message = |maximum, minimum| {
            format!(
                "LoadBalancer.RingHashConfig.MaximumRingSize: {maximum} is less than MinimumRingSize, which is {minimum} \
                 (1024 where none is given)"
            )
        };

        assert_eq!([ring(0, 0), ring(5, 5), ring(0, 8_388_608)], ["", "", ""]);
        assert_eq!(ring(100, 10), message(10, 100));
        assert_eq!(ring(0, 10), message(10, 1024));
        assert_eq!(
            ring(0, 8_388_609),
            "LoadBalancer.RingHashConfig.MaximumRingSize: must be from 1 to 8388608, or 0 for Envoy's own"
        );
    }

    #[test]
    fn choices_and_header_names_are_such_that_envoy_accepts_them() {
        let choosing = |choice_count| {
            problems_of(LoadBalancer {
                policy: "least_request".to_owned(),
                least_request_config: Some(LeastRequestConfig { choice_count }),
                ..LoadBalancer::default()
            })
        };
        let hashing = |header: &str| {
            let policy =
                HashPolicy { field: "header".to_owned(), field_value: header.to_owned(), ..HashPolicy::default() };
            problems_of(LoadBalancer {
                policy: "maglev".to_owned(),
                hash_policies: vec![policy],
                ..LoadBalancer::default()
            })
        };

        assert_eq!([choosing(0), choosing(2), hashing("x-user")], ["", "", ""]);
        assert_eq!(choosing(1), "LoadBalancer.LeastRequestConfig.ChoiceCount: must be at least 2: one is no choice");
        assert_eq!(
            hashing("x\ny"),
            "LoadBalancer.HashPolicies[0].FieldValue: the name of a header has no control characters"
        );
    }

    #[test]
    fn subset_filters_must_be_expressions_over_instances() {
        let subset = |filter: &str| Subset { filter: filter.to_owned(), only_passing: false };
        let subsets = [("a", "Service.Meta.version == v1"), ("b", "Meta.version == v1"), ("c", "@@"), ("d", "")];
        let subsets = subsets.into_iter().map(|(name, filter)| (name.to_owned(), subset(filter))).collect();
        let resolver = ServiceResolver { name: "api".to_owned(), subsets, ..ServiceResolver::default() };
        let mut problems = Problems::default();

        resolver.validate(&mut problems);

        assert_eq!(
            problems.to_string(),
            "2 errors occurred:\n\t* Subsets.b.Filter: \"Meta.version == v1\" is not a valid filter: selector \
             \"Meta.version\" is not valid: it must start with Node, Service, Checks\n\t* Subsets.c.Filter: \"@@\" is \
             not a valid filter: syntax error at column 1: expected a selector or a value"
        );
    }
}
