//! `GET /v1/catalog/gateway-services/:g`: what config entries bind to an ingress or terminating gateway. Mesh gateways have
//! none, as in Consul.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::{Serialize, Serializer};

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::route::{Routes, Tail, get, prefix};
use crate::model::entry::{IngressGateway, TerminatingGateway};
use crate::model::{
    ConfigEntry, EntryKey, EntryKind, Namespace, Partition, Place, ServiceKey, ServiceKind, ServiceName, is_default,
};
use crate::store::{Index, Reader, Stored};

pub(super) fn routes() -> Routes {
    prefix("/v1/catalog/gateway-services/", get(gateway_services))
}

/// A name that is shown with its namespace and partition where they are not the default ones.
#[derive(Debug, Clone)]
struct Named(ServiceName);

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Row<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            namespace: Option<&'a Namespace>,
            #[serde(skip_serializing_if = "Option::is_none")]
            partition: Option<&'a Partition>,
        }
        let ServiceName { partition, namespace, name } = &self.0;
        let row = Row {
            name,
            namespace: Some(namespace).filter(|namespace| !namespace.is_default()),
            partition: Some(partition).filter(|partition| !partition.is_default()),
        };
        row.serialize(serializer)
    }
}

/// A service behind a gateway.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::api) struct GatewayService {
    gateway: Named,
    service: Named,
    gateway_kind: EntryKind,
    #[serde(skip_serializing_if = "is_default")]
    port: u16,
    #[serde(skip_serializing_if = "is_default")]
    protocol: String,
    #[serde(skip_serializing_if = "is_default")]
    hosts: Vec<String>,
    #[serde(rename = "CAFile", skip_serializing_if = "is_default")]
    ca_file: String,
    #[serde(skip_serializing_if = "is_default")]
    cert_file: String,
    #[serde(skip_serializing_if = "is_default")]
    key_file: String,
    #[serde(rename = "SNI", skip_serializing_if = "is_default")]
    sni: String,
    #[serde(skip_serializing_if = "is_default")]
    from_wildcard: bool,
    #[serde(skip_serializing_if = "is_default")]
    service_kind: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    auto_host_rewrite: bool,
    create_index: Index,
    modify_index: Index,
}

impl GatewayService {
    /// The gateway.
    pub(in crate::api) fn gateway(&self) -> &ServiceName {
        &self.gateway.0
    }

    /// The kind of the entry that binds them, which is that of the gateway.
    pub(in crate::api) fn kind(&self) -> EntryKind {
        self.gateway_kind
    }

    /// The service that it leads to.
    pub(in crate::api) fn service(&self) -> &ServiceName {
        &self.service.0
    }

    /// What is spoken at the gateway's port; empty for a gateway that has none.
    pub(in crate::api) fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Where callers from outside of the mesh reach the service, as `host:port`; nowhere through a gateway without a port.
    /// `default` is the host of a service that names none.
    pub(in crate::api) fn addresses(&self, default: &str) -> Vec<String> {
        let named = if self.hosts.is_empty() || self.hosts.iter().any(|host| host == "*") {
            vec![default]
        } else {
            self.hosts.iter().map(String::as_str).collect()
        };
        let at_port = |host: &str| if host.contains(':') { host.to_owned() } else { format!("{host}:{}", self.port) };
        named.into_iter().filter(|_| self.port != 0).map(at_port).collect()
    }
}

async fn gateway_services(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let gateway = call.scope.service(&tail.required("gateway name")?);
    let rows = |reader: &Reader<'_>| Ok(bound_to(reader, &call.scope.place, &gateway.service));
    call.read(Filtered::Nothing, rows).await
}

/// The kinds of entries that bind services to gateways.
const KINDS: [EntryKind; 2] = [EntryKind::IngressGateway, EntryKind::TerminatingGateway];

/// What entries bind to a gateway.
pub(in crate::api) fn bound_to(reader: &Reader<'_>, place: &Place, gateway: &ServiceName) -> Vec<GatewayService> {
    let entry = |kind| reader.entry(&EntryKey { kind, name: gateway.clone() });
    let bound = Bound { reader, place, gateway };
    KINDS.into_iter().filter_map(entry).flat_map(|row| bound.rows(row)).collect()
}

/// What entries bind to the gateways of a place.
pub(in crate::api) fn bound_to_all(reader: &Reader<'_>, place: &Place) -> Vec<GatewayService> {
    let entries = KINDS.into_iter().flat_map(|kind| reader.entries(kind, &place.partition));
    let rows = entries.flat_map(|row| Bound { reader, place, gateway: &row.value.key().name }.rows(row));
    rows.collect()
}

/// What makes rows of the entries about one gateway.
struct Bound<'a> {
    reader: &'a Reader<'a>,
    place: &'a Place,
    gateway: &'a ServiceName,
}

impl Bound<'_> {
    /// The services of an entry, sorted by name, then by port.
    fn rows(&self, row: &Stored<ConfigEntry>) -> Vec<GatewayService> {
        let empty = |service: &ServiceName| GatewayService {
            gateway: Named(self.gateway.clone()),
            service: Named(service.clone()),
            gateway_kind: row.value.kind(),
            port: 0,
            protocol: String::new(),
            hosts: Vec::new(),
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            sni: String::new(),
            from_wildcard: false,
            service_kind: self.kind_of(service),
            auto_host_rewrite: false,
            create_index: row.create_index,
            modify_index: row.modify_index,
        };
        if let ConfigEntry::IngressGateway(entry) = &*row.value {
            self.ingress(entry, empty)
        } else if let ConfigEntry::TerminatingGateway(entry) = &*row.value {
            self.terminating(entry, empty)
        } else {
            Vec::new()
        }
    }

    fn ingress(&self, entry: &IngressGateway, empty: impl Fn(&ServiceName) -> GatewayService) -> Vec<GatewayService> {
        let mut rows = BTreeMap::new();
        for listener in &entry.listeners {
            let named = listener.services.iter().map(|service| {
                (ServiceName::new(&entry.partition, entry.namespace_of(service), &service.name), service.hosts.clone())
            });
            for (service, from_wildcard, hosts) in self.expanded(named, |namespace| self.in_mesh(namespace)) {
                let (port, protocol) = (listener.port, listener.protocol.clone());
                let row = GatewayService { port, protocol, hosts, from_wildcard, ..empty(&service) };
                rows.insert((service, listener.port), row);
            }
        }
        rows.into_values().collect()
    }

    fn terminating(
        &self,
        entry: &TerminatingGateway,
        empty: impl Fn(&ServiceName) -> GatewayService,
    ) -> Vec<GatewayService> {
        let named = entry
            .services
            .iter()
            .map(|linked| (ServiceName::new(&entry.partition, entry.namespace_of(linked), &linked.name), linked));
        let rows = self.expanded(named, |namespace| self.outside_of_mesh(namespace)).into_iter();
        let row = |(service, from_wildcard, linked): (ServiceName, bool, &crate::model::entry::LinkedService)| {
            let row = GatewayService {
                ca_file: linked.ca_file.clone(),
                cert_file: linked.cert_file.clone(),
                key_file: linked.key_file.clone(),
                sni: linked.sni.clone(),
                auto_host_rewrite: !linked.disable_auto_host_rewrite,
                from_wildcard,
                ..empty(&service)
            };
            (service, row)
        };
        rows.map(row).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// The services that are named, and those that wildcards stand for and nothing else names; whether it was a wildcard,
    /// and what goes with the name.
    fn expanded<T: Clone>(
        &self,
        named: impl Iterator<Item = (ServiceName, T)>,
        every: impl Fn(&Namespace) -> BTreeSet<ServiceName>,
    ) -> Vec<(ServiceName, bool, T)> {
        let (wildcards, exact): (Vec<_>, Vec<_>) = named.partition(|(service, _)| &*service.name == "*");
        let names: BTreeSet<ServiceName> = exact.iter().map(|(service, _)| service.clone()).collect();
        let implied = wildcards.into_iter().flat_map(|(wildcard, with)| {
            let services = every(&wildcard.namespace).into_iter();
            services.map(|service| (service, true, with.clone())).collect::<Vec<_>>()
        });
        let implied = implied.filter(|(service, ..)| !names.contains(service)).collect::<Vec<_>>();
        exact.into_iter().map(|(service, with)| (service, false, with)).chain(implied).collect()
    }

    /// The services of a namespace that mesh traffic can reach.
    fn in_mesh(&self, namespace: &Namespace) -> BTreeSet<ServiceName> {
        let keys = self.reader.mesh_service_keys(self.place);
        keys.filter(|key| key.service.namespace == *namespace).map(|key| key.service.clone()).collect()
    }

    /// The services of a namespace with an instance that is neither a proxy nor speaks for itself in the mesh.
    fn outside_of_mesh(&self, namespace: &Namespace) -> BTreeSet<ServiceName> {
        let is_outside = |key: &&ServiceKey| {
            let mut instances = self.reader.instances_named(key).into_iter().map(|instance| instance.service.value);
            instances.any(|service| service.kind == ServiceKind::Typical && !service.connect.native)
        };
        let keys = self.reader.service_keys(self.place).filter(|key| key.service.namespace == *namespace);
        keys.filter(is_outside).map(|key| key.service.clone()).collect()
    }

    /// `service` for one with instances, `destination` for one that an entry places outside of the catalog.
    fn kind_of(&self, service: &ServiceName) -> &'static str {
        let key = ServiceKey { datacenter: self.place.datacenter.clone(), service: service.clone() };
        if !self.reader.instances_named(&key).is_empty() {
            return "service";
        }
        let defaults = self.reader.entry(&EntryKey { kind: EntryKind::ServiceDefaults, name: service.clone() });
        match defaults.map(|row| &*row.value) {
            Some(ConfigEntry::ServiceDefaults(entry)) if entry.destination.is_some() => "destination",
            _ => "",
        }
    }
}
