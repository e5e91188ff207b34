//! The authority on a store of its own, with a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::model::{
    Datacenter, KeyKind, Leaf, Node, NodeName, Partition, Place, Service, ServiceId, ServiceKey, ServiceName, SpiffeId,
};
use crate::store::{Embedded, Memory, NodeKey, Op, Reader, Store};

mod given;
mod rotation;

const CLUSTER: &str = "11111111-2222-3333-4444-555555555555";
/// 2024-01-01T00:00:00Z.
const START: i64 = 1_704_067_200;

/// A clock that stands still until it is moved.
#[derive(Clone)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START)))
    }

    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.whole_seconds(), Ordering::SeqCst);
    }

    fn options(&self) -> Options {
        let hand = self.0.clone();
        let clock = Arc::new(move || OffsetDateTime::from_unix_timestamp(hand.load(Ordering::SeqCst)).unwrap());
        Options { cluster_id: Some(CLUSTER.to_owned()), clock, ..Options::default() }
    }
}

fn memory() -> Store {
    Store::open(Box::new(Memory), Arc::new(|_, _, _| Ok(()))).unwrap().0
}

fn place() -> Place {
    Place::new(&Datacenter::from("dc1"), &Partition::default())
}

fn web() -> SpiffeId {
    identity("web")
}

fn identity(service: &str) -> SpiffeId {
    SpiffeId::Service(ServiceKey { datacenter: Datacenter::from("dc1"), service: ServiceName::in_default(service) })
}

/// Registers an instance of each service, without which nobody needs its leaf.
async fn register(store: &Store, services: &[&str]) {
    let node = Node { node: NodeName::from("n1"), datacenter: Datacenter::from("dc1"), ..Node::default() };
    let key = NodeKey::new(&place(), &node.node);
    let instance = |name: &&str| Service { name: (*name).to_owned(), id: ServiceId::from(*name), ..Service::default() };
    let ops = services.iter().map(|name| Op::PutService(key.clone(), instance(name)));
    store.write(std::iter::once(Op::PutNode(node)).chain(ops).collect::<Vec<_>>()).await.unwrap();
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// The subject alternative names, of which none may be anything but a URI.
fn uri_sans(cert: &X509Certificate<'_>) -> Vec<String> {
    let names = &cert.subject_alternative_name().unwrap().unwrap().value.general_names;
    let uris = names.iter().map(|name| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None });
    uris.collect::<Option<_>>().expect("only URIs")
}

/// Polls until `done` is true for the latest view. Real time is the deadline: paused time runs ahead of the store.
async fn eventually(store: &Store, done: impl Fn(&crate::store::View) -> bool) {
    let start = std::time::Instant::now();
    while !done(&store.view()) {
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "not in time");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_root_is_a_ca_for_ten_years_that_names_the_trust_domain() {
    let store = memory();

    let authority = Authority::open(store.clone(), Hand::new().options()).await.unwrap();

    assert_eq!(authority.trust_domain().as_str(), "11111111-2222-3333-4444-555555555555.consul");
    let view = store.view();
    let root = view.active_root().unwrap();
    let bytes = der(&root.cert_pem);
    let (_, cert) = X509Certificate::from_der(&bytes).unwrap();
    assert!(cert.is_ca());
    assert!(cert.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert_eq!(uri_sans(&cert), ["spiffe://11111111-2222-3333-4444-555555555555.consul"]);
    assert_eq!(cert.subject().to_string(), "CN=meshgate CA 11111111");
    assert_eq!(cert.validity().not_before.timestamp(), START - 60);
    assert_eq!(cert.validity().not_after.timestamp(), START + 87_600 * 3600);
    assert_eq!(cert.serial.to_string(), root.serial_number.to_string());
    assert!(root.serial_number < 1 << 53);
    assert_eq!((root.id.len(), root.signing_key_id.len(), root.cluster_id.as_str()), (95, 59, CLUSTER));
    cert.verify_signature(None).unwrap();
}

#[tokio::test]
async fn a_leaf_speaks_for_one_identity_and_nothing_else() {
    let store = memory();
    let authority = Authority::open(store.clone(), Hand::new().options()).await.unwrap();

    let leaf = authority.leaf(&web()).await.unwrap().value;

    let bytes = der(&leaf.cert_pem);
    let (_, cert) = X509Certificate::from_der(&bytes).unwrap();
    let uri = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web";
    assert_eq!((uri_sans(&cert), leaf.uri.as_str()), (vec![uri.to_owned()], uri));
    assert!(cert.subject_alternative_name().unwrap().unwrap().critical);
    assert_eq!(cert.subject().to_string(), "");
    assert!(!cert.is_ca());
    let usage = cert.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let extended = cert.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth);
    assert_eq!(cert.validity().not_before.timestamp(), START - 60);
    assert_eq!(cert.validity().not_after.timestamp(), START + 72 * 3600);
    assert_eq!(cert.validity().not_after.timestamp(), leaf.not_after.unix_timestamp());
    assert_eq!(cert.raw_serial_as_string(), leaf.serial);
    let root = der(&store.view().active_root().unwrap().cert_pem);
    let (_, root) = X509Certificate::from_der(&root).unwrap();
    cert.verify_signature(Some(root.public_key())).unwrap();
}

#[tokio::test]
async fn a_mesh_gateway_outside_the_default_partition_is_named_with_it() {
    let authority = Authority::open(memory(), Hand::new().options()).await.unwrap();
    let gateway = SpiffeId::MeshGateway(Place::new(&Datacenter::from("dc1"), &Partition::from("Team-A")));

    let leaf = authority.leaf(&gateway).await.unwrap().value;

    assert_eq!(leaf.uri, "spiffe://11111111-2222-3333-4444-555555555555.consul/ap/team-a/gateway/mesh/dc/dc1");
}

#[tokio::test]
async fn two_identities_shake_hands_with_nothing_but_the_trust_bundle() {
    let store = memory();
    let authority = Authority::open(store.clone(), Options::default()).await.unwrap();
    let (server, client) = (authority.leaf(&identity("db")).await.unwrap(), authority.leaf(&web()).await.unwrap());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trust_bundle(&Reader::new(&store.view())).as_bytes()).unwrap()).unwrap();
    let roots = Arc::new(roots);

    let seen = handshake(&roots, &server.value, &client.value).await;

    assert_eq!(seen, [client.value.uri.as_str()]);
}

/// Connects two leaves with mutual TLS, as Envoy does: the chain is verified, the name is not a DNS name. Returns the
/// URIs that the server saw.
async fn handshake(roots: &Arc<rustls::RootCertStore>, server: &Leaf, client: &Leaf) -> Vec<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let key = |leaf: &Leaf| PrivateKeyDer::from_pem_slice(leaf.key_pem.expose().as_bytes()).unwrap();
    let chain =
        |leaf: &Leaf| CertificateDer::pem_slice_iter(leaf.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let server_config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain(server), key(server))
        .unwrap();
    let client_config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ChainOnly { roots: roots.clone(), provider }))
        .with_client_auth_cert(chain(client), key(client))
        .unwrap();
    let (near, far) = tokio::io::duplex(16 * 1024);
    let accept = async {
        let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(server_config)).accept(far).await.unwrap();
        stream.write_all(b"ok").await.unwrap();
        stream.flush().await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let connect = async {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config));
        let mut stream = connector.connect(ServerName::try_from("db").unwrap(), near).await.unwrap();
        let mut reply = [0; 2];
        stream.read_exact(&mut reply).await.unwrap();
        reply
    };
    let (peer, reply) = tokio::join!(accept, connect);
    assert_eq!(&reply, b"ok");
    uri_sans(&X509Certificate::from_der(&peer).unwrap().1)
}

/// Verifies the chain with webpki and leaves the name to the caller, as SPIFFE peers do.
#[derive(Debug)]
struct ChainOnly {
    roots: Arc<rustls::RootCertStore>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl rustls::client::danger::ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        let cert = rustls::server::ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&cert, &self.roots, intermediates, now, algorithms)?;
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_restart_serves_the_same_root_and_leaf() {
    let directory = tempfile::tempdir().unwrap();
    let hand = Hand::new();
    let mut served = Vec::new();
    for _ in 0..2 {
        let backend = Embedded::open(directory.path()).unwrap();
        let (store, thread) = Store::open(Box::new(backend), Arc::new(|_, _, _| Ok(()))).unwrap();
        let authority = Authority::open(store.clone(), Options { cluster_id: None, ..hand.options() }).await.unwrap();
        let leaf = authority.leaf(&web()).await.unwrap();
        served.push((store.view().active_root().unwrap().clone(), leaf));
        drop((store, authority));
        tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap();
        hand.advance(Duration::hours(1));
    }

    assert_eq!(served[0], served[1]);
}

#[tokio::test]
async fn two_who_open_an_empty_store_share_one_root() {
    let store = memory();
    let options = || Options { cluster_id: None, ..Hand::new().options() };

    let (a, b) = tokio::join!(Authority::open(store.clone(), options()), Authority::open(store.clone(), options()));

    assert_eq!(a.unwrap().trust_domain(), b.unwrap().trust_domain());
    assert_eq!(store.view().roots().len(), 1);
}

#[tokio::test]
async fn wrong_options_are_refused_with_the_reason() {
    let store = memory();
    let hand = Hand::new();
    Authority::open(store.clone(), hand.options()).await.unwrap();
    let refuse = |options| {
        let store = store.clone();
        async move { Authority::open(store, options).await.unwrap_err().to_string() }
    };

    let other = Options { cluster_id: Some("22222222-2222-3333-4444-555555555555".to_owned()), ..hand.options() };
    assert_eq!(
        refuse(other).await,
        "the store belongs to cluster 11111111-2222-3333-4444-555555555555, not to \
         22222222-2222-3333-4444-555555555555: use another data directory, or leave the ID out"
    );
    let short = Options { leaf_ttl: std::time::Duration::from_secs(299), ..hand.options() };
    assert_eq!(refuse(short).await, "leaf certificates cannot be valid for 299s: at least five minutes are needed");
    let no_uuid = Options { cluster_id: Some("east".to_owned()), ..hand.options() };
    assert!(matches!(Authority::open(memory(), no_uuid).await, Err(CaError::ClusterId(id)) if id == "east"));
}

#[tokio::test]
async fn a_hundred_callers_get_one_leaf() {
    let store = memory();
    let authority = Authority::open(store.clone(), Hand::new().options()).await.unwrap();
    let before = store.view().index();

    let web = web();
    let calls = (0..100).map(|_| authority.leaf(&web));
    let leaves = futures::future::try_join_all(calls).await.unwrap();

    assert!(leaves.iter().all(|leaf| *leaf == leaves[0]));
    assert_eq!(store.view().index(), before + 1);
}

#[tokio::test]
async fn callers_with_different_identities_share_commits() {
    let store = memory();
    let authority = Authority::open(store.clone(), Hand::new().options()).await.unwrap();
    let before = store.view().index();
    let identities: Vec<_> = (0..100).map(|n| identity(&format!("s{n}"))).collect();

    let leaves = futures::future::try_join_all(identities.iter().map(|one| authority.leaf(one))).await.unwrap();

    let serials: std::collections::BTreeSet<_> = leaves.iter().map(|leaf| leaf.value.serial.as_str()).collect();
    assert_eq!(serials.len(), 100);
    // The first caller starts at once, with its own; the others are there when it is done.
    assert_eq!(store.view().index(), before + 2);
}

#[tokio::test]
async fn an_identity_that_no_certificate_can_hold_spoils_nothing() {
    let store = memory();
    let authority = Authority::open(store.clone(), Hand::new().options()).await.unwrap();

    authority.request([identity("w\u{e9}b"), web()]);
    let error = authority.leaf(&identity("w\u{e9}b")).await.unwrap_err();

    assert!(matches!(error, CaError::Identity { .. }), "{error}");
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(authority.run(shutdown.clone()));
    eventually(&store, |view| view.leaf(&web()).is_some()).await;
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn an_identity_that_looks_like_another_one_is_refused() {
    let authority = Authority::open(memory(), Hand::new().options()).await.unwrap();
    let gateway = |partition| SpiffeId::MeshGateway(Place::new(&Datacenter::from("dc1"), &Partition::from(partition)));

    for identity in [identity(""), identity("a/b"), identity("a%2fb"), identity("a b"), identity("a?b"), gateway("a/b")]
    {
        let error = authority.leaf(&identity).await.unwrap_err();
        assert!(matches!(error, CaError::Identity { .. }), "{identity:?}: {error}");
    }
    authority.leaf(&identity("a-b_c.d")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_was_requested_is_renewed_though_nobody_is_registered() {
    let hand = Hand::new();
    let store = memory();
    let authority = Authority::open(store.clone(), hand.options()).await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(authority.clone().run(shutdown.clone()));
    authority.request([web()]);
    eventually(&store, |view| view.leaf(&web()).is_some()).await;
    let first = store.view().leaf(&web()).unwrap().clone();

    hand.advance(Duration::hours(60));
    eventually(&store, |view| view.leaf(&web()).is_some_and(|leaf| *leaf != first)).await;
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_leaf_is_served_until_three_quarters_of_its_lifetime_at_most() {
    let hand = Hand::new();
    let authority = Authority::open(memory(), hand.options()).await.unwrap();
    let first = authority.leaf(&web()).await.unwrap();

    hand.advance(Duration::hours(43));
    assert_eq!(authority.leaf(&web()).await.unwrap(), first);
    hand.advance(Duration::hours(11) + Duration::minutes(1));
    let second = authority.leaf(&web()).await.unwrap();

    assert_ne!(second.value.serial, first.value.serial);
    assert_eq!(
        (second.create_index, second.value.not_after),
        (first.create_index, first.value.not_after + Duration::seconds(54 * 3600 + 60))
    );
}

#[tokio::test(start_paused = true)]
async fn requested_leaves_are_issued_in_one_commit_and_renewed_apart() {
    let hand = Hand::new();
    let store = memory();
    let authority = Authority::open(store.clone(), hand.options()).await.unwrap();
    let names: Vec<_> = (0..20).map(|n| format!("s{n}")).collect();
    register(&store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let before = store.view().index();

    authority.request(names.iter().map(|name| identity(name)));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(authority.run(shutdown.clone()));
    eventually(&store, |view| view.leaves().count() == 20).await;

    assert_eq!(store.view().index(), before + 1);
    let first = |leaf: &Leaf| leaf.not_before.unix_timestamp() == START - 60;
    hand.advance(Duration::hours(49));
    eventually(&store, |view| !view.leaves().all(|row| first(&row.value))).await;
    assert!(store.view().leaves().any(|row| first(&row.value)), "all were renewed at the same time");
    hand.advance(Duration::hours(5) + Duration::minutes(1));
    eventually(&store, |view| !view.leaves().any(|row| first(&row.value))).await;
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_nobody_needs_is_dropped_when_it_expires() {
    let hand = Hand::new();
    let store = memory();
    let authority = Authority::open(store.clone(), hand.options()).await.unwrap();
    register(&store, &["web"]).await;
    let kept = authority.leaf(&web()).await.unwrap();
    authority.leaf(&identity("gone")).await.unwrap();

    hand.advance(Duration::hours(73));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(authority.run(shutdown.clone()));
    eventually(&store, |view| view.leaf(&identity("gone")).is_none()).await;
    eventually(&store, |view| view.leaf(&web()).is_some_and(|leaf| *leaf != kept)).await;
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_root_replaces_every_leaf_at_once() {
    let hand = Hand::new();
    let store = memory();
    let authority = Authority::open(store.clone(), hand.options()).await.unwrap();
    register(&store, &["web"]).await;
    let old = authority.leaf(&web()).await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(authority.clone().run(shutdown.clone()));

    let retired = crate::model::Root { active: false, ..(**store.view().active_root().unwrap()).clone() };
    let cluster = root::Cluster::new(CLUSTER.to_owned());
    let (key, now) = (root::generate_key(KeyKind::default()).unwrap(), (hand.options().clock)());
    let root =
        root::make_root(&cluster, cluster.next_root_name(), &key, now, std::time::Duration::from_secs(3600)).unwrap();
    store.write(vec![Op::PutRoot(retired), Op::PutRoot(root.clone())]).await.unwrap();

    eventually(&store, |view| view.leaf(&web()).is_some_and(|leaf| leaf.value.root_id == root.id)).await;
    assert_ne!(authority.leaf(&web()).await.unwrap().value.serial, old.value.serial);
    let bundle = trust_bundle(&Reader::new(&store.view()));
    assert!(bundle.starts_with(&root.cert_pem) && bundle.matches("BEGIN CERTIFICATE").count() == 2);
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_leaf_never_outlives_the_root() {
    let hand = Hand::new();
    let store = memory();
    let authority = Authority::open(store.clone(), hand.options()).await.unwrap();

    hand.advance(Duration::hours(87_600) - Duration::hours(1));
    let last = authority.leaf(&web()).await.unwrap();
    assert_eq!(last.value.not_after, store.view().active_root().unwrap().not_after);
    hand.advance(Duration::minutes(59));
    assert_eq!(authority.leaf(&web()).await.unwrap(), last);
    hand.advance(Duration::minutes(1));
    let error = authority.leaf(&web()).await.unwrap_err();

    assert!(matches!(error, CaError::RootExpired(at) if at == last.value.not_after), "{error}");
    // The first leaf replaced none, and there is none in place of the last one.
    assert_eq!(authority.leaf_rotations(), Rotations { ok: 0, failed: 1 });
}

#[tokio::test]
async fn no_debug_output_shows_a_key() {
    let store = memory();
    let authority = Authority::open(store.clone(), Hand::new().options()).await.unwrap();
    let leaf = authority.leaf(&web()).await.unwrap();
    let view = store.view();

    let printed = format!("{authority:?} {leaf:?} {:?} {view:?}", view.roots());

    assert!(!printed.contains("PRIVATE"), "{printed}");
}
