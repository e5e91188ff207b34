//! Services of peers, for the sidecars that call them through the gateways of their own place (contract 4.6 g, 5.4).

use super::Gateway;
use super::draft::Draft;
use crate::ir::ClusterName;
use crate::model::{AddressForm, PeerKey, PeerName, ServiceName};
use crate::resolve::endpoints::{EndpointSource, endpoint};

impl Gateway<'_> {
    /// Adds a cluster for every service of every peer whose roots are known. It is called as the peer says.
    pub(super) fn imported(&self, draft: &mut Draft) {
        let state = self.context.state;
        for bundle in state.trust_bundles(self.place) {
            let peer = bundle.key();
            for service in state.imported_services(&peer) {
                self.imported_service(draft, &bundle.peer, &peer, service);
            }
        }
    }

    fn imported_service(&self, draft: &mut Draft, name: &PeerName, peer: &PeerKey, service: ServiceName) {
        let instances = self.context.state.imported(peer, &service);
        let metas = instances.iter().filter_map(|instance| instance.service.connect.peer_meta.as_deref());
        let Some(sni) = metas.filter_map(|meta| meta.sni.first()).find(|sni| !sni.is_empty()) else { return };
        let what = format!("service {} of peer {name}", service.name);
        let Some(sni) = draft.take_from_peer(sni, self.context.trust_domain, what) else { return };
        let endpoints = instances.iter().map(|instance| endpoint(instance, AddressForm::Wan, false));
        let source = EndpointSource::Imported { peer: peer.clone(), service };
        self.add_remote_cluster(draft, ClusterName::Sni(sni), endpoints, source);
    }
}
