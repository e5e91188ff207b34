//! Paths that an application serves in plain text, for callers outside of the mesh (contract 3.7).

use super::{Inbound, codec, max_request_headers_kb};
use crate::ir::{
    Bind, Cluster, ClusterName, Direction, Filter, FilterChain, HttpConnectionManager, HttpRole, Listener,
    ListenerName, PathMatch, RouteAction, RouteSource, Stat, UpstreamProtocol,
};
use crate::model::ExposePath;
use crate::resolve::chain::Protocol;
use crate::resolve::{Part, merge};

impl Inbound<'_> {
    /// Adds a listener for each exposed path, and a cluster for each port of the application that has none.
    pub(super) fn expose(&self, part: &mut Part) {
        for path in &merge::expose(self.context.state, self.proxy).paths {
            let cluster = self.exposed_cluster(part, path);
            part.resources.listeners.push(self.exposed_listener(path, cluster));
        }
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
        let chains = vec![FilterChain { filters: vec![Filter::Http(Box::new(manager))], ..FilterChain::default() }];
        let name = ListenerName::ExposedPath(path.path.as_str().into());
        let bind = Bind::Tcp(self.bind_host_and_port().0, path.listener_port);
        Listener::new(name, bind, Direction::Inbound, chains)
    }
}
