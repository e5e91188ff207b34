//! A listener that is refused does not cost the one whose place it should take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::script::{check, content, listener};
use crate::ads::message::{Content, Interest, Request, Response, Variant};
use crate::ads::session::Session;
use crate::envoy::snapshot::{Published, Resource, ResourceType, Snapshot};

#[test]
fn places_of_refused_listeners() {
    check(
        Variant::Delta,
        "who had the place gets it back, until the other one changes",
        &[
            ("set LDS a@1:80 b@1:81; LDS", "LDS +a@1:80 +b@1:81"),
            ("ack LDS", "(acked LDS)"),
            ("del LDS a; set LDS ours@1:80", "LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS", ""),
            ("set LDS b@2:81", "LDS +b@2:81"),
            ("ack LDS", ""),
            ("set LDS ours@2:80", "LDS +ours@2:80 -a"),
            ("ack LDS", "(acked LDS)"),
            ("set LDS b@3:81", "LDS +b@3:81"),
        ],
    );
    check(
        Variant::Delta,
        "who had the place goes with the one that was refused",
        &[
            ("set LDS a@1:80; LDS", "LDS +a@1:80"),
            ("ack LDS; del LDS a; set LDS ours@1:80", "(acked LDS) | LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS; del LDS ours", "LDS -a -ours"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    check(
        Variant::Delta,
        "who had the place stays when it is wanted again",
        &[
            ("set LDS a@1:80; LDS", "LDS +a@1:80"),
            ("ack LDS; del LDS a; set LDS ours@1:80", "(acked LDS) | LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS; del LDS ours; set LDS a@1:80", "LDS -ours"),
            ("ack LDS; set LDS a@2:80", "(acked LDS) | LDS +a@2:80"),
        ],
    );
    check(
        Variant::Delta,
        "of several new ones the culprit is found first, and only its place is given back",
        &[
            ("set LDS a@1:80 b@1:81; LDS", "LDS +a@1:80 +b@1:81"),
            ("ack LDS", "(acked LDS)"),
            ("del LDS a b; set LDS bad@1:80 good@1:81", "LDS +bad@1:80 +good@1:81 -a -b"),
            ("nack LDS", "(nacked LDS bad good) | LDS -a"),
            ("ack LDS", "LDS -b"),
            ("ack LDS", "LDS +bad@1:80"),
            ("nack LDS", "(nacked LDS bad) | LDS +a@1:80"),
            ("ack LDS", "LDS +good@1:81"),
            ("ack LDS", ""),
        ],
    );
    check(
        Variant::Delta,
        "one that changes while it is being refused leaves the place as well",
        &[
            ("set LDS a@1:80; LDS", "LDS +a@1:80"),
            ("ack LDS; del LDS a; set LDS ours@1:80", "(acked LDS) | LDS +ours@1:80 -a"),
            ("set LDS ours@2:80", ""),
            ("nack LDS", "(nacked LDS ours) | LDS +ours@2:80"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS", ""),
        ],
    );
    check(
        Variant::Delta,
        "one that changes, waits, and changes back leaves who stands in alone",
        &[
            ("CDS; set LDS a@1:80; LDS", "CDS | LDS +a@1:80"),
            ("ack CDS; ack LDS", "(acked CDS) | (acked LDS)"),
            ("del LDS a; set LDS ours@1:80", "LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS; set CDS d@1; set LDS ours@2:80>d", "CDS +d@1"),
            ("set LDS ours@1:80", ""),
            ("ack CDS", "(acked CDS)"),
        ],
    );
}

#[test]
fn what_else_changes_while_somebody_stands_in() {
    check(
        Variant::Delta,
        "what stood in goes once, also where the one that was refused may be another process's",
        &[
            ("set LDS a@1:80; LDS", "LDS +a@1:80"),
            ("ack LDS; del LDS a; set LDS ours@1:80", "(acked LDS) | LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS; lack LDS; del LDS ours", "LDS -a"),
            ("ack LDS", ""),
            ("whole LDS", "LDS -ours"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    check(
        Variant::Delta,
        "another one in place of the refused one leaves the place as well",
        &[
            ("set LDS a@1:80; LDS", "LDS +a@1:80"),
            ("ack LDS; del LDS a; set LDS ours@1:80/a@1:80", "(acked LDS) | LDS +ours@1:80 -a"),
            ("del LDS ours; set LDS theirs@1:80/a@1:80", ""),
            ("nack LDS", "(nacked LDS ours) | LDS +theirs@1:80 -ours"),
            ("nack LDS", "(nacked LDS theirs) | LDS +a@1:80"),
            ("ack LDS", "LDS -ours"),
            ("ack LDS", ""),
        ],
    );
    check(
        Variant::Delta,
        "an attempt for a new certificate would cost who stands in",
        &[
            ("set SDS s@1; set LDS a@1:80; LDS; SDS +s", "SDS +s@1 | LDS +a@1:80"),
            ("ack SDS; ack LDS", "(acked SDS) | (acked LDS)"),
            ("del LDS a; set LDS ours@1:80", "LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS; set SDS s@2", "SDS +s@2"),
        ],
    );
    check(
        Variant::Delta,
        "a cluster stays as long as who stands in leads to it",
        &[
            ("set CDS c@1; set LDS a@1:80>c; CDS; LDS", "CDS +c@1"),
            ("ack CDS", "(acked CDS) | LDS +a@1:80"),
            ("ack LDS; del CDS c; del LDS a; set LDS ours@1:80", "(acked LDS) | LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS", ""),
            ("del LDS ours", "LDS -a -ours"),
            ("ack LDS", "(acked LDS) | CDS -c"),
        ],
    );
}

#[test]
fn places_of_what_operators_give() {
    check(
        Variant::Delta,
        "who comes back with the generated one keeps it, whatever it is taken for",
        &[
            ("set LDS ours@1:80/a@1:80; LDS ~a@1:80", "LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS", ""),
            ("set LDS ours@2:80/a@1:80", "LDS +ours@2:80 -a"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    check(
        Variant::Delta,
        "who stands in says what callers may do today",
        &[
            ("set LDS a@1:80; LDS", "LDS +a@1:80"),
            ("ack LDS; del LDS a; set LDS ours@1:80/a@1:80", "(acked LDS) | LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS; set LDS ours@1:80/a@2:80", "LDS +a@2:80"),
            ("ack LDS; set LDS ours@3:80/a@3:80", "LDS +ours@3:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@3:80"),
            ("ack LDS", ""),
        ],
    );
    check(
        Variant::Delta,
        "what is generated stands in for an operator's second listener, not the first one with the rules of then",
        &[
            ("set LDS ours@1:80/a@1:80; LDS", "LDS +ours@1:80"),
            ("ack LDS; del LDS ours; set LDS theirs@1:80/a@2:80", "(acked LDS) | LDS +theirs@1:80 -ours"),
            ("nack LDS", "(nacked LDS theirs) | LDS +a@2:80"),
            ("ack LDS", "LDS -ours"),
            ("ack LDS", ""),
        ],
    );
    check(
        Variant::Delta,
        "who comes back with another version of it has the one of today from then on",
        &[
            ("set LDS ours@1:80/a@2:80; LDS ~a@1:80", "LDS +ours@1:80 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@2:80"),
        ],
    );
    check(
        Variant::Delta,
        "who had nothing gets nothing",
        &[("set LDS ours@1:80/a@1:80; LDS", "LDS +ours@1:80"), ("nack LDS", "(nacked LDS ours)")],
    );
    check(
        Variant::Delta,
        "one that should listen elsewhere takes the place all the same",
        &[
            ("set LDS a@1:80; LDS", "LDS +a@1:80"),
            ("ack LDS; del LDS a; set LDS ours@1:81/a@1:80", "(acked LDS) | LDS +ours@1:81 -a"),
            ("nack LDS", "(nacked LDS ours) | LDS +a@1:80"),
            ("ack LDS; del LDS ours; set LDS theirs@1:82/a@1:80", "LDS +theirs@1:82 -a -ours"),
            ("nack LDS", "(nacked LDS theirs) | LDS +a@1:80"),
        ],
    );
}

#[test]
fn places_where_sets_travel_whole() {
    let sotw = |case: &str, steps: &[(&str, &str)]| check(Variant::StateOfTheWorld, case, steps);
    sotw(
        "who had the place gets it back, until the other one changes",
        &[
            ("set LDS a@1:80 b@1:81; LDS", "LDS =a@1:80 =b@1:81"),
            ("ack LDS; del LDS a; set LDS ours@1:80", "(acked LDS) | LDS =b@1:81 =ours@1:80"),
            ("nack LDS !ours", "(nacked LDS ours) | LDS =a@1:80 =b@1:81"),
            ("ack LDS", ""),
            ("set LDS b@2:81", "LDS =a@1:80 =b@2:81"),
            ("ack LDS; set LDS ours@2:80", "LDS =b@2:81 =ours@2:80"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    sotw(
        "who had the place goes with the one that was refused",
        &[
            ("set LDS a@1:80 b@1:81; LDS", "LDS =a@1:80 =b@1:81"),
            ("ack LDS; del LDS a; set LDS ours@1:80", "(acked LDS) | LDS =b@1:81 =ours@1:80"),
            ("nack LDS !ours", "(nacked LDS ours) | LDS =a@1:80 =b@1:81"),
            ("ack LDS; del LDS ours", "LDS =b@1:81"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    sotw(
        "who stands in says what callers may do today",
        &[
            ("set LDS a@1:80; LDS", "LDS =a@1:80"),
            ("ack LDS; del LDS a; set LDS ours@1:80/a@1:80", "(acked LDS) | LDS =ours@1:80"),
            ("nack LDS !ours", "(nacked LDS ours) | LDS =a@1:80"),
            ("ack LDS; set LDS ours@1:80/a@2:80", "LDS =a@2:80"),
        ],
    );
    sotw(
        "what an earlier stream gave stays under its name, and what is generated stands in",
        &[
            ("set LDS ours@1:80/a@1:80; LDS ~", "LDS =ours@1:80"),
            ("nack LDS !ours", "(nacked LDS ours) | LDS =a@1:80 =ours@1:80"),
            ("nack LDS !ours", "(nacked LDS a)"),
            ("set LDS ours@2:80/a@1:80", "LDS =ours@2:80"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
}

/// Names of listeners, each with its port.
const LISTENERS: [(&str, u32); 5] = [("a", 80), ("b", 80), ("c", 80), ("d", 81), ("e", 81)];

/// A content that the client refuses.
const BAD: u8 = 9;

/// What should be there: on each port one of its listeners or none, each of some content.
type Wanted = BTreeMap<u32, (&'static str, u8)>;

fn any_content() -> impl Strategy<Value = u8> {
    prop_oneof![2 => 1..3_u8, 1 => Just(BAD)]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let on = |port: u32| {
        let names: Vec<_> = LISTENERS.into_iter().filter(|(_, at)| *at == port).map(|(name, _)| name).collect();
        prop::option::weighted(0.8, (prop::sample::select(names), any_content()))
    };
    (on(80), on(81))
        .prop_map(|(a, b)| [(80, a), (81, b)].into_iter().filter_map(|(port, it)| Some((port, it?))).collect())
}

/// A client that takes away what is gone before it adds what is new, and has no two listeners on one port, as Envoy.
struct Client {
    variant: Variant,
    session: Session,
    held: BTreeMap<Arc<str>, String>,
    published: u64,
    /// A response that is not answered yet.
    sent: Option<Response>,
}

/// More responses than any change takes.
const ALL: usize = 50;

impl Client {
    fn new(variant: Variant) -> Self {
        let session = Session::new(variant, 100);
        let mut client = Self { variant, session, held: BTreeMap::new(), published: 0, sent: None };
        client.request(String::new(), None);
        client
    }

    fn request(&mut self, nonce: String, rejection: Option<String>) {
        let interest = match self.variant {
            Variant::Delta => Interest::Delta { subscribe: vec![], unsubscribe: vec![], initial_versions: vec![] },
            Variant::StateOfTheWorld => Interest::StateOfTheWorld { names: vec![], has_taken: false },
        };
        let request = Request { kind: ResourceType::Listener, nonce, rejection, interest };
        self.session.on_request(request).unwrap();
    }

    /// Takes what should be there, and answers `most` times, or as long as something comes.
    fn follow(&mut self, wanted: &Wanted, most: usize) {
        let mut snapshot = Snapshot::default();
        for (port, (name, content)) in wanted {
            let body = listener(&format!("{content}:{port}"), *port);
            snapshot.insert(ResourceType::Listener, Arc::new(Resource::new(name, body, [])));
        }
        self.published += 1;
        self.session.on_snapshot(Published { number: self.published, snapshot: Arc::new(snapshot) });
        for _ in 0..most {
            self.sent = self.sent.take().or_else(|| self.session.next(Duration::ZERO));
            match self.sent.take() {
                Some(response) => self.answer(response),
                None => return,
            }
        }
        assert!(most < ALL, "responses without end");
        self.sent = self.sent.take().or_else(|| self.session.next(Duration::ZERO));
    }

    fn answer(&mut self, response: Response) {
        let resources = match response.content {
            Content::Delta { resources, removed } => {
                removed.iter().for_each(|name| drop(self.held.remove(name)));
                resources
            }
            Content::StateOfTheWorld { resources, .. } => {
                self.held.retain(|name, _| resources.iter().any(|it| it.name == *name));
                resources
            }
        };
        let mut refused = Vec::new();
        for resource in resources {
            let content = content(&resource);
            let (_, port) = content.split_once(':').unwrap();
            let is_taken = self.held.iter().any(|(name, held)| *name != resource.name && held.ends_with(port));
            if is_taken || content.starts_with(&BAD.to_string()) {
                refused.push(format!("{}: no", resource.name));
            } else {
                self.held.insert(resource.name.clone(), content);
            }
        }
        let rejection = (!refused.is_empty()).then(|| refused.join("\n"));
        self.request(response.nonce.to_string(), rejection);
    }

    /// The ports on which something listens.
    fn ports(&self) -> BTreeSet<u32> {
        self.held.values().map(|content| content.split_once(':').unwrap().1.parse().unwrap()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_refused_listener_costs_no_port(
        steps in prop::collection::vec((wanted(), 0..3_usize, any_content()), 1..8),
        is_delta in any::<bool>(),
    ) {
        let mut client = Client::new(if is_delta { Variant::Delta } else { Variant::StateOfTheWorld });
        for (wanted, answers, other) in steps {
            let before = client.ports();
            // The contents are others for a moment: while those are being answered, these are wanted.
            let passing = wanted.iter().map(|(port, (name, _))| (*port, (*name, other))).collect();
            client.follow(&passing, answers);
            client.follow(&wanted, ALL);

            for (port, (name, content)) in &wanted {
                if *content == BAD {
                    let is_served = client.ports().contains(port);
                    prop_assert!(is_served || !before.contains(port), "{} on {}", name, port);
                } else {
                    prop_assert_eq!(client.held.get(*name), Some(&format!("{content}:{port}")));
                }
            }
            prop_assert!(client.ports().iter().all(|port| wanted.contains_key(port)), "{:?}", client.held);
        }
    }
}
