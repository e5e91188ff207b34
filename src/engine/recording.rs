//! The state as resolving asks for it, with a record of what was asked.

use std::collections::BTreeSet;

use crate::model::entry::{
    ExportedServices, Mesh, ProxyDefaults, ServiceDefaults, ServiceResolver, ServiceRouter, ServiceSplitter,
};
use crate::model::{
    ConfigEntry, Datacenter, EntryKey, EntryKind, Namespace, Partition, Place, ServiceKey, ServiceName,
};
use crate::resolve::{Instance, State};
use crate::store::{self, Reader};

/// A reader that resolving can ask.
pub(super) struct Recording<'r, 'v> {
    reader: &'r Reader<'v>,
    /// Datacenters that exist without a row.
    hosted: &'r [Datacenter],
}

impl<'r, 'v> Recording<'r, 'v> {
    pub(super) fn new(reader: &'r Reader<'v>, hosted: &'r [Datacenter]) -> Self {
        Self { reader, hosted }
    }

    fn entry(&self, kind: EntryKind, name: ServiceName) -> Option<&'v ConfigEntry> {
        self.reader.entry(&EntryKey { kind, name }).map(|row| &*row.value)
    }

    fn of_partition(&self, kind: EntryKind, partition: &Partition, name: &str) -> Option<&'v ConfigEntry> {
        self.entry(kind, ServiceName::new(partition, &Namespace::default(), name))
    }
}

/// The entry as the kind that it was asked for.
macro_rules! as_kind {
    ($entry:expr, $kind:ident) => {
        $entry.and_then(|entry| if let ConfigEntry::$kind(entry) = entry { Some(entry) } else { None })
    };
}

fn instance(instance: store::Instance) -> Instance {
    Instance {
        service: instance.service.value,
        node: instance.node.value,
        checks: instance.checks.into_iter().map(|check| check.value).collect(),
    }
}

impl State for Recording<'_, '_> {
    fn proxy_defaults(&self, partition: &Partition) -> Option<&ProxyDefaults> {
        as_kind!(self.of_partition(EntryKind::ProxyDefaults, partition, ProxyDefaults::NAME), ProxyDefaults)
    }

    fn service_defaults(&self, service: &ServiceName) -> Option<&ServiceDefaults> {
        as_kind!(self.entry(EntryKind::ServiceDefaults, service.clone()), ServiceDefaults)
    }

    fn resolver(&self, service: &ServiceName) -> Option<&ServiceResolver> {
        as_kind!(self.entry(EntryKind::ServiceResolver, service.clone()), ServiceResolver)
    }

    fn router(&self, service: &ServiceName) -> Option<&ServiceRouter> {
        as_kind!(self.entry(EntryKind::ServiceRouter, service.clone()), ServiceRouter)
    }

    fn splitter(&self, service: &ServiceName) -> Option<&ServiceSplitter> {
        as_kind!(self.entry(EntryKind::ServiceSplitter, service.clone()), ServiceSplitter)
    }

    fn mesh(&self, partition: &Partition) -> Option<&Mesh> {
        as_kind!(self.of_partition(EntryKind::Mesh, partition, Mesh::NAME), Mesh)
    }

    fn exports(&self, partition: &Partition) -> Option<&ExportedServices> {
        as_kind!(self.of_partition(EntryKind::ExportedServices, partition, partition.as_str()), ExportedServices)
    }

    fn endpoints(&self, service: &ServiceKey) -> Vec<Instance> {
        self.reader.endpoints(service).into_iter().map(instance).collect()
    }

    fn gateways(&self, place: &Place) -> Vec<Instance> {
        self.reader.mesh_gateways(place).into_iter().map(instance).collect()
    }

    fn mesh_services(&self, place: &Place) -> Vec<ServiceKey> {
        self.reader.mesh_service_keys(place).cloned().collect()
    }

    fn datacenters(&self) -> Vec<Datacenter> {
        let known = self.reader.datacenters().into_iter().chain(self.hosted.iter().cloned());
        known.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn partitions(&self, datacenter: &Datacenter) -> Vec<Partition> {
        self.reader.partitions(datacenter)
    }
}
