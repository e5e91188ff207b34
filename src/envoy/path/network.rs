//! Every proxy with what it was sent, and which address leads to which of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::Listener;

use super::cluster::{canonical, socket_address};
use super::known::decode;
use super::listener::is_bound_to;
use super::request::Traffic;
use super::tls::Hello;
use super::walk::{Arrival, Walk, Wire};
use super::{Answer, End, Link, Outcome, Stop, Unknown};
use crate::envoy::snapshot::{ResourceType, Snapshot};
use crate::ir::SocketAddress;

/// Proxies and addresses.
#[derive(Debug, Default)]
pub struct Network {
    proxies: BTreeMap<Arc<str>, Proxy>,
    doors: BTreeMap<SocketAddress, BTreeSet<Door>>,
    places: BTreeMap<Arc<str>, Arc<str>>,
    left_out: BTreeSet<Arc<str>>,
}

/// Where a connection to some address comes out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Door {
    /// The proxy that accepts it.
    pub proxy: Arc<str>,
    /// The address at which it comes to this proxy. It differs from the one that was dialled where something translates
    /// addresses in between.
    pub local: SocketAddress,
    /// The place whose proxies come to it; `None` if those of every place do. Private addresses mean another host in each place.
    pub within: Option<Arc<str>>,
}

/// A TLS client that is no proxy. It accepts whomever it meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The SNI that it sends.
    pub sni: String,
    /// Its certificate with its intermediates in PEM; `None` if it shows none.
    pub certificates: Option<String>,
}

#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) snapshot: Arc<Snapshot>,
    listeners: Vec<Listener>,
}

impl Proxy {
    /// The listener that accepts what is dialled at `local`.
    pub(super) fn listener_at(&self, local: &SocketAddress) -> Result<Option<&Listener>, Unknown> {
        for exactly in [true, false] {
            for listener in &self.listeners {
                if is_bound_to(listener, local, exactly)? {
                    return Ok(Some(listener));
                }
            }
        }
        Ok(None)
    }

    /// The listeners for an upstream, by its name in names of listeners.
    fn upstreams(&self, name: &str) -> impl Iterator<Item = &Listener> {
        let is_outbound = |listener: &&Listener| listener.traffic_direction == i32::from(TrafficDirection::Outbound);
        let is_for = move |listener: &&Listener| {
            listener.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        self.listeners.iter().filter(is_outbound).filter(is_for)
    }
}

impl Network {
    /// Adds a proxy, or what it was sent meanwhile.
    ///
    /// # Errors
    /// One of its listeners cannot be decoded.
    pub fn add_proxy(&mut self, name: &str, snapshot: Arc<Snapshot>) -> Result<(), Unknown> {
        let listeners = snapshot.get(ResourceType::Listener).values().map(|resource| decode(&resource.body));
        let listeners = listeners.collect::<Result<_, _>>()?;
        self.proxies.insert(name.into(), Proxy { snapshot, listeners });
        Ok(())
    }

    /// Says that connections to `dialled` come out at `door`. Several doors at one address stand for something that
    /// spreads connections over them, such as a load balancer or a host name with several addresses.
    pub fn add_door(&mut self, dialled: &SocketAddress, door: Door) {
        let local = canonical(&door.local);
        self.doors.entry(canonical(dialled)).or_default().insert(Door { local, ..door });
    }

    /// Says in which place a proxy is, so that the doors within this place are open to it.
    pub fn locate(&mut self, proxy: &str, place: &str) {
        self.places.insert(proxy.into(), place.into());
    }

    /// Leaves a proxy out, so that large meshes can be looked at in part: ways that lead into it are not followed, and are no
    /// outcomes.
    pub fn leave_out(&mut self, proxy: &str) {
        self.left_out.insert(proxy.into());
    }

    /// True if a proxy accepts what is dialled at this address of its own.
    pub fn listens(&self, proxy: &str, local: &SocketAddress) -> bool {
        let found = self.proxy(proxy).map(|proxy| proxy.listener_at(&canonical(local)));
        matches!(found, Some(Ok(Some(_))))
    }

    pub(super) fn proxy(&self, name: &str) -> Option<&Proxy> {
        self.proxies.get(name)
    }

    pub(super) fn is_left_out(&self, proxy: &str) -> bool {
        self.left_out.contains(proxy)
    }

    /// Where a connection comes out that a proxy, or somebody who is none, opens to an address. What has this address in the
    /// caller's own place is nearer than what has it for everybody.
    pub(super) fn doors(&self, dialled: &SocketAddress, caller: Option<&str>) -> impl Iterator<Item = &Door> {
        let place = caller.and_then(|caller| self.places.get(caller));
        let doors = self.doors.get(dialled).into_iter().flatten();
        let within = place.filter(|place| doors.clone().any(|door| door.within.as_ref() == Some(*place)));
        doors.filter(move |door| door.within.as_ref() == within)
    }

    /// Where traffic ends that an application sends to an upstream of its proxy. The upstream is named as in names of
    /// listeners, such as `api` or `api?dc=dc2` (contract 1.6).
    pub fn from_upstream(&self, proxy: &str, upstream: &str, traffic: &Traffic) -> Answer {
        let mut walk = Walk::new(self);
        let end = match self.proxies.get_key_value(proxy) {
            Some((name, found)) => {
                let mut listeners = found.upstreams(upstream).peekable();
                let end = listeners.peek().is_none().then(|| Stop::NoUpstream(upstream.to_owned()).into());
                for listener in listeners {
                    match socket_address(listener.address.as_ref()) {
                        Ok(local) => {
                            let arrival = Arrival { proxy: name.clone(), local, wire: Wire::new(None, traffic) };
                            walk.start(arrival, Some(listener));
                        }
                        Err(unknown) => return only(proxy, unknown),
                    }
                }
                end
            }
            None => Some(End::Unknown(Unknown::Proxy(proxy.to_owned()))),
        };
        end.map_or_else(|| walk.finish(), |end| only(proxy, end))
    }

    /// Where traffic ends that somebody sends to `address`, over TLS if there is a `client`.
    pub fn from_address(&self, address: &SocketAddress, client: Option<&Client>, traffic: &Traffic) -> Answer {
        let hello = client.map(|client| Hello::by_hand(&client.sni, client.certificates.as_deref()));
        let mut walk = Walk::new(self);
        match hello.transpose() {
            Ok(hello) => walk.dialled_by_hand(&canonical(address), Wire::new(hello, traffic)),
            Err(unknown) => return Answer { outcomes: [Outcome { links: Vec::new(), end: unknown.into() }].into() },
        }
        walk.finish()
    }
}

/// The answer that all ends at the first proxy, before any listener.
fn only(proxy: &str, end: impl Into<End>) -> Answer {
    let link = Link { proxy: proxy.into(), ..Link::default() };
    Answer { outcomes: [Outcome { links: vec![link], end: end.into() }].into() }
}
