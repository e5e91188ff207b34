//! Rules about callers, for connections and for requests (contract 3.2).

use std::collections::HashMap;

use envoy_types::pb::envoy::config::rbac::v3::{Permission, Policy, Principal, Rbac, permission, principal, rbac};
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, StringMatcher, path_matcher, string_matcher};

use super::{matcher, names};
use crate::ir;

/// The rules of an RBAC filter, always present: a filter without rules would let everybody in silently.
pub(super) fn rules(rules: &ir::Rbac) -> Rbac {
    let action = match rules.action {
        ir::RbacAction::Allow => rbac::Action::Allow,
        ir::RbacAction::Deny => rbac::Action::Deny,
    };
    let policies = rules.policies.iter().map(|(name, rules)| (names::policy(*name), policy(rules)));
    Rbac { action: action.into(), policies: policies.collect::<HashMap<_, _>>(), ..Rbac::default() }
}

fn policy(policy: &ir::Policy) -> Policy {
    Policy {
        principals: policy.principals.iter().map(principal).collect(),
        permissions: policy.permissions.iter().map(permission).collect(),
        ..Policy::default()
    }
}

fn principal(caller: &ir::Principal) -> Principal {
    use principal::{Authenticated, Identifier, Set};
    let identifier = match caller {
        ir::Principal::Certificate(uri) => Identifier::Authenticated(Authenticated {
            principal_name: Some(StringMatcher {
                match_pattern: Some(string_matcher::MatchPattern::SafeRegex(matcher::regex(&format!("^{uri}$")))),
                ..StringMatcher::default()
            }),
        }),
        ir::Principal::Forwarded(uri) => Identifier::Header(matcher::header(&ir::HeaderMatch {
            name: names::CLIENT_CERT_HEADER.into(),
            // Elements are separated by commas. The first one is what the gateway's own caller has shown.
            value: Some(ir::StringPattern::Regex(format!("^[^,]+;URI={uri}(?:,.*)?$").into()).into()),
            invert: false,
        })),
        ir::Principal::All(callers) => Identifier::AndIds(Set { ids: callers.iter().map(principal).collect() }),
        ir::Principal::Not(caller) => Identifier::NotId(Box::new(principal(caller))),
    };
    Principal { identifier: Some(identifier) }
}

fn permission(request: &ir::Permission) -> Permission {
    use permission::{Rule, Set};
    let rule = match request {
        ir::Permission::Any | ir::Permission::Path(ir::PathMatch::Any) => Rule::Any(true),
        ir::Permission::Path(ir::PathMatch::Exact(path)) => url_path(ir::StringPattern::Exact(path.clone())),
        ir::Permission::Path(ir::PathMatch::Prefix(prefix)) => url_path(ir::StringPattern::Prefix(prefix.clone())),
        ir::Permission::Path(ir::PathMatch::Regex(regex)) => url_path(ir::StringPattern::Regex(regex.clone())),
        ir::Permission::Header(header) => Rule::Header(matcher::header(header)),
        ir::Permission::All(requests) => Rule::AndRules(Set { rules: requests.iter().map(permission).collect() }),
        ir::Permission::Not(request) => Rule::NotRule(Box::new(permission(request))),
    };
    Permission { rule: Some(rule) }
}

fn url_path(pattern: ir::StringPattern) -> permission::Rule {
    let path = matcher::string(&pattern.into());
    permission::Rule::UrlPath(PathMatcher { rule: Some(path_matcher::Rule::Path(path)) })
}
