//! Paths that an application serves in plain text, for callers outside of the mesh, and its health checks, for whoever runs
//! them (contract 3.7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Inbound, bind_host, codec, max_request_headers_kb};
use crate::ir::{
    AddressRange, Bind, Cluster, ClusterName, Direction, Filter, FilterChain, HttpConnectionManager, HttpRole,
    Listener, ListenerName, PathMatch, RouteAction, RouteSource, Stat, UpstreamProtocol,
};
use crate::model::ExposePath;
use crate::resolve::chain::Protocol;
use crate::resolve::exposed::exposed_by;
use crate::resolve::{Part, merge};

impl Inbound<'_> {
    /// Adds a listener for each exposed path or check, and a cluster for each port of the application that has none.
    pub(super) fn expose(&self, part: &mut Part) {
        let state = self.context.state;
        let expose = merge::expose(state, self.proxy);
        let checks = if expose.checks { exposed_by(state, self.instance) } else { Vec::new() };
        let checks = checks.into_iter().map(|exposed| exposed.path);
        for path in expose.paths.into_iter().chain(checks) {
            let cluster = self.exposed_cluster(part, &path);
            part.resources.listeners.push(self.exposed_listener(&path, cluster));
        }
    }

    /// Who may reach a path: everybody, or for a check whoever runs it, who is on the node.
    fn sources(&self, path: &ExposePath) -> Vec<AddressRange> {
        if !path.parsed_from_check {
            return Vec::new();
        }
        let node = self.context.state.node(&self.instance.place, &self.instance.node);
        let node: Option<IpAddr> = node.and_then(|node| node.address.parse().ok());
        let one = |address: IpAddr| AddressRange { address, bits: if address.is_ipv4() { 32 } else { 128 } };
        let loopback = AddressRange { address: Ipv4Addr::LOCALHOST.into(), bits: 8 };
        [Some(loopback), node.map(one), Some(one(Ipv6Addr::LOCALHOST.into()))].into_iter().flatten().collect()
    }

    fn exposed_cluster(&self, part: &mut Part, path: &ExposePath) -> ClusterName {
        let port = path.local_path_port;
        if port == self.proxy.proxy.local_service_port {
            return ClusterName::LocalApp;
        }
        let name = ClusterName::Exposed(port);
        let clusters = &mut part.resources.clusters;
        if !clusters.iter().any(|known| known.name == name) {
            clusters.push(Cluster {
                protocol: match Protocol::parse(&path.protocol).is_http2() {
                    true => UpstreamProtocol::Http2,
                    false => UpstreamProtocol::Plain,
                },
                ..self.local_cluster(name.clone(), self.local_address(port))
            });
        }
        name
    }

    fn exposed_listener(&self, path: &ExposePath, cluster: ClusterName) -> Listener {
        let manager = HttpConnectionManager {
            stat: Stat::ExposedPath(path.path.as_str().into(), path.listener_port),
            codec: codec(Protocol::parse(&path.protocol)),
            routes: RouteSource::Inline {
                upstream: None,
                path: PathMatch::Exact(path.path.as_str().into()),
                action: Box::new(RouteAction::to(cluster)),
            },
            role: HttpRole::Outside,
            max_request_headers_kb: max_request_headers_kb(self.options),
        };
        let chain = FilterChain {
            sources: self.sources(path),
            filters: vec![Filter::Http(Box::new(manager))],
            ..FilterChain::default()
        };
        let name = ListenerName::ExposedPath(path.path.as_str().into());
        let bind = Bind::Tcp(bind_host(self.options, self.proxy), path.listener_port);
        Listener::new(name, bind, Direction::Inbound, vec![chain])
    }
}
