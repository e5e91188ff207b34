//! Another root, made here or given by an operator.

use rcgen::KeyPair;

use super::*;
use crate::ca::root::{Cluster, generate_key, make_root};
use crate::model::{CaConfig, CaSettings, KeyKind, PrivateKey, Root};
use crate::store::View;

const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

/// A root as an operator makes one, with a name of its own.
pub(super) fn own_root(hand: &Hand, key: &KeyPair) -> Root {
    make_root(&Cluster::new(CLUSTER.to_owned()), "Our CA".to_owned(), key, (hand.options().clock)(), YEAR).unwrap()
}

fn with_key(key: &KeyPair) -> CaConfig {
    let settings = CaSettings { private_key: PrivateKey::from(key.serialize_pem()), ..CaSettings::default() };
    CaConfig { config: settings, ..CaConfig::default() }
}

pub(super) fn with_root(root: &Root) -> CaConfig {
    let settings =
        CaSettings { private_key: root.key_pem.clone(), root_cert: root.cert_pem.clone(), ..CaSettings::default() };
    CaConfig { config: settings, ..CaConfig::default() }
}

pub(super) async fn opened(hand: &Hand) -> (Store, Authority) {
    let store = memory();
    let authority = Authority::open(store.clone(), hand.options()).await.unwrap();
    (store, authority)
}

pub(super) fn active(view: &View) -> Root {
    (**view.active_root().unwrap()).clone()
}

/// What verifiers have who trust these roots.
fn trusting(roots: &[&Root]) -> Arc<rustls::RootCertStore> {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(der(&root.cert_pem))).unwrap();
    }
    Arc::new(store)
}

pub(super) fn is_verified(roots: &[&Root], leaf: &Leaf, now: i64) -> bool {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(leaf.cert_pem.as_bytes()).collect::<Result<_, _>>().unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let cert = rustls::server::ParsedCertificate::try_from(&chain[0]).unwrap();
    let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.unsigned_abs()));
    let algorithms = provider.signature_verification_algorithms.all;
    let roots = trusting(roots);
    rustls::client::verify_server_cert_signed_by_trust_anchor(&cert, &roots, &chain[1..], now, algorithms).is_ok()
}

#[tokio::test]
async fn leaves_of_a_new_root_are_verified_with_the_old_one_too() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let (old, first) = (active(&store.view()), authority.leaf(&web()).await.unwrap().value);

    authority.configure(with_key(&generate_key(KeyKind::default()).unwrap())).await.unwrap();

    let view = store.view();
    let new = active(&view);
    let second = authority.leaf(&web()).await.unwrap().value;
    assert_ne!((&new.id, &new.name), (&old.id, &old.name));
    assert_eq!((&new.trust_domain, view.roots().len(), new.intermediates.len()), (&old.trust_domain, 2, 1));
    assert_eq!(second.root_id, new.id);
    for (leaf, roots, expected) in [
        (&first, vec![&old], true),
        (&first, vec![&new], false),
        (&first, vec![&new, &old], true),
        (&second, vec![&old], true),
        (&second, vec![&new], true),
        (&second, vec![&new, &old], true),
    ] {
        assert_eq!(is_verified(&roots, leaf, START), expected, "{} by {} roots", leaf.serial, roots.len());
    }
    assert_eq!(trust_bundle(&Reader::new(&view)), format!("{}{}", new.cert_pem, old.cert_pem));
}

#[tokio::test]
async fn who_has_only_one_of_the_roots_yet_shakes_hands_with_who_has_the_other() {
    let (store, authority) = opened(&Hand(Arc::new(AtomicI64::new(OffsetDateTime::now_utc().unix_timestamp())))).await;
    let (old, before) = (active(&store.view()), authority.leaf(&identity("db")).await.unwrap().value);
    authority.configure(with_key(&generate_key(KeyKind::default()).unwrap())).await.unwrap();
    let after = authority.leaf(&web()).await.unwrap().value;

    for (server, client) in [(&before, &after), (&after, &before)] {
        assert_eq!(handshake(&trusting(&[&old]), server, client).await, [client.uri.as_str()]);
    }
}

#[tokio::test]
async fn without_cross_signing_the_old_root_verifies_nothing_new() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let old = active(&store.view());

    let config = CaConfig { force_without_cross_signing: true, ..with_key(&generate_key(KeyKind::default()).unwrap()) };
    authority.configure(config).await.unwrap();

    let new = active(&store.view());
    let leaf = authority.leaf(&web()).await.unwrap().value;
    assert!(new.intermediates.is_empty());
    assert!(!is_verified(&[&old], &leaf, START) && is_verified(&[&new], &leaf, START));
}

fn of_kind(word: &str, bits: u32) -> CaConfig {
    let settings = CaSettings { private_key_type: word.to_owned(), private_key_bits: bits, ..CaSettings::default() };
    CaConfig { config: settings, ..CaConfig::default() }
}

/// The word of a kind of keys and its size, as the certificate says.
fn kind_of(pem: &str) -> (&'static str, usize) {
    let bytes = der(pem);
    let (_, cert) = X509Certificate::from_der(&bytes).unwrap();
    let key = cert.public_key().parsed().unwrap();
    let is_rsa = matches!(key, x509_parser::public_key::PublicKey::RSA(_));
    (if is_rsa { "rsa" } else { "ec" }, key.key_size())
}

#[tokio::test]
async fn another_kind_of_keys_makes_another_root_and_leaves_of_that_kind() {
    let hand = Hand(Arc::new(AtomicI64::new(OffsetDateTime::now_utc().unix_timestamp())));
    let (store, authority) = opened(&hand).await;
    let mut before = active(&store.view());
    for (word, bits) in [("ec", 384), ("rsa", 2048), ("ec", 256)] {
        let first = authority.leaf(&identity("db")).await.unwrap().value;

        authority.configure(of_kind(word, bits)).await.unwrap();
        authority.configure(of_kind(word, bits)).await.unwrap();

        let view = store.view();
        let root = active(&view);
        assert_ne!(root.id, before.id);
        assert_eq!((kind_of(&root.cert_pem), root.intermediates.len()), ((word, bits as usize), 1));
        let leaf = authority.leaf(&web()).await.unwrap().value;
        assert_eq!(kind_of(&leaf.cert_pem), (word, bits as usize));
        // Who has a leaf of another kind and trusts only the root before is understood.
        assert_eq!(handshake(&trusting(&[&before]), &first, &leaf).await, [leaf.uri.as_str()]);
        assert_eq!(handshake(&trusting(&[&before, &root]), &leaf, &first).await, [first.uri.as_str()]);
        before = root;
    }
}

#[tokio::test]
async fn a_new_store_gets_the_root_that_is_asked_for_and_keeps_the_configuration() {
    let hand = Hand::new();
    let own = own_root(&hand, &generate_key(KeyKind::Rsa2048).unwrap());
    let open = |store: &Store, config: &CaConfig| {
        let options = Options { config: Some(config.clone()), ..hand.options() };
        let store = store.clone();
        async move { Authority::open(store, options).await }
    };
    let (made, given) = (memory(), memory());
    let other_ttl = CaConfig {
        config: CaSettings {
            root_cert_ttl: crate::model::GoDuration::from_secs(9000 * 3600),
            ..of_kind("ec", 384).config
        },
        ..CaConfig::default()
    };

    open(&made, &other_ttl).await.unwrap();
    open(&given, &with_root(&own)).await.unwrap();

    let (view, root) = (made.view(), active(&made.view()));
    assert_eq!(kind_of(&root.cert_pem), ("ec", 384));
    assert_eq!(root.not_after.unix_timestamp(), START + 9000 * 3600);
    assert_eq!(*view.ca_config().unwrap().value, other_ttl);
    assert_eq!(active(&given.view()).id, own.id);
    let kept = given.view().ca_config().unwrap().value.config.clone();
    assert_eq!((kept.root_cert.as_str(), kept.private_key.expose()), (own.cert_pem.as_str(), ""));
    let is_overruled = |config: &CaConfig| crate::ca::authority::is_overruled(&made.view(), config);
    assert!(is_overruled(&with_root(&own)) && is_overruled(&of_kind("ec", 384)) && !is_overruled(&other_ttl));
    assert!(!crate::ca::authority::is_overruled(&given.view(), &with_root(&own)));
    // The next start changes nothing, whatever it is given.
    let before = made.view().index();
    open(&made, &with_root(&own)).await.unwrap();
    assert_eq!((made.view().index(), active(&made.view()).id), (before, root.id));
}

#[tokio::test]
async fn a_new_store_is_refused_a_root_that_cannot_be() {
    let hand = Hand::new();
    let own = own_root(&hand, &generate_key(KeyKind::default()).unwrap());
    let without_key = CaConfig {
        config: CaSettings { private_key: PrivateKey::default(), ..with_root(&own).config },
        ..CaConfig::default()
    };
    let of_another = with_key(&generate_key(KeyKind::default()).unwrap());
    let of_another =
        CaConfig { config: CaSettings { root_cert: own.cert_pem.clone(), ..of_another.config }, ..CaConfig::default() };
    for (config, expected) in [
        (of_kind("ec", 521), "Config.PrivateKeyType"),
        (without_key, "Config.PrivateKey: is needed for a RootCert"),
        (of_another, "Config.PrivateKey: is not the key of RootCert"),
        (CaConfig { provider: "vault".to_owned(), ..CaConfig::default() }, "Provider"),
    ] {
        let store = memory();
        let refused = Authority::open(store.clone(), Options { config: Some(config), ..hand.options() }).await;

        let error = refused.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(store.view().index(), 0);
    }
}

#[tokio::test]
async fn the_root_of_an_operator_signs_as_it_is() {
    let hand = Hand::new();
    for key in [
        generate_key(KeyKind::default()).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap(),
    ] {
        let (store, authority) = opened(&hand).await;
        let old = active(&store.view());
        let own = own_root(&hand, &key);

        authority.configure(with_root(&own)).await.unwrap();

        let view = store.view();
        let root = active(&view);
        assert_eq!((&root.id, &root.cert_pem, root.name.as_str()), (&own.id, &own.cert_pem, "Our CA"));
        assert_eq!((&root.signing_key_id, root.serial_number), (&own.signing_key_id, own.serial_number));
        let leaf = authority.leaf(&web()).await.unwrap().value;
        assert!(is_verified(&[&own], &leaf, START) && is_verified(&[&old], &leaf, START));
        let kept = &view.ca_config().unwrap().value;
        assert_eq!((kept.config.root_cert.as_str(), kept.config.private_key.expose()), (&*own.cert_pem, ""));
    }
}

#[tokio::test]
async fn the_same_again_changes_nothing() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let root = own_root(&hand, &generate_key(KeyKind::default()).unwrap());
    authority.configure(CaConfig::default()).await.unwrap();
    assert_eq!(store.view().roots().len(), 1);
    authority.configure(with_root(&root)).await.unwrap();
    let before = store.view();
    let read_back = (*before.ca_config().unwrap().value).clone();
    let key_alone = CaSettings { private_key: root.key_pem.clone(), ..CaSettings::default() };

    for same in [with_root(&root), read_back, CaConfig { config: key_alone, ..CaConfig::default() }] {
        authority.configure(same).await.unwrap();
        assert_eq!(store.view().index(), before.index());
    }
    // Without a key of the operator's one is made again.
    authority.configure(CaConfig::default()).await.unwrap();
    assert_eq!(store.view().roots().len(), 3);
    assert_eq!(store.view().ca_config().unwrap().value.config.root_cert, "");
}

#[tokio::test]
async fn a_root_that_was_active_before_can_be_active_again() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let [one, other] = [(); 2].map(|()| own_root(&hand, &generate_key(KeyKind::default()).unwrap()));
    for root in [&one, &other, &one] {
        authority.configure(with_root(root)).await.unwrap();
    }

    let view = store.view();
    assert_eq!((active(&view).id, view.roots().len()), (one.id, 3));
    assert_eq!(view.roots().iter().filter(|root| root.value.active).count(), 1);
    assert_eq!(active(&view).trusted_until, None);
    assert!(is_verified(&[&other], &authority.leaf(&web()).await.unwrap().value, START));
}

#[tokio::test]
async fn a_root_that_nobody_could_use_is_refused_with_every_reason() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let leaf = authority.leaf(&web()).await.unwrap().value;
    let before = store.view().index();
    let key = generate_key(KeyKind::default()).unwrap();
    let own = own_root(&hand, &key);
    let other = generate_key(KeyKind::default()).unwrap();
    let settings = |key: &str, cert: &str| CaSettings {
        private_key: PrivateKey::from(key.to_owned()),
        root_cert: cert.to_owned(),
        ..CaSettings::default()
    };
    let mut two_names = certificate(&own);
    two_names.distinguished_name = rcgen::DistinguishedName::new();
    let nameless = two_names.self_signed(&key).unwrap().pem();
    let (pem, ed25519) = (key.serialize_pem(), KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem());
    let old =
        make_root(&Cluster::new(CLUSTER.to_owned()), "Old".to_owned(), &key, (hand.options().clock)() - YEAR, YEAR);

    for (settings, fragments) in [
        (settings("soon", ""), vec!["Config.PrivateKey: is not one private key"]),
        (settings(&ed25519, ""), vec!["Config.PrivateKey: must be an ec key of 256 or 384 bits"]),
        (settings("", &own.cert_pem), vec!["Config.PrivateKey: is needed"]),
        (settings(&pem, "soon"), vec!["Config.RootCert: is no certificate in PEM form"]),
        (settings(&pem, &format!("{0}{0}", own.cert_pem)), vec!["Config.RootCert: must be one certificate"]),
        (settings(&other.serialize_pem(), &own.cert_pem), vec!["Config.PrivateKey: is not the key of RootCert"]),
        (settings(&pem, &old.unwrap().cert_pem), vec!["Config.RootCert: is valid from"]),
        (settings(&pem, &nameless), vec!["Config.RootCert: has a name that the leaves cannot repeat"]),
        (
            settings(&pem, &leaf.cert_pem),
            vec!["is no certificate authority", "may not sign", "is no root", "is not the key of RootCert"],
        ),
    ] {
        let error = authority.configure(CaConfig { config: settings, ..CaConfig::default() }).await.unwrap_err();
        let CaError::Refused(problems) = error else { panic!("{error:?}") };
        for fragment in fragments {
            assert!(problems.to_string().contains(fragment), "{fragment:?} in {problems}");
        }
    }
    assert_eq!(store.view().index(), before);
}

/// What a root was made of, to make one that differs.
pub(super) fn certificate(root: &Root) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    (params.not_before, params.not_after) = (root.not_before, root.not_after);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, root.name.as_str());
    params
}

#[tokio::test]
async fn a_root_that_may_sign_no_other_authority_is_replaced_only_by_force() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let key = generate_key(KeyKind::default()).unwrap();
    let mut params = certificate(&own_root(&hand, &key));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let narrow = Root { cert_pem: params.self_signed(&key).unwrap().pem(), ..own_root(&hand, &key) };
    authority.configure(with_root(&narrow)).await.unwrap();

    let next = with_key(&generate_key(KeyKind::default()).unwrap());
    let error = authority.configure(next.clone()).await.unwrap_err().to_string();
    assert!(error.contains("ForceWithoutCrossSigning") && error.contains("its path length is 0"), "{error}");
    authority.configure(CaConfig { force_without_cross_signing: true, ..next }).await.unwrap();

    assert_eq!(store.view().roots().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_old_root_is_trusted_until_its_leaves_are_over() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    register(&store, &["web"]).await;
    let first = authority.leaf(&web()).await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(authority.clone().run(shutdown.clone()));

    authority.configure(with_key(&generate_key(KeyKind::default()).unwrap())).await.unwrap();

    eventually(&store, |view| view.leaf(&web()).is_some_and(|leaf| leaf.value.root_id != first.value.root_id)).await;
    hand.advance(Duration::hours(143));
    eventually(&store, |view| view.leaf(&web()).is_some_and(|leaf| leaf.value.not_after > first.value.not_after)).await;
    assert_eq!(store.view().roots().len(), 2);
    hand.advance(Duration::hours(2));
    eventually(&store, |view| view.roots().len() == 1).await;
    eventually(&store, |view| active(view).intermediates.is_empty()).await;
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn leaves_are_replaced_before_they_are_due_and_each_once() {
    let (_, authority) = opened(&Hand::new()).await;
    let before = authority.leaf(&web()).await.unwrap();
    let other = authority.leaf(&identity("db")).await.unwrap();

    let (one, two) = tokio::join!(authority.replace([web()].into()), authority.replace([web()].into()));

    let [one, two] = [one.unwrap(), two.unwrap()];
    assert_eq!(one, two);
    assert_ne!(one[0].value.serial, before.value.serial);
    assert_eq!(authority.leaf(&web()).await.unwrap(), one[0]);
    assert_eq!(authority.leaf(&identity("db")).await.unwrap(), other);
    assert_eq!(authority.leaf_rotations(), Rotations { ok: 1, failed: 0 });
    let slashed = identity("a/b");
    assert!(matches!(authority.replace([web(), slashed].into()).await, Err(CaError::Identity { .. })));
    assert_eq!(authority.leaf(&web()).await.unwrap(), one[0]);
}

#[tokio::test]
async fn only_what_somebody_needs_is_among_all() {
    let (store, authority) = opened(&Hand::new()).await;
    register(&store, &["web"]).await;
    for name in ["web", "gone"] {
        authority.leaf(&identity(name)).await.unwrap();
    }

    assert_eq!(authority.identities(), [web()].into());
    authority.request([identity("gone")]);
    assert_eq!(authority.identities(), [web(), identity("gone")].into());
}

#[tokio::test]
async fn a_root_that_was_made_is_replaced_and_one_that_was_given_is_not() {
    let hand = Hand::new();
    let (store, authority) = opened(&hand).await;
    let old = active(&store.view());

    authority.replace_root().await.unwrap();

    let new = active(&store.view());
    let leaf = authority.leaf(&web()).await.unwrap().value;
    assert_ne!(new.id, old.id);
    assert!(is_verified(&[&old], &leaf, START) && is_verified(&[&new], &leaf, START));
    assert!(store.view().ca_config().is_none());
    let own = own_root(&hand, &generate_key(KeyKind::default()).unwrap());
    authority.configure(with_root(&own)).await.unwrap();
    let refused = authority.replace_root().await;
    assert!(matches!(refused, Err(CaError::Refused(_))), "{refused:?}");
    // What an operator must do otherwise is no failure of the authority.
    assert_eq!(authority.root_rotations(), Rotations { ok: 2, failed: 0 });
    assert_eq!(active(&store.view()).id, own.id);
}
