//! Config entries: settings of the mesh that belong to no single instance.
//!
//! One file per kind, each with its struct, `normalize` and `validate`. Entries are global across federated datacenters
//! and live in one partition. What was stored is read back unchanged, apart from documented normalisations.

mod exported_services;
mod header_modifiers;
mod http_match;
mod ingress_gateway;
mod mesh;
mod proxy_defaults;
mod service_defaults;
mod service_intentions;
mod service_resolver;
mod service_router;
mod service_splitter;
mod terminating_gateway;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

pub use exported_services::{Consumer, ExportedService, ExportedServices};
pub use header_modifiers::HeaderModifiers;
pub use ingress_gateway::{
    IngressGateway, IngressLimits, IngressListener, IngressSds, IngressService, IngressServiceTls, IngressTls,
};
pub use mesh::{
    EscapedSlashesAction, GatewayHealth, Mesh, MeshHttp, MeshHttpIncoming, MeshPeering, MeshTls, MeshTransparentProxy,
    RequestNormalization, TlsDirection, UnderscoresAction,
};
pub use proxy_defaults::{PERMISSIVE, ProxyDefaults};
pub use service_defaults::{
    Destination, PassiveHealthCheck, ServiceDefaults, UpstreamConfig, UpstreamConfiguration, UpstreamLimits,
};
pub use service_intentions::{IntentionHeader, IntentionHttp, IntentionPermission, IntentionSource, ServiceIntentions};
pub use service_resolver::{
    CookieConfig, Failover, FailoverTarget, HashPolicy, LeastRequestConfig, LoadBalancer, Redirect, RingHashConfig,
    ServiceResolver, Subset,
};
pub use service_router::{HeaderMatch, HttpMatch, QueryParamMatch, Route, RouteDestination, RouteMatch, ServiceRouter};
pub use service_splitter::{ServiceSplitter, Split};
pub use terminating_gateway::{LinkedService, TerminatingGateway};

use super::{Namespace, Partition, Problems, ServiceName};

/// The kinds of config entries that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntryKind {
    /// Defaults of every proxy.
    #[serde(rename = "proxy-defaults")]
    ProxyDefaults,
    /// Settings of one service and of what it calls.
    #[serde(rename = "service-defaults")]
    ServiceDefaults,
    /// Where a service's name leads.
    #[serde(rename = "service-resolver")]
    ServiceResolver,
    /// Which requests to a service go where.
    #[serde(rename = "service-router")]
    ServiceRouter,
    /// Parts of a service's traffic that go elsewhere.
    #[serde(rename = "service-splitter")]
    ServiceSplitter,
    /// Who may call a service.
    #[serde(rename = "service-intentions")]
    ServiceIntentions,
    /// What other partitions and peers may reach.
    #[serde(rename = "exported-services")]
    ExportedServices,
    /// Settings of the whole mesh.
    #[serde(rename = "mesh")]
    Mesh,
    /// Where a gateway takes calls from outside the mesh.
    #[serde(rename = "ingress-gateway")]
    IngressGateway,
    /// What a gateway leads to outside the mesh.
    #[serde(rename = "terminating-gateway")]
    TerminatingGateway,
}

impl EntryKind {
    /// Every kind, sorted by name.
    pub const ALL: [EntryKind; 10] = [
        EntryKind::ExportedServices,
        EntryKind::IngressGateway,
        EntryKind::Mesh,
        EntryKind::ProxyDefaults,
        EntryKind::ServiceDefaults,
        EntryKind::ServiceIntentions,
        EntryKind::ServiceResolver,
        EntryKind::ServiceRouter,
        EntryKind::ServiceSplitter,
        EntryKind::TerminatingGateway,
    ];

    /// The kind as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::ProxyDefaults => "proxy-defaults",
            EntryKind::ServiceDefaults => "service-defaults",
            EntryKind::ServiceResolver => "service-resolver",
            EntryKind::ServiceRouter => "service-router",
            EntryKind::ServiceSplitter => "service-splitter",
            EntryKind::ServiceIntentions => "service-intentions",
            EntryKind::ExportedServices => "exported-services",
            EntryKind::Mesh => "mesh",
            EntryKind::IngressGateway => "ingress-gateway",
            EntryKind::TerminatingGateway => "terminating-gateway",
        }
    }

    /// True for kinds whose entries belong to a namespace, not only to a partition.
    pub const fn is_namespaced(self) -> bool {
        match self {
            EntryKind::ServiceDefaults
            | EntryKind::ServiceResolver
            | EntryKind::ServiceRouter
            | EntryKind::ServiceSplitter
            | EntryKind::ServiceIntentions
            | EntryKind::IngressGateway
            | EntryKind::TerminatingGateway => true,
            EntryKind::ProxyDefaults | EntryKind::ExportedServices | EntryKind::Mesh => false,
        }
    }

    /// The kind with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What identifies an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// Its kind.
    pub kind: EntryKind,
    /// Its name with its tenancy. Kinds that belong to a partition have the namespace `default`.
    pub name: ServiceName,
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A config entry of any kind.
#[allow(clippy::large_enum_variant, reason = "entries are few and live behind reference counts")]
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigEntry {
    /// Defaults of every proxy.
    ProxyDefaults(ProxyDefaults),
    /// Settings of one service.
    ServiceDefaults(ServiceDefaults),
    /// Where a service's name leads.
    ServiceResolver(ServiceResolver),
    /// Which requests to a service go where.
    ServiceRouter(ServiceRouter),
    /// Parts of a service's traffic that go elsewhere.
    ServiceSplitter(ServiceSplitter),
    /// Who may call a service.
    ServiceIntentions(ServiceIntentions),
    /// What others may reach.
    ExportedServices(ExportedServices),
    /// Settings of the whole mesh.
    Mesh(Mesh),
    /// Where a gateway takes calls from outside the mesh.
    IngressGateway(IngressGateway),
    /// What a gateway leads to outside the mesh.
    TerminatingGateway(TerminatingGateway),
}

/// Applies one expression to whichever entry it is.
macro_rules! each {
    ($entry:expr, $inner:ident => $body:expr) => {
        match $entry {
            ConfigEntry::ProxyDefaults($inner) => $body,
            ConfigEntry::ServiceDefaults($inner) => $body,
            ConfigEntry::ServiceResolver($inner) => $body,
            ConfigEntry::ServiceRouter($inner) => $body,
            ConfigEntry::ServiceSplitter($inner) => $body,
            ConfigEntry::ServiceIntentions($inner) => $body,
            ConfigEntry::ExportedServices($inner) => $body,
            ConfigEntry::Mesh($inner) => $body,
            ConfigEntry::IngressGateway($inner) => $body,
            ConfigEntry::TerminatingGateway($inner) => $body,
        }
    };
}

impl ConfigEntry {
    /// Its kind.
    pub fn kind(&self) -> EntryKind {
        match self {
            ConfigEntry::ProxyDefaults(_) => EntryKind::ProxyDefaults,
            ConfigEntry::ServiceDefaults(_) => EntryKind::ServiceDefaults,
            ConfigEntry::ServiceResolver(_) => EntryKind::ServiceResolver,
            ConfigEntry::ServiceRouter(_) => EntryKind::ServiceRouter,
            ConfigEntry::ServiceSplitter(_) => EntryKind::ServiceSplitter,
            ConfigEntry::ServiceIntentions(_) => EntryKind::ServiceIntentions,
            ConfigEntry::ExportedServices(_) => EntryKind::ExportedServices,
            ConfigEntry::Mesh(_) => EntryKind::Mesh,
            ConfigEntry::IngressGateway(_) => EntryKind::IngressGateway,
            ConfigEntry::TerminatingGateway(_) => EntryKind::TerminatingGateway,
        }
    }

    /// What identifies it. Meaningful after `normalize`.
    pub fn key(&self) -> EntryKey {
        let name = match self {
            ConfigEntry::ProxyDefaults(entry) => ServiceName::new(&entry.partition, &Namespace::default(), &entry.name),
            ConfigEntry::ServiceDefaults(entry) => ServiceName::new(&entry.partition, &entry.namespace, &entry.name),
            ConfigEntry::ServiceResolver(entry) => ServiceName::new(&entry.partition, &entry.namespace, &entry.name),
            ConfigEntry::ServiceRouter(entry) => ServiceName::new(&entry.partition, &entry.namespace, &entry.name),
            ConfigEntry::ServiceSplitter(entry) => ServiceName::new(&entry.partition, &entry.namespace, &entry.name),
            ConfigEntry::ServiceIntentions(entry) => ServiceName::new(&entry.partition, &entry.namespace, &entry.name),
            ConfigEntry::ExportedServices(entry) => {
                ServiceName::new(&entry.partition, &Namespace::default(), &entry.name)
            }
            ConfigEntry::Mesh(entry) => ServiceName::new(&entry.partition, &Namespace::default(), Mesh::NAME),
            ConfigEntry::IngressGateway(entry) => ServiceName::new(&entry.partition, &entry.namespace, &entry.name),
            ConfigEntry::TerminatingGateway(entry) => ServiceName::new(&entry.partition, &entry.namespace, &entry.name),
        };
        EntryKey { kind: self.kind(), name }
    }

    /// The free-form facts about it.
    pub fn meta_mut(&mut self) -> &mut BTreeMap<String, String> {
        each!(self, entry => &mut entry.meta)
    }

    /// Puts the entry into `partition` and `namespace` where it names none itself, and into its canonical form.
    pub fn normalize(&mut self, partition: &Partition, namespace: &Namespace) {
        each!(self, entry => {
            if entry.partition.is_default() {
                entry.partition = partition.clone();
            }
        });
        match self {
            ConfigEntry::ProxyDefaults(entry) => entry.normalize(),
            ConfigEntry::ServiceDefaults(entry) => entry.normalize(namespace),
            ConfigEntry::ServiceResolver(entry) => entry.normalize(namespace),
            ConfigEntry::ServiceRouter(entry) => entry.normalize(namespace),
            ConfigEntry::ServiceSplitter(entry) => entry.normalize(namespace),
            ConfigEntry::ServiceIntentions(entry) => entry.normalize(namespace),
            ConfigEntry::ExportedServices(entry) => entry.normalize(),
            // Given or not, it means the same entry.
            ConfigEntry::Mesh(entry) => entry.name.clear(),
            ConfigEntry::IngressGateway(entry) => entry.normalize(namespace),
            ConfigEntry::TerminatingGateway(entry) => entry.normalize(namespace),
        }
    }

    /// Puts what is written in any order into the one in which it is kept, as the store does. Comes after `validate`, whose
    /// problems name positions.
    pub fn arrange(&mut self) {
        if let ConfigEntry::ServiceIntentions(entry) = self {
            entry.arrange();
        }
    }

    /// Takes out what replies show and no caller may say: what other endpoints write into entries.
    ///
    /// # Errors
    /// What would be lost.
    pub fn take_what_is_not_the_callers(&mut self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if let ConfigEntry::ServiceIntentions(entry) = self {
            entry.take_legacy(&mut problems);
        }
        problems.into_result()
    }

    /// The entry that `Serialize` wrote.
    ///
    /// # Errors
    /// What does not fit the kind, as serde says it. Input of users goes through `codec`, which says more.
    pub fn from_stored(mut value: serde_json::Value) -> Result<Self, serde_json::Error> {
        let kind = value.as_object_mut().and_then(|object| object.remove("Kind")).unwrap_or_default();
        Ok(match serde_json::from_value(kind)? {
            EntryKind::ProxyDefaults => Self::ProxyDefaults(serde_json::from_value(value)?),
            EntryKind::ServiceDefaults => Self::ServiceDefaults(serde_json::from_value(value)?),
            EntryKind::ServiceResolver => Self::ServiceResolver(serde_json::from_value(value)?),
            EntryKind::ServiceRouter => Self::ServiceRouter(serde_json::from_value(value)?),
            EntryKind::ServiceSplitter => Self::ServiceSplitter(serde_json::from_value(value)?),
            EntryKind::ServiceIntentions => Self::ServiceIntentions(serde_json::from_value(value)?),
            EntryKind::ExportedServices => Self::ExportedServices(serde_json::from_value(value)?),
            EntryKind::Mesh => Self::Mesh(serde_json::from_value(value)?),
            EntryKind::IngressGateway => Self::IngressGateway(serde_json::from_value(value)?),
            EntryKind::TerminatingGateway => Self::TerminatingGateway(serde_json::from_value(value)?),
        })
    }

    /// Every broken rule (contract 6, `http-api.md` 2.6.2).
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        validate_meta(each!(self, entry => &entry.meta), &mut problems);
        each!(self, entry => entry.validate(&mut problems));
        problems
    }
}

impl Serialize for ConfigEntry {
    /// The entry as an object with its `Kind`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct WithKind<'a, T> {
            #[serde(rename = "Kind")]
            kind: EntryKind,
            #[serde(flatten)]
            entry: &'a T,
        }
        each!(self, entry => WithKind { kind: self.kind(), entry }.serialize(serializer))
    }
}

pub(super) fn validate_meta(meta: &BTreeMap<String, String>, problems: &mut Problems) {
    if meta.len() > 64 {
        problems.rule("Meta", format!("{} pairs, at most 64 are allowed", meta.len()));
    }
    for (key, value) in meta {
        if key.is_empty() || key.len() > 128 {
            problems.rule(format!("Meta.{key}"), "a key has 1 to 128 bytes");
        }
        if value.len() > 512 {
            problems.rule(format!("Meta.{key}"), "a value has at most 512 bytes");
        }
    }
}

/// A name that SNIs are made of: required, without a wildcard, and without characters that would change the meaning of
/// a joined name.
fn validate_service_name(name: &str, path: &str, problems: &mut Problems) {
    if name.is_empty() {
        problems.rule(path, "a name is required");
    } else if name == "*" {
        problems.rule(path, "a wildcard is not allowed here");
    }
    problems.refuse_control_characters(path, name);
}
