use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn redactor() -> Redactor {
    Redactor::new().unwrap()
}

#[test]
fn what_is_made_of_names_stays_made_of_them() {
    let mut redactor = redactor();
    let mut text = |text: &str| redactor.pseudonyms.text(text);

    let (web, dc2) = (text("acme-web"), text("dc2"));
    let uuid = text("11111111-2222-3333-4444-555555555555");

    assert!(!web.contains("acme") && !web.contains("web") && !dc2.contains("dc2"));
    assert_eq!(text("acme-web-sidecar-proxy"), format!("{web}-sidecar-proxy"));
    assert_eq!(
        text("acme-web.default.dc2.internal.11111111-2222-3333-4444-555555555555.consul"),
        format!("{web}.default.{dc2}.internal.{uuid}.consul")
    );
    assert_eq!(text("spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc2/svc/acme-web"), {
        format!("spiffe://{uuid}.consul/ns/default/dc/{dc2}/svc/{web}")
    });
    assert!(uuid::Uuid::parse_str(&uuid).is_ok());
    // Names that differ in case alone are one for some and two for others.
    assert!(text("Acme-Web").eq_ignore_ascii_case(&web) && text("Acme-Web") != web);
}

#[test]
fn what_says_nothing_about_anybody_stays() {
    let mut redactor = redactor();

    for text in [
        "",
        "default",
        "http2",
        "connect-proxy",
        "127.0.0.1:8080",
        "[::1]:80",
        "0.0.0.0",
        "10s",
        "1h30m",
        "250ms",
        "2026-01-02T03:04:05Z",
        "MG-GW-001",
        "1.40.0",
        "*",
        "<hidden>",
        "unix:///",
    ] {
        assert_eq!(redactor.pseudonyms.text(text), text);
    }
}

#[test]
fn addresses_and_numbers_stay_what_they_are() {
    let mut redactor = redactor();
    let mut text = |text: &str| redactor.pseudonyms.text(text);

    let address = text("203.0.113.7");

    assert!(address != "203.0.113.7" && address.parse::<IpAddr>().is_ok(), "{address}");
    assert_eq!(text("http://203.0.113.7:8443/up"), format!("http://{address}:8443/{}", text("up")));
    let v6 = text("2001:db8::7");
    assert!(v6 != "2001:db8::7" && v6.parse::<IpAddr>().is_ok_and(|it| it.is_ipv6()), "{v6}");
    assert_eq!(text("[2001:db8::7]:443"), format!("[{v6}]:443"));
    // An ID of a check is no address.
    let check = text("service:abc:def");
    assert!(check.starts_with("service:") && !check.contains("abc") && !check.contains("def"), "{check}");
    // In whatever they are written, and however.
    for (given, expected) in [
        ("ip-203-0-113-7.eu-west-1.compute.internal", format!("-{}.", address.replace('.', "-"))),
        ("node_203.0.113.7", format!("_{address}")),
        ("203.0.113.7_8080", format!("{address}_8080")),
        ("db203.0.113.7", address.clone()),
        ("tcp:8080:203.0.113.7", format!("tcp:8080:{address}")),
        ("dead:beef:203.0.113.7:80", format!(":{address}:80")),
        ("203.0.113.007", address.clone()),
        ("203_0_113_7", address.replace('.', "_")),
        ("MG-AB-203.0.113.7", format!("-{address}")),
        ("::a-203-0-113-7", address.replace('.', "-")),
        ("2001:db8::7.", format!("{v6}.")),
        ("2001:db8::7-5", format!("{v6}-5")),
        ("2001:db8::7: refused", format!("{v6}: refused")),
    ] {
        let redacted = text(given);
        assert!(redacted.contains(&expected) && redacted != given, "{given}: {redacted}, without {expected}");
    }
    assert!(!text("ip-10-20-30-40.eu-west-1.compute.internal").contains("10-20-30-40"));
    for (given, network, behind) in [
        ("2001:4860::/32", "2001:4860::", "/32"),
        ("2001:4860:4801::/48", "2001:4860:4801::", "/48"),
        ("[2001:db8::]:80", "2001:db8::", "]:80"),
    ] {
        let (redacted, network) = (text(given), text(network));
        assert!(network.parse::<IpAddr>().is_ok_and(|it| it.is_ipv6()), "{network}");
        assert_eq!(redacted.trim_start_matches('['), format!("{network}{behind}"));
    }
    // Other numbers in a row may be one with something around them.
    for (given, part) in
        [("1.2.203.0.113.7", "203.0"), ("5203.0.113.7", "203.0"), ("x2001:4860::7", "4860"), ("1-2.3-4", "3-4")]
    {
        assert!(!text(given).contains(part), "{}", text(given));
    }
    let account = text("123456789012");
    assert!(account.len() == 12 && account != "123456789012" && account.bytes().all(|it| it.is_ascii_digit()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_address_survives_in_whatever_it_is_written(
        v4 in any::<Ipv4Addr>(),
        joint in prop::sample::select(vec![".", "-", "_"]),
        mut groups in prop::array::uniform8(prop_oneof![Just(0), 1..=u16::MAX]),
        before in "[ a-hx0-9.:_/-]{0,6}",
        behind in "[ a-hx0-9.:_/-]{0,6}",
    ) {
        groups[0] = 0x2001;
        groups[1] |= 1;
        let v6 = Ipv6Addr::from(groups);
        for address in [v4.to_string().replace('.', joint), v6.to_string(), v6.to_string().to_uppercase()] {
            let text = format!("{before}{address}{behind}");
            let redacted = redactor().pseudonyms.text(&text);
            // A digit in front may make one of it that means the same on every host.
            let of_every_host = ["127", "169", "255", "0.0.0.0", "0-0-0-0", "0_0_0_0"];
            let may_stay = address == v4.to_string().replace('.', joint) && of_every_host.iter().any(|it| text.contains(it));
            prop_assert!(may_stay || !redacted.contains(&address), "{} in {}", text, redacted);
        }
    }
}

#[test]
fn names_that_differ_stay_different() {
    let mut redactor = redactor();
    let spellings = ["acmepay", "acmePay", "AcmePay", "ACMEPAY", "Acmepay", "aCMEPAY", "acmepaY"];

    let pseudonyms: BTreeSet<_> = spellings.iter().map(|name| redactor.pseudonyms.text(name)).collect();

    assert_eq!(pseudonyms.len(), spellings.len(), "{pseudonyms:?}");
    // Of a name with more spellings than its pseudonym has, too.
    let many = (0..512_u32).map(|bits| {
        let letters = "wavelength".chars().enumerate();
        let spelled =
            |(at, letter): (usize, char)| if (bits >> at) & 1 == 1 { letter.to_ascii_uppercase() } else { letter };
        letters.map(spelled).collect::<String>()
    });
    let pseudonyms: BTreeSet<_> = many.map(|name| redactor.pseudonyms.text(&name)).collect();
    assert_eq!(pseudonyms.len(), 512);
}

#[test]
fn two_reports_cannot_be_compared() {
    let name = |mut redactor: Redactor| redactor.pseudonyms.text("payments");

    assert_ne!(name(redactor()), name(redactor()));
}

#[test]
fn answers_keep_their_fields_and_lose_their_sentences() {
    let mut redactor = redactor();

    let text = br#"{"Proxy": "dc1/default/n1/acme", "Message": "no such thing as acme", "Index": 7, "acme": true}"#;
    let redacted: Value = serde_json::from_slice(&redactor.document(text).unwrap()).unwrap();

    let members = redacted.as_object().unwrap();
    assert_eq!((&members["Message"], &members["Index"]), (&HIDDEN.into(), &7.into()));
    assert!(members["Proxy"].as_str().unwrap().contains("/default/"));
    assert!(!redacted.to_string().contains("acme"), "{redacted}");
}

/// A bundle with these members, redacted.
async fn redacted(redactor: &mut Redactor, members: Value) -> Value {
    let mut bundle = serde_json::json!({ "Format": "meshgate-bundle", "Version": 1 });
    bundle.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    serde_json::from_slice(&redactor.bundle(bundle.to_string().as_bytes()).await.unwrap()).unwrap()
}

#[test]
fn rows_that_redacting_breaks_are_left_out_however_many() {
    let mut redactor = redactor();
    let with = |agent: &str| {
        let rows = vec![serde_json::json!({}); 300];
        serde_json::json!({
            "Format": "meshgate-bundle", "Version": 1, "Agent": { "ClusterID": agent }, "Peerings": rows,
            "Datacenters": [{ "Name": "dc2" }],
        })
    };

    let bundle = redactor.judged(with("11111111-2222-3333-4444-555555555555")).unwrap();

    assert_eq!((bundle.peerings.len(), bundle.datacenters.len()), (0, 1));
    assert!(redactor.left_out().all(|line| line.starts_with("a row of Peerings: once redacted, ")));
    // What is no row cannot be left out.
    let problems = redactor.judged(with("one")).unwrap_err().0;
    assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), ["Agent.ClusterID"]);
}

#[tokio::test]
async fn formats_of_access_logs_are_left_out_and_their_rows_stay() {
    for (field, format) in
        [("JSONFormat", r#"{"acme": "%START_TIME% %REQ(X-ACME)%"}"#), ("TextFormat", "%START_TIME% acme")]
    {
        let mut redactor = redactor();
        let logs = serde_json::json!({ "Enabled": true, "Type": "file", "Path": "/acme/log", field: format });
        let entry = serde_json::json!({ "Kind": "proxy-defaults", "Name": "global", "AccessLogs": logs });

        let bundle = redacted(&mut redactor, serde_json::json!({ "ConfigEntries": [entry] })).await;

        let logs = bundle["ConfigEntries"][0]["AccessLogs"].as_object().unwrap();
        assert_eq!(logs.keys().collect::<Vec<_>>(), ["Enabled", "Path", "Type"], "{bundle}");
        assert_eq!(redactor.left_out().collect::<Vec<_>>(), [format!("{field}: what is in it cannot be redacted")]);
    }
}

#[tokio::test]
async fn filters_with_regular_expressions_are_left_out_and_told() {
    let mut redactor = redactor();
    let subsets = serde_json::json!({
        "olive": { "Filter": "Service.Meta.release matches \"^quokka-[0-9]+$\"", "OnlyPassing": true },
        "lime": { "Filter": "Service.Meta.release == `it matches quokka` or Service.Tags contains gold" },
        "teal": { "Filter": "Service.ID not matches `[a-z]+`" },
    });
    let entry = serde_json::json!({ "Kind": "service-resolver", "Name": "acme", "Subsets": subsets });

    let bundle = redacted(&mut redactor, serde_json::json!({ "ConfigEntries": [entry] })).await;

    let mut text = |text: &str| redactor.pseudonyms.text(text);
    let [acme, olive, lime, teal] = ["acme", "olive", "lime", "teal"].map(&mut text);
    let subsets = &bundle["ConfigEntries"][0]["Subsets"];
    assert_eq!(
        (&subsets[&olive], &subsets[&teal]),
        (&serde_json::json!({ "OnlyPassing": true }), &serde_json::json!({}))
    );
    let expected = text("Service.Meta.release == `it matches quokka` or Service.Tags contains gold");
    assert_eq!(subsets[&lime]["Filter"], expected);
    let mut told = [olive, teal].map(|subset| {
        let reason = "has a regular expression, which cannot be redacted: the subset has all instances";
        format!("service-resolver/{acme}: Subsets.{subset}.Filter {reason}")
    });
    told.sort();
    assert_eq!(redactor.left_out().collect::<Vec<_>>(), told);
}

/// The values that a rule names where it refuses an entry.
fn values_named(entry: Value) -> Vec<String> {
    let bundle = serde_json::json!({ "Format": "meshgate-bundle", "Version": 1, "ConfigEntries": [entry] });
    let problems = codec::bundle(bundle.to_string().as_bytes()).unwrap_err();
    let (_, values) = problems.0[0].message.split_once("expected one of ").unwrap();
    values.split(", ").map(str::to_owned).collect()
}

#[test]
fn values_that_rules_know_all_of_stay() {
    let mut redactor = redactor();
    let destination = serde_json::json!({ "RetryOn": ["unheard-of"] });
    let methods = serde_json::json!({ "HTTP": { "Methods": ["UNHEARD"] } });
    let router = |route| serde_json::json!({ "Kind": "service-router", "Name": "acme", "Routes": [route] });
    let versions = serde_json::json!({ "Incoming": { "TLSMinVersion": "unheard-of" } });
    let mut values: Vec<String> = [
        router(serde_json::json!({ "Destination": destination })),
        router(serde_json::json!({ "Match": methods })),
        serde_json::json!({ "Kind": "mesh", "TLS": versions }),
    ]
    .into_iter()
    .flat_map(values_named)
    .collect();
    assert!(["envoy-ratelimited", "PATCH", "TLSv1_3"].iter().all(|value| values.iter().any(|it| it == value)));
    // Rules that name none, and texts of which one part is known.
    let others = [
        "random",
        "round_robin",
        "least_request",
        "ring_hash",
        "maglev",
        "header",
        "cookie",
        "query_parameter",
        "exact_balance",
        "stdout",
        "stderr",
        "file",
        "strict",
        "permissive",
        "strict_dns",
        "logical_dns",
    ];
    values.extend(others.map(str::to_owned));
    for (key, last) in
        [("ECDHE_ECDSA", "CHACHA20_POLY1305_SHA256"), ("RSA", "AES_256_GCM_SHA384"), ("ECDHE_RSA", "AES_128_CBC_SHA")]
    {
        values.push(format!("TLS_{key}_WITH_{last}"));
    }
    for value in values {
        assert_eq!(redactor.pseudonyms.text(&value), value);
    }
}

#[test]
fn fields_that_filters_name_stay() {
    let mut redactor = redactor();
    let source = include_str!("../../model/filter/fields.rs");
    let names = source.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));

    let fields: Vec<_> = names.filter(|name| Filter::parse(&format!("{name} is empty")).is_ok()).collect();

    assert!(fields.len() > 100, "{fields:?}");
    let lost: Vec<_> = fields.into_iter().filter(|field| redactor.pseudonyms.text(field) != *field).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
