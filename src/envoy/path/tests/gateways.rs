//! Ways through gateways.

use super::*;

const API: &str = "api.default.dc2.internal.t";

fn identity(dc: &str, service: &str) -> String {
    format!("spiffe://{TD}/ns/default/dc/{dc}/svc/{service}")
}

/// The sidecar of a caller with one upstream.
fn web(authority: &Authority, gateways: &[(&str, bool)]) -> Sent {
    Sent::default()
        .secrets(authority, &identity("dc1", "web"))
        .listener(outbound("api?dc=dc2", json!([tcp_proxy(API)])))
        .cluster(mtls_cluster(API, API, &[&identity("dc2", "api")]))
        .endpoints(API, gateways)
}

/// A gateway that knows one other place, and one service of its own.
fn gateway(remote: &[(&str, bool)], local: Option<&[(&str, bool)]>) -> Sent {
    let chains = json!([
        {"filterChainMatch": {"serverNames": ["*.dc2.internal.t"]}, "filters": [tcp_proxy("dc2.internal.t")]},
        {"filters": [sni_cluster(), tcp_proxy("")]},
    ]);
    // In its own datacenter the gateway has no chain for it.
    let chains = if local.is_some() { json!([chains[1]]) } else { chains };
    let sent = Sent::default()
        .listener(json!({
            "name": "default:0.0.0.0:8443", "address": address("0.0.0.0:8443"),
            "listenerFilters": [tls_inspector()], "filterChains": chains,
        }))
        .cluster(plain_cluster("dc2.internal.t"))
        .endpoints("dc2.internal.t", remote);
    match local {
        Some(local) => sent.cluster(plain_cluster(API)).endpoints(API, local),
        None => sent,
    }
}

fn api(authority: &Authority, rules: Value) -> Sent {
    let mut public =
        listener("public_listener", "10.2.0.2:21000", json!([network_rbac(rules), tcp_proxy("local_app")]));
    public["filterChains"][0]["transportSocket"] =
        tls("DownstreamTlsContext", json!({"requireClientCertificate": true}), json!({}));
    Sent::default()
        .secrets(authority, &identity("dc2", "api"))
        .listener(public)
        .cluster(static_cluster("local_app", "127.0.0.1:8080"))
}

const DOORS: &[(&str, &str, &str)] = &[
    ("10.1.0.1:8443", "gateway-1", "10.1.0.1:8443"),
    // Somebody translates the address.
    ("192.0.2.2:443", "gateway-2", "10.2.0.1:8443"),
    ("10.2.0.2:21000", "api", "10.2.0.2:21000"),
];

fn mesh(rules: Value) -> (Authority, Network) {
    let authority = Authority::new("root");
    let network = network(
        [
            ("web", web(&authority, &[("10.1.0.1:8443", true)])),
            ("gateway-1", gateway(&[("192.0.2.2:443", true)], None)),
            ("gateway-2", gateway(&[], Some(&[("10.2.0.2:21000", true)]))),
            ("api", api(&authority, rules)),
        ],
        DOORS,
    );
    (authority, network)
}

#[test]
fn a_connection_goes_through_two_gateways_and_every_link_is_told() {
    let (_, network) = mesh(json!({"action": "DENY"}));

    let answer = network.from_upstream("web", "api?dc=dc2", &Traffic::Tcp);

    assert_eq!(ends(&answer), [(vec!["web", "gateway-1", "gateway-2", "api"], "127.0.0.1:8080".to_owned())]);
    let links = &answer.outcomes.first().unwrap().links;
    assert_eq!(links[0].listener.as_deref(), Some("api?dc=dc2:127.0.0.1:9000"));
    assert_eq!((&links[0].clusters[..], links[0].sni.as_deref()), (&[API.to_owned()][..], Some(API)));
    assert_eq!(links[0].endpoint, Some(tcp("10.1.0.1:8443")));
    let chain = |position, server_name: Option<&str>, terminates_tls| {
        Some(ChainUse { position: Some(position), server_name: server_name.map(str::to_owned), terminates_tls })
    };
    assert_eq!(links[1].chain, chain(0, Some("*.dc2.internal.t"), false));
    assert_eq!(links[1].clusters, ["dc2.internal.t"]);
    assert_eq!(links[2].chain, chain(0, None, false));
    // The gateway has taken the SNI for the name of a cluster.
    assert_eq!(links[2].clusters, [API]);
    assert_eq!(links[3].chain, chain(0, None, true));
    assert_eq!(links[3].clusters, ["local_app"]);
}

#[test]
fn requests_pass_as_bytes_where_nobody_speaks_http() {
    let (_, network) = mesh(json!({"action": "DENY"}));

    let answer = network.from_upstream("web", "api?dc=dc2", &Traffic::Http(Request::get("/")));

    assert_eq!(end(&answer), "127.0.0.1:8080");
}

#[test]
fn the_accepting_side_judges_the_caller_behind_all_gateways() {
    let policy = |service: &str| {
        let regex = format!("^spiffe://t/ns/default/dc/[^/]+/svc/{service}$");
        let principal = json!({"authenticated": {"principalName": {"safeRegex": {"regex": regex}}}});
        json!({"action": "ALLOW", "policies": {"consul-intentions-layer4": {
            "permissions": [{"any": true}], "principals": [principal],
        }}})
    };

    let allowed = mesh(policy("web")).1.from_upstream("web", "api?dc=dc2", &Traffic::Tcp);
    let denied = mesh(policy("shop")).1.from_upstream("web", "api?dc=dc2", &Traffic::Tcp);

    assert_eq!(end(&allowed), "127.0.0.1:8080");
    assert_eq!(
        ends(&denied),
        [(vec!["web", "gateway-1", "gateway-2", "api"], "no RBAC policy allows the connection".to_owned())]
    );
}

#[test]
fn a_caller_at_the_gateway_goes_where_its_sni_says() {
    let (authority, network) = mesh(json!({"action": "DENY"}));
    let caller = authority.leaf(&identity("dc1", "shop"));
    let at = |sni: &str, certificates: Option<&str>| {
        let client = Client { sni: sni.to_owned(), certificates: certificates.map(str::to_owned) };
        end(&network.from_address(&tcp("192.0.2.2:443"), Some(&client), &Traffic::Tcp))
    };

    assert_eq!(at(API, Some(&caller)), "127.0.0.1:8080");
    // Envoy reads SNIs in lower case.
    assert_eq!(at(&API.to_uppercase(), Some(&caller)), "127.0.0.1:8080");
    assert_eq!(at(API, None), "the caller shows no certificate");
    let stranger = Authority::new("root").leaf(&identity("dc1", "shop"));
    assert_eq!(
        at(API, Some(&stranger)),
        "the listener trusts nobody who signed the certificate of spiffe://t/ns/default/dc/dc1/svc/shop"
    );
    assert_eq!(at("db.default.dc2.internal.t", Some(&caller)), "there is no cluster \"db.default.dc2.internal.t\"");
    assert_eq!(at("", Some(&caller)), "there is no SNI to choose a cluster by");
    let plain = network.from_address(&tcp("192.0.2.2:443"), None, &Traffic::Tcp);
    assert_eq!(end(&plain), "there is no SNI to choose a cluster by");
}

#[test]
fn several_endpoints_give_several_ways() {
    let authority = Authority::new("root");
    let network = network(
        [
            ("web", web(&authority, &[("192.0.2.2:443", true), ("192.0.2.3:443", true), ("192.0.2.4:443", false)])),
            ("gateway-2", gateway(&[], Some(&[("10.2.0.2:21000", true), ("10.2.0.9:80", true)]))),
            ("api", api(&authority, json!({"action": "DENY"}))),
        ],
        DOORS,
    );

    let answer = network.from_upstream("web", "api?dc=dc2", &Traffic::Tcp);

    // What no proxy stands behind is an instance outside of the mesh; it is offered the TLS that the caller opened.
    assert_eq!(
        ends(&answer),
        [
            (vec!["web"], format!("192.0.2.3:443 as {API}")),
            (vec!["web", "gateway-2"], format!("10.2.0.9:80 as {API}")),
            (vec!["web", "gateway-2", "api"], "127.0.0.1:8080".to_owned()),
        ]
    );
}

#[test]
fn a_gateway_uses_unhealthy_instances_when_few_are_healthy() {
    let network = |healthy| {
        let local = [("10.2.0.7:80", healthy), ("10.2.0.8:80", false), ("10.2.0.9:80", false)];
        network([("gateway-2", gateway(&[], Some(&local)))], DOORS)
    };
    let client = Client { sni: API.to_owned(), certificates: None };
    let count =
        |network: Network| network.from_address(&tcp("192.0.2.2:443"), Some(&client), &Traffic::Tcp).outcomes.len();

    assert_eq!((count(network(true)), count(network(false))), (3, 3));
}

#[test]
fn gateways_that_lead_to_each_other_end_as_a_loop() {
    let to = |address: &str| {
        Sent::default()
            .listener(json!({
                "name": "default:0.0.0.0:8443", "address": address_of_all(), "listenerFilters": [tls_inspector()],
                "filterChains": [{"filters": [tcp_proxy("other")]}],
            }))
            .cluster(plain_cluster("other"))
            .endpoints("other", &[(address, true)])
    };
    let network = network([("gateway-1", to("192.0.2.2:443")), ("gateway-2", to("10.1.0.1:8443"))], &DOORS[..2]);

    let answer = network.from_address(&tcp("10.1.0.1:8443"), None, &Traffic::Tcp);

    assert_eq!(ends(&answer), [(vec!["gateway-1", "gateway-2", "gateway-1"], "it goes in circles".to_owned())]);
}

fn address_of_all() -> Value {
    address("0.0.0.0:8443")
}

#[test]
fn failover_takes_the_first_leg_that_can() {
    let ends_with = |east: &[(&str, bool)], west: &[(&str, bool)]| {
        let legs = json!({
            "@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
            "clusters": ["leg-0", "missing", "leg-1"],
        });
        let sent = Sent::default()
            .listener(outbound("api", json!([tcp_proxy("api")])))
            .cluster(json!({
                "name": "api", "lbPolicy": "CLUSTER_PROVIDED",
                "clusterType": {"name": "envoy.clusters.aggregate", "typedConfig": legs},
            }))
            .cluster(json!({
                "name": "leg-0", "type": "EDS", "edsClusterConfig": {}, "commonLbConfig": {"healthyPanicThreshold": {}},
            }))
            .cluster(json!({
                "name": "leg-1", "type": "EDS", "edsClusterConfig": {}, "commonLbConfig": {"healthyPanicThreshold": {}},
            }))
            .endpoints("leg-0", east)
            .endpoints("leg-1", west);
        let answer = network([("web", sent)], &[]).from_upstream("web", "api", &Traffic::Tcp);
        let clusters = |outcome: &Outcome| outcome.links[0].clusters.join(" ");
        let ends = answer.outcomes.iter().map(|it| match &it.end {
            End::Instance { .. } => clusters(it),
            End::Stopped(stop) => format!("{}: {stop}", clusters(it)),
            End::Unknown(unknown) => unknown.to_string(),
        });
        ends.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };

    assert_eq!(ends_with(&[("10.1.0.1:1", true)], &[("10.2.0.1:1", true)]), ["api leg-0"]);
    assert_eq!(ends_with(&[("10.1.0.1:1", false)], &[("10.2.0.1:1", true)]), ["api leg-1"]);
    assert_eq!(ends_with(&[], &[("10.2.0.1:1", true)]), ["api leg-1"]);
    // Half of the first leg is not enough for everybody.
    let half = [("10.1.0.1:1", true), ("10.1.0.2:1", false)];
    assert_eq!(ends_with(&half, &[("10.2.0.1:1", true)]), ["api leg-0", "api leg-1"]);
    let nobody = [("10.1.0.1:1", false)];
    assert_eq!(
        ends_with(&nobody, &nobody),
        [
            "api leg-0: cluster \"leg-0\" has no healthy endpoint",
            "api leg-1: cluster \"leg-1\" has no healthy endpoint"
        ]
    );
    assert_eq!(ends_with(&[], &[]), ["api: cluster \"api\" has no endpoints"]);
}

#[test]
fn a_private_address_leads_to_what_has_it_in_the_callers_own_place() {
    let caller = || {
        let cluster = static_cluster("api", "10.0.0.2:21000");
        Sent::default().listener(outbound("api", json!([tcp_proxy("api")]))).cluster(cluster)
    };
    let callee = |application: &str| {
        let public = listener("public_listener", "10.0.0.2:21000", json!([tcp_proxy("local_app")]));
        Sent::default().listener(public).cluster(static_cluster("local_app", application))
    };
    let mut network = network(
        [
            ("web-1", caller()),
            ("web-2", caller()),
            ("web-3", caller()),
            ("api-1", callee("127.0.0.1:8081")),
            ("api-2", callee("127.0.0.1:8082")),
        ],
        &[],
    );
    for (proxy, place) in [("web-1", "dc1"), ("api-1", "dc1"), ("web-2", "dc2"), ("api-2", "dc2"), ("web-3", "dc3")] {
        network.locate(proxy, place);
    }
    let address = tcp("10.0.0.2:21000");
    for (proxy, place) in [("api-1", "dc1"), ("api-2", "dc2")] {
        let door = |within| Door { proxy: proxy.into(), local: address.clone(), within };
        network.add_door(&address, door(Some(place.into())));
    }
    let reached = |network: &Network, from: &str| end(&network.from_upstream(from, "api", &Traffic::Tcp));

    assert_eq!(reached(&network, "web-1"), "127.0.0.1:8081");
    assert_eq!(reached(&network, "web-2"), "127.0.0.1:8082");
    // Elsewhere it is the address of somebody else.
    assert_eq!(reached(&network, "web-3"), "10.0.0.2:21000");

    // What is near is not dialled through what everybody comes to.
    network.add_door(&address, Door { proxy: "api-2".into(), local: address.clone(), within: None });
    assert_eq!(reached(&network, "web-1"), "127.0.0.1:8081");
    assert_eq!(reached(&network, "web-3"), "127.0.0.1:8082");
}
