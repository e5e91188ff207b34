//! Whatever happens on a stream, a client that answers ends up with the snapshot, restricted to what it asked for (T135).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use crate::ads::message::{Content, Interest, Request, Response, Variant};
use crate::ads::session::Session;
use crate::envoy::snapshot::{Published, Resource, ResourceType, Snapshot};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A content that the client refuses.
const BAD: u8 = 9;

#[derive(Debug, Clone)]
enum Happening {
    Change {
        kind: ResourceType,
        name: usize,
        content: u8,
        leads_to: usize,
    },
    Delete {
        kind: ResourceType,
        name: usize,
    },
    Subscribe {
        kind: ResourceType,
        name: usize,
    },
    Unsubscribe {
        kind: ResourceType,
        name: usize,
    },
    /// The client takes the next response that is on its way, and answers it.
    Answer,
    /// The client answers nothing for long.
    Silence,
    Reconnect,
}

fn happening() -> impl Strategy<Value = Happening> {
    let kind = || prop::sample::select(ResourceType::ALL.to_vec());
    let name = || 0..NAMES.len();
    let content = prop_oneof![6 => 1..4_u8, 1 => Just(BAD)];
    prop_oneof![
        6 => (kind(), name(), content, name())
            .prop_map(|(kind, name, content, leads_to)| Happening::Change { kind, name, content, leads_to }),
        2 => (kind(), name()).prop_map(|(kind, name)| Happening::Delete { kind, name }),
        3 => (kind(), name()).prop_map(|(kind, name)| Happening::Subscribe { kind, name }),
        2 => (kind(), name()).prop_map(|(kind, name)| Happening::Unsubscribe { kind, name }),
        6 => Just(Happening::Answer),
        1 => Just(Happening::Silence),
        1 => Just(Happening::Reconnect),
    ]
}

/// A client that applies what it is sent as Envoy does: the good resources of a refused response, too.
struct Client {
    variant: Variant,
    session: Session,
    snapshot: Snapshot,
    published: u64,
    now: Duration,
    held: BTreeMap<ResourceType, BTreeMap<Arc<str>, Arc<Resource>>>,
    /// Names whose present content was refused, so that they are not echoed after a reconnect.
    unsure: BTreeSet<(ResourceType, Arc<str>)>,
    /// Names that were unsure when the stream broke: the new one cannot know that they are held (R43).
    hidden: BTreeSet<(ResourceType, Arc<str>)>,
    names: BTreeMap<ResourceType, BTreeSet<&'static str>>,
    nonces: BTreeMap<ResourceType, u64>,
    /// Of these it took a whole response once, and says so for ever.
    taken: BTreeSet<ResourceType>,
    /// It says what it refuses.
    is_talkative: bool,
    /// It let a response wait for so long that nothing waits for it any more.
    was_silent: bool,
    inbox: VecDeque<Response>,
}

impl Client {
    fn new(variant: Variant, is_talkative: bool) -> Self {
        let mut client = Self {
            variant,
            is_talkative,
            taken: BTreeSet::new(),
            session: Session::new(variant, 100),
            snapshot: Snapshot::default(),
            published: 0,
            now: Duration::ZERO,
            held: ResourceType::ALL.map(|kind| (kind, BTreeMap::new())).into(),
            unsure: BTreeSet::new(),
            hidden: BTreeSet::new(),
            names: ResourceType::ALL.map(|kind| (kind, BTreeSet::new())).into(),
            nonces: BTreeMap::new(),
            was_silent: false,
            inbox: VecDeque::new(),
        };
        client.connect();
        client
    }

    fn connect(&mut self) {
        self.session = Session::new(self.variant, 100);
        self.now = Duration::ZERO;
        self.inbox.clear();
        self.was_silent = false;
        self.hidden.extend(self.unsure.iter().cloned());
        self.nonces.clear();
        self.publish();
        for kind in [
            ResourceType::Cluster,
            ResourceType::Endpoint,
            ResourceType::Listener,
            ResourceType::Route,
            ResourceType::Secret,
        ] {
            let names: Vec<_> = self.names[&kind].iter().map(|name| (*name).to_owned()).collect();
            let star = kind.is_wildcard().then(|| "*".to_owned());
            let is_held = |name: &&Arc<str>| !self.unsure.contains(&(kind, (*name).clone()));
            let held = self.held[&kind].iter().filter(|(name, _)| is_held(name));
            let interest = match self.variant {
                Variant::Delta => Interest::Delta {
                    subscribe: if names.is_empty() { Vec::new() } else { star.into_iter().chain(names).collect() },
                    unsubscribe: Vec::new(),
                    initial_versions: held.map(|(name, it)| (name.to_string(), it.version.to_string())).collect(),
                },
                Variant::StateOfTheWorld => {
                    let names = star.into_iter().chain(names).collect();
                    Interest::StateOfTheWorld { names, has_taken: self.taken.contains(&kind) }
                }
            };
            self.request(kind, String::new(), None, interest);
        }
    }

    fn request(&mut self, kind: ResourceType, nonce: String, rejection: Option<String>, interest: Interest) {
        self.session.on_request(Request { kind, nonce, rejection, interest }).unwrap();
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(response) = self.session.next(self.now) {
            if !self.was_silent {
                self.check_order(&response);
            }
            self.inbox.push_back(response);
        }
    }

    /// What is sent never makes the client point at a cluster that it has not, or no longer, confirmed (R34, R36).
    fn check_order(&self, response: &Response) {
        let clusters = &self.held[&ResourceType::Cluster];
        if self.variant == Variant::StateOfTheWorld && !self.nonces.contains_key(&ResourceType::Cluster) {
            // A whole set replaces what an earlier stream sent, and nobody knows what that was.
            return;
        }
        let (resources, gone): (_, Vec<_>) = match &response.content {
            Content::Delta { resources, removed } => {
                // A new stream cannot know that an unsure one is held (R43).
                let is_known = |name: &Arc<str>| !self.hidden.contains(&(ResourceType::Cluster, name.clone()));
                (resources, removed.iter().filter(|name| clusters.contains_key(*name) && is_known(name)).collect())
            }
            Content::StateOfTheWorld { resources, .. } => {
                (resources, clusters.keys().filter(|name| resources.iter().all(|it| it.name != **name)).collect())
            }
        };
        match response.kind {
            ResourceType::Cluster => {
                for user in [ResourceType::Listener, ResourceType::Route] {
                    let wanted = self.snapshot.get(user);
                    let stale = self.held[&user].iter().filter(|(name, held)| match wanted.get(name) {
                        Some(wanted) => wanted != *held && !self.unsure.contains(&(user, (*name).clone())),
                        None => user == ResourceType::Listener && !self.hidden.contains(&(user, (*name).clone())),
                    });
                    let broken: Vec<_> =
                        stale.filter(|(_, held)| held.references.iter().any(|it| gone.contains(&it))).collect();
                    assert!(broken.is_empty(), "{user}: still in use: {broken:?}");
                }
            }
            ResourceType::Listener | ResourceType::Route => {
                let held = &self.held[&response.kind];
                let new = resources.iter().filter(|it| it.body[0] != BAD && held.get(&it.name) != Some(*it));
                for reference in new.flat_map(|it| &it.references) {
                    let wanted = self.snapshot.get(ResourceType::Cluster).get(reference);
                    if let Some(wanted) = wanted.filter(|wanted| wanted.body[0] != BAD) {
                        assert_eq!(clusters.get(reference), Some(wanted), "{} before its cluster", response.kind);
                    }
                }
            }
            ResourceType::Secret | ResourceType::Endpoint => {}
        }
    }

    /// What a request says that changes nothing.
    fn same_interest(&self, kind: ResourceType) -> Interest {
        match self.variant {
            Variant::Delta => Interest::Delta { subscribe: vec![], unsubscribe: vec![], initial_versions: vec![] },
            Variant::StateOfTheWorld => {
                let star = kind.is_wildcard().then(|| "*".to_owned());
                let names = self.names[&kind].iter().map(|name| (*name).to_owned());
                let names = star.into_iter().chain(names).collect();
                Interest::StateOfTheWorld { names, has_taken: self.taken.contains(&kind) }
            }
        }
    }

    fn publish(&mut self) {
        self.published += 1;
        self.session.on_snapshot(Published { number: self.published, snapshot: Arc::new(self.snapshot.clone()) });
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Change { kind, name, content, leads_to } => {
                let references = match kind {
                    ResourceType::Cluster => vec![Arc::from(NAMES[name])],
                    ResourceType::Listener | ResourceType::Route => vec![Arc::from(NAMES[leads_to])],
                    ResourceType::Secret | ResourceType::Endpoint => vec![],
                };
                let body = Bytes::from(vec![content, u8::try_from(leads_to).unwrap()]);
                self.snapshot.insert(kind, Arc::new(Resource::new(NAMES[name], body, references)));
                self.publish();
            }
            Happening::Delete { kind, name } => {
                self.snapshot.get_mut(kind).remove(NAMES[name]);
                self.publish();
            }
            Happening::Subscribe { kind, name } => {
                self.names.get_mut(&kind).unwrap().insert(NAMES[name]);
                self.say(kind, vec![NAMES[name].to_owned()], vec![]);
            }
            Happening::Unsubscribe { kind, name } => {
                self.names.get_mut(&kind).unwrap().remove(NAMES[name]);
                if !kind.is_wildcard() {
                    self.held.get_mut(&kind).unwrap().remove(NAMES[name]);
                }
                self.say(kind, vec![], vec![NAMES[name].to_owned()]);
            }
            Happening::Answer => self.answer(),
            Happening::Silence => {
                self.now += Duration::from_secs(30);
                self.was_silent = true;
                self.session.on_tick(self.now);
            }
            Happening::Reconnect => self.connect(),
        }
        self.pump();
    }

    fn say(&mut self, kind: ResourceType, subscribe: Vec<String>, unsubscribe: Vec<String>) {
        let nonce = self.nonces.get(&kind).map(u64::to_string).unwrap_or_default();
        match self.variant {
            Variant::Delta => {
                let interest = Interest::Delta { subscribe, unsubscribe, initial_versions: vec![] };
                self.request(kind, String::new(), None, interest);
            }
            Variant::StateOfTheWorld => self.request(kind, nonce, None, self.same_interest(kind)),
        }
    }

    fn answer(&mut self) {
        let Some(response) = self.inbox.pop_front() else { return };
        let kind = response.kind;
        self.nonces.insert(kind, response.nonce);
        let (resources, removed, is_whole) = match response.content {
            Content::Delta { resources, removed } => (resources, removed, false),
            Content::StateOfTheWorld { resources, .. } => (resources, vec![], kind.is_wildcard()),
        };
        let sent: Vec<_> = resources.iter().map(|it| &it.name).chain(&removed).collect();
        assert_eq!(sent.len(), sent.iter().collect::<BTreeSet<_>>().len(), "a name twice: {sent:?}"); // R31
        sent.iter().for_each(|name| _ = self.hidden.remove(&(kind, (**name).clone())));
        let bad: Vec<_> =
            resources.iter().filter(|it| it.body[0] == BAD).map(|it| format!("{}: bad", it.name)).collect();
        let is_bad = !bad.is_empty();
        if !is_bad {
            self.taken.insert(kind);
        }
        let held = self.held.get_mut(&kind).unwrap();
        if is_whole {
            held.retain(|name, _| resources.iter().any(|it| it.name == *name));
        }
        if kind.is_wildcard() {
            removed.iter().for_each(|name| drop(held.remove(name)));
        }
        for resource in &resources {
            let is_wanted = kind.is_wildcard() || self.names[&kind].contains(&*resource.name);
            if resource.body[0] != BAD && is_wanted {
                held.insert(resource.name.clone(), resource.clone());
            }
            let entry = (kind, resource.name.clone());
            if is_bad {
                self.unsure.insert(entry)
            } else {
                self.unsure.remove(&entry)
            };
        }
        let rejection = is_bad.then(|| if self.is_talkative { bad.join("\n") } else { "bad".to_owned() });
        let interest = self.same_interest(kind);
        self.request(kind, response.nonce.to_string(), rejection, interest);
    }

    /// Answers until nothing comes any more. Fails if that does not end.
    fn settle(&mut self) {
        for _ in 0..200 {
            if self.inbox.is_empty() {
                return;
            }
            self.answer();
            self.pump();
        }
        panic!("responses without end");
    }

    fn check(&self) {
        for kind in ResourceType::ALL {
            let wanted = self.snapshot.get(kind).iter().filter(|(name, _)| self.covers(kind, name));
            for (name, resource) in wanted.filter(|(_, it)| it.body[0] != BAD) {
                assert_eq!(self.held[&kind].get(name), Some(resource), "{kind} {name}");
            }
            for name in self.held[&kind].keys().filter(|_| kind.is_wildcard()) {
                let is_hidden = self.hidden.contains(&(kind, name.clone()));
                assert!(
                    is_hidden || self.snapshot.get(kind).contains_key(name) || self.is_in_use(kind, name),
                    "{kind} {name} is left over"
                );
            }
        }
    }

    fn covers(&self, kind: ResourceType, name: &str) -> bool {
        kind.is_wildcard() || self.names[&kind].contains(name)
    }

    /// A cluster stays while a listener or route uses it whose replacement was refused.
    fn is_in_use(&self, kind: ResourceType, name: &str) -> bool {
        let users = [ResourceType::Listener, ResourceType::Route].map(|user| &self.held[&user]);
        let mut references = users.iter().flat_map(|held| held.values()).flat_map(|it| it.references.iter());
        kind == ResourceType::Cluster && references.any(|used| &**used == name)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delta_clients_converge(happenings in prop::collection::vec(happening(), 1..60)) {
        let mut client = Client::new(Variant::Delta, false);
        happenings.iter().for_each(|happening| client.happen(happening));
        client.settle();
        client.check();
    }

    #[test]
    fn state_of_the_world_clients_converge(
        happenings in prop::collection::vec(happening(), 1..60),
        is_talkative in any::<bool>(),
    ) {
        let mut client = Client::new(Variant::StateOfTheWorld, is_talkative);
        happenings.iter().for_each(|happening| client.happen(happening));
        client.settle();
        client.check();
    }
}
