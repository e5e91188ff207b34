use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::envoy::json as shown;
use crate::ir::{
    Bind, Callers, Cluster, ClusterName, Direction, Discovery, DownstreamTls, Filter, FilterChain, Listener,
    ListenerName, Rbac, RbacAction, SocketAddress, TlsParameters,
};

/// A public listener that somebody gave, or a generated one.
fn listener(port: u16, action: RbacAction, document: Option<&Value>) -> Listener {
    let parameters = TlsParameters::default();
    let tls = DownstreamTls { callers: Callers::Inbound, alpn: Vec::new(), parameters };
    let filters = vec![Filter::Rbac(Rbac { action, policies: BTreeMap::new() })];
    let chains = vec![FilterChain { tls: Some(tls), filters, ..FilterChain::default() }];
    let bind = Bind::Tcp("0.0.0.0".into(), port);
    let given = document.map(|document| Given { document: document.to_string().into(), origin: "hatch".into() });
    Listener { given, ..Listener::new(ListenerName::Public, bind, Direction::Inbound, chains) }
}

/// A good document of this name.
fn document(name: &str) -> Value {
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "statPrefix": "x", "cluster": "local_app",
    });
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "filterChains": [{"filters": [{"name": "proxy", "typedConfig": proxy}]}],
    })
}

/// The listeners after an update: their names and what they do with callers; and the number of problems.
fn update(table: &mut Table<Listener>, listener: Listener) -> (Vec<(String, String)>, usize) {
    *table = table.next(&[listener], &mut Interner::default());
    let shown = table.resources().map(|(resource, _)| {
        let message = shown::resource(ResourceType::Listener, &resource.body).expect("it can be shown");
        let rules = &message["filterChains"][0]["filters"][0]["typedConfig"]["rules"];
        assert!(message["filterChains"][0]["transportSocket"].is_object(), "it speaks TLS");
        (resource.name.to_string(), rules["action"].as_str().unwrap_or("ALLOW").to_owned())
    });
    (shown.collect(), table.problems().count())
}

fn one(name: &str, action: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), action.to_owned())]
}

#[test]
fn a_given_listener_that_is_wrong_from_the_start_is_left_out() {
    let mut table = Table::default();
    let bad = json!({"name": "ours"});

    assert_eq!(update(&mut table, listener(1, RbacAction::Deny, Some(&bad))), (vec![], 1));
    assert!(table.is_incomplete() && table.is_missing("public_listener:0.0.0.0:1"));
    assert_eq!(update(&mut table, listener(1, RbacAction::Deny, Some(&document("ours")))), (one("ours", "DENY"), 0));
    assert!(!table.is_incomplete());
}

#[test]
fn a_document_that_turns_wrong_leaves_the_last_good_one_with_the_rules_of_today() {
    let mut table = Table::default();
    let bad = json!("nonsense");

    update(&mut table, listener(1, RbacAction::Deny, Some(&document("ours"))));

    assert_eq!(update(&mut table, listener(1, RbacAction::Deny, Some(&bad))), (one("ours", "DENY"), 1));
    assert_eq!(update(&mut table, listener(1, RbacAction::Allow, Some(&bad))), (one("ours", "ALLOW"), 1));
    // The generated name has another port; it is the same listener all the same.
    assert_eq!(update(&mut table, listener(2, RbacAction::Allow, Some(&bad))), (one("ours", "ALLOW"), 1));
}

#[test]
fn a_document_of_another_name_knows_what_it_stands_for() {
    let mut table = Table::default();
    let stands_for = |table: &Table<Listener>| {
        let (resource, _) = table.resources().next().expect("it could be made");
        resource.instead_of.clone()
    };

    update(&mut table, listener(1, RbacAction::Deny, None));
    let (generated, _) = table.resources().next().expect("it could be made");
    let generated = generated.clone();
    update(&mut table, listener(1, RbacAction::Deny, Some(&document("ours"))));
    assert_eq!(stands_for(&table), Some(generated));
    update(&mut table, listener(1, RbacAction::Deny, Some(&document("public_listener:0.0.0.0:1"))));
    assert_eq!(stands_for(&table), None);
}

#[test]
fn what_was_generated_before_a_wrong_document_goes_on_being_generated() {
    let mut table = Table::default();
    let bad = json!({});

    update(&mut table, listener(1, RbacAction::Deny, None));

    let generated = |action| one("public_listener:0.0.0.0:1", action);
    assert_eq!(update(&mut table, listener(1, RbacAction::Deny, Some(&bad))), (generated("DENY"), 1));
    assert_eq!(update(&mut table, listener(1, RbacAction::Allow, Some(&bad))), (generated("ALLOW"), 1));
}

#[test]
fn tracing_that_is_wrong_stays_as_it_was() {
    let mut table = Table::default();
    let mut interner = Interner::default();
    let traced = |document: &str| Listener {
        tracing: Some(Given { document: document.into(), origin: "hatch".into() }),
        ..listener(1, RbacAction::Deny, None)
    };

    table = table.next(&[traced("nonsense")], &mut interner);
    assert_eq!((table.resources().count(), table.problems().count()), (1, 1));

    let good = json!({"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
                                HttpConnectionManager.Tracing"});
    table = table.next(&[traced(&good.to_string())], &mut interner);
    assert_eq!(table.problems().count(), 0);
    table = table.next(&[traced("nonsense")], &mut interner);
    let kept = table.entries.first().and_then(|entry| entry.past()).and_then(|past| past.tracing);
    assert_eq!(kept.map(|given| given.document.to_string()), Some(good.to_string()));
}

#[test]
fn a_cluster_that_is_given_another_name_is_found_under_it() {
    let mut table = Table::default();
    let discovery = || Discovery::Static(SocketAddress::Tcp("127.0.0.1".into(), 80));
    let cluster = |document: Option<Value>| Cluster {
        given: document.map(|document| Given { document: document.to_string().into(), origin: "hatch".into() }),
        ..Cluster::plain(ClusterName::LocalApp, discovery(), Duration::from_secs(1))
    };
    let ours = json!({"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "ours"});

    table = table.next(&[cluster(Some(ours))], &mut Interner::default());

    assert_eq!(table.resource("local_app").map(|resource| &*resource.name), Some("ours"));
    assert_eq!(table.renamed("local_app").map(|(name, given)| (&**name, &*given.origin)), Some(("ours", "hatch")));
    table = table.next(&[cluster(None)], &mut Interner::default());
    assert_eq!(table.renamed("local_app"), None);
}
