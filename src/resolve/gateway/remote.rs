//! Other places: whatever is for one of them goes to its gateways (contract 4.3, 4.5).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::Draft;
use super::{Counted, End, Gateway, Way};
use crate::ir::{ClusterName, Endpoint};
use crate::model::{AddressForm, Datacenter, Place, datacenter_sni};
use crate::resolve::endpoints::{EndpointSource, endpoint, federated_gateways};

/// A place that the gateway forwards to.
pub(super) struct Remote {
    pub(super) place: Place,
    sni: Arc<str>,
    /// Where its gateways are written.
    pub(super) source: EndpointSource,
    /// Its gateways, with host names where they have some.
    pub(super) endpoints: Vec<Endpoint>,
}

impl Remote {
    /// What statistics call the place.
    pub(super) fn key(&self) -> Arc<str> {
        let Place { datacenter, partition } = &self.place;
        if partition.is_default() { datacenter.as_str().into() } else { format!("{partition}.{datacenter}").into() }
    }

    pub(super) fn way(&self) -> Way {
        let end = End::Forward(ClusterName::Sni(self.sni.clone()), Counted::Remote(self.key()));
        Way { server_names: vec![format!("*.{}", self.sni).into()], end }
    }
}

impl Gateway<'_> {
    /// The places that the gateway forwards to, by datacenter and partition, each with a cluster of its gateways.
    pub(super) fn remote(&self, draft: &mut Draft) -> Vec<Remote> {
        let sni = |place: &Place| datacenter_sni(place, self.context.trust_domain);
        draft.take(&sni(self.place), self.place.to_string());
        let mut places: Vec<Place> = self.remote_places().into_iter().collect();
        // A name in lower case is the one that means itself.
        places.sort_by_key(|place| sni(place).to_lowercase() != sni(place));
        let mut remote: Vec<Remote> =
            places.into_iter().filter_map(|place| self.remote_place(draft, place, sni)).collect();
        remote.sort_by(|a, b| a.place.cmp(&b.place));
        for Remote { sni, source, endpoints, .. } in &remote {
            self.add_remote_cluster(draft, ClusterName::Sni(sni.clone()), endpoints.iter().cloned(), source.clone());
        }
        remote
    }

    fn remote_place(&self, draft: &mut Draft, place: Place, sni: impl Fn(&Place) -> String) -> Option<Remote> {
        let sni = draft.take(&sni(&place), place.to_string())?;
        let (state, datacenter) = (self.context.state, &place.datacenter);
        let (source, gateways) = if self.federates() && *datacenter != self.place.datacenter {
            (EndpointSource::FederatedGateways(datacenter.clone()), federated_gateways(state, datacenter))
        } else {
            (EndpointSource::RemoteGateways(place.clone()), state.gateways(&place))
        };
        let endpoints = gateways.iter().map(|gateway| endpoint(gateway, AddressForm::Wan, false)).collect();
        Some(Remote { place, sni, source, endpoints })
    }

    /// The other partitions of the datacenter, and from the default partition the default partitions of the other
    /// datacenters.
    fn remote_places(&self) -> BTreeSet<Place> {
        let state = self.context.state;
        let own = &self.place.datacenter;
        let neighbours = state.partitions(own).into_iter().map(|partition| Place::new(own, &partition));
        let known = state.datacenters().into_iter().filter(|_| self.place.partition.is_default());
        let others = known.chain(self.federated()).map(|datacenter| Place::new(&datacenter, &self.place.partition));
        neighbours.chain(others).filter(|place| place != self.place).collect()
    }

    /// The datacenters with a federation state, if the gateway takes part in WAN federation.
    pub(super) fn federated(&self) -> Vec<Datacenter> {
        if !self.federates() {
            return Vec::new();
        }
        self.context.state.federation_states().into_iter().map(|state| state.datacenter).collect()
    }
}
