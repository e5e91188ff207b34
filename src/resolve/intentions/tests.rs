//! What becomes of intentions, as tables: sources and permissions in, rules out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Facts, Intentions, MOST_CONDITIONS, Refused, Traffic, Verdict};
use crate::ir::{ForwardClientCert, HeaderMatch, PathMatch, Permission, PolicyName, Principal, Rbac, RbacAction};
use crate::model::entry::ServiceIntentions;
use crate::model::{ConfigEntry, IntentionPolicy, Namespace, Partition, PeerName, PeerTrustBundle, ServiceName};

const REQUESTS: Traffic = Traffic::Requests(ForwardClientCert::Append);

/// What the service of a table is, and what it depends on.
struct Bench {
    service: ServiceName,
    default: IntentionPolicy,
    peers: &'static [&'static str],
    consumers: &'static [&'static str],
    has_partitions: bool,
}

fn bench(default: IntentionPolicy) -> Bench {
    Bench { service: ServiceName::in_default("api"), default, peers: &[], consumers: &[], has_partitions: false }
}

fn entry(mut value: Value) -> ServiceIntentions {
    value["Kind"] = "service-intentions".into();
    let mut entry = ConfigEntry::from_stored(value).expect("it is written as it is stored");
    entry.normalize(&Partition::default(), &Namespace::default());
    let ConfigEntry::ServiceIntentions(entry) = entry else { panic!("the kind is that of intentions") };
    entry
}

impl Bench {
    fn verdict(&self, entries: &[Value], traffic: Traffic) -> Verdict {
        let entries: Vec<_> = entries.iter().cloned().map(entry).collect();
        let bundle = |peer: &&str| {
            let bundle = PeerTrustBundle {
                trust_domain: format!("{peer}.td"),
                exported_partition: Partition::from("theirs"),
                ..PeerTrustBundle::default()
            };
            (PeerName::from(*peer), Arc::new(bundle))
        };
        let facts = Facts {
            trust_domain: "td",
            default: self.default,
            service: &self.service,
            bundles: self.peers.iter().map(bundle).collect::<BTreeMap<_, _>>(),
            consumers: self.consumers.iter().map(|name| Partition::from(*name)).collect::<BTreeSet<_>>(),
            has_partitions: self.has_partitions,
        };
        Intentions::new(facts, entries.iter()).rbac(traffic)
    }

    /// The rules of one entry about the service, in short.
    fn rules(&self, sources: Value, traffic: Traffic) -> Vec<String> {
        shown(&self.verdict(&[json!({ "Name": &*self.service.name, "Sources": sources })], traffic).rbac)
    }
}

/// The action, then a line for each policy.
fn shown(rbac: &Rbac) -> Vec<String> {
    let action = match rbac.action {
        RbacAction::Allow => "ALLOW",
        RbacAction::Deny => "DENY",
    };
    let policies = rbac.policies.iter().map(|(name, policy)| {
        let name = match name {
            PolicyName::Connections => "connections".to_owned(),
            PolicyName::Requests(position) => format!("requests {position}"),
            PolicyName::Partitions => "partitions".to_owned(),
        };
        let join = |parts: Vec<String>| parts.join(", ");
        let callers = join(policy.principals.iter().map(caller).collect());
        match policy.permissions.as_slice() {
            [Permission::Any] => format!("{name}: {callers}"),
            permissions => format!("{name}: {callers}: {}", join(permissions.iter().map(request).collect())),
        }
    });
    std::iter::once(action.to_owned()).chain(policies).collect()
}

fn caller(principal: &Principal) -> String {
    let short = |expression: &str| {
        expression.replace("spiffe://td/ns/default/dc/[^/]+/svc/", "").replace("spiffe://", "").replace("[^/]+", "*")
    };
    match principal {
        Principal::Certificate(uri) => short(uri),
        Principal::Forwarded(uri) => format!("for {}", short(uri)),
        Principal::All(all) => format!("({})", all.iter().map(caller).collect::<Vec<_>>().join(" & ")),
        Principal::Not(caller_) => format!("!{}", caller(caller_)),
    }
}

fn request(permission: &Permission) -> String {
    match permission {
        Permission::Any => "any".to_owned(),
        Permission::Path(PathMatch::Any) => "any path".to_owned(),
        Permission::Path(PathMatch::Exact(path)) => format!("={path}"),
        Permission::Path(PathMatch::Prefix(path)) => format!("{path}*"),
        Permission::Path(PathMatch::Regex(path)) => format!("~{path}"),
        Permission::Header(HeaderMatch { name, value, invert }) => {
            let sign = if *invert { "!" } else { "" };
            value.as_ref().map_or_else(|| format!("{sign}{name}"), |value| format!("{sign}{name} {value:?}"))
        }
        Permission::All(all) => format!("({})", all.iter().map(request).collect::<Vec<_>>().join(" & ")),
        Permission::Not(inner) => format!("!{}", request(inner)),
    }
}

fn allow(name: &str) -> Value {
    json!({ "Name": name, "Action": "allow" })
}

fn deny(name: &str) -> Value {
    json!({ "Name": name, "Action": "deny" })
}

/// A source that is judged by the paths of requests, in order.
fn paths(name: &str, permissions: &[(&str, &str)]) -> Value {
    let permission = |(action, path): &(&str, &str)| json!({ "Action": action, "HTTP": { "PathExact": path } });
    json!({ "Name": name, "Permissions": permissions.iter().map(permission).collect::<Vec<_>>() })
}

#[test]
fn without_intentions_the_default_holds() {
    for traffic in [Traffic::Connections, REQUESTS] {
        assert_eq!(bench(IntentionPolicy::Allow).rules(json!([]), traffic), ["DENY"]);
        assert_eq!(bench(IntentionPolicy::Deny).rules(json!([]), traffic), ["ALLOW"]);
    }
}

#[test]
fn what_says_the_default_vanishes_and_is_taken_out_of_what_it_goes_before() {
    let (allowing, denying) = (bench(IntentionPolicy::Allow), bench(IntentionPolicy::Deny));
    for (sources, when_allowing, when_denying) in [
        (json!([allow("web")]), &["DENY"][..], &["ALLOW", "connections: web"][..]),
        (json!([deny("web")]), &["DENY", "connections: web"], &["ALLOW"]),
        (json!([deny("web"), allow("*")]), &["DENY", "connections: web"], &["ALLOW", "connections: (* & !web)"]),
        (json!([allow("web"), deny("*")]), &["DENY", "connections: (* & !web)"], &["ALLOW", "connections: web"]),
        (
            json!([deny("web"), allow("unsafe"), deny("cron"), deny("*")]),
            &["DENY", "connections: cron, web, (* & !web & !unsafe & !cron)"],
            &["ALLOW", "connections: unsafe"],
        ),
    ] {
        for traffic in [Traffic::Connections, REQUESTS] {
            assert_eq!(allowing.rules(sources.clone(), traffic), when_allowing, "{sources}");
            assert_eq!(denying.rules(sources.clone(), traffic), when_denying, "{sources}");
        }
    }
}

#[test]
fn the_entry_with_the_exact_destination_goes_first() {
    let exact = |sources: Value| json!({ "Name": "api", "Sources": sources });
    let every = |sources: Value| json!({ "Name": "*", "Sources": sources });
    let denying = bench(IntentionPolicy::Deny);
    for (entries, expected) in [
        // The same source: the second entry never decides.
        ([exact(json!([deny("web")])), every(json!([allow("web")]))], &["ALLOW"][..]),
        ([exact(json!([allow("web")])), every(json!([deny("web"), deny("*")]))], &["ALLOW", "connections: web"]),
        // A wider source that goes first decides about the narrower one too.
        ([exact(json!([deny("*")])), every(json!([allow("web")]))], &["ALLOW"]),
        ([exact(json!([deny("web")])), every(json!([allow("*")]))], &["ALLOW", "connections: (* & !web)"]),
        ([exact(json!([allow("web")])), every(json!([allow("cron")]))], &["ALLOW", "connections: web, cron"]),
    ] {
        assert_eq!(shown(&denying.verdict(&entries, Traffic::Connections).rbac), expected, "{entries:?}");
    }
}

#[test]
fn namespaces_are_covered_by_wider_ones_and_exceptions_are_as_few_as_say_it() {
    let in_namespace =
        |name: &str, namespace: &str, action: &str| json!({ "Name": name, "Namespace": namespace, "Action": action });
    let sources = json!([
        in_namespace("*", "*", "allow"),
        in_namespace("*", "shop", "deny"),
        in_namespace("web", "shop", "deny"),
        in_namespace("web", "blog", "deny"),
    ]);

    assert_eq!(
        bench(IntentionPolicy::Deny).rules(sources, Traffic::Connections),
        ["ALLOW", "connections: (td/ns/*/dc/*/svc/* & !td/ns/blog/dc/*/svc/web & !td/ns/shop/dc/*/svc/*)"]
    );
}

#[test]
fn the_first_permission_that_matches_decides() {
    let (allowing, denying) = (bench(IntentionPolicy::Allow), bench(IntentionPolicy::Deny));
    let two_denied = paths("web", &[("deny", "/a"), ("deny", "/b"), ("allow", "/c")]);
    for (sources, when_allowing, when_denying) in [
        (json!([paths("web", &[("allow", "/a")])]), &["DENY"][..], &["ALLOW", "requests 0: web: =/a"][..]),
        (
            json!([two_denied]),
            &["DENY", "requests 0: web: =/a, (=/b & !=/a)"],
            &["ALLOW", "requests 0: web: (=/c & !=/b & !=/a)"],
        ),
        // Whoever has no permission left is still decided about, and not by what comes after.
        (
            json!([paths("web", &[("deny", "/a")]), allow("cron"), allow("*")]),
            &["DENY", "requests 0: web: =/a"],
            &["ALLOW", "connections: cron, (* & !web & !cron)"],
        ),
        // The position counts connections too.
        (
            json!([allow("cron"), paths("web", &[("allow", "/a"), ("deny", "/b")]), paths("*", &[("allow", "/c")])]),
            &["DENY", "requests 0: web: (=/b & !=/a)"],
            &["ALLOW", "connections: cron", "requests 1: web: =/a", "requests 2: (* & !web & !cron): =/c"],
        ),
    ] {
        assert_eq!(allowing.rules(sources.clone(), REQUESTS), when_allowing, "{sources}");
        assert_eq!(denying.rules(sources.clone(), REQUESTS), when_denying, "{sources}");
    }
}

#[test]
fn a_permission_is_about_path_and_headers_and_methods() {
    let http = json!({
        "PathRegex": "/v[0-9]",
        "Header": [
            { "Name": "a", "Exact": "1", "IgnoreCase": true },
            { "Name": "b", "Regex": "2" },
            { "Name": "c", "Prefix": "3", "Invert": true },
            { "Name": "d", "Suffix": "4" },
            { "Name": "e", "Contains": "5" },
            { "Name": "f", "Present": true },
        ],
        "Methods": ["get", "POST"],
    });
    let sources = json!([{ "Name": "web", "Permissions": [{ "Action": "deny", "HTTP": http }] }]);

    assert_eq!(
        bench(IntentionPolicy::Allow).rules(sources, REQUESTS),
        [
            "DENY",
            "requests 0: web: (~/v[0-9] & a StringMatch { pattern: Exact(\"1\"), ignore_case: true } & b StringMatch { \
             pattern: Regex(\"2\"), ignore_case: false } & !c StringMatch { pattern: Prefix(\"3\"), ignore_case: false \
             } & d StringMatch { pattern: Suffix(\"4\"), ignore_case: false } & e StringMatch { pattern: Contains(\"5\"), \
             ignore_case: false } & f & :method StringMatch { pattern: Regex(\"GET|POST\"), ignore_case: false })"
        ]
    );
}

#[test]
fn without_http_permissions_deny_and_that_is_told() {
    let entry = json!({ "Name": "api", "Sources": [paths("web", &[("allow", "/a")]), allow("*")] });

    let denying = bench(IntentionPolicy::Deny).verdict(std::slice::from_ref(&entry), Traffic::Connections);
    let allowing = bench(IntentionPolicy::Allow).verdict(&[entry], Traffic::Connections);

    assert_eq!(shown(&denying.rbac), ["ALLOW", "connections: (* & !web)"]);
    assert_eq!(shown(&allowing.rbac), ["DENY", "connections: web"]);
    assert_eq!(denying.refused, [Refused::NoRequests { caller: "web".to_owned() }]);
}

#[test]
fn peers_are_known_by_certificate_or_by_what_our_gateway_tells() {
    let bench = Bench { peers: &["east"], ..bench(IntentionPolicy::Deny) };
    let sources = json!([
        allow("web"),
        { "Name": "*", "Peer": "east", "Action": "allow" },
        { "Name": "web", "Peer": "east", "Action": "deny" },
        // Nobody knows this peer.
        { "Name": "*", "Peer": "west", "Action": "allow" },
    ]);

    assert_eq!(
        bench.rules(sources.clone(), Traffic::Connections),
        [
            "ALLOW",
            "connections: web, (east.td/ap/theirs/ns/default/dc/*/svc/* & !east.td/ap/theirs/ns/default/dc/*/svc/web)"
        ]
    );
    assert_eq!(
        bench.rules(sources, REQUESTS),
        [
            "ALLOW",
            "connections: web, (td/gateway/mesh/dc/* & (for east.td/ap/theirs/ns/default/dc/*/svc/* & !for \
             east.td/ap/theirs/ns/default/dc/*/svc/web))"
        ]
    );
}

#[test]
fn peers_that_cannot_be_told_apart_are_refused_together() {
    let bench = Bench { peers: &["east"], ..bench(IntentionPolicy::Allow) };
    let entry = json!({ "Name": "api", "Sources": [{ "Name": "web", "Peer": "east", "Action": "deny" }] });

    for traffic in [Traffic::Requests(ForwardClientCert::Sanitize), Traffic::Unread] {
        let verdict = bench.verdict(std::slice::from_ref(&entry), traffic);
        assert_eq!(shown(&verdict.rbac), ["DENY", "connections: td/gateway/mesh/dc/*"], "{traffic:?}");
        assert_eq!(verdict.refused, [Refused::HiddenPeers]);
    }
}

#[test]
fn partitions_without_an_export_stay_outside() {
    let sources = json!([
        { "Name": "web", "Partition": "team-a", "Action": "allow" },
        { "Name": "web", "Partition": "team-b", "Action": "allow" },
        allow("cron"),
    ]);
    let in_default = |default| Bench { consumers: &["team-a"], has_partitions: true, ..bench(default) };
    let in_team_c = |default| {
        let service = ServiceName::new(&Partition::from("team-c"), &Namespace::default(), "api");
        Bench { service, consumers: &["default", "team-a"], ..in_default(default) }
    };

    assert_eq!(
        in_default(IntentionPolicy::Deny).rules(sources.clone(), Traffic::Connections),
        ["ALLOW", "connections: cron, td/ap/team-a/ns/default/dc/*/svc/web"]
    );
    assert_eq!(
        in_default(IntentionPolicy::Allow).rules(sources, Traffic::Connections),
        ["DENY", "partitions: (td/ap/.+ & !td/ap/team-a/ns/*/dc/*/svc/*)"]
    );
    assert_eq!(
        in_team_c(IntentionPolicy::Allow).rules(json!([]), REQUESTS),
        ["DENY", "partitions: (td/.+ & !td/ap/team-c/.+ & !td/ns/*/dc/*/svc/* & !td/ap/team-a/ns/*/dc/*/svc/*)"]
    );
}

#[test]
fn what_cannot_be_made_lets_nobody_in() {
    let allowing = bench(IntentionPolicy::Allow);
    let broken = json!({ "Action": "deny", "HTTP": { "PathRegex": "(?=a)" } });
    let broken = json!({ "Name": "api", "Sources": [{ "Name": "web", "Permissions": [broken] }] });
    // The conditions of permissions grow with the square of their number.
    let many = (MOST_CONDITIONS as f64).sqrt() as usize * 2;
    let paths_: Vec<String> = (0..many).map(|number| format!("/{number}")).collect();
    let many: Vec<_> = paths_.iter().map(|path| ("deny", path.as_str())).collect();
    let many = json!({ "Name": "api", "Sources": [paths("web", &many)] });

    for (entry, reason) in [
        (broken, "nobody may call it: an intention has \"(?=a)\", which is no regular expression that Envoy takes"),
        (many, "at most 50000 can be enforced"),
    ] {
        let Verdict { rbac, refused } = allowing.verdict(std::slice::from_ref(&entry), REQUESTS);
        assert_eq!(rbac, Rbac::nobody());
        assert!(matches!(refused.as_slice(), [only] if only.to_string().contains(reason)), "{refused:?}");
        // What is judged by connections alone needs none of it.
        assert_eq!(shown(&allowing.verdict(&[entry], Traffic::Connections).rbac), ["DENY", "connections: web"]);
    }
}
