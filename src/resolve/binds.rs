//! Listeners that no Envoy could open are left out and reported, whoever asked for them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Part, PeerError, Refused};
use crate::ir::{Bind, ListenerName};
use crate::model::{self, LONGEST_SOCKET_PATH, is_socket_path};

/// What a proxy goes without, because Envoy would refuse it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// The address is a host name, or no address at all.
    NoIp {
        /// What the listener is for.
        listener: String,
        /// Its address.
        host: String,
    },
    /// Another listener of the proxy has the same address and port.
    Taken {
        /// What the listener is for.
        listener: String,
        /// The address and port.
        at: String,
        /// What has them.
        by: String,
    },
    /// The path of the socket is too long, or holds a zero byte.
    Path {
        /// What the listener is for.
        listener: String,
        /// The path.
        path: String,
    },
    /// An escape hatch of an upstream whose discovery chain is not the default one.
    Hatch {
        /// Whose it is.
        origin: Arc<str>,
    },
    /// Calls that nobody could judge as their intentions mean it.
    Calls {
        /// What is called.
        service: model::ServiceName,
        /// Which calls, and why.
        why: Refused,
    },
    /// A target of an upstream is in a peer, and cannot be dialled.
    PeerTarget {
        /// The upstream as its registration names it.
        upstream: String,
        /// Why not.
        source: PeerError,
    },
    /// What a prepared query answers; its upstream has a cluster of the operator's.
    Answer {
        /// The upstream as its registration names it.
        upstream: String,
    },
    /// What a gateway cannot tell from something else by its SNI, or by none at all.
    Sni {
        /// What is not reached.
        what: String,
        /// Its SNI.
        sni: String,
        /// What the SNI leads to; `None` if no SNI can be like that.
        by: Option<String>,
    },
    /// An extension of the generated configuration.
    Extension {
        /// Whose it is.
        origin: String,
        /// The name of the extension.
        name: String,
    },
    /// A part of what is exported to peers.
    Export {
        /// The service.
        service: model::ServiceName,
        /// Why peers do not reach it.
        why: String,
    },
    /// Servers of a peer.
    PeerAddress {
        /// The peer.
        peer: model::PeerName,
        /// Their address.
        address: String,
    },
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeftOut::NoIp { listener, host } => write!(
                f,
                "{listener} is left out: it would listen on {host:?}, which is no IP address; give it one, for example \
                 with the option bind_address of a sidecar or envoy_gateway_bind_addresses of a gateway"
            ),
            LeftOut::Taken { listener, at, by } => {
                write!(f, "{listener} is left out: it would listen on {at}, where {by} listens; give it another port")
            }
            LeftOut::Path { listener, path } => write!(
                f,
                "{listener} is left out: the path of its socket, {path:?}, must have at most {LONGEST_SOCKET_PATH} bytes \
                 and no zero byte"
            ),
            LeftOut::Hatch { origin } => write!(
                f,
                "{origin} has no effect: the service has a discovery chain (a router, a splitter, a resolver, or a \
                 setting of the upstream that changes it), and a given resource would hide it"
            ),
            LeftOut::Calls { service, why } => write!(f, "intentions about {service}: {why}"),
            LeftOut::PeerTarget { upstream, source } => {
                write!(f, "upstream {upstream} goes without a target: {source}")
            }
            LeftOut::Answer { upstream } => write!(
                f,
                "upstream {upstream} is a prepared query, and nothing is known of what it answers: whoever has a \
                 certificate of this trust domain may answer at the cluster that is given for it"
            ),
            LeftOut::Sni { what, sni, by: Some(by) } => write!(
                f,
                "the way to {what} is left out: in lower case its SNI is {sni:?}, which leads to {by}; one of them needs \
                 another name"
            ),
            LeftOut::Sni { what, sni, by: None } => write!(
                f,
                "the way to {what} is left out: {sni:?} is no SNI, which is made of labels with dots between them, has no \
                 wildcard, and at most 255 bytes"
            ),
            LeftOut::Extension { origin, name } => {
                write!(f, "EnvoyExtensions of {origin}: {name:?} has no effect, nothing of it is configured here")
            }
            LeftOut::Export { service, why } => {
                write!(f, "service {service} is exported to peers, and they cannot reach all of it: {why}")
            }
            LeftOut::PeerAddress { peer, address } => write!(
                f,
                "the servers of peer {peer} are not dialled at {address:?}, which is not of the form host:port"
            ),
        }
    }
}

/// Where a listener listens, in one spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Ip(IpAddr, u16),
    Path(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Ip(ip, port) => std::net::SocketAddr::new(*ip, *port).fmt(f),
            Place::Path(path) => f.write_str(path),
        }
    }
}

/// Takes the listeners out of a part that cannot be opened.
pub(super) fn leave_out_binds(part: &mut Part) {
    let mut claims = Claims::default();
    let Part { resources, left_out, .. } = part;
    resources.listeners.retain(|listener| {
        // It listens where its operator says.
        if listener.given.is_some() {
            return true;
        }
        let claimed = claims.claim(&listener.name, &listener.bind);
        let is_free = claimed.is_ok();
        left_out.extend(claimed.err());
        is_free
    });
}

/// Where the listeners of one proxy listen.
#[derive(Debug, Clone, Default)]
pub struct Claims(BTreeMap<Place, ListenerName>);

impl Claims {
    /// Notes where a listener listens.
    ///
    /// # Errors
    /// It cannot listen there: that is no place, or an earlier one has it.
    pub fn claim(&mut self, listener: &ListenerName, bind: &Bind) -> Result<(), LeftOut> {
        let name = || describe(listener);
        let place = match bind {
            Bind::Tcp(host, port) => match host.parse() {
                Ok(ip) => Place::Ip(ip, *port),
                Err(_) => return Err(LeftOut::NoIp { listener: name(), host: host.to_string() }),
            },
            Bind::Pipe(path, _) if !is_socket_path(path) => {
                return Err(LeftOut::Path { listener: name(), path: path.to_string() });
            }
            Bind::Pipe(path, _) => Place::Path(path.clone()),
        };
        if let Some(by) = self.0.get(&place) {
            return Err(LeftOut::Taken { listener: name(), at: place.to_string(), by: describe(by) });
        }
        self.0.insert(place, listener.clone());
        Ok(())
    }

    /// True if both claim the same place.
    pub fn meet(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        few.0.keys().any(|place| many.0.contains_key(place))
    }
}

fn describe(name: &ListenerName) -> String {
    match name {
        ListenerName::Public => "the public listener".to_owned(),
        ListenerName::Outbound => "the listener of redirected connections".to_owned(),
        ListenerName::ExposedPath(path) => format!("the listener of the exposed path {path:?}"),
        ListenerName::Upstream(upstream) => format!("the listener of upstream {:?}", &*upstream.name),
        ListenerName::Gateway(name) => format!("the gateway's listener {name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Direction, Listener, Resources};

    fn part(listeners: &[(&str, Bind)]) -> Part {
        let listener = |(name, bind): &(&str, Bind)| {
            let name = ListenerName::Gateway((*name).into());
            Listener::new(name, bind.clone(), Direction::Unspecified, Vec::new())
        };
        let listeners = listeners.iter().map(listener).collect();
        Part { resources: Resources { listeners, ..Resources::default() }, ..Part::default() }
    }

    #[test]
    fn listeners_that_cannot_be_opened_are_left_out_and_the_others_stay() {
        let tcp = |host: &str, port| Bind::Tcp(host.into(), port);
        let listeners = [
            ("a", tcp("0.0.0.0", 80)),
            ("b", tcp("127.0.0.1", 80)),
            ("c", tcp("gateway.example", 443)),
            ("d", tcp("::1", 81)),
            ("e", tcp("0:0:0:0:0:0:0:1", 81)),
            ("f", Bind::Pipe("/x".repeat(54).into(), 0)),
            ("g", Bind::Pipe("/run/web.sock".into(), 0)),
        ];
        let mut part = part(&listeners);

        leave_out_binds(&mut part);

        let kept: Vec<String> = part.resources.listeners.iter().map(|listener| describe(&listener.name)).collect();
        assert_eq!(kept, ["a", "b", "d", "g"].map(|name| format!("the gateway's listener {name:?}")));
        let reasons: Vec<String> = part.left_out.iter().map(ToString::to_string).collect();
        assert_eq!(
            reasons[1],
            "the gateway's listener \"e\" is left out: it would listen on [::1]:81, where the gateway's listener \"d\" \
             listens; give it another port"
        );
        assert_eq!(reasons.len(), 3);
        assert!(
            reasons[0].starts_with("the gateway's listener \"c\" is left out: it would listen on \"gateway.example\"")
        );
    }
}
