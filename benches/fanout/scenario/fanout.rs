//! S1 and S2: one instance changes, and all proxies have to know.

use bytes::Bytes;

use super::{Side, anybody, is_change, renumbered};
use crate::Failure;
use crate::catalog::{Backend, INSTANCES, Member, Naming};
use crate::floor::Style;
use crate::options::Options;
use crate::process::Cores;
use crate::report::{Case, Report};
use crate::subject::{Floor, Subject};

/// Blocks of rounds, with the floor and the subject in turns.
const BLOCKS: usize = 4;

/// Measures a change of one of these upstreams.
pub(super) async fn run(options: &Options, cores: Option<Cores>, upstreams: usize) -> Result<Report, Failure> {
    let count = options.proxies();
    let subject = Subject::start(options, None, cores).await?;
    let mesh = Mesh::new(count, upstreams);
    mesh.register(&subject).await?;
    // Messages of one upstream are small, a configuration with many is not.
    let style = if upstreams == 1 { Style::Copied } else { Style::Shared };
    let floor = Floor::start(style, None, cores).await?;
    let mut fanout = Fanout {
        side: Side::new(&subject.server, subject.usage, mesh.identities(&options.naming())),
        floor_side: Side::new(&floor.server, Some(floor.usage()), anybody(count)),
        backend: mesh.backends[0].clone(),
        sequence: 0,
        message: Bytes::new(),
        is_smoke: options.smoke,
        subject,
        floor,
        case: Case::default(),
    };
    let rounds = options.rounds.unwrap_or((60_000 / count).clamp(8, 200));
    fanout.measure(rounds.div_ceil(BLOCKS)).await?;
    Ok(options.report(vec![fanout.case]))
}

/// Clients, ten of which make a service, and what they call.
pub(super) struct Mesh {
    pub(super) backends: Vec<Backend>,
    clients: Vec<Member>,
    /// How many clients in a row have one upstream, if they have not all of them.
    group: Option<usize>,
}

impl Mesh {
    /// All clients have the same upstreams.
    pub(super) fn new(clients: usize, upstreams: usize) -> Self {
        Self {
            backends: (0..upstreams).map(|number| Backend::new(number, INSTANCES)).collect(),
            clients: (0..clients).map(Member::client).collect(),
            group: None,
        }
    }

    /// The clients of each group have an upstream of their own.
    pub(super) fn in_groups(clients: usize, group: usize) -> Self {
        Self { group: Some(group), ..Self::new(clients, clients.div_ceil(group)) }
    }

    pub(super) async fn register(&self, subject: &Subject) -> Result<(), Failure> {
        subject.http.put_all(self.backends.iter().flat_map(Backend::register)).await?;
        let upstreams: Vec<_> = self.backends.iter().map(|backend| backend.name.clone()).collect();
        let clients = self.clients.iter().enumerate();
        let clients = clients.flat_map(|(number, client)| {
            let own = self.group.map_or(&upstreams[..], |group| std::slice::from_ref(&upstreams[number / group]));
            client.register_client(number, own)
        });
        subject.http.put_all(clients).await
    }

    pub(super) fn identities(&self, naming: &Naming) -> impl Iterator<Item = crate::ads::Identity> {
        self.clients.iter().map(|client| client.identity(naming))
    }
}

struct Fanout {
    subject: Subject,
    side: Side,
    floor: Floor,
    floor_side: Side,
    /// The service that changes.
    backend: Backend,
    /// The number of the last change.
    sequence: u32,
    /// What a proxy is sent for a change.
    message: Bytes,
    /// A short run, whose own checks are checked too.
    is_smoke: bool,
    case: Case,
}

impl Fanout {
    async fn measure(&mut self, rounds: usize) -> Result<(), Failure> {
        self.side.fleet.capture();
        self.side.connect_first(&mut self.case.subject).await?;
        // The floor tells its proxies as much when they start: a connection that has carried it is larger than one that
        // never carried anything.
        self.floor.control.script(&self.side.fleet.captured()).await?;
        for block in 0..BLOCKS {
            if block > 0 {
                self.side.connect().await?;
            }
            // The first round is not measured: it finds cold caches.
            for round in 0..=rounds {
                self.change(round > 0).await?;
            }
            if block + 1 == BLOCKS {
                self.side.fleet.verify().await?;
                if self.is_smoke {
                    self.side.fleet.verify_finds().await?;
                }
            }
            self.side.fleet.disconnect().await;

            match block {
                0 => self.floor_side.connect_first(&mut self.case.floor).await?,
                _ => self.floor_side.connect().await?,
            }
            for round in 0..=rounds {
                self.push(round > 0).await?;
            }
            self.floor_side.fleet.disconnect().await;
        }
        Ok(())
    }

    /// Changes an instance and waits until all proxies have it.
    async fn change(&mut self, is_measured: bool) -> Result<(), Failure> {
        self.sequence += 1;
        let write = self.backend.change(self.sequence);
        let put = self.subject.http.put(0, &write);
        let whom = 0..self.side.fleet.len();
        let mut round = self.side.change(whom, is_change(self.sequence), put).await?;
        if is_measured {
            round.add_to(&mut self.case.subject);
        }
        self.message = round.messages.pop().ok_or("the first proxy got nothing")?;
        Ok(())
    }

    /// Sends what the subject sent, with another number in it, and waits until all proxies have it.
    async fn push(&mut self, is_measured: bool) -> Result<(), Failure> {
        self.sequence += 1;
        let message = renumbered(&self.message, self.sequence);
        let whom = 0..self.floor_side.fleet.len();
        let push = self.floor.control.push(whom.clone(), &message);
        let round = self.floor_side.change(whom, is_change(self.sequence), push).await?;
        if is_measured {
            round.add_to(&mut self.case.floor);
        }
        Ok(())
    }
}
