//! Secrets: what a proxy proves itself with, and whom it trusts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::UpstreamId;

/// Which secret is meant. A name says what a secret is for and never what is in it, so that it is the same on every
/// stream, and a rotation or another peer touches neither a listener nor a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretName {
    /// The proxy's own certificate and key.
    Leaf,
    /// Whom it trusts where it calls.
    Roots(Roots),
    /// Whom it trusts where it is called.
    Callers(Callers),
}

/// Whose certificates are trusted where a proxy calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Roots {
    /// Those of the own trust domain.
    Own,
    /// Those of a peer, by the name that our side gave it.
    Peer(Arc<str>),
}

/// The role in which a proxy is called. Every role has a secret of its own, which says who may call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Callers {
    /// Those of the application behind a sidecar.
    Inbound,
    /// Those of a service that a mesh gateway exports to peers.
    Exported(UpstreamId),
}

/// Whom a proxy trusts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Whoever has a certificate of one of these roots, in PEM form.
    Roots(String),
    /// Whoever has a certificate of one of the roots of the trust domain that it names; roots in PEM form by trust domain.
    Domains(BTreeMap<String, String>),
}
