//! The whole state as a bundle, and back.

use std::collections::BTreeMap;

use super::{NodeKey, Op, Stored, View, Write};
use crate::model::{Bundle, BundleAgent, Check, Indexed, KnownDatacenter, ServiceOnNode};

/// Stands for what may be secret in the definition of a check.
const HIDDEN: &str = "<hidden>";

impl View {
    /// The state without certificates, keys and what checks send, each kind of row sorted by its key. `agent` is what the
    /// process was started with; the cluster's identifier is that of the active root.
    pub fn bundle(&self, agent: BundleAgent) -> Bundle {
        let cluster_id = self.active_root().map(|root| root.cluster_id.clone()).unwrap_or_default();
        let service = |(id, row): (&crate::model::InstanceId, &Stored<crate::model::Service>)| {
            let (datacenter, partition) = (id.place.datacenter.clone(), id.place.partition.clone());
            let service = (*row.value).clone();
            indexed(row, ServiceOnNode { datacenter, partition, node: id.node.clone(), service })
        };
        Bundle {
            agent: BundleAgent { cluster_id, ..agent },
            nodes: self.nodes.values().map(same).collect(),
            services: self.services.iter().map(service).collect(),
            checks: self.checks.values().map(|row| indexed(row, without_secrets(&row.value))).collect(),
            entries: self.entries.values().map(same).collect(),
            datacenters: self
                .datacenters
                .values()
                .map(|row| indexed(row, KnownDatacenter { name: (*row.value).clone() }))
                .collect(),
            partitions: self.partition_definitions.values().map(same).collect(),
            namespaces: self.namespace_definitions.values().map(same).collect(),
            federation_states: self.federation_states.values().map(same).collect(),
            peerings: self.peerings.values().map(same).collect(),
            trust_bundles: self.trust_bundles.values().map(same).collect(),
            imported: self.imported.values().map(same).collect(),
            queries: self.queries.values().map(same).collect(),
            is_redacted: false,
            configurations: BTreeMap::new(),
        }
    }
}

fn indexed<T, U>(row: &Stored<T>, value: U) -> Indexed<U> {
    Indexed { value, modify_index: row.modify_index }
}

fn same<T: Clone>(row: &Stored<T>) -> Indexed<T> {
    indexed(row, (*row.value).clone())
}

/// What a check sends may be a password, and no configuration depends on it.
pub(super) fn without_secrets(check: &Check) -> Check {
    let mut check = check.clone();
    let hide = |text: &mut String| {
        if !text.is_empty() {
            HIDDEN.clone_into(text);
        }
    };
    check.definition.header.values_mut().flatten().for_each(hide);
    hide(&mut check.definition.body);
    check
}

impl From<Bundle> for Write {
    /// Adds every row of the bundle, with the commits that last changed them where they come from.
    fn from(bundle: Bundle) -> Self {
        let mut ops = Vec::new();
        extend(&mut ops, bundle.nodes, Op::PutNode);
        extend(&mut ops, bundle.services, |row: ServiceOnNode| {
            Op::PutService(NodeKey { place: row.place(), node: row.node }, row.service)
        });
        extend(&mut ops, bundle.checks, Op::PutCheck);
        extend(&mut ops, bundle.entries, Op::PutEntry);
        extend(&mut ops, bundle.datacenters, |row: KnownDatacenter| Op::PutDatacenter(row.name));
        extend(&mut ops, bundle.partitions, Op::PutPartition);
        extend(&mut ops, bundle.namespaces, Op::PutNamespace);
        extend(&mut ops, bundle.federation_states, Op::PutFederationState);
        extend(&mut ops, bundle.peerings, Op::PutPeering);
        extend(&mut ops, bundle.trust_bundles, Op::PutTrustBundle);
        extend(&mut ops, bundle.imported, Op::PutImported);
        extend(&mut ops, bundle.queries, Op::PutQuery);
        ops.into()
    }
}

fn extend<T>(ops: &mut Vec<Op>, rows: Vec<Indexed<T>>, put: impl Fn(T) -> Op) {
    ops.extend(rows.into_iter().map(|Indexed { value, modify_index }| match modify_index {
        0 => put(value),
        at => Op::Restore(Box::new(put(value)), at),
    }));
}
