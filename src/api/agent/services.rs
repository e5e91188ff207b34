//! `GET /v1/agent/services` and `/v1/agent/service/:id`.

use std::collections::BTreeMap;

use axum::response::Response;
use http::{HeaderName, HeaderValue};

use crate::api::blocking::{Size, poll};
use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::route::{Routes, Tail, get, prefix};
use crate::api::wire::AgentService;
use crate::model::{Service, ServiceId};
use crate::store::{Reader, Stored};

pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/agent/services", get(list)).merge(prefix("/v1/agent/service/", get(one)))
}

async fn list(call: Call) -> Result<Response, ApiError> {
    let node = call.agent_node();
    let services = |reader: &Reader<'_>| {
        let shown = reader.services_on(&node).filter(|row| call.scope.shows(&row.value.namespace));
        Ok(shown.map(|row| (row.value.id.clone(), call.shown(reader, row))).collect::<BTreeMap<_, _>>())
    };
    call.read(Filtered::Rows, services).await
}

/// Waits for another `hash`, not for another index.
async fn one(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let id = ServiceId::from(tail.required("service ID")?);
    let instance = call.agent_node().instance(&id);
    let seen = call.query.value("hash").unwrap_or_default();
    let wait = Some(call.query.wait(call.api.options.waits)?).filter(|_| !seen.is_empty());
    let read = |reader: &Reader<'_>| {
        let row = reader.service(&instance).ok_or_else(|| ApiError::UnknownService(id.clone()))?;
        Ok(call.shown(reader, row).hashed())
    };
    let (service, _) = poll(&call.api, wait, Size::Small, read, |service, _| service.content_hash() != seen).await?;
    let mut response = call.json(&service);
    let hash = HeaderValue::from_str(service.content_hash()).expect("hexadecimal digits");
    response.headers_mut().insert(HeaderName::from_static("x-consul-contenthash"), hash);
    Ok(response)
}

impl Call {
    /// An instance as the agent shows it: a proxy with what the config entries add to it.
    pub(super) fn shown(&self, reader: &Reader<'_>, row: &Stored<Service>) -> AgentService {
        let place = &self.scope.place;
        let merged = if row.value.is_proxy() {
            self.api.central.merged(reader, place, &row.value)
        } else {
            row.value.proxy.clone()
        };
        AgentService::new(row.clone(), &place.datacenter, merged)
    }
}
