//! `GET /v1/catalog/service/:s` and `/connect/:s`.

use axum::response::Response;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::query::Query;
use crate::api::route::{Routes, Tail, get, prefix};
use crate::api::wire::CatalogService;
use crate::model::{Node, NodeName, PeerKey, PeerName, Proxy, Service, ServiceKey};
use crate::store::{Instance, Reader};

pub(super) fn routes() -> Routes {
    Routes::new().merge(prefix("/v1/catalog/service/", get(named))).merge(prefix("/v1/catalog/connect/", get(connect)))
}

async fn named(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.service(&tail.required("service name")?);
    call.rows(|reader| call.instances_named(reader, &key)).await
}

async fn connect(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let key = call.scope.service(&tail.required("service name")?);
    call.rows(|reader| call.endpoints(reader, &key)).await
}

/// True if the node has every fact that the call asks for as `node-meta=key:value`.
pub(in crate::api) fn has_node_meta(query: &Query, node: &Node) -> bool {
    query.all("node-meta").all(|wanted| {
        let (key, value) = wanted.split_once(':').unwrap_or((wanted, ""));
        node.meta.get(key).is_some_and(|found| found == value)
    })
}

/// True if the instance has every tag that the call asks for. Case does not matter, as in Consul.
fn has_tags(query: &Query, service: &Service) -> bool {
    query.all("tag").all(|wanted| service.tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted)))
}

impl Call {
    async fn rows(&self, instances: impl Fn(&Reader<'_>) -> Vec<Instance>) -> Result<Response, ApiError> {
        let rows = |reader: &Reader<'_>| {
            let shown = instances(reader).into_iter().filter(|instance| self.wants(instance));
            let row = |instance: Instance| {
                let proxy = self.merged(reader, &instance.node.value.node, &instance.service.value);
                CatalogService::new(instance, proxy)
            };
            Ok(shown.map(row).collect::<Vec<_>>())
        };
        self.read(Filtered::Rows, rows).await
    }

    /// The peering whose exports the call asks for, if it does not ask for what is registered here.
    pub(in crate::api) fn peer(&self) -> Option<PeerKey> {
        self.query.value("peer").map(|name| PeerKey::new(&self.scope.place, &PeerName::from(name)))
    }

    /// The instances of a service under its own name: registered here, or exported by the peer that the call names.
    pub(in crate::api) fn instances_named(&self, reader: &Reader<'_>, key: &ServiceKey) -> Vec<Instance> {
        let Some(peer) = self.peer() else { return reader.instances_named(key) };
        reader.imported_from(&peer).filter(|row| row.value.name() == key.service).map(Instance::from).collect()
    }

    /// The instances that accept mesh traffic for a service, in the same way.
    pub(in crate::api) fn endpoints(&self, reader: &Reader<'_>, key: &ServiceKey) -> Vec<Instance> {
        let Some(peer) = self.peer() else { return reader.endpoints(key) };
        reader.imported(&peer, &key.service).map(Instance::from).collect()
    }

    /// True if the instance meets the `peer`, `tag` and `node-meta` parameters.
    pub(in crate::api) fn wants(&self, instance: &Instance) -> bool {
        let peer = self.query.value("peer").unwrap_or_default();
        instance.service.value.peer_name.as_str() == peer
            && has_tags(&self.query, &instance.service.value)
            && has_node_meta(&self.query, &instance.node.value)
    }

    /// What config entries and registration make together, for a proxy on `node`: an agent puts that into the catalog for
    /// its own node, others put what was registered there, and the call has to ask for it.
    pub(in crate::api) fn merged(&self, reader: &Reader<'_>, node: &NodeName, service: &Service) -> Option<Proxy> {
        let is_agents = *node == self.api.options.node && service.peer_name.is_default();
        let is_shown = service.is_proxy() && (is_agents || self.query.has("merge-central-config"));
        is_shown.then(|| self.api.central.merged(reader, &self.scope.place, service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_meta_and_tags_must_all_match() {
        let node = Node { meta: [("env".to_owned(), "prod".to_owned())].into(), ..Node::default() };
        let service = Service { tags: vec!["V1".to_owned(), "eu".to_owned()], ..Service::default() };
        let query = |raw| Query::parse(raw).expect(raw);

        assert!(has_node_meta(&query("node-meta=env:prod"), &node));
        assert!(!has_node_meta(&query("node-meta=env:prod&node-meta=rack:1"), &node));
        assert!(has_tags(&query("tag=v1&tag=eu"), &service));
        assert!(!has_tags(&query("tag=v1&tag=us"), &service));
    }
}
