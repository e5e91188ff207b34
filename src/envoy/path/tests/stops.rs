//! Where things end before they arrive, and what the model does not claim to know.

use super::*;

fn ask(sent: Sent) -> String {
    end(&network([("web", sent)], &[]).from_upstream("web", "api", &Traffic::Tcp))
}

#[test]
fn a_cluster_stops_for_its_own_reasons() {
    let to = |cluster: &str| Sent::default().listener(outbound("api", json!([tcp_proxy(cluster)])));
    let limited = |limits: Value| {
        let mut cluster = static_cluster("api", "10.0.0.9:1");
        cluster["circuitBreakers"] = json!({"thresholds": [limits]});
        to("api").cluster(cluster)
    };
    let calm = |health| {
        let mut cluster = plain_cluster("api");
        cluster["commonLbConfig"] = json!({"healthyPanicThreshold": {}});
        to("api").cluster(cluster).endpoints("api", &[("10.0.0.9:1", health)])
    };

    assert_eq!(ask(to("api")), "there is no cluster \"api\"");
    assert_eq!(ask(to("api").cluster(plain_cluster("api"))), "cluster \"api\" still waits for its endpoints");
    assert_eq!(ask(to("api").cluster(plain_cluster("api")).endpoints("api", &[])), "cluster \"api\" has no endpoints");
    assert_eq!(ask(calm(false)), "cluster \"api\" has no healthy endpoint");
    assert_eq!(ask(calm(true)), "10.0.0.9:1");
    for zero in [json!({"maxConnections": 0}), json!({"maxPendingRequests": 0})] {
        assert_eq!(ask(limited(zero)), "a limit of cluster \"api\" is zero");
    }
    for harmless in
        [json!({"maxConnections": 1}), json!({"maxRequests": 0}), json!({"priority": "HIGH", "maxConnections": 0})]
    {
        assert_eq!(ask(limited(harmless)), "10.0.0.9:1");
    }
}

#[test]
fn a_listener_stops_for_its_own_reasons() {
    let mut matched = listener("a", "10.0.0.1:80", json!([tcp_proxy("x")]));
    matched["filterChains"][0]["filterChainMatch"] = json!({"serverNames": ["a.example"]});
    let mut inspected = matched.clone();
    inspected["listenerFilters"] = json!([tls_inspector()]);
    let at = |listener: Value, dialled: &str, sni: Option<&str>| {
        let sent = Sent::default().listener(listener).cluster(static_cluster("x", "10.0.0.9:1"));
        let network = network([("p", sent)], &[(dialled, "p", dialled)]);
        let client = sni.map(|sni| Client { sni: sni.to_owned(), certificates: None });
        end(&network.from_address(&tcp(dialled), client.as_ref(), &Traffic::Tcp))
    };

    assert_eq!(at(inspected.clone(), "10.0.0.1:81", None), "nothing listens on 10.0.0.1:81");
    assert_eq!(at(inspected.clone(), "10.0.0.1:80", Some("a.example")), "10.0.0.9:1 as a.example");
    assert_eq!(at(inspected.clone(), "10.0.0.1:80", Some("b")), "no filter chain takes the SNI \"b\"");
    assert_eq!(at(inspected.clone(), "10.0.0.1:80", None), "no filter chain takes a connection without SNI");
    // Without the inspector nobody reads the SNI.
    assert_eq!(at(matched, "10.0.0.1:80", Some("a.example")), "no filter chain takes a connection without SNI");
    inspected["defaultFilterChain"] = json!({"filters": [tcp_proxy("x")]});
    assert_eq!(at(inspected, "10.0.0.1:80", None), "10.0.0.9:1");
}

#[test]
fn the_most_specific_filter_chain_takes_a_connection() {
    let chain = |wanted: Value, cluster: &str| json!({"filterChainMatch": wanted, "filters": [tcp_proxy(cluster)]});
    let mut listener = listener("a", "10.0.0.1:80", json!([]));
    listener["listenerFilters"] = json!([tls_inspector()]);
    listener["filterChains"] = json!([
        chain(json!({}), "rest"),
        chain(json!({"serverNames": ["*.example"]}), "suffix"),
        chain(json!({"serverNames": ["*.a.example", "other"]}), "long-suffix"),
        chain(json!({"serverNames": ["x.a.example"]}), "exact"),
        chain(json!({"transportProtocol": "tls"}), "tls"),
        chain(json!({"destinationPort": 81, "serverNames": ["only"]}), "port"),
    ]);
    let names = ["rest", "suffix", "long-suffix", "exact", "tls", "port"];
    let sent = names.iter().zip(1..).fold(Sent::default().listener(listener), |sent, (name, number): (_, u16)| {
        sent.cluster(static_cluster(name, &format!("10.0.0.9:{number}")))
    });
    let network = network([("p", sent)], &[("10.0.0.1:80", "p", "10.0.0.1:80"), ("10.0.0.2:81", "p", "10.0.0.1:80")]);
    let at = |sni: Option<&str>| {
        let client = sni.map(|sni| Client { sni: sni.to_owned(), certificates: None });
        let answer = network.from_address(&tcp("10.0.0.1:80"), client.as_ref(), &Traffic::Tcp);
        answer.outcomes.first().unwrap().links[0].clusters.concat()
    };

    assert_eq!(at(Some("x.a.example")), "exact");
    assert_eq!(at(Some("y.x.a.example")), "long-suffix");
    assert_eq!(at(Some("other")), "long-suffix");
    assert_eq!(at(Some("a.example")), "suffix");
    assert_eq!(at(Some("example")), "tls");
    assert_eq!(at(None), "rest");
}

/// A caller and a listener that speak TLS, changed by whoever asks.
fn handshake(change: impl Fn(&mut Value, &mut Value)) -> String {
    let authority = Authority::new("root");
    let mut cluster = static_cluster("api", "10.0.0.2:21000");
    cluster["transportSocket"] =
        tls("UpstreamTlsContext", json!({"sni": "api", "names": ["spiffe://t/api"]}), json!({}));
    let mut listener = listener("public_listener", "10.0.0.2:21000", json!([tcp_proxy("local_app")]));
    listener["filterChains"][0]["transportSocket"] =
        tls("DownstreamTlsContext", json!({"requireClientCertificate": true}), json!({}));
    change(&mut cluster, &mut listener);
    let web = Sent::default()
        .secrets(&authority, "spiffe://t/web")
        .listener(outbound("api", json!([tcp_proxy("api")])))
        .cluster(cluster);
    let api = Sent::default()
        .secrets(&authority, "spiffe://t/api")
        .listener(listener)
        .cluster(static_cluster("local_app", "127.0.0.1:8080"));
    let network = network([("web", web), ("api", api)], &[("10.0.0.2:21000", "api", "10.0.0.2:21000")]);
    end(&network.from_upstream("web", "api", &Traffic::Tcp))
}

fn common(resource: &mut Value) -> &mut Value {
    &mut resource["transportSocket"]["typedConfig"]["commonTlsContext"]
}

#[test]
fn both_sides_of_tls_have_to_agree() {
    let chain = |listener: &mut Value| listener["filterChains"][0].take();
    let with_chain = |listener: &mut Value, change: &dyn Fn(&mut Value)| {
        let mut taken = chain(listener);
        change(&mut taken);
        listener["filterChains"][0] = taken;
    };
    let parameters = |fields: Value| move |side: &mut Value| common(side)["tlsParams"] = fields.clone();
    const APP: &str = "127.0.0.1:8080";
    const NO_COMMON: &str = "caller and listener have no TLS version or cipher suite in common";

    assert_eq!(handshake(|_, _| {}), APP);
    let names = |name: &str| {
        let name = json!([{"sanType": "URI", "matcher": {"exact": name}}]);
        move |cluster: &mut Value, _: &mut Value| {
            common(cluster)["combinedValidationContext"]["defaultValidationContext"]["matchTypedSubjectAltNames"] =
                name.clone();
        }
    };
    assert_eq!(handshake(names("spiffe://t/db")), "the listener is spiffe://t/api, the caller wants spiffe://t/db");
    let no_certificate = |cluster: &mut Value, _: &mut Value| {
        common(cluster).as_object_mut().unwrap().remove("tlsCertificateSdsSecretConfigs");
    };
    assert_eq!(handshake(no_certificate), "the caller shows no certificate");
    let no_tls = |cluster: &mut Value, _: &mut Value| drop(cluster["transportSocket"].take());
    assert_eq!(handshake(no_tls), "the bytes are no TLS, and the listener expects TLS");
    let other = Authority::new("other").pem();
    let other_roots = |cluster: &mut Value, _: &mut Value| {
        let context = common(cluster).as_object_mut().unwrap();
        context.remove("combinedValidationContext");
        context.insert("validationContext".to_owned(), json!({"trustedCa": {"inlineString": other}}));
    };
    assert_eq!(handshake(other_roots), "the caller trusts nobody who signed the certificate of spiffe://t/api");
    let no_secret = |cluster: &mut Value, _: &mut Value| {
        common(cluster)["tlsCertificateSdsSecretConfigs"][0]["name"] = json!("missing");
    };
    assert_eq!(handshake(no_secret), "there is no secret \"missing\" yet");

    // Callers go up to TLS 1.2 unless they are told otherwise.
    let newest = parameters(json!({"tlsMinimumProtocolVersion": "TLSv1_3"}));
    assert_eq!(handshake(|_, listener| with_chain(listener, &newest)), NO_COMMON);
    let up_to = parameters(json!({"tlsMaximumProtocolVersion": "TLSv1_3"}));
    let both = |cluster: &mut Value, listener: &mut Value| {
        with_chain(listener, &newest);
        up_to(cluster);
    };
    assert_eq!(handshake(both), APP);
    // The certificates have elliptic keys.
    let rsa = parameters(json!({"cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"]}));
    assert_eq!(handshake(|_, listener| with_chain(listener, &rsa)), NO_COMMON);
    let one = parameters(json!({"cipherSuites": ["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]"]}));
    assert_eq!(handshake(|_, listener| with_chain(listener, &one)), APP);
}

#[test]
fn http_listeners_take_nothing_else() {
    let sent = || {
        Sent::default()
            .listener(outbound("api", json!([manager(&[], to_cluster("x"))])))
            .cluster(static_cluster("x", "10.0.0.9:1"))
    };
    let network = network([("web", sent())], &[("10.0.0.1:80", "web", "127.0.0.1:9000")]);
    let client = Client { sni: "a".to_owned(), certificates: None };

    let bytes = network.from_upstream("web", "api", &Traffic::Tcp);
    let tls = network.from_address(&tcp("10.0.0.1:80"), Some(&client), &Traffic::Http(Request::get("/")));

    assert_eq!(end(&bytes), "the bytes are no HTTP, and the listener expects HTTP");
    assert_eq!(end(&tls), "the bytes are no HTTP, and the listener expects HTTP");
}

#[test]
fn who_is_not_there_is_told() {
    let network = network([("web", Sent::default())], &[]);

    assert_eq!(end(&network.from_upstream("web", "api", &Traffic::Tcp)), "there is no listener for upstream \"api\"");
    assert_eq!(end(&network.from_upstream("shop", "api", &Traffic::Tcp)), "there is no proxy \"shop\"");
    assert_eq!(end(&network.from_address(&tcp("10.0.0.1:1"), None, &Traffic::Tcp)), "10.0.0.1:1");
}

#[test]
fn what_is_not_modelled_is_not_guessed() {
    let to_x = |change: &dyn Fn(&mut Value, &mut Value)| {
        let mut listener = outbound("api", json!([tcp_proxy("x")]));
        let mut cluster = static_cluster("x", "10.0.0.9:1");
        change(&mut listener, &mut cluster);
        ask(Sent::default().listener(listener).cluster(cluster))
    };
    let lua = typed("filters.http.lua.v3.Lua", json!({}));

    assert_eq!(
        to_x(&|listener, _| listener["useOriginalDst"] = json!(true)),
        "the effect of use_original_dst in envoy.config.listener.v3.Listener is not modelled"
    );
    assert_eq!(
        to_x(&|listener, _| listener["filterChains"][0]["filterChainMatch"] = json!({"sourceType": "EXTERNAL"})),
        "the effect of source_type in envoy.config.listener.v3.FilterChainMatch is not modelled"
    );
    assert_eq!(
        to_x(&|listener, _| {
            let echo = typed("filters.network.echo.v3.Echo", json!({}));
            listener["filterChains"][0]["filters"] = json!([echo]);
        }),
        "\"type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo\" is not modelled"
    );
    assert_eq!(
        to_x(&|listener, _| {
            listener["filterChains"][0]["filters"] = json!([manager(std::slice::from_ref(&lua), to_cluster("x"))]);
        }),
        "the bytes are no HTTP, and the listener expects HTTP"
    );
    assert_eq!(
        to_x(&|_, cluster| cluster["healthChecks"] = json!([{"timeout": "1s"}])),
        "the effect of health_checks in envoy.config.cluster.v3.Cluster is not modelled"
    );
    assert_eq!(
        to_x(&|_, cluster| cluster["transportSocket"] = typed("transport_sockets.tap.v3.Tap", json!({}))),
        "\"type.googleapis.com/envoy.extensions.transport_sockets.tap.v3.Tap\" is not modelled"
    );
    let condition = json!({"p": {
        "permissions": [{"any": true}], "principals": [{"directRemoteIp": {"addressPrefix": "10.0.0.0", "prefixLen": 8}}],
    }});
    assert_eq!(
        to_x(&|listener, _| {
            listener["filterChains"][0]["filters"] =
                json!([network_rbac(json!({"policies": condition})), tcp_proxy("x")]);
        }),
        "the effect of direct_remote_ip in envoy.config.rbac.v3.Principal is not modelled"
    );
    let request = |manager: Value| {
        let sent =
            Sent::default().listener(outbound("api", json!([manager]))).cluster(static_cluster("x", "10.0.0.9:1"));
        end(&network([("web", sent)], &[]).from_upstream("web", "api", &Traffic::Http(Request::get("/"))))
    };
    assert_eq!(
        request(manager(&[lua], to_cluster("x"))),
        "\"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\" is not modelled"
    );
    let by_header = routes(json!([{"match": {"prefix": "/"}, "route": {"clusterHeader": "x-cluster"}}]));
    assert_eq!(
        request(manager(&[], by_header)),
        "the effect of cluster_header in envoy.config.route.v3.RouteAction is not modelled"
    );
    let look_around = routes(json!([{"match": {"safeRegex": {"regex": "(?=x)"}}, "route": {"cluster": "x"}}]));
    assert_eq!(request(manager(&[], look_around)), "the regular expression \"(?=x)\" is not modelled");
}

#[test]
fn there_is_a_limit_to_the_ways_that_are_looked_at() {
    let many: Vec<String> = (0..200).map(|number| format!("10.0.{number}.1:8443")).collect();
    let instances: Vec<String> = (0..200).map(|number| format!("10.1.{number}.1:80")).collect();
    let healthy = |addresses: &[String]| -> Vec<(String, bool)> {
        addresses.iter().map(|address| (address.clone(), true)).collect()
    };
    let as_refs = |list: &[(String, bool)]| -> Vec<(&'static str, bool)> {
        list.iter().map(|(address, health)| (&*Box::leak(address.clone().into_boxed_str()), *health)).collect()
    };
    let web = Sent::default()
        .listener(outbound("api", json!([tcp_proxy("x")])))
        .cluster(plain_cluster("x"))
        .endpoints("x", &as_refs(&healthy(&many)));
    let gateway = Sent::default()
        .listener(listener("default", "0.0.0.0:8443", json!([tcp_proxy("y")])))
        .cluster(plain_cluster("y"))
        .endpoints("y", &as_refs(&healthy(&instances)));
    let doors: Vec<(&str, &str, &str)> = many.iter().map(|at| (at.as_str(), "gateway", at.as_str())).collect();
    let network = network([("web", web), ("gateway", gateway)], &doors);

    let answer = network.from_upstream("web", "api", &Traffic::Tcp);

    assert!(answer.outcomes.len() < 11_000, "{}", answer.outcomes.len());
    assert!(answer.outcomes.iter().any(|outcome| outcome.end == End::Unknown(Unknown::TooMany)));
}
