//! Where a call reads and writes: `dc`, `partition` and `ns`.

use http::HeaderMap;

use super::Options;
use super::error::ApiError;
use super::query::Query;
use crate::model::{Datacenter, Namespace, NodeName, Partition, Place, ServiceKey, ServiceName, is_label};
use crate::store::NodeKey;

/// The name that stands for all namespaces in reads.
const EVERY: &str = "*";

/// The datacenter, partition and namespace that a call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// Datacenter and partition.
    pub(super) place: Place,
    /// Namespace.
    pub(super) namespace: Namespace,
    /// What the call itself said, to compare with what its body says.
    said: Said,
}

/// Tenancy as a call said it; `None` where it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    partition: Option<Partition>,
    namespace: Option<Namespace>,
}

impl Scope {
    /// The scope of a call, in whatever datacenter it names. `datacenter` is the older name of `dc` and wins; parameters win over headers.
    pub(super) fn of(query: &Query, headers: &HeaderMap, options: &Options) -> Result<Self, ApiError> {
        let datacenter = query.value("datacenter").or(query.value("dc"));
        let datacenter = datacenter.map_or_else(|| options.datacenter.clone(), Datacenter::from);
        let said = |parameter, header| {
            let header = || headers.get(header).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
            query.value(parameter).or_else(header)
        };
        let said = Said {
            partition: said("partition", "x-consul-partition").map(Partition::from),
            namespace: said("ns", "x-consul-namespace").map(Namespace::from),
        };
        let partition = said.partition.clone().unwrap_or_default();
        is_one("partition", partition.as_str())?;
        let namespace = said.namespace.clone().unwrap_or_default();
        if namespace.as_str() != EVERY {
            is_one("ns", namespace.as_str())?;
        }
        Ok(Self { place: Place { datacenter, partition }, namespace, said })
    }

    /// Refuses a datacenter whose catalog this process does not own.
    pub(super) fn require_hosted(&self, options: &Options) -> Result<(), ApiError> {
        let datacenter = &self.place.datacenter;
        if options.hosts(datacenter) {
            return Ok(());
        }
        let hosted = options.datacenters().iter().map(ToString::to_string).collect();
        Err(ApiError::UnknownDatacenter { datacenter: datacenter.clone(), hosted })
    }

    /// The scope in the datacenter that a body names.
    pub(super) fn in_datacenter(mut self, body: &Datacenter, options: &Options) -> Result<Self, ApiError> {
        if !body.is_default() {
            self.place.datacenter = body.clone();
        }
        self.require_hosted(options)?;
        Ok(self)
    }

    /// The scope in the partition that a body names, which must not contradict the call.
    pub(super) fn in_partition(mut self, body: Option<&Partition>) -> Result<Self, ApiError> {
        if let Some(body) = body {
            agree("partition", self.said.partition.as_ref().map(Partition::as_str), body.as_str())?;
            self.place.partition = body.clone();
            self.said.partition = Some(body.clone());
        }
        is_one("partition", self.place.partition.as_str())?;
        Ok(self)
    }

    /// The scope of a write in the namespace that a body names, which must not contradict the call.
    pub(super) fn in_namespace(mut self, body: Option<&Namespace>) -> Result<Self, ApiError> {
        if let Some(body) = body {
            agree("ns", self.said.namespace.as_ref().map(Namespace::as_str), body.as_str())?;
            self.namespace = body.clone();
            self.said.namespace = Some(body.clone());
        }
        is_one("ns", self.namespace.as_str())?;
        Ok(self)
    }

    /// The scope of a write that is about every namespace, which the call must not contradict.
    pub(super) fn in_every_namespace(mut self) -> Result<Self, ApiError> {
        agree("ns", self.said.namespace.as_ref().map(Namespace::as_str), EVERY)?;
        self.namespace = Namespace::from(EVERY);
        Ok(self)
    }

    /// A service of this scope.
    pub(super) fn service(&self, name: &str) -> ServiceKey {
        ServiceKey {
            datacenter: self.place.datacenter.clone(),
            service: ServiceName::new(&self.place.partition, &self.namespace, name),
        }
    }

    /// A node of this scope.
    pub(super) fn node(&self, name: &str) -> NodeKey {
        NodeKey::new(&self.place, &NodeName::from(name))
    }

    /// True if a read of this scope shows what is in `namespace`.
    pub(super) fn shows(&self, namespace: &Namespace) -> bool {
        self.namespace.as_str() == EVERY || self.namespace == *namespace
    }
}

/// Refuses the name that stands for all where one is meant, and names that cannot be a label of an SNI.
fn is_one(name: &'static str, value: &str) -> Result<(), ApiError> {
    let expected = if value == EVERY {
        "expected the name of one"
    } else if is_label(value) {
        return Ok(());
    } else {
        "expected letters, digits, - and _, at most 63 of them"
    };
    Err(ApiError::InvalidParameter { name, value: value.to_owned(), expected })
}

/// What call and body both say must be the same.
fn agree(name: &'static str, call: Option<&str>, body: &str) -> Result<(), ApiError> {
    match call {
        Some(call) if call != body => {
            Err(ApiError::TenancyConflict { name, query: call.to_owned(), body: body.to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(raw: &str) -> Result<Scope, ApiError> {
        let options = Options { hosted: vec![Datacenter::from("dc2")], ..Options::default() };
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-consul-namespace"),
            http::HeaderValue::from_static("from-header"),
        )]);
        Scope::of(&Query::parse(raw).expect(raw), &headers, &options)
    }

    #[test]
    fn parameters_win_over_headers_and_the_older_name_of_dc_wins() {
        let named = |raw| {
            let Scope { place, namespace, .. } = scope(raw).expect(raw);
            format!("{place} {namespace}")
        };

        assert_eq!(named(""), "dc1/default from-header");
        assert_eq!(named("ns=a&partition=b&dc=dc2"), "dc2/b a");
        assert_eq!(named("dc=nowhere&datacenter=dc2"), "dc2/default from-header");
    }

    #[test]
    fn a_datacenter_that_is_not_here_is_refused() {
        let scope = scope("dc=nowhere").expect("a name");
        let error = scope.require_hosted(&Options::default()).expect_err("unknown");

        assert!(error.to_string().starts_with("No path to datacenter"), "{error}");
    }

    #[test]
    fn a_body_cannot_contradict_the_call() {
        let with = |raw, body: &str| scope(raw).and_then(|scope| scope.in_partition(Some(&Partition::from(body))));

        assert_eq!(with("", "a").expect("agrees").place.partition.as_str(), "a");
        assert_eq!(with("partition=a", "a").expect("agrees").place.partition.as_str(), "a");
        assert!(matches!(with("partition=a", "b"), Err(ApiError::TenancyConflict { .. })));
    }

    #[test]
    fn names_of_tenants_are_labels() {
        let refused = |result: Result<Scope, ApiError>| matches!(result, Err(ApiError::InvalidParameter { .. }));

        for raw in ["partition=*", "partition=a.b", "partition=x%20y", "ns=evil.team-a", "ns=a%2Fb", "ns=a%0A"] {
            assert!(refused(scope(raw)), "{raw}");
        }
        assert!(refused(scope("").and_then(|scope| scope.in_partition(Some(&Partition::from("default.dc2"))))));
        assert!(refused(scope(&format!("partition={}", "x".repeat(64)))));
        assert_eq!(scope("ns=*&partition=Team_a-1").expect("a read of all namespaces").namespace.as_str(), "*");
    }
}
