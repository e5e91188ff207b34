//! Whom an intention is about.

use std::fmt;

use crate::model::{Namespace, PeerName, ServiceName};

/// The callers that an intention is about. A name or namespace `*` stands for all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    /// The peer that they belong to; empty for the own cluster.
    pub(super) peer: PeerName,
    /// The service. For a peer's, the partition means nothing.
    pub(super) service: ServiceName,
}

impl Source {
    /// True if this stands for a single service.
    fn is_exact(&self) -> bool {
        &*self.service.name != "*"
    }

    /// The sources with wildcards that stand for all of this one and more, the narrowest first.
    pub(super) fn wider(&self) -> Vec<Source> {
        let with = |namespace: &Namespace| Source {
            peer: self.peer.clone(),
            service: ServiceName::new(&self.service.partition, namespace, "*"),
        };
        let mut wider = Vec::new();
        if self.is_exact() {
            wider.push(with(&self.service.namespace));
        }
        if self.service.namespace.as_str() != "*" {
            wider.push(with(&Namespace::from("*")));
        }
        wider
    }

    /// How much it leaves open; what leaves less open comes first among exceptions.
    pub(super) fn wildcards(&self) -> usize {
        usize::from(!self.is_exact()) + usize::from(self.service.namespace.as_str() == "*")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)?;
        if self.peer.is_default() { Ok(()) } else { write!(f, " of peer {}", self.peer) }
    }
}
