//! What the rules of a sidecar do to a call is what the intentions say about it: the one of the highest precedence decides,
//! else the default.
//!
//! The rules are read as Envoy reads them, from the filter that it is sent; the intentions as an operator reads them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use envoy_types::pb::envoy::config::listener::v3::{Listener, filter};
use envoy_types::pb::envoy::config::rbac::v3::{Permission, Principal, Rbac, permission, principal, rbac};
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as RequestRules;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as ConnectionRules;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, path_matcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::Any;
use http::Method;
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType};
use meshgate::model::{Datacenter, IntentionPolicy, TrustDomain};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_assert_eq;
use proptest::sample::{select, subsequence};
use proptest::test_runner::TestCaseError;
use prost::{Message, Name};
use regex::Regex;
use serde_json::{Value, json};

use crate::support::mesh::{AGENT, CLUSTER_ID, Mesh, Watched, options};

/// The service that is called.
const CALLED: &str = "db";
/// Who may call it, as far as names, namespaces and partitions go.
const NAMES: [&str; 3] = ["web", "cron", "a.b"];
const NAMESPACES: [&str; 2] = ["default", "shop"];
const PARTITIONS: [&str; 3] = ["default", "team-a", "team-b"];
/// The first is a peer that the service is exported to, the second is nobody.
const PEERS: [&str; 2] = ["east", "west"];
const PEER_DOMAIN: &str = "east.example";
const PEER_PARTITION: &str = "theirs";

const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/v1/admin"];
const METHODS: [&str; 2] = ["GET", "PUT"];
const TOKENS: [&str; 3] = ["", "one", "two"];

/// Whom an intention is about: name and namespace, perhaps `*`, and a partition, or a peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    name: &'static str,
    namespace: &'static str,
    home: Home,
}

/// Whose a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Home {
    Partition(&'static str),
    Peer(&'static str),
}

/// What an intention says.
#[derive(Debug, Clone)]
enum Says {
    Action(bool),
    /// For requests: the first that matches decides.
    Permissions(Vec<(bool, Asked)>),
}

/// Which requests: those that fit everything that is set.
#[derive(Debug, Clone)]
struct Asked {
    path: Option<(&'static str, &'static str)>,
    token: Option<&'static str>,
    methods: Vec<&'static str>,
}

/// A service with everything that is said about its callers.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    passes_by_default: bool,
    speaks_http: bool,
    has_partitions: bool,
    consumers: Vec<&'static str>,
    /// By destination: `db`, every service of its namespace, every service of all.
    entries: [BTreeMap<Source, Says>; 3],
}

/// One call.
#[derive(Debug, Clone)]
struct Call {
    caller: Source,
    path: &'static str,
    method: &'static str,
    token: &'static str,
}

fn source() -> impl Strategy<Value = Source> {
    let home = proptest::prop_oneof![
        4 => Just(Home::Partition("default")),
        2 => select(&PARTITIONS[1..]).prop_map(Home::Partition),
        2 => select(&PEERS[..]).prop_map(Home::Peer),
    ];
    let wild = |names: &'static [&'static str]| proptest::prop_oneof![1 => Just("*"), 2 => select(names)];
    (wild(&NAMES), wild(&NAMESPACES), home).prop_map(|(name, namespace, home)| Source {
        name: if namespace == "*" { "*" } else { name },
        namespace,
        home,
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let path = option::of((select(vec!["PathExact", "PathPrefix", "PathRegex"]), select(&PATHS[..])));
    let methods = subsequence(METHODS.to_vec(), 0..=2);
    (path, option::of(select(&TOKENS[1..])), methods).prop_filter_map(
        "it asks for something",
        |(path, token, methods)| {
            let is_something = path.is_some() || token.is_some() || !methods.is_empty();
            is_something.then_some(Asked { path, token, methods })
        },
    )
}

fn says(with_permissions: bool) -> impl Strategy<Value = Says> {
    let permissions = vec((any::<bool>(), asked()), 1..4).prop_map(Says::Permissions);
    let weight = if with_permissions { 2 } else { 0 };
    proptest::prop_oneof![2 => any::<bool>().prop_map(Says::Action), weight => permissions]
}

fn entry(with_permissions: bool) -> impl Strategy<Value = BTreeMap<Source, Says>> {
    btree_map(source(), says(with_permissions), 0..5)
}

/// A service and its intentions.
pub(crate) fn judged() -> impl Strategy<Value = Judged> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let consumers = btree_set(select(&PARTITIONS[1..]), 0..3).prop_map(|set| set.into_iter().collect());
    let entries = (entry(true), entry(false), entry(false)).prop_map(<[_; 3]>::from);
    (flags, consumers, entries).prop_map(|((passes_by_default, speaks_http, has_partitions), consumers, entries)| {
        Judged { passes_by_default, speaks_http, has_partitions, consumers, entries }
    })
}

/// Every call that is made: by each service of each home, with each request.
fn calls(judged: &Judged) -> Vec<Call> {
    let partitions = PARTITIONS.iter().filter(|name| judged.has_partitions || **name == "default");
    let homes = partitions.map(|name| Home::Partition(name)).chain([Home::Peer(PEERS[0])]);
    let mut calls = Vec::new();
    for home in homes {
        for namespace in NAMESPACES {
            for name in NAMES.into_iter().chain(["other"]) {
                for path in PATHS {
                    for method in METHODS {
                        for token in TOKENS {
                            calls.push(Call { caller: Source { name, namespace, home }, path, method, token });
                        }
                    }
                }
            }
        }
    }
    calls
}

// === What the intentions say ===

impl Source {
    fn covers(&self, caller: &Source) -> bool {
        self.home == caller.home
            && (self.namespace == "*" || self.namespace == caller.namespace)
            && (self.name == "*" || self.name == caller.name)
    }
}

impl Asked {
    fn is(&self, call: &Call) -> bool {
        let path = self.path.is_none_or(|(how, path)| match how {
            "PathPrefix" => call.path.starts_with(path),
            _ => call.path == path,
        });
        let token = self.token.is_none_or(|token| token == call.token);
        path && token && (self.methods.is_empty() || self.methods.contains(&call.method))
    }
}

impl Judged {
    /// True if the call is to pass.
    fn passes(&self, call: &Call) -> bool {
        if let Home::Partition(partition) = call.caller.home
            && partition != "default"
            && !self.consumers.contains(&partition)
        {
            return false;
        }
        // Exact destinations before exact sources, names before namespaces.
        for entry in &self.entries {
            let matching = entry.iter().filter(|(source, _)| source.covers(&call.caller));
            let exactness = |source: &Source| (source.namespace != "*", source.name != "*");
            let Some((_, says)) = matching.max_by_key(|(source, _)| exactness(source)) else { continue };
            return match says {
                Says::Action(passes) => *passes,
                Says::Permissions(_) if !self.speaks_http => false,
                Says::Permissions(permissions) => {
                    let first = permissions.iter().find(|(_, asked)| asked.is(call));
                    first.map_or(self.passes_by_default, |(passes, _)| *passes)
                }
            };
        }
        self.passes_by_default
    }
}

// === How they are written ===

fn action(passes: bool) -> &'static str {
    if passes { "allow" } else { "deny" }
}

fn written(source: &Source, says: &Says) -> Value {
    let mut value = json!({ "Name": source.name, "Namespace": source.namespace });
    match source.home {
        Home::Partition(name) => value["Partition"] = name.into(),
        Home::Peer(name) => value["Peer"] = name.into(),
    }
    match says {
        Says::Action(passes) => value["Action"] = action(*passes).into(),
        Says::Permissions(permissions) => {
            let permissions = permissions.iter().map(|(passes, asked)| {
                let mut http = json!({ "Methods": asked.methods });
                if let Some((how, path)) = asked.path {
                    http[how] = path.into();
                }
                if let Some(token) = asked.token {
                    http["Header"] = json!([{ "Name": "x-token", "Exact": token }]);
                }
                json!({ "Action": action(*passes), "HTTP": http })
            });
            value["Permissions"] = permissions.collect();
        }
    }
    value
}

impl Judged {
    /// The bodies that make this state, with their paths.
    fn bodies(&self) -> Vec<(&'static str, Value)> {
        let mut consumers: Vec<_> = self.consumers.iter().map(|name| json!({ "Partition": name })).collect();
        consumers.push(json!({ "Peer": PEERS[0] }));
        let exports = json!({
            "Kind": "exported-services", "Name": "default", "Services": [{ "Name": CALLED, "Consumers": consumers }],
        });
        let protocol = if self.speaks_http { "http" } else { "tcp" };
        let mut bodies = vec![
            ("/v1/config", json!({ "Kind": "service-defaults", "Name": CALLED, "Protocol": protocol })),
            ("/v1/config", exports),
        ];
        let destinations = [(CALLED, "default"), ("*", "default"), ("*", "*")];
        for ((name, namespace), entry) in destinations.into_iter().zip(&self.entries) {
            if !entry.is_empty() {
                let sources: Vec<_> = entry.iter().map(|(source, says)| written(source, says)).collect();
                let body =
                    json!({ "Kind": "service-intentions", "Name": name, "Namespace": namespace, "Sources": sources });
                bodies.push(("/v1/config", body));
            }
        }
        if self.has_partitions {
            bodies.push(("/v1/catalog/register?partition=team-a", json!({ "Node": "apart", "Address": "10.1.0.1" })));
        }
        let proxy = json!({ "DestinationServiceName": CALLED, "LocalServicePort": 8080 });
        let service =
            json!({ "Kind": "connect-proxy", "ID": "sidecar", "Service": "sidecar", "Port": 21000, "Proxy": proxy });
        bodies.push(("/v1/catalog/register", json!({ "Node": AGENT, "Address": "10.0.0.1", "Service": service })));
        bodies
    }

    /// The rules that the sidecar is sent.
    async fn rules(&self) -> Rbac {
        let policy = if self.passes_by_default { IntentionPolicy::Allow } else { IntentionPolicy::Deny };
        let mesh = Mesh::start(options(&[Datacenter::from("dc1")], policy)).await;
        let bundle = json!({
            "PeerName": PEERS[0], "TrustDomain": PEER_DOMAIN, "ExportedPartition": PEER_PARTITION, "RootPEMs": ["no PEM"],
        });
        let peering = json!({ "Name": PEERS[0], "State": "ACTIVE" });
        mesh.restore(&json!({ "Peerings": [peering], "PeerTrustBundles": [bundle] })).await.expect("it is accepted");
        for (path, body) in self.bodies() {
            let (status, answer) = mesh.call(&Method::PUT, path, body.to_string()).await;
            assert_eq!(status, 200, "{body}: {answer}");
        }
        let node = NodeIdentity {
            id: "sidecar".into(),
            datacenter: "dc1".into(),
            partition: "default".into(),
            namespace: "default".into(),
            node_name: AGENT.into(),
        };
        let snapshot = Watched::new(&mesh.engine, &node).next().await;
        let listeners = snapshot.get(ResourceType::Listener).values();
        let listener = listeners.map(|resource| Listener::decode(resource.body.clone()).expect("a listener"));
        let filters = listener.flat_map(|listener| listener.filter_chains).flat_map(|chain| chain.filters);
        let configs = filters.filter_map(|filter| match filter.config_type {
            Some(filter::ConfigType::TypedConfig(config)) => Some(config),
            _ => None,
        });
        configs.filter_map(|config| rules_of(&config)).next().expect("the public listener has rules")
    }
}

fn unpacked<M: Message + Name + Default>(any: &Any) -> Option<M> {
    any.type_url.ends_with(&M::full_name()).then(|| M::decode(&*any.value).expect("its own type"))
}

fn rules_of(config: &Any) -> Option<Rbac> {
    if let Some(rules) = unpacked::<ConnectionRules>(config) {
        return rules.rules;
    }
    let manager = unpacked::<HttpConnectionManager>(config)?;
    let configs = manager.http_filters.into_iter().filter_map(|filter| match filter.config_type {
        Some(http_filter::ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    });
    configs.filter_map(|config| unpacked::<RequestRules>(&config)?.rules).next()
}

// === What Envoy does ===

/// A call as Envoy sees it.
struct Seen<'c> {
    /// The URI of the certificate that the connection came with.
    certificate: String,
    headers: BTreeMap<&'static str, String>,
    path: &'c str,
}

impl Judged {
    fn seen<'c>(&self, call: &'c Call) -> Seen<'c> {
        let own = TrustDomain::of_cluster(CLUSTER_ID);
        let Source { name, namespace, home } = call.caller;
        let service = |domain: &str, partition: &str| match partition {
            "default" => format!("spiffe://{domain}/ns/{namespace}/dc/elsewhere/svc/{name}"),
            partition => format!("spiffe://{domain}/ap/{partition}/ns/{namespace}/dc/elsewhere/svc/{name}"),
        };
        let mut headers = BTreeMap::from([(":method", call.method.to_owned())]);
        if !call.token.is_empty() {
            headers.insert("x-token", call.token.to_owned());
        }
        let certificate = match home {
            Home::Partition(partition) => service(own.as_str(), partition),
            Home::Peer(_) if self.speaks_http => {
                // What the peer's own client may have claimed stands behind what our gateway saw.
                let shown = service(PEER_DOMAIN, PEER_PARTITION);
                let claimed = "By=spiffe://x;URI=spiffe://x/ns/default/dc/x/svc/web";
                headers.insert("x-forwarded-client-cert", format!("By=spiffe://gateway;Hash=ab;URI={shown},{claimed}"));
                format!("spiffe://{own}/gateway/mesh/dc/dc1")
            }
            Home::Peer(_) => service(PEER_DOMAIN, PEER_PARTITION),
        };
        Seen { certificate, headers, path: call.path }
    }
}

/// Reads rules as Envoy does.
#[derive(Default)]
struct Envoy {
    /// Expressions that were met before: compiling them is what takes time.
    expressions: RefCell<HashMap<String, Regex>>,
}

#[allow(clippy::wildcard_enum_match_arm, reason = "rules have what is listed here and nothing else")]
impl Envoy {
    fn lets_pass(&self, rules: &Rbac, seen: &Seen<'_>) -> bool {
        let is_matched = rules.policies.values().any(|policy| {
            policy.principals.iter().any(|principal| self.is_from(principal, seen))
                && policy.permissions.iter().any(|permission| self.asks_for(permission, seen))
        });
        is_matched == (rules.action() == rbac::Action::Allow)
    }

    fn is_from(&self, principal: &Principal, seen: &Seen<'_>) -> bool {
        match principal.identifier.as_ref().expect("a principal says who") {
            principal::Identifier::Authenticated(caller) => {
                caller.principal_name.as_ref().is_some_and(|name| self.fits(name, &seen.certificate))
            }
            principal::Identifier::Header(header) => self.has(header, seen),
            principal::Identifier::AndIds(all) => all.ids.iter().all(|inner| self.is_from(inner, seen)),
            principal::Identifier::NotId(inner) => !self.is_from(inner, seen),
            other => panic!("rules have no {other:?}"),
        }
    }

    fn asks_for(&self, permission: &Permission, seen: &Seen<'_>) -> bool {
        match permission.rule.as_ref().expect("a permission says for what") {
            permission::Rule::Any(any) => *any,
            permission::Rule::UrlPath(path) => match &path.rule {
                Some(path_matcher::Rule::Path(path)) => self.fits(path, seen.path),
                None => panic!("a path matcher says which"),
            },
            permission::Rule::Header(header) => self.has(header, seen),
            permission::Rule::AndRules(all) => all.rules.iter().all(|inner| self.asks_for(inner, seen)),
            permission::Rule::NotRule(inner) => !self.asks_for(inner, seen),
            other => panic!("rules have no {other:?}"),
        }
    }

    fn has(&self, header: &HeaderMatcher, seen: &Seen<'_>) -> bool {
        let Some(HeaderMatchSpecifier::StringMatch(text)) = &header.header_match_specifier else {
            panic!("nothing else is asked of headers here: {header:?}")
        };
        seen.headers.get(header.name.as_str()).is_some_and(|value| self.fits(text, value))
    }

    fn fits(&self, matcher: &StringMatcher, text: &str) -> bool {
        match matcher.match_pattern.as_ref().expect("a matcher has a pattern") {
            MatchPattern::Exact(exact) => text == exact,
            MatchPattern::Prefix(prefix) => text.starts_with(prefix),
            MatchPattern::SafeRegex(regex) => {
                let mut known = self.expressions.borrow_mut();
                let compile = || Regex::new(&format!("^(?:{})$", regex.regex)).expect("an expression");
                known.entry(regex.regex.clone()).or_insert_with(compile).is_match(text)
            }
            other => panic!("rules have no {other:?}"),
        }
    }
}

/// Holds the rules against the intentions, call by call.
pub(crate) async fn rules_say_what_intentions_say(judged: Judged) -> Result<(), TestCaseError> {
    let rules = judged.rules().await;
    let envoy = Envoy::default();
    for call in calls(&judged) {
        prop_assert_eq!(
            envoy.lets_pass(&rules, &judged.seen(&call)),
            judged.passes(&call),
            "{:?} under {:#?}",
            call,
            rules
        );
    }
    Ok(())
}
