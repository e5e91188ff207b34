mod partitions;
mod parts;
mod peers;
mod pushes;
mod trials;

use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::ca;
use crate::model::entry::{Consumer, ExportedService, ExportedServices, Redirect, ServiceResolver};
use crate::model::{
    Check, CheckStatus, ConfigEntry, DestinationType, GatewayMode, MeshGateway, Namespace, Node, Proxy, Service,
    ServiceKind, Upstream,
};
use crate::store::{Memory, NodeKey, Op};

/// An engine over a store in memory.
struct Bench {
    store: Store,
    authority: ca::Authority,
    engine: Engine,
    shutdown: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn bench() -> Bench {
    let (store, _) = Store::open(Box::new(Memory), guard()).unwrap();
    let authority = ca::Authority::open(store.clone(), ca::Options::default()).await.unwrap();
    let options = Options {
        datacenter: Datacenter::from("dc1"),
        hosted: vec![Datacenter::from("dc1"), Datacenter::from("dc2")],
        node: NodeName::from("agent"),
        default_intention: IntentionPolicy::Allow,
        dns_domain: DnsDomain::default(),
    };
    let shutdown = CancellationToken::new();
    let engine = Engine::new(options);
    tokio::spawn(authority.clone().run(shutdown.clone()));
    tokio::spawn(engine.clone().run(store.clone(), authority.clone(), shutdown.clone()));
    Bench { store, authority, engine, shutdown }
}

fn place(datacenter: &str, partition: &str) -> Place {
    Place::new(&Datacenter::from(datacenter), &Partition::from(partition))
}

/// A node with a service on it.
fn on_node(place: &Place, mut service: Service) -> Vec<Op> {
    let node = Node {
        node: NodeName::from("agent"),
        address: "10.0.0.1".to_owned(),
        datacenter: place.datacenter.clone(),
        partition: place.partition.clone(),
        ..Node::default()
    };
    service.partition = place.partition.clone();
    service.normalize();
    vec![Op::PutNode(node.clone()), Op::PutService(NodeKey::new(place, &node.node), service)]
}

fn sidecar(of: &str, port: u16, upstreams: Vec<Upstream>) -> Service {
    Service {
        kind: ServiceKind::ConnectProxy,
        name: format!("{of}-sidecar-proxy"),
        port,
        proxy: Proxy { destination_service_name: of.to_owned(), upstreams, ..Proxy::default() },
        ..Service::default()
    }
}

fn upstream(name: &str, port: u16) -> Upstream {
    Upstream { destination_name: name.to_owned(), local_bind_port: port, ..Upstream::default() }
}

fn gateway(address: &str, port: u16) -> Service {
    Service {
        kind: ServiceKind::MeshGateway,
        name: "mesh-gateway".to_owned(),
        address: address.to_owned(),
        port,
        ..Service::default()
    }
}

fn resolver(name: &str, redirect: &str) -> Op {
    Op::PutEntry(ConfigEntry::ServiceResolver(ServiceResolver {
        name: name.to_owned(),
        redirect: Some(Redirect { service: redirect.to_owned(), ..Redirect::default() }),
        ..ServiceResolver::default()
    }))
}

struct Watched(Box<dyn snapshot::Watch>);

impl Bench {
    fn watch(&self, id: &str, partition: &str) -> Watched {
        let node = NodeIdentity { id: id.into(), partition: partition.into(), ..NodeIdentity::default() };
        Watched(self.engine.watch(&node, 0))
    }

    async fn write(&self, ops: Vec<Op>) {
        self.store.write(ops).await.unwrap();
    }
}

impl Watched {
    async fn next(&mut self) -> Arc<Snapshot> {
        tokio::time::timeout(Duration::from_secs(10), self.0.next())
            .await
            .expect("in time")
            .expect("a snapshot")
            .snapshot
    }

    /// The first snapshot for which `holds`.
    async fn until(&mut self, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        loop {
            let snapshot = self.next().await;
            if holds(&snapshot) {
                return snapshot;
            }
        }
    }
}

fn names(snapshot: &Snapshot, kind: ResourceType) -> Vec<String> {
    snapshot.get(kind).keys().map(ToString::to_string).collect()
}

/// The addresses of an assignment, with a `!` before those that take no traffic.
fn endpoints(snapshot: &Snapshot, cluster: &str) -> Vec<String> {
    let found = snapshot.get(ResourceType::Endpoint).iter().find(|(name, _)| name.starts_with(cluster));
    let (_, resource) = found.unwrap_or_else(|| panic!("no assignment {cluster}"));
    let json = crate::envoy::json::resource(ResourceType::Endpoint, &resource.body).unwrap();
    let endpoints = json["endpoints"][0]["lbEndpoints"].as_array().cloned().unwrap_or_default();
    let shown = endpoints.iter().map(|endpoint| {
        let socket = &endpoint["endpoint"]["address"]["socketAddress"];
        let mark = if endpoint["healthStatus"] == "HEALTHY" { "" } else { "!" };
        format!("{mark}{}:{}", socket["address"].as_str().unwrap_or_default(), socket["portValue"])
    });
    shown.collect()
}

#[tokio::test]
async fn a_proxy_is_served_the_moment_it_registers() {
    let bench = bench().await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    while bench.engine.proxies().iter().all(|proxy| proxy.problems.is_empty()) {
        tokio::task::yield_now().await;
    }
    let problems = bench.engine.proxies()[0].problems.clone();
    assert!(problems[0].contains("no service \"web-sidecar-proxy\" is registered on node \"agent\""), "{problems:?}");

    bench.write(on_node(&place("dc1", ""), sidecar("web", 21_000, vec![upstream("db", 9191)]))).await;

    let snapshot = web.next().await;
    assert_eq!(names(&snapshot, ResourceType::Listener), ["db:127.0.0.1:9191", "public_listener:0.0.0.0:21000"]);
    assert_eq!(names(&snapshot, ResourceType::Secret), ["callers", "leaf", "roots"]);
    assert_eq!(bench.engine.proxies()[0].problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_change_of_health_replaces_one_assignment_and_nothing_else() {
    let bench = bench().await;
    let here = place("dc1", "");
    bench.write(on_node(&here, sidecar("db", 21_001, vec![]))).await;
    bench.write(on_node(&here, sidecar("web", 21_000, vec![upstream("db", 9191)]))).await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    let before = web.next().await;
    assert_eq!(endpoints(&before, "db."), ["10.0.0.1:21001"]);

    let check = Check {
        node: NodeName::from("agent"),
        check_id: "alive".to_owned().into(),
        status: CheckStatus::Critical,
        service_id: ServiceId::from("db-sidecar-proxy"),
        datacenter: here.datacenter.clone(),
        ..Check::default()
    };
    bench.write(vec![Op::PutCheck(check)]).await;

    let after = web.next().await;
    assert_eq!(endpoints(&after, "db."), ["!10.0.0.1:21001"]);
    for kind in [ResourceType::Cluster, ResourceType::Listener, ResourceType::Secret] {
        let same = before.get(kind).values().zip(after.get(kind).values()).all(|(a, b)| Arc::ptr_eq(a, b));
        assert!(same, "{kind}");
    }
}

#[tokio::test]
async fn two_proxies_hold_the_same_cluster_once() {
    let bench = bench().await;
    let here = place("dc1", "");
    for (name, port) in [("web", 21_000), ("admin", 21_002)] {
        bench.write(on_node(&here, sidecar(name, port, vec![upstream("db", port + 1_000)]))).await;
    }

    let (web, admin) =
        (bench.watch("web-sidecar-proxy", "").next().await, bench.watch("admin-sidecar-proxy", "").next().await);

    for kind in [ResourceType::Cluster, ResourceType::Endpoint] {
        let of = |snapshot: &Snapshot| {
            snapshot.get(kind).iter().find(|(name, _)| name.starts_with("db.")).unwrap().1.clone()
        };
        assert!(Arc::ptr_eq(&of(&web), &of(&admin)), "{kind}");
    }
}

#[tokio::test]
async fn the_mode_decides_what_is_dialled() {
    let bench = bench().await;
    let (here, there) = (place("dc1", ""), place("dc2", ""));
    bench.write(on_node(&here, gateway("10.1.0.1", 8443))).await;
    bench.write(on_node(&there, gateway("10.2.0.1", 8443))).await;
    bench.write(on_node(&there, sidecar("api", 21_005, vec![]))).await;
    let mut service = sidecar("web", 21_000, vec![]);
    let with_mode = |service: &mut Service, mode| {
        let api = Upstream { datacenter: there.datacenter.clone(), ..upstream("api", 9191) };
        service.proxy.upstreams = vec![Upstream { mesh_gateway: MeshGateway { mode }, ..api }];
        on_node(&here, service.clone())
    };
    bench.write(with_mode(&mut service, None)).await;
    let mut web = bench.watch("web-sidecar-proxy", "");

    assert_eq!(endpoints(&*web.next().await, "api.default.dc2"), ["10.0.0.1:21005"]);

    bench.write(with_mode(&mut service, Some(GatewayMode::Local))).await;
    let local = web.until(|s| names(s, ResourceType::Cluster)[0].starts_with("c225dc1c~api")).await;
    assert_eq!(endpoints(&local, "c225dc1c~api"), ["10.1.0.1:8443"]);

    bench.write(with_mode(&mut service, Some(GatewayMode::Remote))).await;
    let remote = web.until(|s| names(s, ResourceType::Cluster).iter().any(|n| n.starts_with("dd412229~api"))).await;
    assert_eq!(endpoints(&remote, "dd412229~api"), ["10.2.0.1:8443"]);
}

#[tokio::test]
async fn without_an_export_there_are_no_endpoints_and_a_reason() {
    let bench = bench().await;
    let (default, team) = (place("dc1", ""), place("dc1", "team-a"));
    bench.write(on_node(&team, sidecar("billing", 21_005, vec![]))).await;
    let billing = Upstream { destination_partition: Some(Partition::from("team-a")), ..upstream("billing", 9191) };
    bench.write(on_node(&default, sidecar("web", 21_000, vec![billing]))).await;
    let mut web = bench.watch("web-sidecar-proxy", "");

    assert_eq!(endpoints(&*web.next().await, "billing"), Vec::<String>::new());
    let problems = bench.engine.proxies()[0].problems.clone();
    assert!(
        problems[0].starts_with("billing of partition team-a is not exported to partition default"),
        "{problems:?}"
    );

    let consumers = vec![Consumer { partition: Some(Partition::default()), ..Consumer::default() }];
    let service = ExportedService { name: "billing".to_owned(), consumers, ..ExportedService::default() };
    let mut entry =
        ConfigEntry::ExportedServices(ExportedServices { services: vec![service], ..ExportedServices::default() });
    entry.normalize(&Partition::from("team-a"), &Namespace::default());
    bench.write(vec![Op::PutEntry(entry)]).await;

    assert_eq!(endpoints(&*web.next().await, "billing"), ["10.0.0.1:21005"]);
}

#[tokio::test]
async fn a_way_through_no_gateway_is_told_until_there_is_one() {
    let bench = bench().await;
    let (here, there) = (place("dc1", ""), place("dc2", ""));
    bench.write(on_node(&there, sidecar("api", 21_005, vec![]))).await;
    let mode = MeshGateway { mode: Some(GatewayMode::Remote) };
    let api = Upstream { datacenter: there.datacenter.clone(), mesh_gateway: mode, ..upstream("api", 9191) };
    bench.write(on_node(&here, sidecar("web", 21_000, vec![api]))).await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    let problems = || bench.engine.proxies()[0].problems.clone();
    let none = "no mesh gateway of datacenter dc2, partition default takes traffic, and the way goes through one: register \
                one there, or see to the health checks of those that are";

    assert_eq!((endpoints(&*web.next().await, "dd412229~api"), problems()), (vec![], vec![none.to_owned()]));

    bench.write(on_node(&there, gateway("10.2.0.1", 8443))).await;
    let dialled = endpoints(&*web.next().await, "dd412229~api");
    assert_eq!((dialled, problems()), (vec!["10.2.0.1:8443".to_owned()], vec![]));

    let check = Check {
        node: NodeName::from("agent"),
        check_id: "alive".to_owned().into(),
        status: CheckStatus::Critical,
        service_id: ServiceId::from("mesh-gateway"),
        datacenter: there.datacenter.clone(),
        ..Check::default()
    };
    bench.write(vec![Op::PutCheck(check)]).await;
    let dialled = endpoints(&*web.next().await, "dd412229~api");
    assert_eq!((dialled, problems()), (vec!["!10.2.0.1:8443".to_owned()], vec![none.to_owned()]));
}

#[tokio::test]
async fn an_instance_with_a_host_name_is_left_out_and_told() {
    let bench = bench().await;
    let here = place("dc1", "");
    let named = Service { address: "db.example".to_owned(), ..sidecar("db", 21_001, vec![]) };
    bench.write(on_node(&here, Service { id: "db-1".to_owned().into(), ..sidecar("db", 21_002, vec![]) })).await;
    bench.write(on_node(&here, named)).await;
    bench.write(on_node(&here, sidecar("web", 21_000, vec![upstream("db", 9191)]))).await;
    let mut web = bench.watch("web-sidecar-proxy", "");

    assert_eq!(endpoints(&*web.next().await, "db."), ["10.0.0.1:21002"]);
    assert_eq!(
        bench.engine.proxies()[0].problems,
        ["db-sidecar-proxy on node agent has the host name \"db.example\" for an address, which Envoy does not take \
             for an endpoint: it gets no traffic; register it with an IP address"]
    );
}

#[tokio::test]
async fn an_upstream_that_cannot_be_made_keeps_its_last_state_and_disturbs_no_other() {
    let bench = bench().await;
    let here = place("dc1", "");
    let mut service = sidecar("web", 21_000, vec![upstream("api", 9191)]);
    bench.write(on_node(&here, service.clone())).await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    web.next().await;

    let redirect = Redirect { service: "api".to_owned(), peer: "west".into(), ..Redirect::default() };
    let api = ServiceResolver { name: "api".to_owned(), redirect: Some(redirect), ..ServiceResolver::default() };
    bench.write(vec![Op::PutEntry(ConfigEntry::ServiceResolver(api))]).await;
    service.proxy.upstreams.push(upstream("db", 9192));
    bench.write(on_node(&here, service)).await;

    let snapshot = web.next().await;
    assert_eq!(
        names(&snapshot, ResourceType::Listener),
        ["api:127.0.0.1:9191", "db:127.0.0.1:9192", "public_listener:0.0.0.0:21000"]
    );
    let problems = bench.engine.proxies()[0].problems.clone();
    let expected = "upstream api leads to a peer: the roots of peer \"west\" are not known";
    assert!(problems[0].contains(expected), "{problems:?}");
}

#[tokio::test]
async fn upstreams_of_one_name_do_not_replace_each_other() {
    let bench = bench().await;
    let peered = Upstream { destination_peer: "west".into(), ..upstream("db", 9192) };
    let query = Upstream { destination_type: DestinationType::PreparedQuery, ..upstream("db", 9193) };
    let service = sidecar("web", 21_000, vec![upstream("db", 9191), peered, query]);
    bench.write(on_node(&place("dc1", ""), service)).await;

    let mut proxy = bench.watch("web-sidecar-proxy", "");
    let snapshot = proxy.next().await;

    assert_eq!(names(&snapshot, ResourceType::Listener), ["db:127.0.0.1:9191", "public_listener:0.0.0.0:21000"]);
    assert_eq!(bench.engine.proxies()[0].problems.len(), 2);
}

#[tokio::test]
async fn a_proxy_is_forgotten_with_its_last_stream_and_served_again() {
    let bench = bench().await;
    bench.write(on_node(&place("dc1", ""), sidecar("web", 21_000, vec![]))).await;
    let (mut first, mut second) = (bench.watch("web-sidecar-proxy", ""), bench.watch("web-sidecar-proxy", ""));
    let before = first.next().await;
    assert!(Arc::ptr_eq(&before, &second.next().await));

    drop(first);
    assert_eq!(bench.engine.proxies().len(), 1);
    drop(second);
    while !bench.engine.proxies().is_empty() {
        tokio::task::yield_now().await;
    }

    assert_eq!(*bench.watch("web-sidecar-proxy", "").next().await, *before);
}

#[tokio::test]
async fn a_proxy_is_kept_up_to_date_for_a_while_after_its_last_stream() {
    let bench = bench().await;
    let here = place("dc1", "");
    bench.write(on_node(&here, sidecar("web", 21_000, vec![]))).await;
    let (mut web, stranger) = (bench.watch("web-sidecar-proxy", ""), bench.watch("stranger", ""));
    let before = web.next().await;
    let keeps = async |count: usize| {
        while bench.engine.shared.slots.len() != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    keeps(2).await;

    drop((web, stranger));
    keeps(1).await;
    bench.write(on_node(&here, sidecar("web", 21_009, vec![]))).await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    let after = web.until(|snapshot| *snapshot != *before).await;
    assert_eq!(names(&after, ResourceType::Listener), ["public_listener:0.0.0.0:21009"]);

    drop(web);
    keeps(1).await;
    let next = async |seconds: u64| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    next(LINGER.as_secs() - 1).await;
    keeps(1).await;
    next(2).await;
    keeps(0).await;
}

#[tokio::test]
async fn whoever_waits_is_told_when_nobody_is_expected_back_any_more() {
    let bench = bench().await;
    bench.write(on_node(&place("dc1", ""), sidecar("web", 21_000, vec![]))).await;
    bench.watch("web-sidecar-proxy", "").next().await;
    let index = bench.store.view().index();
    // A process that starts with this state.
    let engine = Engine::new(bench.engine.options().clone());
    tokio::spawn(engine.clone().run(bench.store.clone(), bench.authority.clone(), bench.shutdown.clone()));
    let seen = async {
        while !engine.reach(index).is_seen {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("in time");
    let waiting = engine.reach(index).proxies;
    assert!(matches!(waiting.as_slice(), [(_, Stage::Waiting(_))]), "{waiting:?}");

    tokio::time::pause();
    let is_over = async {
        while !engine.reach(index).proxies.is_empty() {
            engine.progressed().await;
        }
    };
    tokio::time::timeout(LINGER * 2, is_over).await.expect("the engine tells of it");
}

#[tokio::test]
async fn a_deregistered_proxy_keeps_its_configuration() {
    let bench = bench().await;
    let here = place("dc1", "");
    bench.write(on_node(&here, sidecar("web", 21_000, vec![]))).await;
    let mut web = bench.watch("web-sidecar-proxy", "");
    let before = web.next().await;

    let id = NodeKey::new(&here, &NodeName::from("agent")).instance(&ServiceId::from("web-sidecar-proxy"));
    bench.write(vec![Op::DeleteService(id)]).await;
    bench.write(on_node(&here, sidecar("web", 21_009, vec![]))).await;

    let after = web.next().await;
    assert_eq!(names(&before, ResourceType::Listener), ["public_listener:0.0.0.0:21000"]);
    assert_eq!(names(&after, ResourceType::Listener), ["public_listener:0.0.0.0:21009"]);
}

#[tokio::test]
async fn redirects_in_a_circle_are_refused_on_write() {
    let bench = bench().await;
    bench.write(vec![resolver("a", "b")]).await;
    let before = bench.store.view().index();

    let error = bench.store.write(vec![resolver("b", "a")]).await.unwrap_err();

    assert!(error.to_string().contains("circular redirect: a.default.default.dc -> "), "{error}");
    assert_eq!(bench.store.view().index(), before);
}

#[tokio::test]
async fn partitions_that_differ_in_case_alone_leave_the_gateway_one_way() {
    let bench = bench().await;
    for partition in ["TEAM-A", "team-a"] {
        bench.write(on_node(&place("dc1", partition), gateway("10.0.0.9", 443))).await;
    }
    bench.write(on_node(&place("dc1", ""), gateway("10.0.0.1", 443))).await;

    let mut gateway = bench.watch("mesh-gateway", "");
    let snapshot = gateway.next().await;

    let listener = snapshot.get(ResourceType::Listener).values().next().expect("a listener");
    let json = crate::envoy::json::resource(ResourceType::Listener, &listener.body).unwrap();
    let chains = json["filterChains"].as_array().unwrap().iter();
    let snis: Vec<_> = chains.filter_map(|chain| chain["filterChainMatch"]["serverNames"][0].as_str()).collect();
    let prefixes: Vec<_> = snis.iter().map(|sni| sni.split(".internal").next().unwrap_or_default()).collect();
    assert_eq!(prefixes, ["*.team-a.dc1", "*.dc2"]);
    let problems = &bench.engine.proxies()[0].problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("the way to dc1/TEAM-A is left out: in lower case its SNI is"), "{problems:?}");
    assert!(problems[0].ends_with("leads to dc1/team-a; one of them needs another name"), "{problems:?}");
}
