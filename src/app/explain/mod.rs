//! Explanations as the API shows them.

mod path;
mod resource;
mod topology;
mod upstream;

pub(super) use self::path::add_doors;
pub(super) use self::topology::what_decides;
use crate::api::{
    At, Dialled, ExplainedProxy, Explanations, GatewayExplanation, ModeExplanation, Named, ResourceExplanation,
    Setting, Unexplained, UpstreamExplanation,
};
use crate::engine::{self, Row};
use crate::envoy::names;
use crate::ir::UpstreamId;
use crate::model::{EntryKey, FieldPath, InstanceId, Place, QUERY_PREFIX, Service, ServiceKind, TrustDomain, Upstream};
use crate::resolve::PartError;
use crate::resolve::explain::{self, Leading, Says};
use crate::store::{Index, Reader};

/// Explains configuration with the code that makes it.
#[derive(Debug, Clone)]
pub struct Explainer {
    /// What the process says about itself.
    pub options: engine::Options,
    /// The trust domain of every identity.
    pub trust_domain: TrustDomain,
}

impl Explanations for Explainer {
    fn upstream(
        &self,
        reader: &Reader<'_>,
        proxy: &InstanceId,
        upstream: &Named,
    ) -> Result<UpstreamExplanation, Unexplained> {
        let sidecar = self.sidecar(reader, proxy)?;
        let upstream = sidecar.upstream(upstream)?;
        Ok(upstream::Explained { sidecar: &sidecar, upstream }.all())
    }

    fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    fn gateways(&self, reader: &Reader<'_>, place: &Place) -> Vec<GatewayExplanation> {
        let state = engine::state(reader, &self.options.hosted);
        explain::gateways(&state, place).iter().map(gateway).collect()
    }

    fn dialled(&self, reader: &Reader<'_>, most: usize) -> Dialled {
        topology::dialled(self, reader, most)
    }

    fn resource(
        &self,
        reader: &Reader<'_>,
        proxy: &InstanceId,
        resource: (&str, &str),
        field: &str,
    ) -> Result<ResourceExplanation, Unexplained> {
        self.explained_resource(reader, proxy, resource, field)
    }

    fn modes(&self, reader: &Reader<'_>, proxy: &InstanceId) -> Result<Vec<ModeExplanation>, Unexplained> {
        let sidecar = self.sidecar(reader, proxy)?;
        let upstreams = explain::upstreams(&sidecar.service).into_iter();
        Ok(upstreams.flat_map(|(_, upstream)| upstream::Explained { sidecar: &sidecar, upstream }.modes()).collect())
    }
}

impl Explainer {
    fn sidecar<'a>(&'a self, reader: &'a Reader<'a>, proxy: &InstanceId) -> Result<Sidecar<'a>, Unexplained> {
        let row = reader.service(proxy).ok_or_else(|| Unexplained::NotThere(format!("there is no {proxy}")))?;
        let service = row.value.clone();
        if service.kind != ServiceKind::ConnectProxy {
            let kind = if service.kind == ServiceKind::Typical { "an application" } else { service.kind.as_str() };
            return Err(Unexplained::Unclear(format!(
                "{:?} is registered as {kind}, and only sidecars have upstreams: name a sidecar, or the service it \
                 stands for",
                proxy.id.as_str()
            )));
        }
        Ok(Sidecar { explainer: self, reader, instance: proxy.clone(), service, modify_index: row.modify_index })
    }
}

/// A sidecar in a state.
struct Sidecar<'a> {
    explainer: &'a Explainer,
    reader: &'a Reader<'a>,
    instance: InstanceId,
    service: std::sync::Arc<Service>,
    modify_index: Index,
}

impl Sidecar<'_> {
    fn leading(&self, upstream: &Upstream) -> Result<Leading, PartError> {
        self.leading_in(self.reader, (&self.instance, &self.service), upstream)
    }

    fn leading_in(
        &self,
        reader: &Reader<'_>,
        asking: (&InstanceId, &Service),
        upstream: &Upstream,
    ) -> Result<Leading, PartError> {
        let Explainer { options, trust_domain } = self.explainer;
        engine::leading(reader, options, trust_domain, asking, upstream)
    }

    fn shown(&self) -> ExplainedProxy {
        let InstanceId { place: Place { datacenter, partition }, node, id } = self.instance.clone();
        let service = explain::central_name(&self.service).name.to_string();
        ExplainedProxy { id, node, datacenter, partition, service, modify_index: self.modify_index }
    }

    /// The one upstream that is meant.
    fn upstream(&self, named: &Named) -> Result<&Upstream, Unexplained> {
        let all = explain::upstreams(&self.service);
        let found: Vec<_> = all.iter().filter(|(id, upstream)| self.is_meant(named, id, upstream)).collect();
        let list = |ids: &mut dyn Iterator<Item = String>| ids.collect::<Vec<_>>().join(", ");
        // What is near goes before what is elsewhere, where neither was said.
        let is_near = |id: &UpstreamId| id.datacenter.is_empty() && id.peer.is_empty();
        let found = preferred(found, |(id, _)| named.at.is_none() && is_near(id));
        let is_own = |upstream| explain::named_by(&self.service, upstream).partition == self.instance.place.partition;
        let found = preferred(found, |(_, upstream)| named.partition.is_none() && is_own(upstream));
        match found.as_slice() {
            [(_, only)] => Ok(only),
            [] if all.is_empty() => Err(Unexplained::NotThere(format!("{} has no upstreams", self.instance.id))),
            [] => Err(Unexplained::NotThere(format!(
                "{} has no upstream {:?}; it has {}",
                self.instance.id,
                named.name,
                list(&mut all.iter().map(|(id, _)| names::upstream(id)))
            ))),
            several => Err(Unexplained::Unclear(format!(
                "{:?} means several upstreams of {}: {}",
                named.name,
                self.instance.id,
                list(&mut several.iter().map(|(id, _)| names::upstream(id)))
            ))),
        }
    }

    fn is_meant(&self, named: &Named, id: &UpstreamId, upstream: &Upstream) -> bool {
        let service = explain::named_by(&self.service, upstream);
        let is_at = |at: &At| {
            let own = id.datacenter.is_empty() && id.peer.is_empty();
            at.may_be_datacenter(&id.datacenter)
                || at.may_be_peer(&id.peer)
                || own && at.may_be_datacenter(self.instance.place.datacenter.as_str())
        };
        let name = named.name.strip_prefix(QUERY_PREFIX);
        name.is_some() == id.is_query
            && *service.name == *name.unwrap_or(&named.name)
            && named.partition.as_ref().is_none_or(|partition| *partition == service.partition)
            && named.namespace.as_ref().is_none_or(|namespace| *namespace == service.namespace)
            && named.at.as_ref().is_none_or(is_at)
    }

    /// A field as it is shown.
    fn setting(&self, says: &Says, field: &FieldPath) -> Setting {
        let (row, source, partition) = match says {
            Says::Entry(key) => (Row::Entry(key.clone()), label(key), key.name.partition.clone()),
            Says::Registration => {
                let row = Row::Instance(self.instance.clone());
                (row, "proxy registration".to_owned(), self.instance.place.partition.clone())
            }
        };
        let found = row.read(self.reader);
        let value = found.as_ref().and_then(|(value, _)| field.get(value)).map(text).unwrap_or_default();
        let modify_index = found.map_or(0, |(_, index)| index);
        Setting { source, partition, field: field.to_string(), value, modify_index, written: None }
    }
}

fn gateway(gateway: &explain::Gateway) -> GatewayExplanation {
    let explain::Gateway { instance, lan, wan, is_healthy, .. } = gateway;
    let owned = explain::Owned { endpoint: lan.clone(), owner: Some(instance.clone()) };
    GatewayExplanation {
        instance: instance.service.id.to_string(),
        node: instance.node.node.to_string(),
        lan: lan.address.to_string(),
        wan: wan.address.to_string(),
        says_wan: gateway.says_wan(),
        healthy: *is_healthy,
        failing: owned.failing(),
    }
}

/// What an entry is called.
fn label(key: &EntryKey) -> String {
    format!("{}/{}", key.kind, key.name.name)
}

/// A value on one line.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Those that are better than the others, if there are any.
fn preferred<T: Copy>(all: Vec<T>, is_better: impl Fn(T) -> bool) -> Vec<T> {
    let better: Vec<T> = all.iter().copied().filter(|it| is_better(*it)).collect();
    if better.is_empty() { all } else { better }
}
