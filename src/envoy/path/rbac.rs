//! RBAC filters: whether policies let a connection or a request pass.

use envoy_types::pb::envoy::config::rbac::v3::{Permission, Policy, Principal, Rbac, permission, principal, rbac};
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};

use super::known::only;
use super::matcher;
use super::request::Headers;
use super::tls::Session;
use super::{Stop, Unknown, answer};

/// What RBAC filters can look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The TLS session that ends here.
    pub(super) session: Option<&'a Session>,
    /// The SNI that was read.
    pub(super) sni: Option<&'a str>,
    /// The request; `None` for a connection.
    pub(super) headers: Option<&'a Headers>,
}

impl Subject<'_> {
    /// Why these rules let nobody like this pass; `None` if they do.
    pub(super) fn refused_by(self, rules: &Rbac) -> Result<Option<Stop>, Unknown> {
        only(rules, &["action", "audit_logging_options", "policies"])?;
        let filter = if self.headers.is_some() { answer::Rbac::Http } else { answer::Rbac::Network };
        let mut names: Vec<&String> = rules.policies.keys().collect();
        names.sort_unstable();
        let mut matching = None;
        for name in names {
            // All of them are looked at, so that one that is not modelled is never missed.
            if self.is_meant_by(&rules.policies[name])? {
                matching.get_or_insert(name);
            }
        }
        Ok(match (rbac::Action::try_from(rules.action), matching) {
            (Ok(rbac::Action::Allow), None) => Some(Stop::Denied { filter, policy: None }),
            (Ok(rbac::Action::Deny), Some(name)) => Some(Stop::Denied { filter, policy: Some(name.clone()) }),
            (Ok(rbac::Action::Allow), Some(_)) | (Ok(rbac::Action::Deny), None) | (Ok(rbac::Action::Log), _) => None,
            (Err(_), _) => return Err(Unknown::Value("an RBAC action")),
        })
    }

    fn is_meant_by(self, policy: &Policy) -> Result<bool, Unknown> {
        only(policy, &["permissions", "principals"])?;
        Ok(any(&policy.permissions, |permission| self.asks(permission))?
            && any(&policy.principals, |principal| self.is(principal))?)
    }

    fn asks(self, permission: &Permission) -> Result<bool, Unknown> {
        use permission::Rule;
        only(permission, &["and_rules", "any", "header", "not_rule", "or_rules", "requested_server_name", "url_path"])?;
        match &permission.rule {
            Some(Rule::Any(any)) => Ok(*any),
            Some(Rule::AndRules(set)) => all(&set.rules, |rule| self.asks(rule)),
            Some(Rule::OrRules(set)) => any(&set.rules, |rule| self.asks(rule)),
            Some(Rule::NotRule(rule)) => self.asks(rule).map(|asks| !asks),
            Some(Rule::Header(wanted)) => self.has_header(wanted),
            Some(Rule::UrlPath(wanted)) => self.has_path(wanted),
            Some(Rule::RequestedServerName(wanted)) => matcher::text(wanted, self.sni.unwrap_or_default()),
            _ => Err(Unknown::Value("an RBAC permission of this kind")),
        }
    }

    fn is(self, principal: &Principal) -> Result<bool, Unknown> {
        use principal::Identifier;
        only(principal, &["and_ids", "any", "authenticated", "header", "not_id", "or_ids", "url_path"])?;
        match &principal.identifier {
            Some(Identifier::Any(any)) => Ok(*any),
            Some(Identifier::AndIds(set)) => all(&set.ids, |id| self.is(id)),
            Some(Identifier::OrIds(set)) => any(&set.ids, |id| self.is(id)),
            Some(Identifier::NotId(id)) => self.is(id).map(|is| !is),
            Some(Identifier::Header(wanted)) => self.has_header(wanted),
            Some(Identifier::UrlPath(wanted)) => self.has_path(wanted),
            Some(Identifier::Authenticated(wanted)) => match (self.session, &wanted.principal_name) {
                (None, _) => Ok(false),
                (Some(_), None) => Ok(true),
                (Some(session), Some(wanted)) => {
                    let Some(peer) = &session.peer else {
                        return Err(Unknown::Value("the name of a caller without a certificate"));
                    };
                    if peer.uris.is_empty() {
                        return Err(Unknown::Value("the name of a caller whose certificate has no URI"));
                    }
                    any(&peer.uris, |uri| matcher::text(wanted, uri))
                }
            },
            _ => Err(Unknown::Value("an RBAC principal of this kind")),
        }
    }

    fn has_header(self, wanted: &envoy_types::pb::envoy::config::route::v3::HeaderMatcher) -> Result<bool, Unknown> {
        match self.headers {
            Some(headers) => matcher::header(wanted, headers),
            None => Err(Unknown::Value("a header of a connection")),
        }
    }

    fn has_path(self, wanted: &PathMatcher) -> Result<bool, Unknown> {
        let path = self.headers.and_then(Headers::path).ok_or(Unknown::Value("a path that is not known"))?;
        match &wanted.rule {
            Some(path_matcher::Rule::Path(wanted)) => matcher::text(wanted, matcher::split_path(&path).0),
            None => Err(Unknown::Value("a path matcher without a pattern")),
        }
    }
}

fn any<T>(items: &[T], holds: impl Fn(&T) -> Result<bool, Unknown>) -> Result<bool, Unknown> {
    items.iter().try_fold(false, |found, item| Ok(holds(item)? || found))
}

fn all<T>(items: &[T], holds: impl Fn(&T) -> Result<bool, Unknown>) -> Result<bool, Unknown> {
    items.iter().try_fold(true, |found, item| Ok(holds(item)? && found))
}
