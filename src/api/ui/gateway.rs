//! `gateway-services-nodes/:g` and `gateway-intentions/:g`: what is behind an ingress or terminating gateway.

use std::collections::BTreeSet;

use axum::response::Response;

use super::summary::{Subject, Summaries};
use crate::api::call::Call;
use crate::api::catalog::bound_to;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::intentions::calls_to;
use crate::api::route::Tail;
use crate::model::{Intention, ServiceKey, ServiceName};
use crate::store::Reader;

/// A row for each service, also for one without instances.
pub(super) async fn services(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let gateway = call.scope.service(&tail.required("gateway name")?);
    let rows = |reader: &Reader<'_>| {
        let mut summaries = Summaries::default();
        for bound in bound_to(reader, &call.scope.place, &gateway.service) {
            let subject = Subject::here(bound.service());
            let addresses = bound.addresses(&call.ingress_name(bound.service()));
            let datacenter = &call.scope.place.datacenter;
            summaries.row(&subject, datacenter).gateway_config.addresses.extend(addresses);
        }
        let behind: Vec<ServiceName> = summaries.services().cloned().collect();
        for service in behind {
            let key = ServiceKey { datacenter: call.scope.place.datacenter.clone(), service };
            call.summarize(reader, &mut summaries, &reader.instances_named(&key));
        }
        Ok(summaries.into_rows().map(|(_, row)| row).collect::<Vec<_>>())
    };
    call.read(Filtered::Nothing, rows).await
}

/// The intentions about calls to the services behind the gateway, each once.
pub(super) async fn intentions(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let gateway = call.scope.service(&tail.required("gateway name")?);
    let rows = |reader: &Reader<'_>| {
        let bound = bound_to(reader, &call.scope.place, &gateway.service);
        let services: BTreeSet<&ServiceName> = bound.iter().map(|bound| bound.service()).collect();
        let mut rows: Vec<Intention> = services.into_iter().flat_map(|service| calls_to(reader, service)).collect();
        rows.sort_by(Intention::compare);
        rows.dedup();
        Ok(rows)
    };
    call.read(Filtered::Nothing, rows).await
}

impl Call {
    /// The name under which DNS knows a service through ingress gateways.
    fn ingress_name(&self, service: &ServiceName) -> String {
        let options = &self.api.options;
        let namespace = Some(&service.namespace).filter(|namespace| !namespace.is_default());
        let namespace = namespace.map(|namespace| format!(".{namespace}")).unwrap_or_default();
        let domain = options.dns_domain.to_string();
        format!("{}.ingress{namespace}.{}.{}", service.name, self.scope.place.datacenter, domain.trim_end_matches('.'))
    }
}
