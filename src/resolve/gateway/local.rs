//! The services of the gateway's own place, and their subsets (contract 4.6 e and f, 4.7).

use super::Gateway;
use super::draft::Draft;
use crate::ir::ClusterName;
use crate::model::{AddressForm, ServiceKey, service_sni};
use crate::resolve::endpoints::{EndpointSource, Subset, Via};

impl Gateway<'_> {
    /// Adds a cluster for every service, and one for every subset. A service goes before a subset of the same SNI.
    pub(super) fn local_services(&self, draft: &mut Draft) {
        let services = self.context.state.mesh_services(self.place);
        let mut served: Vec<_> = services.into_iter().filter(|service| self.serves(service)).collect();
        // A name in lower case is the one that means itself.
        served.sort_by_cached_key(|service| {
            let sni = service_sni(service, None, self.context.trust_domain);
            sni.to_lowercase() != sni
        });
        for service in &served {
            // The default subset is also what the bare name means.
            let resolver = self.context.state.resolver(&service.service);
            let subset = resolver.and_then(|resolver| resolver.subsets.get(&resolver.default_subset));
            self.service_cluster(draft, service, None, subset.map(Subset::from).unwrap_or_default());
        }
        for service in &served {
            let resolver = self.context.state.resolver(&service.service);
            for (name, subset) in resolver.into_iter().flat_map(|resolver| &resolver.subsets) {
                self.service_cluster(draft, service, Some(name), subset.into());
            }
        }
    }

    /// Outside of the default partition only what is exported has a way in.
    fn serves(&self, service: &ServiceKey) -> bool {
        let partition = &self.place.partition;
        partition.is_default()
            || self.context.state.exports(partition).is_some_and(|e| e.exports_to_other_partition(&service.service))
    }

    fn service_cluster(&self, draft: &mut Draft, service: &ServiceKey, named: Option<&str>, subset: Subset) {
        let what = match named {
            None => format!("service {}", service.service),
            Some(named) => format!("subset {named} of service {}", service.service),
        };
        let Some(sni) = draft.take(&service_sni(service, named, self.context.trust_domain), what) else { return };
        let name = ClusterName::Sni(sni);
        let via = Via::Instances(AddressForm::Lan);
        let source = EndpointSource::Service { service: service.clone(), subset, via, consumer: None };
        draft.part.endpoints.insert(name.clone(), source);
        let resolver = self.context.state.resolver(&service.service);
        draft.part.resources.clusters.push(self.resolved_cluster(name, resolver));
    }
}
