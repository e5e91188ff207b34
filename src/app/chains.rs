//! Discovery chains as the API shows them.

use crate::api::{
    ChainFailover, ChainNode, ChainOverrides, ChainResolver, ChainRoute, ChainSplit, ChainTarget, CompiledChain,
    DiscoveryChains,
};
use crate::engine;
use crate::model::{Datacenter, GoDuration, MeshGateway, PeerKey, Place, ServiceKey, TrustDomain, exported_sni};
use crate::resolve::{Chain, Custom, Node, NodeKey, Overrides, ResolverNode, Rung, Sources, Target, TargetKey};
use crate::store::Reader;

/// Compiles chains for whoever asks over HTTP, with the code that configures Envoy.
#[derive(Debug, Clone)]
pub struct Chains {
    /// The datacenter whose peerings count.
    pub datacenter: Datacenter,
    /// The trust domain of every SNI but those of peers.
    pub trust_domain: TrustDomain,
}

impl DiscoveryChains for Chains {
    fn compile(
        &self,
        reader: &Reader<'_>,
        service: &ServiceKey,
        asked: &ChainOverrides,
    ) -> Result<CompiledChain, String> {
        let overrides = Overrides {
            ladder: Sources::default().with(Rung::Upstream, asked.override_mesh_gateway.mode).climb(),
            protocol: Some(asked.override_protocol.to_lowercase()).filter(|protocol| !protocol.is_empty()),
            connect_timeout: Some(asked.override_connect_timeout).filter(|timeout| *timeout > GoDuration::default()),
        };
        let chain = engine::discovery_chain(reader, &overrides.scope(&service.service, &service.datacenter));
        match &*chain {
            Ok(chain) => Ok(Shown { chain, custom: Custom::new(chain, &overrides), chains: self, reader }.all()),
            Err(error) => Err(error.to_string()),
        }
    }
}

struct Shown<'a> {
    chain: &'a Chain,
    custom: Custom,
    chains: &'a Chains,
    reader: &'a Reader<'a>,
}

impl Shown<'_> {
    fn all(&self) -> CompiledChain {
        let Chain { scope, is_default, start, nodes, targets, .. } = self.chain;
        CompiledChain {
            service_name: scope.service.name.to_string(),
            namespace: scope.service.namespace.clone(),
            partition: scope.service.partition.clone(),
            datacenter: scope.datacenter.clone(),
            customization_hash: self.custom.prefix.clone(),
            default: *is_default,
            protocol: self.custom.protocol.as_str(),
            start_node: start.to_string(),
            nodes: nodes.iter().map(|(key, node)| (key.to_string(), self.node(key, node))).collect(),
            targets: targets.iter().map(|(key, target)| (key.to_string(), self.target(key, target))).collect(),
        }
    }

    fn node(&self, key: &NodeKey, node: &Node) -> ChainNode {
        let empty = ChainNode { kind: key.kind(), name: key.name(), ..ChainNode::default() };
        match node {
            Node::Router(routes) => {
                let route = |(definition, next): (_, &NodeKey)| ChainRoute { definition, next_node: next.to_string() };
                let routes = routes.iter().map(|it| (it.definition.clone(), &it.next)).map(route).collect();
                ChainNode { routes: Some(routes), ..empty }
            }
            Node::Splitter(node) => {
                let splits = node.splits.iter().map(|split| ChainSplit {
                    definition: split.definition.clone(),
                    weight: f64::from(split.hundredths) / 100.0,
                    next_node: split.next.to_string(),
                });
                ChainNode { splits: Some(splits.collect()), load_balancer: node.load_balancer.clone(), ..empty }
            }
            Node::Resolver(node) => {
                ChainNode { resolver: Some(self.resolver(node)), load_balancer: node.load_balancer.clone(), ..empty }
            }
        }
    }

    fn resolver(&self, node: &ResolverNode) -> ChainResolver {
        let failover = ChainFailover { targets: node.failover.iter().map(ToString::to_string).collect() };
        ChainResolver {
            default: node.is_default,
            connect_timeout: self.custom.connect_timeout(node),
            request_timeout: node.request_timeout,
            target: node.target.to_string(),
            failover: (!failover.targets.is_empty()).then_some(failover),
        }
    }

    fn target(&self, key: &TargetKey, target: &Target) -> ChainTarget {
        let leads_here = |node: &&ResolverNode| node.target == *key || node.failover.contains(key);
        let node = self.chain.resolvers().find(leads_here);
        let name = self.name(key);
        ChainTarget {
            id: key.to_string(),
            service: key.service.name.to_string(),
            service_subset: key.subset.clone(),
            namespace: key.service.namespace.clone(),
            partition: key.service.partition.clone(),
            datacenter: key.datacenter.clone(),
            peer: key.peer.clone(),
            mesh_gateway: MeshGateway { mode: self.custom.decision(target).mode },
            subset: target.subset.clone(),
            connect_timeout: node.map(|node| self.custom.connect_timeout(node)).unwrap_or_default(),
            external: target.external_sni.is_some(),
            sni: target.external_sni.clone().unwrap_or_else(|| name.clone()),
            name,
        }
    }

    /// The SNI of a target. That of a peer's service has the peer's trust domain, which is empty until the peer has told it.
    fn name(&self, key: &TargetKey) -> String {
        if key.peer.is_default() {
            return key.sni(&self.chains.trust_domain);
        }
        let peer = PeerKey::new(&Place::new(&self.chains.datacenter, &key.service.partition), &key.peer);
        let bundle = self.reader.trust_bundle(&peer);
        let trust_domain = TrustDomain::from(bundle.map_or("", |row| row.value.trust_domain.as_str()));
        exported_sni(&key.service, &key.peer, &trust_domain)
    }
}
