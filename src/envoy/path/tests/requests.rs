//! Requests: routes, and RBAC that looks into them.

use super::*;

/// A sidecar with HTTP routes to clusters of one instance each, named after the cluster.
fn caller(manager: Value) -> Network {
    let names = ["admin", "v1", "v2", "rest"];
    let sent = names.iter().zip(1_u16..).fold(Sent::default(), |sent, (name, number)| {
        sent.cluster(static_cluster(name, &format!("10.0.0.9:{number}")))
    });
    network([("web", sent.listener(outbound("api", json!([manager]))))], &[])
}

fn with_routes(list: Value) -> Network {
    caller(manager(&[], routes(list)))
}

/// The clusters that a request can be sent to.
fn clusters(network: &Network, request: Request) -> Vec<String> {
    let answer = network.from_upstream("web", "api", &Traffic::Http(request));
    let cluster = |outcome: &Outcome| match &outcome.end {
        End::Instance { .. } => outcome.links[0].clusters.join(" "),
        End::Stopped(stop) => stop.to_string(),
        End::Unknown(unknown) => unknown.to_string(),
    };
    answer.outcomes.iter().map(cluster).collect()
}

fn get(path: &str) -> Request {
    Request::get(path)
}

fn header(name: &str, value: &str) -> Request {
    Request { headers: vec![(name.to_owned(), value.to_owned())], ..get("/x") }
}

#[test]
fn the_first_route_that_matches_decides() {
    let network = with_routes(json!([
        {"match": {"path": "/exact", "caseSensitive": false}, "route": {"cluster": "admin"}},
        {"match": {"prefix": "/admin"}, "route": {"cluster": "admin"}},
        {"match": {"safeRegex": {"regex": "/v[0-9]+"}}, "route": {"cluster": "v1"}},
        {
            "match": {"prefix": "/", "headers": [{"name": "x-version", "stringMatch": {"exact": "2"}}]},
            "route": {"cluster": "v2"},
        },
        {
            "match": {"prefix": "/", "queryParameters": [{"name": "version", "stringMatch": {"prefix": "2"}}]},
            "route": {"cluster": "v2"},
        },
        {
            "match": {"prefix": "/", "headers": [{"name": ":method", "stringMatch": {"safeRegex": {"regex": "PUT|POST"}}}]},
            "route": {"cluster": "admin"},
        },
        {"match": {"prefix": "/"}, "route": {"cluster": "rest"}},
    ]));
    let table = [
        (get("/EXACT"), "admin"),
        (get("/exact/more"), "rest"),
        (get("/administrator"), "admin"),
        (get("/v12?x"), "v1"),
        (get("/v12/more"), "rest"),
        (header("X-Version", "2"), "v2"),
        (header("X-Version", "3"), "rest"),
        (get("/x?version=2.1"), "v2"),
        (Request { method: "PUT".to_owned(), ..get("/x") }, "admin"),
        (get("/x"), "rest"),
    ];
    for (request, expected) in table {
        assert_eq!(clusters(&network, request.clone()), [expected], "{request:?}");
    }
}

#[test]
fn every_weighted_cluster_is_an_outcome_unless_its_weight_is_zero() {
    let weighted = json!([
        {"name": "v1", "weight": 1}, {"name": "v2", "weight": 9_999}, {"name": "rest", "weight": 0},
    ]);
    let network =
        with_routes(json!([{"match": {"prefix": "/"}, "route": {"weightedClusters": {"clusters": weighted}}}]));

    assert_eq!(clusters(&network, get("/")), ["v1", "v2"]);
}

#[test]
fn routes_can_come_by_name() {
    let rds = || manager(&[], json!({"rds": {"routeConfigName": "api", "configSource": {"ads": {}}}}));
    let sent = || Sent::default().listener(outbound("api", json!([rds()]))).cluster(static_cluster("v1", "10.0.0.9:1"));
    let route = json!({"name": "api", "virtualHosts": [
        {"name": "api", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "v1"}}]},
    ]});
    let stub = json!({"name": "api"});

    let ask = |sent| {
        let answer = network([("web", sent)], &[]).from_upstream("web", "api", &Traffic::Http(get("/")));
        (end(&answer), answer.outcomes.first().unwrap().links[0].route.clone())
    };

    let used = RouteUse { configuration: "api".to_owned(), virtual_host: "api".to_owned(), position: 0 };
    assert_eq!(ask(sent().with(ResourceType::Route, route)), ("10.0.0.9:1".to_owned(), Some(used)));
    assert_eq!(
        ask(sent().with(ResourceType::Route, stub)),
        ("no route of \"api\" matches the request".to_owned(), None)
    );
    assert_eq!(ask(sent()), ("there is no route configuration \"api\" yet".to_owned(), None));
}

#[test]
fn virtual_hosts_are_chosen_by_the_best_domain() {
    let host = |name: &str, domains: Value, cluster: &str| {
        json!({
            "name": name, "domains": domains,
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}],
        })
    };
    let hosts = json!([
        host("a", json!(["*.example"]), "v1"),
        host("b", json!(["a.b.example"]), "admin"),
        host("c", json!(["*b.example", "api.*"]), "v2"),
    ]);
    let network = caller(manager(&[], json!({"routeConfig": {"name": "r", "virtualHosts": hosts}})));
    let at = |authority: &str| clusters(&network, Request { authority: authority.to_owned(), ..get("/") });

    assert_eq!(at("x.example"), ["v1"]);
    assert_eq!(at("A.B.example"), ["admin"]);
    assert_eq!(at("c.b.example"), ["v2"]);
    assert_eq!(at("api.other"), ["v2"]);
    assert_eq!(at("other"), ["no virtual host has the authority \"other\""]);
}

#[test]
fn a_proxy_can_answer_by_itself() {
    let network = with_routes(json!([
        {"match": {"path": "/old"}, "redirect": {"pathRedirect": "/new", "responseCode": "PERMANENT_REDIRECT"}},
        {"match": {"path": "/teapot"}, "directResponse": {"status": 418}},
        {"match": {"path": "/nowhere"}, "route": {"cluster": "missing"}},
    ]));

    assert_eq!(clusters(&network, get("/old")), ["the proxy itself answers with status 308"]);
    assert_eq!(clusters(&network, get("/teapot")), ["the proxy itself answers with status 418"]);
    assert_eq!(clusters(&network, get("/nowhere")), ["there is no cluster \"missing\""]);
    assert_eq!(clusters(&network, get("/other")), ["no route of \"r\" matches the request"]);
}

/// A caller whose requests go through its routes to a listener that judges them.
fn judged(route: Value, rules: Value, more: Value) -> Network {
    let mut more = more;
    for (key, value) in to_cluster("local_app").as_object().unwrap() {
        more[key] = value.clone();
    }
    let web = Sent::default()
        .listener(outbound("api", json!([manager(&[], routes(json!([route])))])))
        .cluster(static_cluster("v1", "10.0.0.2:80"));
    let api = Sent::default()
        .listener(listener("public_listener", "10.0.0.2:80", json!([manager(&[http_rbac(rules)], more)])))
        .cluster(static_cluster("local_app", "127.0.0.1:8080"));
    network([("web", web), ("api", api)], &[("10.0.0.2:80", "api", "10.0.0.2:80")])
}

fn allow(permission: Value) -> Value {
    json!({"action": "ALLOW", "policies": {"p": {"permissions": [permission], "principals": [{"any": true}]}}})
}

fn is_let_through(network: &Network, request: Request) -> bool {
    match end(&network.from_upstream("web", "api", &Traffic::Http(request))).as_str() {
        "127.0.0.1:8080" => true,
        "no RBAC policy allows the request" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn the_accepting_side_judges_what_the_callers_route_makes_of_a_request() {
    let path = allow(json!({"urlPath": {"path": {"exact": "/v1/x"}}}));
    let header = allow(json!({"header": {"name": "x-set", "stringMatch": {"exact": "yes"}}}));
    let route = |mut action: Value, more: Value| {
        action["cluster"] = json!("v1");
        let mut route = json!({"match": {"prefix": "/api"}, "route": action});
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        route
    };
    let add = json!([{"header": {"key": "x-set", "value": "yes"}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}]);
    let append = json!([{"header": {"key": "x-set", "value": "yes"}}]);

    let plain = judged(route(json!({}), json!({})), path.clone(), json!({}));
    let rewritten = judged(route(json!({"prefixRewrite": "/v1"}), json!({})), path.clone(), json!({}));
    let regex = json!({"regexRewrite": {"pattern": {"regex": "^/api(/?)(.*)"}, "substitution": "/v1/\\2"}});
    let substituted = judged(route(regex, json!({})), path, json!({}));
    let set = judged(route(json!({}), json!({"requestHeadersToAdd": add})), header.clone(), json!({}));
    let appended = judged(route(json!({}), json!({"requestHeadersToAdd": append})), header.clone(), json!({}));
    let removed = judged(route(json!({}), json!({"requestHeadersToRemove": ["x-set"]})), header, json!({}));

    let says = |value: &str| Request { headers: vec![("X-Set".to_owned(), value.to_owned())], ..get("/api/x?q") };
    assert!(!is_let_through(&plain, get("/api/x")));
    assert!(is_let_through(&rewritten, get("/api/x?q=1")));
    assert!(is_let_through(&substituted, get("/api/x?q=1")));
    assert!(is_let_through(&set, says("no")));
    assert!(is_let_through(&appended, get("/api")));
    assert!(!is_let_through(&appended, says("no")));
    assert!(!is_let_through(&removed, says("yes")));
}

#[test]
fn paths_are_judged_as_they_are_normalised() {
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "v1"}});
    let rules = allow(json!({"notRule": {"urlPath": {"path": {"prefix": "/admin"}}}}));
    let raw = judged(route.clone(), rules.clone(), json!({}));
    let normal = judged(route.clone(), rules.clone(), json!({"normalizePath": true}));
    let merged = judged(route, rules, json!({"normalizePath": true, "mergeSlashes": true}));

    let through = |request: &str| [&raw, &normal, &merged].map(|network| is_let_through(network, get(request)));

    assert_eq!(through("/x"), [true; 3]);
    assert_eq!(through("/admin"), [false; 3]);
    assert_eq!(through("/x/../admin"), [true, false, false]);
    assert_eq!(through("//admin"), [true, true, false]);
}

#[test]
fn permissions_and_principals_combine() {
    let table = [
        (
            json!({"andRules": {"rules": [{"any": true}, {"header": {"name": ":method", "stringMatch": {"exact": "PUT"}}}]}}),
            false,
        ),
        (
            json!({"orRules": {"rules": [{"header": {"name": ":method", "stringMatch": {"exact": "PUT"}}}, {"any": true}]}}),
            true,
        ),
        (json!({"notRule": {"any": true}}), false),
        (json!({"urlPath": {"path": {"suffix": "/x"}}}), true),
    ];
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "v1"}});
    for (permission, expected) in table {
        let network = judged(route.clone(), allow(permission.clone()), json!({}));
        assert_eq!(is_let_through(&network, get("/x?y")), expected, "{permission}");
    }
    let deny = json!({"action": "DENY", "policies": {"why": {
        "permissions": [{"any": true}], "principals": [{"notId": {"header": {"name": "x-a", "presentMatch": true}}}],
    }}});
    let network = judged(route, deny, json!({}));
    assert_eq!(
        end(&network.from_upstream("web", "api", &Traffic::Http(get("/")))),
        "the request is denied by the RBAC policy \"why\""
    );
    assert!(is_let_through(&network, header("x-a", "")));
}

/// A caller in another mesh, the gateway that ends its TLS, and the sidecar behind it.
fn peered(how: &str, pattern: &str) -> Network {
    let (theirs, ours) = (Authority::new("theirs"), Authority::new("ours"));
    let details = json!({"subject": true, "cert": true, "chain": true, "dns": true, "uri": true});
    let inbound = |name: &str, at: &str, how: &str, filters: &[Value], to: &str| {
        let mut manager_of = json!({"forwardClientCertDetails": how, "setCurrentClientCertDetails": details});
        manager_of["routeConfig"] = to_cluster(to)["routeConfig"].clone();
        let mut listener = listener(name, at, json!([manager(filters, manager_of)]));
        listener["filterChains"][0]["transportSocket"] =
            tls("DownstreamTlsContext", json!({"requireClientCertificate": true}), json!({}));
        listener
    };
    let domains = json!([
        {"name": "theirs", "trustBundle": {"inlineString": theirs.pem()}},
        {"name": "ours", "trustBundle": {"inlineString": ours.pem()}},
    ]);
    let spiffe = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
        "trustDomains": domains,
    });
    let validator = json!({"name": "envoy.tls.cert_validator.spiffe", "typedConfig": spiffe});
    let web = Sent::default()
        .secrets(&theirs, "spiffe://theirs/ns/default/dc/x/svc/web")
        .with(
            ResourceType::Secret,
            json!({"name": "roots", "validationContext": {"trustedCa": {"inlineString": ours.pem()}}}),
        )
        .listener(outbound("api", json!([manager(&[], to_cluster("gateway"))])))
        .cluster({
            let mut cluster = static_cluster("gateway", "10.0.0.1:8443");
            cluster["transportSocket"] = tls(
                "UpstreamTlsContext",
                json!({"sni": "api", "names": ["spiffe://ours/gateway/mesh/dc/y"]}),
                json!({}),
            );
            cluster
        });
    let gateway = Sent::default()
        .secrets(&ours, "spiffe://ours/gateway/mesh/dc/y")
        .with(ResourceType::Secret, json!({"name": "roots", "validationContext": {"customValidatorConfig": validator}}))
        .listener(inbound("default", "10.0.0.1:8443", "SANITIZE_SET", &[], "api"))
        .cluster({
            let mut cluster = static_cluster("api", "10.0.0.2:21000");
            cluster["transportSocket"] = tls(
                "UpstreamTlsContext",
                json!({"sni": "api", "names": ["spiffe://ours/ns/default/dc/y/svc/api"]}),
                json!({}),
            );
            cluster
        });
    let principal = json!({"andIds": {"ids": [
        {"authenticated": {"principalName": {"safeRegex": {"regex": "^spiffe://ours/gateway/mesh/dc/[^/]+$"}}}},
        {"header": {"name": "x-forwarded-client-cert", "stringMatch": {"safeRegex": {"regex": pattern}}}},
    ]}});
    let rules =
        json!({"action": "ALLOW", "policies": {"p": {"permissions": [{"any": true}], "principals": [principal]}}});
    let api = Sent::default()
        .secrets(&ours, "spiffe://ours/ns/default/dc/y/svc/api")
        .listener(inbound("public_listener", "10.0.0.2:21000", how, &[http_rbac(rules)], "local_app"))
        .cluster(static_cluster("local_app", "127.0.0.1:8080"));
    let doors = [("10.0.0.1:8443", "gateway", "10.0.0.1:8443"), ("10.0.0.2:21000", "api", "10.0.0.2:21000")];
    network([("web", web), ("gateway", gateway), ("api", api)], &doors)
}

#[test]
fn a_gateway_that_ends_tls_tells_the_next_hop_who_called() {
    const WEB: &str = r"^[^,]+;URI=spiffe://theirs/ns/default/dc/[^/]+/svc/web(?:,.*)?$";
    const SHOP: &str = r"^[^,]+;URI=spiffe://theirs/ns/default/dc/[^/]+/svc/shop(?:,.*)?$";
    // What the caller itself writes into the header does not count.
    let lie = "By=x;URI=spiffe://theirs/ns/default/dc/x/svc/shop";
    let request = || Request { headers: vec![("X-Forwarded-Client-Cert".to_owned(), lie.to_owned())], ..get("/") };

    assert!(is_let_through(&peered("APPEND_FORWARD", WEB), request()));
    assert!(!is_let_through(&peered("APPEND_FORWARD", SHOP), request()));
    // Where the header is not kept, only the gateway is seen.
    assert!(!is_let_through(&peered("SANITIZE_SET", WEB), request()));
    assert!(!is_let_through(&peered("SANITIZE", WEB), request()));
}
