//! Instances as the agent shows them.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::model::{
    Connect, Datacenter, Locality, Namespace, Partition, Proxy, Service, ServiceAddress, ServiceId, ServiceKind,
    Weights, is_default,
};
use crate::store::{Index, Stored};

/// An instance of the agent's node.
#[derive(Debug, Clone)]
pub(in crate::api) struct AgentService {
    row: Stored<Service>,
    datacenter: Datacenter,
    /// What the proxy does, config entries included; only for proxies.
    proxy: Option<Proxy>,
    content_hash: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    #[serde(skip_serializing_if = "is_default")]
    kind: ServiceKind,
    #[serde(rename = "ID")]
    id: &'a ServiceId,
    service: &'a str,
    tags: &'a [String],
    meta: &'a BTreeMap<String, String>,
    port: u16,
    address: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    socket_path: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tagged_addresses: &'a BTreeMap<String, ServiceAddress>,
    weights: Weights,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "is_default")]
    create_index: Index,
    #[serde(skip_serializing_if = "is_default")]
    modify_index: Index,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a Proxy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<&'a Connect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<&'a Locality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'a Partition>,
    datacenter: &'a Datacenter,
}

impl AgentService {
    /// An instance whose proxy block has been merged with the config entries. Extensions are not shown here.
    pub(in crate::api) fn new(row: Stored<Service>, datacenter: &Datacenter, merged: Proxy) -> Self {
        let proxy = row.value.is_proxy().then(|| Proxy { envoy_extensions: Vec::new(), ..merged });
        Self { row, datacenter: datacenter.clone(), proxy, content_hash: None }
    }

    /// The same with the hash of its content, which the commits that made it are no part of.
    pub(in crate::api) fn hashed(mut self) -> Self {
        let content = Row { create_index: 0, modify_index: 0, content_hash: None, ..self.as_row() };
        let bytes = serde_json::to_vec(&content).expect("registrations have string keys");
        let digest = Sha256::digest(&bytes);
        self.content_hash = Some(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect());
        self
    }

    /// The hash, if it was asked for.
    pub(in crate::api) fn content_hash(&self) -> &str {
        self.content_hash.as_deref().unwrap_or_default()
    }

    fn as_row(&self) -> Row<'_> {
        let service = &*self.row.value;
        Row {
            kind: service.kind,
            id: &service.id,
            service: &service.name,
            tags: &service.tags,
            meta: &service.meta,
            port: service.port,
            address: &service.address,
            socket_path: &service.socket_path,
            tagged_addresses: &service.tagged_addresses,
            weights: service.weights,
            enable_tag_override: service.enable_tag_override,
            create_index: self.row.create_index,
            modify_index: self.row.modify_index,
            content_hash: self.content_hash.as_deref(),
            proxy: self.proxy.as_ref(),
            connect: Some(&service.connect).filter(|connect| connect.native),
            locality: service.locality.as_ref(),
            namespace: Some(&service.namespace).filter(|namespace| !namespace.is_default()),
            partition: Some(&service.partition).filter(|partition| !partition.is_default()),
            datacenter: &self.datacenter,
        }
    }
}

impl Serialize for AgentService {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_row().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_hash_follows_the_content_and_not_the_commit() {
        let web = Service { id: "web".into(), name: "web".to_owned(), port: 80, ..Service::default() };
        let hash = |service: &Service, modify_index| {
            let row = Stored { value: Arc::new(service.clone()), create_index: 1, modify_index };
            AgentService::new(row, &Datacenter::from("dc1"), Proxy::default()).hashed().content_hash().to_owned()
        };

        assert_eq!(hash(&web, 1), hash(&web, 7));
        assert_eq!(hash(&web, 1).len(), 16);
        assert_ne!(hash(&web, 1), hash(&Service { port: 81, ..web.clone() }, 1));
    }
}
