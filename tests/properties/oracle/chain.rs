//! Where a service's name leads: routers, splitters, redirects, subsets and failover (contract 2.7).

use meshgate::envoy::path::Request;
use meshgate::model::entry::{HttpMatch, Route, Split};

use super::Sent;
use super::view::View;

/// Instances that traffic is meant for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) service: String,
    pub(super) partition: String,
    pub(super) datacenter: String,
    /// Empty for all instances.
    pub(super) subset: String,
}

/// A service in a partition, and a subset of it.
#[derive(Debug, Clone)]
struct Named {
    service: String,
    partition: String,
    subset: String,
}

/// What speaks HTTP: the service-defaults say so, if there are any (contract 2.7).
pub(super) fn speaks_http(view: &View<'_>, service: &str, partition: &str) -> bool {
    let protocol = view.service_defaults(service, partition).map_or("", |entry| entry.protocol.as_str());
    ["http", "http2", "grpc"].contains(&protocol)
}

/// The targets that something sent to a service can be meant for, each with what is sent on.
pub(super) fn targets(
    view: &View<'_>,
    service: &str,
    partition: &str,
    datacenter: &str,
    sent: &Sent,
) -> Vec<(Target, Sent)> {
    let own = Named { service: service.to_owned(), partition: partition.to_owned(), subset: String::new() };
    let (next, sent) = match (sent, view.router(service, partition)) {
        (Sent::Request(request), Some(router)) => routed(&router.routes, &own, request),
        (Sent::Request(_) | Sent::Bytes, _) => (own, sent.clone()),
    };
    let mut found = Vec::new();
    for named in split(view, &next) {
        let target = Target {
            service: named.service,
            partition: named.partition,
            datacenter: datacenter.to_owned(),
            subset: named.subset,
        };
        found.push((resolved(view, target), sent.clone()));
    }
    found
}

/// The first route that takes the request; what none takes goes to the service itself.
fn routed(routes: &[Route], own: &Named, request: &Request) -> (Named, Sent) {
    let http = |route: &Route| route.r#match.as_ref().and_then(|it| it.http.clone()).unwrap_or_default();
    let Some(route) = routes.iter().find(|route| takes(&http(route), request)) else {
        return (own.clone(), Sent::Request(request.clone()));
    };
    let destination = route.destination.clone().unwrap_or_default();
    let next = Named {
        service: if destination.service.is_empty() { own.service.clone() } else { destination.service },
        partition: destination.partition.map_or_else(|| own.partition.clone(), |it| it.to_string()),
        subset: destination.service_subset,
    };
    let mut request = request.clone();
    if destination.prefix_rewrite == "/" {
        let rest = &request.path[http(route).path_prefix.len()..];
        request.path = format!("/{}", rest.strip_prefix('/').unwrap_or(rest));
    }
    (next, Sent::Request(request))
}

/// True if a route takes a request: all of its conditions hold.
fn takes(http: &HttpMatch, request: &Request) -> bool {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let has_path = (http.path_exact.is_empty() || path == http.path_exact) && path.starts_with(&http.path_prefix);
    let headers = http.header.iter().all(|wanted| {
        let value = request.headers.iter().find(|(name, _)| *name == wanted.name).map(|(_, value)| value.as_str());
        let is_match = if wanted.present { value.is_some() } else { value == Some(wanted.exact.as_str()) };
        is_match != wanted.invert
    });
    let parameters = http.query_param.iter().all(|wanted| {
        assert_eq!((&*wanted.name, &*wanted.regex), ("version", "[0-9]+"), "the one that meshes are made of");
        let value = query.strip_prefix("version=");
        value.is_some_and(|value| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()))
    });
    has_path && headers && parameters && (http.methods.is_empty() || http.methods.contains(&request.method))
}

/// What a splitter makes of a service without subset. Splits of other services go through their splitters as well; what
/// comes out with less than half of a hundredth of a percent is nothing.
fn split(view: &View<'_>, named: &Named) -> Vec<Named> {
    let mut out = Vec::new();
    let mut open = vec![(named.clone(), 10_000.0_f64, None::<Named>)];
    while let Some((named, hundredths, from)) = open.pop() {
        let is_own = from.is_some_and(|from| from.service == named.service && from.partition == named.partition);
        let splitter = view.splitter(&named.service, &named.partition).filter(|_| named.subset.is_empty() && !is_own);
        let Some(splitter) = splitter else {
            if hundredths >= 1.0 {
                out.push(named);
            }
            continue;
        };
        for part in &splitter.splits {
            let Split { weight, service, service_subset, partition, .. } = part;
            let next = Named {
                service: if service.is_empty() { named.service.clone() } else { service.clone() },
                partition: partition.as_ref().map_or_else(|| named.partition.clone(), ToString::to_string),
                subset: service_subset.clone(),
            };
            let share = (hundredths * f64::from(*weight) / 100.0).round();
            open.push((next, share, Some(named.clone())));
        }
    }
    out
}

/// Follows redirects and default subsets.
fn resolved(view: &View<'_>, mut target: Target) -> Target {
    for _ in 0..16 {
        let Some(resolver) = view.resolver(&target.service, &target.partition) else { return target };
        let next = if let Some(redirect) = &resolver.redirect {
            let step = Step {
                service: &redirect.service,
                subset: &redirect.service_subset,
                partition: redirect.partition.as_ref().map(|it| it.as_str()),
                datacenter: redirect.datacenter.as_str(),
            };
            step.from(&target)
        } else if target.subset.is_empty() {
            Target { subset: resolver.default_subset.clone(), ..target.clone() }
        } else {
            return target;
        };
        if next == target {
            return target;
        }
        target = next;
    }
    panic!("meshes are made without redirects in circles");
}

/// The primary target and its failover targets, in order.
pub(super) fn legs(view: &View<'_>, primary: &Target) -> Vec<Target> {
    let resolver = view.resolver(&primary.service, &primary.partition);
    let failover = resolver.and_then(|it| it.failover.get(&primary.subset).or_else(|| it.failover.get("*")));
    let mut legs = vec![primary.clone()];
    let Some(failover) = failover else { return legs };
    let own = Step { service: &failover.service, subset: &failover.service_subset, ..Step::default() };
    let steps: Vec<Step<'_>> = if !failover.datacenters.is_empty() {
        failover.datacenters.iter().map(|it| Step { datacenter: it.as_str(), ..own }).collect()
    } else if !failover.targets.is_empty() {
        let step = |it: &'_ meshgate::model::entry::FailoverTarget| -> (String, String, Option<String>, String) {
            let partition = it.partition.as_ref().map(ToString::to_string);
            (it.service.clone(), it.service_subset.clone(), partition, it.datacenter.to_string())
        };
        let named: Vec<_> = failover.targets.iter().map(step).collect();
        return named.iter().fold(legs, |legs, (service, subset, partition, datacenter)| {
            with(view, legs, primary, Step { service, subset, partition: partition.as_deref(), datacenter })
        });
    } else {
        vec![own]
    };
    for step in steps {
        legs = with(view, legs, primary, step);
    }
    legs
}

/// One more leg, unless it is there already. Its own failover does not count.
fn with(view: &View<'_>, mut legs: Vec<Target>, primary: &Target, step: Step<'_>) -> Vec<Target> {
    let leg = resolved(view, step.from(primary));
    if !legs.contains(&leg) {
        legs.push(leg);
    }
    legs
}

/// What a redirect or a failover names; the rest is inherited, but a subset is not one of another service.
#[derive(Debug, Clone, Copy, Default)]
struct Step<'e> {
    service: &'e str,
    subset: &'e str,
    partition: Option<&'e str>,
    datacenter: &'e str,
}

impl Step<'_> {
    fn from(self, target: &Target) -> Target {
        let or = |named: &str, inherited: &str| if named.is_empty() { inherited.to_owned() } else { named.to_owned() };
        let is_other = !self.service.is_empty() && self.service != target.service;
        Target {
            service: or(self.service, &target.service),
            partition: or(self.partition.unwrap_or_default(), &target.partition),
            datacenter: or(self.datacenter, &target.datacenter),
            subset: or(self.subset, if is_other { "" } else { &target.subset }),
        }
    }
}
