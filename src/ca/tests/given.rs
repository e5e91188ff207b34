//! What an operator gives: keys and certificates as files have them, and what is wrong with them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CustomExtension, IsCa, KeyPair};

use super::rotation::{active, certificate, is_verified, opened, own_root, with_root};
use super::*;
use crate::ca::given::try_out;
use crate::ca::renewal::end_to_tell;
use crate::ca::root::generate_key;
use crate::model::{CaConfig, CaSettings, GoDuration, KeyKind, PrivateKey, Root};

/// What `openssl ecparam -name prime256v1 -genkey` writes.
const EC_FILE: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIIxcsi3MpjJiN72RV7qZJxyeJ08HdjYwfgMbJhIxDWSooAoGCCqGSM49
AwEHoUQDQgAEtt+GV3DRRVRtBnPhqyvQcn7nz+A2/HOxq9zf/yPgYv1PTO3liYYU
LAVLyKhR7eY0JVVBGmU9FwAiMN2AJ2A15w==
-----END EC PRIVATE KEY-----
";

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

async fn refused(authority: &Authority, config: CaConfig) -> String {
    let error = authority.configure(config).await.unwrap_err();
    let CaError::Refused(problems) = error else { panic!("{error:?}") };
    problems.to_string()
}

#[tokio::test]
async fn nothing_of_the_text_around_a_certificate_is_kept() {
    let hand = Hand::new();
    let own = own_root(&hand, &generate_key(KeyKind::default()).unwrap());
    let cert = &own.cert_pem;
    for around in [
        format!("-----END CERTIFICATE-----\n{cert}"),
        format!("# -----BEGIN CERTIFICATE-----\n{cert}"),
        format!("subject=CN = Our CA\n{cert}# -----END CERTIFICATE-----\n"),
        cert.replace('\n', "\r\n"),
    ] {
        let (store, authority) = opened(&hand).await;
        let config = with_root(&Root { cert_pem: around.clone(), ..own.clone() });

        authority.configure(CaConfig { force_without_cross_signing: true, ..config }).await.unwrap();

        let root = active(&store.view());
        assert_eq!((&root.id, &root.cert_pem), (&own.id, cert), "{around}");
        assert!(is_verified(&[&own], &authority.leaf(&web()).await.unwrap().value, START));
    }
}

#[tokio::test]
async fn bytes_after_a_certificate_are_refused() {
    let hand = Hand::new();
    let (_, authority) = opened(&hand).await;
    let own = own_root(&hand, &generate_key(KeyKind::default()).unwrap());
    let longer = [der(&own.cert_pem), vec![0; 3]].concat();

    let told = refused(&authority, with_root(&Root { cert_pem: pem("CERTIFICATE", &longer), ..own })).await;

    assert_eq!(told, "Config.RootCert: has 3 bytes after the end of the certificate: leave them out");
}

#[tokio::test]
async fn keys_are_taken_in_every_form_that_files_have() {
    let hand = Hand::new();
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    // PKCS #8 puts so many bytes in front of an RSA key of this size.
    let rsa = pem("RSA PRIVATE KEY", &rsa.serialize_der()[26..]);
    let (_, ec_alone) = EC_FILE.split_once("-----END EC PARAMETERS-----\n").unwrap();
    for (file, label) in [
        (generate_key(KeyKind::default()).unwrap().serialize_pem(), "-----BEGIN PRIVATE KEY-----\n"),
        (EC_FILE.to_owned(), "-----BEGIN EC PRIVATE KEY-----\n"),
        (ec_alone.to_owned(), "-----BEGIN EC PRIVATE KEY-----\n"),
        (rsa, "-----BEGIN RSA PRIVATE KEY-----\n"),
    ] {
        let (store, authority) = opened(&hand).await;
        let settings = CaSettings { private_key: PrivateKey::from(file), ..CaSettings::default() };

        authority.configure(CaConfig { config: settings, ..CaConfig::default() }).await.unwrap();

        let root = active(&store.view());
        assert!(root.key_pem.expose().starts_with(label), "{label}");
        assert!(is_verified(&[&root], &authority.leaf(&web()).await.unwrap().value, START), "{label}");
    }
}

#[tokio::test]
async fn settings_key_and_certificate_are_judged_at_once() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let leaf = authority.leaf(&web()).await.unwrap().value;
    let before = store.view().index();
    let settings = CaSettings {
        leaf_cert_ttl: GoDuration::from_secs(60),
        private_key: PrivateKey::from("soon".to_owned()),
        root_cert: leaf.cert_pem.clone(),
        ..CaSettings::default()
    };

    let told = refused(&authority, CaConfig { config: settings, ..CaConfig::default() }).await;

    for fragment in ["Config.LeafCertTTL: ", "Config.PrivateKey: is not one private key", "Config.RootCert: is no root"]
    {
        assert!(told.contains(fragment), "{fragment:?} in {told}");
    }
    assert_eq!(store.view().index(), before);
}

#[tokio::test]
async fn a_root_must_outlive_a_leaf() {
    let hand = Hand::new();
    let key = generate_key(KeyKind::default()).unwrap();
    for (hours, is_taken) in [(71, false), (72, true)] {
        let (_, authority) = opened(&hand).await;
        let mut params = certificate(&own_root(&hand, &key));
        params.not_after = (hand.options().clock)() + Duration::hours(hours);
        let root = Root { cert_pem: params.self_signed(&key).unwrap().pem(), ..own_root(&hand, &key) };

        match authority.configure(with_root(&root)).await {
            Ok(()) => assert!(is_taken, "{hours} h"),
            Err(error) => {
                assert!(!is_taken && error.to_string().contains("Config.RootCert: is valid until"), "{error}")
            }
        }
    }
}

#[tokio::test]
async fn the_root_that_signs_may_be_given_again_when_its_end_is_near() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let own = own_root(&hand, &generate_key(KeyKind::default()).unwrap());
    authority.configure(with_root(&own)).await.unwrap();
    hand.advance(own.not_after - (hand.options().clock)() - Duration::hours(1));

    let mut again = with_root(&own);
    again.config.csr_max_per_second = 7.0;
    authority.configure(again).await.unwrap();

    assert_eq!(active(&store.view()).id, own.id);
    assert_eq!(store.view().ca_config().unwrap().value.config.csr_max_per_second, 7.0);
}

/// A root whose certificate does not say what its key is called.
fn without_key_identifier(hand: &Hand) -> Root {
    let key = generate_key(KeyKind::default()).unwrap();
    let root = own_root(hand, &key);
    let mut params = certificate(&root);
    params.is_ca = IsCa::NoCa;
    let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]);
    constraints.set_criticality(true);
    params.custom_extensions = vec![constraints];
    Root { cert_pem: params.self_signed(&key).unwrap().pem(), ..root }
}

#[tokio::test]
async fn roots_of_one_name_are_told_apart_by_the_identifiers_of_their_keys() {
    let hand = Hand::new();
    let [told, other] = [(); 2].map(|()| own_root(&hand, &generate_key(KeyKind::default()).unwrap()));
    let untold = without_key_identifier(&hand);
    for (first, second, is_taken) in
        [(&told, &other, true), (&untold, &untold, true), (&told, &untold, false), (&untold, &told, false)]
    {
        let (_, authority) = opened(&hand).await;
        authority.configure(with_root(first)).await.unwrap();

        match authority.configure(with_root(second)).await {
            Ok(()) => assert!(is_taken),
            Err(error) => assert!(!is_taken && error.to_string().contains("has the same name as"), "{error}"),
        }
    }
}

#[test]
fn a_root_that_cannot_sign_is_found_out() {
    let hand = Hand::new();
    let now = (hand.options().clock)();
    let good = own_root(&hand, &generate_key(KeyKind::default()).unwrap());
    let unreadable = Root { cert_pem: format!("-----BEGIN CERTIFICATE-----\n{}", good.cert_pem), ..good.clone() };
    let of_another =
        Root { key_pem: own_root(&hand, &generate_key(KeyKind::default()).unwrap()).key_pem, ..good.clone() };
    let over = Root { not_after: now, ..good.clone() };

    let told = |root: &Root| try_out(root, now, std::time::Duration::from_secs(3600)).map_err(|told| told.to_string());

    assert_eq!(told(&good), Ok(()));
    for (root, fragment) in
        [(unreadable, "cannot be read"), (of_another, "nobody who trusts it"), (over, "the root certificate expired")]
    {
        let told = told(&root).unwrap_err();
        assert!(told.contains(fragment), "{told}");
    }
}

#[test]
fn the_end_of_a_root_is_told_once_a_day_and_when_something_changed() {
    let hand = Hand::new();
    let start = (hand.options().clock)();
    let root =
        Root { not_after: start + Duration::hours(100), ..own_root(&hand, &generate_key(KeyKind::default()).unwrap()) };
    let other = Root { id: "other".to_owned(), ..root.clone() };
    let ttl = |hours: u64| std::time::Duration::from_secs(hours * 3600);
    let at = |hours| start + Duration::hours(hours);

    assert_eq!(end_to_tell(None, &root, ttl(24), at(52)), None);
    let told = end_to_tell(None, &root, ttl(24), at(53));
    let again = |root, hours, time| end_to_tell(told.as_ref(), root, ttl(hours), at(time)).is_some();

    assert!(told.is_some());
    assert_eq!([again(&root, 24, 53), again(&root, 24, 76), again(&root, 24, 77)], [false, false, true]);
    assert_eq!([again(&other, 24, 53), again(&root, 36, 53), again(&root, 12, 77)], [true, true, true]);
}
