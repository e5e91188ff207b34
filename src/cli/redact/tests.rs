use std::net::IpAddr;

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
    let account = text("123456789012");
    assert!(account.len() == 12 && account != "123456789012" && account.bytes().all(|it| it.is_ascii_digit()));
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
