//! Who may call whom (contract 3.2, 6.9; design, section 8).

use meshgate::envoy::path::Request;
use meshgate::model::entry::{IntentionHttp, IntentionSource};
use meshgate::model::{IntentionAction, IntentionPolicy};

use super::chain::speaks_http;
use super::view::{Instance, View};
use super::{Oracle, Sent};

/// Whoever calls, as its certificate says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'c> {
    pub(crate) service: &'c str,
    pub(crate) partition: &'c str,
}

impl Oracle<'_> {
    /// True if a sidecar lets this through to its application.
    pub(crate) fn allows(&self, callee: &Instance<'_>, caller: Caller<'_>, sent: &Sent) -> bool {
        let view = self.view();
        let service = callee.service.proxy.destination_service_name.as_str();
        let partition = callee.at.partition.as_str();
        let is_caller = |consumer: &str| consumer == caller.partition;
        if caller.partition != partition && !view.is_exported(service, partition, is_caller) {
            return false;
        }
        let action = match deciding(view, (service, partition), caller) {
            None => None,
            Some(source) if source.permissions.is_empty() => source.action,
            Some(source) => match sent {
                Sent::Request(request) if speaks_http(view, service, partition) => {
                    let meant = source
                        .permissions
                        .iter()
                        .find(|it| it.http.as_ref().is_some_and(|http| is_about(http, request)));
                    meant.and_then(|permission| permission.action)
                }
                // Nobody can look into it.
                Sent::Request(_) | Sent::Bytes => Some(IntentionAction::Deny),
            },
        };
        action.unwrap_or(match self.default_intention {
            IntentionPolicy::Allow => IntentionAction::Allow,
            IntentionPolicy::Deny => IntentionAction::Deny,
        }) == IntentionAction::Allow
    }
}

/// The intention that decides: exact destinations before wildcards, then exact sources.
fn deciding<'w>(
    view: &View<'w>,
    (service, partition): (&str, &str),
    caller: Caller<'_>,
) -> Option<&'w IntentionSource> {
    for destination in [service, "*"] {
        let sources = view.intentions(destination, partition).map(|entry| entry.sources.as_slice()).unwrap_or_default();
        for name in [caller.service, "*"] {
            let is_meant = |source: &&IntentionSource| {
                let of = source.partition.as_ref().map_or(partition, |partition| partition.as_str());
                source.name == name && of == caller.partition
            };
            if let Some(source) = sources.iter().find(is_meant) {
                return Some(source);
            }
        }
    }
    None
}

/// True if a permission is about a request: all of its conditions hold.
fn is_about(http: &IntentionHttp, request: &Request) -> bool {
    let path = request.path.split('?').next().unwrap_or_default();
    let fits = match http.path_regex.as_str() {
        "" => true,
        "/(x|exact)" => path == "/x" || path == "/exact",
        other => panic!("meshes are made without the expression {other:?}"),
    };
    let has_path = (http.path_exact.is_empty() || path == http.path_exact) && path.starts_with(&http.path_prefix);
    let headers = http.header.iter().all(|wanted| {
        let value = request.headers.iter().find(|(name, _)| *name == wanted.name).map(|(_, value)| value.as_str());
        let is_match = if wanted.present { value.is_some() } else { value == Some(wanted.exact.as_str()) };
        is_match != wanted.invert
    });
    fits && has_path && headers && (http.methods.is_empty() || http.methods.contains(&request.method))
}
