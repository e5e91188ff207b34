//! Permissions: what an intention says about HTTP requests.

use super::refused::Refused;
use crate::ir::{HeaderMatch, PathMatch, Permission, StringMatch, StringPattern};
use crate::model::entry::{IntentionHeader, IntentionHttp, IntentionPermission};
use crate::model::{IntentionAction, check_expression};

/// The requests about which the permissions say something else than `default`. The first permission that matches a request
/// decides about it, so each goes without what earlier ones match.
///
/// # Errors
/// An expression that Envoy would not take.
pub(super) fn deciding(
    permissions: &[IntentionPermission],
    default: IntentionAction,
) -> Result<Vec<Permission>, Refused> {
    let requests = permissions.iter().map(|permission| requests(permission.http.as_ref()));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    let is_kept = |(_, permission): &(usize, &IntentionPermission)| action(permission) != default;
    let kept = permissions.iter().enumerate().filter(is_kept);
    Ok(kept
        .map(|(position, _)| {
            let earlier = requests[..position].iter().rev().cloned().map(|request| Permission::Not(Box::new(request)));
            let mut all = vec![requests[position].clone()];
            all.extend(earlier);
            one_or_all(all)
        })
        .collect())
}

/// How many conditions `deciding` would make, found without making them: their number can be the square of what was written.
pub(super) fn conditions(permissions: &[IntentionPermission], default: IntentionAction) -> usize {
    let mut sum = 0;
    let mut total = 0_usize;
    for permission in permissions {
        sum += permission.http.as_ref().map_or(1, |http| 2 + http.header.len());
        if action(permission) != default {
            total = total.saturating_add(sum);
        }
    }
    total
}

/// What does not say what happens must not let anything in.
fn action(permission: &IntentionPermission) -> IntentionAction {
    permission.action.unwrap_or(IntentionAction::Deny)
}

/// The requests that fit all conditions, in the order of the contract: path, headers, methods.
fn requests(http: Option<&IntentionHttp>) -> Result<Permission, Refused> {
    let Some(http) = http else { return Ok(Permission::Any) };
    let mut conditions = Vec::new();
    conditions.extend(path(http)?.map(Permission::Path));
    for condition in &http.header {
        conditions.extend(header(condition)?.map(Permission::Header));
    }
    if !http.methods.is_empty() {
        let value = Some(StringPattern::Regex(checked(&http.methods.join("|"))?).into());
        conditions.push(Permission::Header(HeaderMatch { name: ":method".into(), value, invert: false }));
    }
    Ok(one_or_all(conditions))
}

fn path(http: &IntentionHttp) -> Result<Option<PathMatch>, Refused> {
    Ok(if !http.path_exact.is_empty() {
        Some(PathMatch::Exact(http.path_exact.as_str().into()))
    } else if !http.path_prefix.is_empty() {
        Some(PathMatch::Prefix(http.path_prefix.as_str().into()))
    } else if !http.path_regex.is_empty() {
        Some(PathMatch::Regex(checked(&http.path_regex)?))
    } else {
        None
    })
}

fn header(header: &IntentionHeader) -> Result<Option<HeaderMatch>, Refused> {
    let text = |text: &String, make: fn(std::sync::Arc<str>) -> StringPattern| {
        (!text.is_empty()).then(|| StringMatch { pattern: make(text.as_str().into()), ignore_case: header.ignore_case })
    };
    let regex = if header.regex.is_empty() {
        None
    } else {
        Some(StringMatch::from(StringPattern::Regex(checked(&header.regex)?)))
    };
    let value = text(&header.exact, StringPattern::Exact)
        .or(regex)
        .or_else(|| text(&header.prefix, StringPattern::Prefix))
        .or_else(|| text(&header.suffix, StringPattern::Suffix))
        .or_else(|| text(&header.contains, StringPattern::Contains));
    let is_condition = value.is_some() || header.present;
    Ok(is_condition.then(|| HeaderMatch { name: header.name.as_str().into(), value, invert: header.invert }))
}

fn checked(expression: &str) -> Result<std::sync::Arc<str>, Refused> {
    check_expression(expression)
        .map(|()| expression.into())
        .map_err(|error| Refused::Expression { expression: expression.to_owned(), error })
}

fn one_or_all(mut conditions: Vec<Permission>) -> Permission {
    match conditions.len() {
        0 => Permission::Any,
        1 => conditions.remove(0),
        _ => Permission::All(conditions),
    }
}
