//! Rules about who may call a service, and with which requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{HeaderMatch, PathMatch};

/// Rules about callers. Without any policy the opposite of `action` holds for everyone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rbac {
    /// What happens to calls that a policy matches.
    pub action: RbacAction,
    /// Which calls. Policies have no order: one that matches is enough.
    pub policies: BTreeMap<PolicyName, Policy>,
}

impl Rbac {
    /// Nobody passes.
    pub const fn nobody() -> Self {
        Self { action: RbacAction::Allow, policies: BTreeMap::new() }
    }

    /// True if some callers are judged by what a gateway tells about them.
    pub fn believes_gateways(&self) -> bool {
        self.policies.values().flat_map(|policy| &policy.principals).any(Principal::is_behind_a_gateway)
    }
}

/// What happens to calls that a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RbacAction {
    /// They pass, others do not.
    Allow,
    /// They do not pass, others do.
    Deny,
}

/// What a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyName {
    /// The intentions that are about whole connections.
    Connections,
    /// One intention that is about requests, with its position among those that became rules.
    Requests(usize),
    /// Partitions that the service is not exported to.
    Partitions,
}

/// Which calls: those of one of the callers that ask for one of the things.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Who calls.
    pub principals: Vec<Principal>,
    /// What is asked for.
    pub permissions: Vec<Permission>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Whose certificate has a URI that fits this expression as a whole.
    Certificate(Arc<str>),
    /// For whom the caller speaks, which is a gateway that ended the TLS of the one behind it: whose URI, in the first
    /// element of the header that tells of certificates, fits this expression as a whole.
    Forwarded(Arc<str>),
    /// All of these at once.
    All(Vec<Principal>),
    /// Anybody else.
    Not(Box<Principal>),
}

impl Principal {
    fn is_behind_a_gateway(&self) -> bool {
        match self {
            Principal::Certificate(_) => false,
            Principal::Forwarded(_) => true,
            Principal::All(callers) => callers.iter().any(Principal::is_behind_a_gateway),
            Principal::Not(caller) => caller.is_behind_a_gateway(),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Anything.
    Any,
    /// A request for these paths, without what follows a `?`.
    Path(PathMatch),
    /// A request with this header, or method (`:method`).
    Header(HeaderMatch),
    /// All of these at once.
    All(Vec<Permission>),
    /// Anything else.
    Not(Box<Permission>),
}
