//! A little language for tables: event in, messages out.
//!
//! ```text
//! set CDS a@1 b@2; set LDS l@1>a   snapshot: resource a of content 1; a listener that leads to cluster a
//! set LDS l@1:80                   snapshot: a listener of this content that listens on port 80
//! set LDS ours@1:80/l@1:80         snapshot: an operator's listener in place of that one
//! del CDS a                        snapshot without it
//! lack LDS, whole LDS              snapshot in which something could not be made; one with everything
//! CDS +a -b ~c@1                   Delta request: subscribe, unsubscribe, initial version (of content 1; ? is foreign)
//! EDS =a =b                        State-of-the-World request with the latest nonce; `=` alone is no name, and `~` says
//!                                  that something was taken before
//! ack CDS, nack CDS +x             answer to the latest response, with changes of interest
//! nack LDS !a, nack LDS ?a         refusal that says of what: what cannot be used, what cannot be read
//! nonce CDS 99 +a                  request with this nonce
//! tick 20                          seconds pass
//! ```
//!
//! What comes out is written alike: `CDS +a@1 -b` for Delta, `CDS =a@1` for State-of-the-World, and events as
//! `(acked CDS)`, `(nacked CDS a)`, `(overdue CDS)`. A cluster leads to its own endpoints unless `>` says otherwise.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress, address};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use prost::Message;

use crate::ads::message::{Content, Event, Interest, Request, Response, Variant};
use crate::ads::session::Session;
use crate::envoy::snapshot::{Open, Published, Resource, ResourceType, Snapshot};
use crate::envoy::stub;

/// A session, the snapshot behind it and what its client said last.
pub(super) struct Script {
    pub(super) session: Session,
    variant: Variant,
    snapshot: Snapshot,
    published: u64,
    now: Duration,
    nonces: HashMap<ResourceType, u64>,
    names: HashMap<ResourceType, Vec<String>>,
}

/// Runs events one after the other and compares what each makes the session send.
pub(super) fn check(variant: Variant, case: &str, steps: &[(&str, &str)]) {
    let mut script = Script::new(variant);
    for (number, (event, expected)) in steps.iter().enumerate() {
        assert_eq!(script.run(event), *expected, "{case}: step {number}: {event}");
    }
}

impl Script {
    pub(super) fn new(variant: Variant) -> Self {
        Self {
            session: Session::new(variant, 100),
            variant,
            snapshot: Snapshot::default(),
            published: 0,
            now: Duration::ZERO,
            nonces: HashMap::new(),
            names: HashMap::new(),
        }
    }

    pub(super) fn run(&mut self, events: &str) -> String {
        let mut out = Vec::new();
        let mut is_changed = false;
        for event in events.split(';') {
            let words: Vec<_> = event.split_whitespace().collect();
            match *words {
                ["set", kind, ref resources @ ..] => {
                    let kind = parse_kind(kind);
                    resources.iter().for_each(|text| self.snapshot.insert(kind, Arc::new(resource(kind, text))));
                    is_changed = true;
                }
                ["del", kind, ref names @ ..] => {
                    for name in names {
                        self.snapshot.get_mut(parse_kind(kind)).remove(name);
                    }
                    is_changed = true;
                }
                [word @ ("lack" | "whole"), kind] => {
                    is_changed |= self.snapshot.set_incomplete(parse_kind(kind), word == "lack");
                }
                ["tick", seconds] => {
                    self.now += Duration::from_secs(seconds.parse().unwrap());
                    out.extend(self.session.on_tick(self.now).iter().map(show_event));
                }
                ["ack", kind, ref rest @ ..] => out.extend(self.answer(kind, None, rest)),
                ["nack", kind, ref rest @ ..] => out.extend(self.answer(kind, Some(&refusal(rest)), rest)),
                ["nonce", kind, nonce, ref rest @ ..] => out.extend(self.request(kind, nonce, None, rest)),
                [kind, ref rest @ ..] => {
                    let latest =
                        self.nonces.get(&parse_kind(kind)).filter(|_| self.variant == Variant::StateOfTheWorld);
                    let nonce = latest.map(u64::to_string).unwrap_or_default();
                    out.extend(self.request(kind, &nonce, None, rest));
                }
                [] => {}
            }
        }
        if is_changed {
            self.published += 1;
            self.session.on_snapshot(Published { number: self.published, snapshot: Arc::new(self.snapshot.clone()) });
        }
        while let Some(response) = self.session.next(self.now) {
            self.nonces.insert(response.kind, response.nonce);
            out.push(show(&response));
        }
        out.join(" | ")
    }

    /// What the client does not hold as it should, each with the snapshots that it is pending for: `CDS a (1,2]`, and
    /// with `!` what it refused, with `~` what is withheld; `?` while it is about to answer.
    pub(super) fn unsettled(&mut self) -> String {
        let Some(progress) = self.session.progress() else { return "?".to_owned() };
        let shown = progress.unsettled.iter().map(|it| {
            let mark = match it.why {
                Open::Waiting => "",
                Open::Withheld => "~",
                Open::Refused => "!",
            };
            let name = it.name.as_deref().unwrap_or("*");
            let until = if it.changed.until == u64::MAX { "..".to_owned() } else { it.changed.until.to_string() };
            format!("{mark}{} {name} ({},{until}]", it.kind, it.changed.after)
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    fn answer(&mut self, kind: &str, rejection: Option<&str>, rest: &[&str]) -> Option<String> {
        let nonce = self.nonces[&parse_kind(kind)].to_string();
        self.request(kind, &nonce, rejection, rest)
    }

    fn request(&mut self, kind: &str, nonce: &str, rejection: Option<&str>, rest: &[&str]) -> Option<String> {
        let kind = parse_kind(kind);
        let pick = |mark: char| rest.iter().filter_map(move |word| word.strip_prefix(mark)).map(str::to_owned);
        let interest = match self.variant {
            Variant::Delta => Interest::Delta {
                subscribe: pick('+').collect(),
                unsubscribe: pick('-').collect(),
                initial_versions: pick('~').map(|held| initial_version(&held)).collect(),
            },
            Variant::StateOfTheWorld => {
                if rest.iter().any(|word| word.starts_with('=')) {
                    self.names.insert(kind, pick('=').filter(|name| !name.is_empty()).collect());
                }
                let names = self.names.get(&kind).cloned().unwrap_or_default();
                Interest::StateOfTheWorld { names, has_taken: pick('~').next().is_some() }
            }
        };
        let rejection = rejection.map(str::to_owned);
        let event = self.session.on_request(Request { kind, nonce: nonce.to_owned(), rejection, interest }).unwrap();
        event.as_ref().map(show_event)
    }
}

/// What an Envoy says that refuses these.
fn refusal(words: &[&str]) -> String {
    let says = |word: &&str| match word.split_at(1) {
        ("!", name) => Some(format!("{name}: no")),
        ("?", name) => Some(format!("\nname: \"{name}\"\nno: true")),
        _ => None,
    };
    let said: Vec<_> = words.iter().filter_map(says).collect();
    if said.is_empty() { "no".to_owned() } else { format!("Error adding/updating listener(s) {}", said.join("\n")) }
}

pub(super) fn parse_kind(name: &str) -> ResourceType {
    ResourceType::ALL.into_iter().find(|kind| kind.short_name() == name).unwrap()
}

pub(super) fn resource(kind: ResourceType, text: &str) -> Resource {
    let (head, references) = match text.split_once('>') {
        Some((head, references)) => (head, references.split(',').filter(|name| !name.is_empty()).collect()),
        None if kind == ResourceType::Cluster => (text, vec![text.split('@').next().unwrap()]),
        None => (text, Vec::new()),
    };
    let (head, generated) = head.split_once('/').map_or((head, None), |(head, generated)| (head, Some(generated)));
    let (name, content) = head.split_once('@').unwrap();
    let body = match content.split_once(':') {
        Some((_, port)) => listener(content, port.parse().unwrap()),
        None => Bytes::copy_from_slice(content.as_bytes()),
    };
    let instead_of = generated.map(|generated| Arc::new(resource(kind, generated)));
    Resource { instead_of, ..Resource::new(name, body, references.into_iter().map(Arc::from)) }
}

/// A listener of this content.
pub(super) fn listener(content: &str, port: u32) -> Bytes {
    let port = PortSpecifier::PortValue(port);
    let socket = SocketAddress { address: "127.0.0.1".to_owned(), port_specifier: Some(port), ..Default::default() };
    let address = Address { address: Some(address::Address::SocketAddress(socket)) };
    let listener = Listener { address: Some(address), stat_prefix: content.to_owned(), ..Default::default() };
    Bytes::from(listener.encode_to_vec())
}

/// What a resource was made with.
pub(super) fn content(resource: &Resource) -> String {
    let listener = Listener::decode(resource.body.clone()).ok().filter(|it| it.address.is_some());
    listener.map_or_else(|| String::from_utf8(resource.body.to_vec()).unwrap(), |listener| listener.stat_prefix)
}

fn initial_version(held: &str) -> (String, String) {
    let (name, content) = held.split_once('@').unwrap();
    let version = match content {
        "?" => "foreign".to_owned(),
        _ => resource(ResourceType::Listener, held).version.to_string(),
    };
    (name.to_owned(), version)
}

fn show(response: &Response) -> String {
    let name = |resource: &Resource| match *resource == stub::missing_route(&resource.name) {
        true => format!("{}@stub", resource.name),
        false => format!("{}@{}", resource.name, content(resource)),
    };
    let words: Vec<_> = match &response.content {
        Content::Delta { resources, removed } => {
            let removed = removed.iter().map(|name| format!("-{name}"));
            resources.iter().map(|it| format!("+{}", name(it))).chain(removed).collect()
        }
        Content::StateOfTheWorld { resources, .. } => resources.iter().map(|it| format!("={}", name(it))).collect(),
    };
    let kind = response.kind.short_name().to_owned();
    [vec![kind], words].concat().join(" ")
}

fn show_event(event: &Event) -> String {
    match event {
        Event::Acked { kind } => format!("(acked {kind})"),
        Event::Nacked { kind, resources, .. } => {
            let names: String = resources.iter().map(|(name, _)| format!(" {name}")).collect();
            format!("(nacked {kind}{names})")
        }
        Event::Overdue { kind } => format!("(overdue {kind})"),
    }
}
