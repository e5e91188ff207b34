//! `service-splitter`: parts of a service's traffic that go elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HeaderModifiers, validate_service_name};
use crate::model::{Namespace, Partition, Problems, is_default};

/// How the traffic of a service is spread over services and subsets.
///
/// ```hcl
/// Kind = "service-splitter"
/// Name = "api"
/// Splits = [{ Weight = 90, ServiceSubset = "v1" }, { Weight = 10, ServiceSubset = "v2" }]
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceSplitter {
    /// The service.
    pub name: String,
    /// Its partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// The parts.
    pub splits: Vec<Split>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// One part of the traffic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Split {
    /// How much of the traffic, in percent. `normalize` rounds it to hundredths.
    pub weight: f32,
    /// Where it goes; this service when empty.
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
    /// Changes of request headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<HeaderModifiers>,
    /// Changes of response headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<HeaderModifiers>,
}

/// All of the traffic, in hundredths of a percent.
const WHOLE: u32 = 10_000;

impl Split {
    /// The weight in hundredths of a percent: 10,000 is all of the traffic.
    pub fn hundredths(&self) -> u32 {
        // What is negative or no number becomes 0.
        (f64::from(self.weight) * 100.0).round() as u32
    }
}

impl ServiceSplitter {
    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
        for split in &mut self.splits {
            // A weight that breaks a rule is told as it was written.
            if (0.0..=100.0).contains(&split.weight) {
                split.weight = (f64::from(split.hundredths()) / 100.0) as f32;
            }
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        validate_service_name(&self.name, "Name", problems);
        if self.splits.is_empty() {
            problems.rule("Splits", "at least one split is required");
            return;
        }
        let mut seen = BTreeMap::new();
        for (position, split) in self.splits.iter().enumerate() {
            let path = format!("Splits[{position}]");
            if !(0.0..=100.0).contains(&split.weight) {
                problems.rule(format!("{path}.Weight"), format!("{} is not from 0 to 100", split.weight));
            }
            if let Some(first) = seen.insert(self.destination(split), position) {
                problems.rule(&*path, format!("the destination is that of Splits[{first}]: each stands once"));
            }
            let changes = [("RequestHeaders", &split.request_headers), ("ResponseHeaders", &split.response_headers)];
            for (field, headers) in changes {
                if let Some(headers) = headers {
                    headers.validate(&format!("{path}.{field}"), problems);
                }
            }
        }
        let sum: u64 = self.splits.iter().map(|split| u64::from(split.hundredths())).sum();
        if sum != u64::from(WHOLE) {
            let sum = sum as f64 / 100.0;
            problems.rule("Splits", format!("the sum of all weights must be 100, not {sum}"));
        }
    }

    /// Where a split leads, whether or not it says what goes without saying.
    fn destination<'a>(&'a self, split: &'a Split) -> (&'a str, &'a str, &'a Namespace, &'a Partition) {
        (
            if split.service.is_empty() { &self.name } else { &split.service },
            &split.service_subset,
            split.namespace.as_ref().unwrap_or(&self.namespace),
            split.partition.as_ref().unwrap_or(&self.partition),
        )
    }
}
