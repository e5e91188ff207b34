//! The steps from a state to bytes, one by one: discovery chains, resolving, translating, encoding.
//!
//! ```text
//! cargo bench --bench micro
//! ```

#![allow(missing_docs, reason = "made by a macro")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meshgate::codec;
use meshgate::engine;
use meshgate::envoy::{self, canonical};
use meshgate::model::{
    Datacenter, DnsDomain, InstanceId, IntentionPolicy, NodeName, Partition, Place, ServiceId, ServiceName, TrustDomain,
};
use meshgate::resolve::{self, Context, Forwarder, Part, Scope, Upstreams};
use meshgate::store::{Memory, Reader, Store, View};
use prost::Message;
use serde_json::{Value, json};

/// Instances of each upstream.
const INSTANCES: usize = 10;

/// A state with one sidecar that has upstreams, and a mesh gateway.
struct World {
    view: Arc<View>,
    trust_domain: TrustDomain,
    dns_domain: DnsDomain,
    place: Place,
}

impl World {
    fn new(upstreams: usize) -> Self {
        let place = Place { datacenter: Datacenter::from("dc1"), partition: Partition::default() };
        let view = tokio::runtime::Runtime::new().expect("a runtime").block_on(written(&document(upstreams)));
        Self {
            view,
            trust_domain: TrustDomain::of_cluster("11111111-2222-3333-4444-555555555555"),
            dns_domain: DnsDomain::default(),
            place,
        }
    }

    fn with_context<T>(&self, use_it: impl FnOnce(Context<'_>) -> T) -> T {
        let reader = Reader::new(&self.view);
        let state = engine::state(&reader, &[]);
        use_it(Context {
            state: &state,
            trust_domain: &self.trust_domain,
            default_intention: IntentionPolicy::Allow,
            dns_domain: &self.dns_domain,
        })
    }

    fn instance(&self, id: &str) -> InstanceId {
        InstanceId { place: self.place.clone(), node: NodeName::from("node"), id: ServiceId::from(id) }
    }

    /// All parts of the sidecar.
    fn sidecar(&self) -> Vec<Part> {
        let instance = self.instance("app-sidecar-proxy");
        let service = self.view.service(&instance).expect("it is registered").value.clone();
        self.with_context(|context| {
            let upstreams = Upstreams::of(context.state, &service);
            let part = |dialled| resolve::upstream_part(context, &self.place, upstreams.caller(), dialled);
            let dialled = upstreams.dialled();
            let parts = dialled.values().map(|dialled| part(dialled).expect("it is plain"));
            parts.chain([resolve::inbound_part(context, &instance, &service)]).collect()
        })
    }

    fn gateway(&self) -> Part {
        let service = self.view.service(&self.instance("gateway")).expect("it is registered").value.clone();
        self.with_context(|context| resolve::forwarding_part(context, &self.place, &Forwarder::of(&service)))
    }
}

async fn written(document: &Value) -> Arc<View> {
    let (store, _) = Store::open(Box::new(Memory), engine::guard()).expect("memory opens");
    let bundle = codec::bundle(document.to_string().as_bytes()).expect("the bundle is right");
    store.write(bundle).await.expect("it is taken");
    store.view()
}

/// A bundle with the registrations of all of them.
fn document(upstreams: usize) -> Value {
    let names: Vec<String> = (0..upstreams).map(|number| format!("web-{number}")).collect();
    let webs =
        names.iter().flat_map(|name| (0..INSTANCES).map(move |number| sidecar(name, &format!("{name}-{number}"), &[])));
    let app = sidecar("app", "app", &names);
    let gateway = json!({ "Kind": "mesh-gateway", "ID": "gateway", "Service": "mesh-gateway", "Address": "10.0.0.1",
        "Port": 8443 });
    let services: Vec<Value> =
        webs.chain([app, gateway]).map(|service| json!({ "Node": "node", "Service": service })).collect();
    json!({
        "Format": "meshgate-bundle",
        "Version": 1,
        "Agent": { "Datacenter": "dc1" },
        "Nodes": [{ "Node": "node", "Address": "10.0.0.1" }],
        "Services": services,
    })
}

fn sidecar(service: &str, app: &str, upstreams: &[String]) -> Value {
    let upstreams: Vec<Value> = upstreams
        .iter()
        .zip(20_000..)
        .map(|(name, port)| json!({ "DestinationName": name, "LocalBindPort": port }))
        .collect();
    let proxy = json!({ "DestinationServiceName": service, "DestinationServiceID": app, "LocalServicePort": 8080,
        "Upstreams": upstreams });
    json!({ "Kind": "connect-proxy", "ID": format!("{app}-sidecar-proxy"), "Service": format!("{service}-sidecar-proxy"),
        "Port": 21_000, "Proxy": proxy })
}

/// Compiling the discovery chain of a service.
fn chains(criterion: &mut Criterion) {
    let world = World::new(1);
    let scope = Scope {
        service: ServiceName::new(&Partition::default(), &Default::default(), "web-0"),
        datacenter: Datacenter::from("dc1"),
        is_plain: false,
    };
    criterion.bench_function("chain/compile", |bencher| {
        bencher.iter(|| world.with_context(|context| resolve::compile(context.state, black_box(&scope))));
    });
}

/// From registrations to what a proxy must do.
fn resolving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resolve");
    for upstreams in [1, 50] {
        let world = World::new(upstreams);
        group.bench_function(BenchmarkId::new("sidecar", upstreams), |bencher| bencher.iter(|| world.sidecar()));
    }
    for services in [50, 500] {
        let world = World::new(services);
        group.bench_function(BenchmarkId::new("gateway", services), |bencher| bencher.iter(|| world.gateway()));
        let part = world.gateway();
        let (cluster, source) = part.endpoints.first_key_value().expect("there are clusters");
        group.bench_function(BenchmarkId::new("endpoints-of-one-among", services), |bencher| {
            bencher.iter(|| world.with_context(|context| resolve::assignment(context.state, cluster, source)));
        });
    }
    group.finish();
}

/// From what a proxy must do to Envoy's resources, encoding and version included.
fn translating(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("translate");
    let world = World::new(1);
    let parts = world.sidecar();
    let clusters = parts.iter().flat_map(|part| &part.resources.clusters);
    let cluster = clusters.clone().next().expect("an upstream has a cluster");
    group.bench_function("cluster", |bencher| bencher.iter(|| envoy::cluster(black_box(cluster))));
    let listener = parts.iter().flat_map(|part| &part.resources.listeners).next().expect("an upstream has a listener");
    group.bench_function("listener", |bencher| bencher.iter(|| envoy::listener(black_box(listener))));
    for endpoints in [10, 100, 1_000] {
        let assignment = assignment(&world, endpoints);
        group.bench_function(BenchmarkId::new("assignment", endpoints), |bencher| {
            bencher.iter(|| envoy::assignment(black_box(&assignment)));
        });
    }
    group.finish();
}

/// From a message to its canonical bytes.
fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let world = World::new(1);
    for endpoints in [10, 100, 1_000] {
        let resource = envoy::assignment(&assignment(&world, endpoints));
        let message = ClusterLoadAssignment::decode(resource.body.clone()).expect("it was encoded");
        group.throughput(Throughput::Bytes(resource.body.len() as u64));
        group.bench_function(BenchmarkId::new("assignment", endpoints), |bencher| {
            bencher.iter(|| canonical::encode(black_box(&message)));
        });
    }
    group.finish();
}

/// The endpoints of an upstream, repeated until there are this many.
fn assignment(world: &World, endpoints: usize) -> meshgate::ir::Assignment {
    let parts = world.sidecar();
    let mut sources = parts.iter().flat_map(|part| &part.endpoints);
    let (cluster, source) = sources.next().expect("an upstream has endpoints");
    let (mut assignment, _) = world.with_context(|context| resolve::assignment(context.state, cluster, source));
    let known = std::mem::take(&mut assignment.endpoints);
    assignment.endpoints = known.into_iter().cycle().take(endpoints).collect();
    assignment
}

criterion_group!(benches, chains, resolving, translating, encoding);
criterion_main!(benches);
