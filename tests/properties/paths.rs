//! Where traffic really goes is where the rules say: the path model over the resources of all proxies, held against
//! [`oracle`](crate::oracle).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshgate::envoy::json;
use meshgate::envoy::path::{Answer, Client, Door, End, Link, Network, Outcome, Rbac, Request, Stop, Traffic};
use meshgate::envoy::snapshot::{NodeIdentity, ResourceType, Snapshot};
use meshgate::ir::SocketAddress;
use meshgate::model::{Datacenter, IntentionPolicy, Upstream};
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use proptest::{prop_assert_eq, sample::select};

use crate::oracle::{Fate, Hop, Instance, Oracle, Sent, Way};
use crate::support::mesh::{CLUSTER_ID, Mesh, options};
use crate::world::{HTTP_SERVICES, Purpose, World, identity, proxy_name, world};
use crate::{all, runtime, snapshots, write};

/// Callers that come to each instance past the mesh.
const STRANGERS: usize = 4;

/// How often something of a kind was seen.
pub(crate) type Counts = BTreeMap<String, u32>;

/// The network of a mesh, from what its proxies were sent.
fn network(world: &World, snapshots: &BTreeMap<NodeIdentity, Arc<Snapshot>>) -> Network {
    let mut network = Network::default();
    for op in world.iter() {
        if let meshgate::store::Op::PutService(node, service) = op {
            let snapshot = snapshots[&identity(node, service)].clone();
            network.add_proxy(&proxy_name(node, service), snapshot).expect("what was made can be read");
        }
    }
    for contact in world.contacts() {
        let door = Door { proxy: contact.proxy.as_str().into(), local: contact.local, within: None };
        network.add_door(&contact.dialled, door);
    }
    network
}

fn shown(address: &SocketAddress) -> String {
    match address {
        SocketAddress::Tcp(host, port) => format!("{host}:{port}"),
        SocketAddress::Pipe(path) => path.to_string(),
    }
}

/// What the model says, in the words of the rules.
fn told(outcome: &Outcome) -> Result<Way, TestCaseError> {
    let mut hops: Vec<Hop> = outcome
        .links
        .iter()
        .map(|link| Hop { proxy: link.proxy.to_string(), dialled: link.endpoint.as_ref().map(shown) })
        .collect();
    #[allow(clippy::wildcard_enum_match_arm, reason = "every other end is a failure")]
    let fate = match &outcome.end {
        End::Instance { sni: None, .. } => Fate::Arrives,
        End::Stopped(Stop::NotHttp) => Fate::NotHttp,
        End::Stopped(Stop::NoEndpoint(_)) => Fate::Nobody,
        End::Stopped(Stop::NoHealthyEndpoint(_)) => Fate::NobodyHealthy,
        End::Stopped(Stop::NoCluster(_)) => Fate::NotKnown,
        End::Stopped(Stop::NoCommonTls) => Fate::NoCommonTls,
        End::Stopped(Stop::Denied { .. }) => Fate::Refused,
        other => return Err(TestCaseError::fail(format!("{other:?} after {hops:#?}"))),
    };
    if fate != Fate::Arrives
        && let Some(last) = hops.last_mut()
    {
        last.dialled = None;
    }
    Ok(Way { hops, fate })
}

/// What is asked about an upstream: several requests where somebody may tell them apart.
fn questions(service: &str) -> Vec<Sent> {
    if !HTTP_SERVICES.contains(&service) {
        return vec![Sent::Request(Request::get("/x")), Sent::Bytes];
    }
    let put = Request { method: "PUT".to_owned(), ..Request::get("/x") };
    let version = Request { headers: vec![("x-version".to_owned(), "2".to_owned())], ..Request::get("/x") };
    let requests = [
        Request::get("/x"),
        Request::get("/exact"),
        Request::get("/admin/x"),
        Request::get("/x?version=12"),
        put,
        version,
    ];
    requests.map(Sent::Request).into_iter().chain([Sent::Bytes]).collect()
}

/// An upstream as names of listeners have it (contract 1.6).
pub(crate) fn upstream_name(own_partition: &str, upstream: &Upstream) -> String {
    let partition = upstream.destination_partition.as_ref().map_or(own_partition, |it| it.as_str());
    let prefix = if partition == "default" { String::new() } else { format!("{partition}/default/") };
    let datacenter = upstream.datacenter.as_str();
    let suffix = if datacenter.is_empty() { String::new() } else { format!("?dc={datacenter}") };
    format!("{prefix}{}{suffix}", upstream.destination_name)
}

/// Takes note of what kinds of ways there are.
fn classify(counts: &RefCell<Counts>, answer: &Answer) {
    let mut seen = BTreeSet::new();
    for Outcome { links, end } in &answer.outcomes {
        let gateways = links.iter().filter(|link| link.proxy.contains("/gateway-")).count();
        let fate = match end {
            End::Instance { .. } => "arrives",
            End::Stopped(Stop::NoHealthyEndpoint(_) | Stop::NoEndpoint(_)) => "finds nobody",
            End::Stopped(Stop::NoCluster(_)) => "is not known",
            End::Stopped(Stop::Denied { filter: Rbac::Network, .. }) => "is refused as a connection",
            End::Stopped(Stop::Denied { filter: Rbac::Http, .. }) => "is refused as a request",
            End::Stopped(_) | End::Unknown(_) => "ends in another way",
        };
        seen.insert(format!("{fate} after {gateways} gateways"));
        let (first, last) = (links.first(), links.last());
        if let (Some(from), Some(to), "arrives") = (first.and_then(place), last.and_then(place), fate) {
            let reach = match (from == to, from.0 == to.0) {
                (true, _) => "in the same place",
                (false, true) => "in another partition",
                (false, false) => "in another datacenter",
            };
            seen.insert(format!("arrives {reach} after {gateways} gateways"));
        }
        for link in links {
            let dialled = link.endpoint.as_ref().map(shown).unwrap_or_default();
            let names = link.clusters.join(" ");
            let facts = [
                ("goes by a host name", dialled.contains("example")),
                ("takes the first leg of a failover", names.contains("failover-target~0~")),
                ("takes a later leg of a failover", names.contains("failover-target~1~")),
                ("is customised", names.split('~').next().is_some_and(|hash| hash.len() == 8)),
                ("is meant for a subset", ["v1.", "v2."].iter().any(|subset| names.contains(subset))),
                ("takes a later route", link.route.as_ref().is_some_and(|route| route.position > 0)),
            ];
            seen.extend(facts.into_iter().filter(|(_, is_so)| *is_so).map(|(what, _)| what.to_owned()));
        }
    }
    let several = |what: fn(&Link) -> Option<String>| {
        let all: BTreeSet<_> = answer.outcomes.iter().filter_map(|it| what(it.links.first()?)).collect();
        all.len() > 1
    };
    if several(|link| link.clusters.get(1).cloned()) {
        seen.insert("is spread over legs".to_owned());
    }
    if several(|link| link.clusters.first().cloned()) {
        seen.insert("is split".to_owned());
    }
    let mut counts = counts.borrow_mut();
    seen.into_iter().for_each(|what| *counts.entry(what).or_default() += 1);
}

/// Datacenter and partition of a proxy.
fn place(link: &Link) -> Option<(&str, &str)> {
    let mut parts = link.proxy.split('/');
    Some((parts.next()?, parts.next()?))
}

/// A mesh with what its proxies were sent.
pub(crate) struct Sight<'w> {
    pub(crate) mesh: Mesh,
    snapshots: BTreeMap<NodeIdentity, Arc<Snapshot>>,
    pub(crate) network: Network,
    pub(crate) oracle: Oracle<'w>,
}

impl<'w> Sight<'w> {
    pub(crate) async fn of(world: &'w World, default_intention: IntentionPolicy) -> Self {
        let datacenters = [Datacenter::from("dc1"), Datacenter::from("dc2")];
        let mesh = Mesh::start(options(&datacenters, default_intention)).await;
        write(&mesh, world.rows()).await;
        let snapshots = snapshots(&mesh, &world.proxies()).await;
        let network = network(world, &snapshots);
        Self { mesh, snapshots, network, oracle: Oracle::new(world, default_intention) }
    }

    fn upstreams(&self, counts: &RefCell<Counts>) -> Result<(), TestCaseError> {
        for caller in self.oracle.view().sidecars() {
            for upstream in &caller.service.proxy.upstreams {
                let name = upstream_name(&caller.at.partition, upstream);
                for sent in questions(&upstream.destination_name) {
                    let answer = self.network.from_upstream(&caller.name, &name, &traffic(&sent));
                    let told = answer.outcomes.iter().map(told).collect::<Result<BTreeSet<_>, _>>()?;
                    let expected = self.oracle.ways_of_upstream(caller, upstream, &sent);
                    prop_assert_eq!(&told, &expected, "{} of {}, {:?}", name, caller.name, sent);
                    classify(counts, &answer);
                }
            }
        }
        Ok(())
    }

    /// Comes with the certificates of some callers to every gateway and to every sidecar itself.
    fn doors(&self, counts: &RefCell<Counts>) -> Result<(), TestCaseError> {
        let view = self.oracle.view();
        // Instances of a service have one certificate.
        let certificate = |it: &Instance<'_>| (it.at.clone(), it.service.proxy.destination_service_name.clone());
        let mut callers: Vec<_> = view.sidecars().collect();
        callers.sort_by_key(|caller| certificate(caller));
        callers.dedup_by_key(|caller| certificate(caller));
        for (position, callee) in view.sidecars().enumerate() {
            for caller in callers.iter().cycle().skip(STRANGERS * position).take(STRANGERS) {
                let identity = identity_of(caller);
                let client = Client { sni: sni(callee), certificates: Some(certificates(&self.snapshots[&identity])) };
                let doors = view.gateways().filter(|gateway| gateway.at == callee.at).chain([callee]);
                for door in doors {
                    let address = SocketAddress::Tcp(door.inner_host().into(), door.service.port);
                    let traffic = traffic(&Sent::Request(Request::get("/x")));
                    let answer = self.network.from_address(&address, Some(&client), &traffic);
                    let told = answer.outcomes.iter().map(told).collect::<Result<BTreeSet<_>, _>>()?;
                    let expected = self.oracle.ways_past_door(caller, door, callee);
                    prop_assert_eq!(&told, &expected, "{} for {} at {}", caller.name, client.sni, door.name);
                    let crosses = if caller.at.partition == callee.at.partition { "in" } else { "into" };
                    let door = if door.name == callee.name { "a sidecar" } else { "a gateway" };
                    let mut counts = counts.borrow_mut();
                    for way in &expected {
                        *counts.entry(format!("{:?} at {door}, {crosses} a partition", way.fate)).or_default() += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

fn traffic(sent: &Sent) -> Traffic {
    match sent {
        Sent::Bytes => Traffic::Tcp,
        Sent::Request(request) => Traffic::Http(request.clone()),
    }
}

fn identity_of(instance: &Instance<'_>) -> NodeIdentity {
    NodeIdentity {
        id: instance.service.id.as_str().into(),
        datacenter: instance.at.datacenter.as_str().into(),
        partition: instance.at.partition.as_str().into(),
        namespace: "".into(),
        node_name: instance.node.node.as_str().into(),
    }
}

/// The SNI of a service (contract 1.3).
fn sni(callee: &Instance<'_>) -> String {
    let domain = format!("{CLUSTER_ID}.consul");
    let (name, at) = (&callee.service.proxy.destination_service_name, &callee.at);
    match at.partition.as_str() {
        "default" => format!("{name}.default.{}.internal.{domain}", at.datacenter),
        partition => format!("{name}.default.{partition}.{}.internal-v1.{domain}", at.datacenter),
    }
}

/// The certificate that a proxy was sent, in PEM.
fn certificates(snapshot: &Snapshot) -> String {
    let secret = snapshot.get(ResourceType::Secret).get("leaf").expect("every sidecar has a certificate");
    let shown = json::resource(ResourceType::Secret, &secret.body).expect("it can be shown");
    shown["tlsCertificate"]["certificateChain"]["inlineString"].as_str().expect("it is in the secret").to_owned()
}

/// How many times as many meshes are looked at where something was seen too rarely to mean something.
const ROUNDS: usize = 4;

/// Looks at many meshes, and at more of them until everything that matters was seen at least so often.
pub(crate) fn over_meshes(
    meshes: u32,
    wanted: &[(&'static str, u32)],
    look: impl AsyncFn(&Sight<'_>, &RefCell<Counts>) -> Result<(), TestCaseError>,
) {
    let counts = RefCell::new(Counts::new());
    let policies = vec![IntentionPolicy::Allow, IntentionPolicy::Allow, IntentionPolicy::Deny];
    let mut rare = Vec::new();
    for _ in 0..ROUNDS {
        let of_meshes = (world(Purpose::Paths), select(policies.clone()));
        let found = TestRunner::new(all(meshes)).run(&of_meshes, |(world, policy)| {
            runtime().block_on(async { look(&Sight::of(&world, policy).await, &counts).await })
        });
        match found {
            Ok(()) => {}
            Err(TestError::Abort(reason)) => panic!("{reason}"),
            Err(TestError::Fail(reason, mesh)) => panic!("{reason}\nin {mesh:?}"),
        }
        let seen = |what: &str| counts.borrow().get(what).copied().unwrap_or_default();
        rare = wanted.iter().filter(|(what, at_least)| seen(what) < *at_least).collect();
        if rare.is_empty() {
            return;
        }
    }
    panic!("seen too rarely: {rare:?} in {:#?}", counts.borrow());
}

#[test]
fn upstreams_lead_where_the_rules_say_and_nowhere_else() {
    let wanted = [
        ("arrives in another datacenter after 0 gateways", 15),
        ("arrives in another datacenter after 1 gateways", 10),
        ("arrives in another datacenter after 2 gateways", 10),
        ("arrives in another partition after 0 gateways", 15),
        ("arrives in another partition after 1 gateways", 10),
        ("arrives in another partition after 2 gateways", 10),
        ("arrives in the same place after 0 gateways", 100),
        ("finds nobody after 0 gateways", 100),
        ("finds nobody after 1 gateways", 3),
        ("goes by a host name", 15),
        ("is customised", 100),
        ("is meant for a subset", 100),
        ("is not known after 1 gateways", 3),
        ("is refused as a connection after 0 gateways", 10),
        ("is refused as a request after 0 gateways", 50),
        ("is refused as a request after 1 gateways", 8),
        ("is refused as a request after 2 gateways", 5),
        ("is split", 40),
        ("is spread over legs", 10),
        ("takes a later leg of a failover", 20),
        ("takes a later route", 40),
        ("takes the first leg of a failover", 40),
    ];
    over_meshes(40, &wanted, async |sight, counts| sight.upstreams(counts));
}

#[test]
fn who_comes_past_the_mesh_gets_in_where_the_rules_say_and_nowhere_else() {
    let wanted = [
        ("Arrives at a gateway, in a partition", 80),
        ("Arrives at a gateway, into a partition", 50),
        ("Arrives at a sidecar, in a partition", 40),
        ("Arrives at a sidecar, into a partition", 20),
        ("NotKnown at a gateway, into a partition", 20),
        ("Refused at a gateway, in a partition", 50),
        ("Refused at a gateway, into a partition", 80),
        ("Refused at a sidecar, in a partition", 20),
        ("Refused at a sidecar, into a partition", 40),
    ];
    over_meshes(20, &wanted, async |sight, counts| sight.doors(counts));
}
