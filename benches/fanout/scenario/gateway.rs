//! S3: gateways that know every service. One instance changes; then a service is added.

use bytes::Bytes;

use super::{Round, Side, anybody, is_change, renumbered};
use crate::Failure;
use crate::catalog::{Backend, Member};
use crate::floor::Style;
use crate::marker;
use crate::options::Options;
use crate::process::Cores;
use crate::report::{Case, Report};
use crate::subject::{Floor, Subject};

/// Instances of each service.
const INSTANCES: usize = 2;

/// Measures both for each number of services, in turns.
pub(super) async fn run(options: &Options, cores: Option<Cores>) -> Result<Report, Failure> {
    let gateways = options.proxies();
    let mut meshes = Vec::new();
    for services in &options.services {
        meshes.push(Mesh::start(options, cores, *services).await?);
    }
    let floor = Floor::start(Style::Copied, None, cores).await?;
    let side = Side::new(&floor.server, Some(floor.usage()), anybody(gateways));
    let mut turns = Turns { floor, side, sequence: 0 };
    turns.side.fleet.connect().await?;
    let rounds = options.rounds.unwrap_or(100);
    for round in 0..=rounds {
        for mesh in &mut meshes {
            // The first round is not measured: it finds cold caches.
            turns.change_instance(mesh, round > 0).await?;
            if round <= rounds / 4 {
                turns.add_service(mesh, round > 0).await?;
            }
        }
    }
    for mesh in &meshes {
        mesh.side.fleet.verify().await?;
    }
    // The case that counts is the last one: a change among the most services.
    let (changed, added): (Vec<_>, Vec<_>) = meshes.into_iter().map(|mesh| (mesh.changed, mesh.added)).unzip();
    Ok(options.report(added.into_iter().chain(changed).collect()))
}

/// A control plane with some number of services.
struct Mesh {
    subject: Subject,
    side: Side,
    services: usize,
    changed: Case,
    added: Case,
}

impl Mesh {
    async fn start(options: &Options, cores: Option<Cores>, services: usize) -> Result<Self, Failure> {
        let subject = Subject::start(options, None, cores).await?;
        let backends = (0..services).flat_map(|number| Backend::new(number, INSTANCES).register());
        subject.http.put_all(backends).await?;
        let gateways: Vec<_> = (0..options.proxies()).map(Member::gateway).collect();
        let registrations = gateways.iter().enumerate().flat_map(|(number, gateway)| gateway.register_gateway(number));
        subject.http.put_all(registrations).await?;
        let naming = options.naming();
        let identities = gateways.iter().map(|gateway| gateway.identity(&naming));
        let mut side = Side::new(&subject.server, subject.usage, identities);
        let mut changed = Case::new("change", services);
        side.connect_first(&mut changed.subject).await?;
        Ok(Self { subject, side, services, changed, added: Case::new("add", services) })
    }
}

struct Turns {
    floor: Floor,
    side: Side,
    /// The number of the last change.
    sequence: u32,
}

impl Turns {
    async fn change_instance(&mut self, mesh: &mut Mesh, is_measured: bool) -> Result<(), Failure> {
        self.sequence += 1;
        let backend = Backend::new(self.sequence as usize % mesh.services, INSTANCES);
        let write = backend.change(self.sequence);
        let put = mesh.subject.http.put(0, &write);
        let whom = 0..mesh.side.fleet.len();
        let round = mesh.side.change(whom, is_change(self.sequence), put).await?;
        self.replay(&round, &mut mesh.changed, is_measured).await
    }

    async fn add_service(&mut self, mesh: &mut Mesh, is_measured: bool) -> Result<(), Failure> {
        self.sequence += 1;
        let backend = Backend::new(mesh.services, INSTANCES);
        mesh.services += 1;
        // Only a sidecar makes a service one of the mesh.
        let [app, _] = backend.register_instance(0, None);
        mesh.subject.http.put(0, &app).await?;
        let [_, sidecar] = backend.register_instance(0, Some(&marker::address(self.sequence)));
        let put = mesh.subject.http.put(0, &sidecar);
        let whom = 0..mesh.side.fleet.len();
        let round = mesh.side.change(whom, is_change(self.sequence), put).await?;
        self.replay(&round, &mut mesh.added, is_measured).await
    }

    /// Lets the floor server send what the subject sent.
    async fn replay(&mut self, sent: &Round, case: &mut Case, is_measured: bool) -> Result<(), Failure> {
        self.sequence += 1;
        let messages: Vec<Bytes> = sent.messages.iter().map(|message| renumbered(message, self.sequence)).collect();
        let whom = 0..self.side.fleet.len();
        let push = async {
            for message in &messages {
                self.floor.control.push(whom.clone(), message).await?;
            }
            Ok(())
        };
        let round = self.side.change(whom.clone(), is_change(self.sequence), push).await?;
        if is_measured {
            sent.add_to(&mut case.subject);
            round.add_to(&mut case.floor);
        }
        Ok(())
    }
}
