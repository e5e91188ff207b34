//! `PUT /v1/agent/service/register` and `/deregister/:id`.

use axum::response::Response;
use http::Method;

use super::registration::{Registration, RegistrationError, deregistration};
use crate::api::body::{Body, SMALL};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::route::{Routes, Tail, prefix, put};
use crate::codec::{self, shape_of};
use crate::model::{Namespace, ServiceDefinition, ServiceId};

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/agent/service/register", put(register).taking(Method::PUT, shape_of::<ServiceDefinition>))
        .merge(prefix("/v1/agent/service/deregister/", put(deregister)))
}

async fn register(call: Call, Body(body): Body<SMALL>) -> Result<Response, ApiError> {
    let rules =
        |rest: &ServiceDefinition| rest.validate(rest.partition.as_ref().unwrap_or(&call.scope.place.partition));
    let definition = Decoder::Strict.accept(codec::service_definition(&body), rules)?;
    let replace = call.query.flag("replace-existing-checks")?;
    let registration = call.registration(definition)?.replacing_checks(replace);
    call.store().write_with(move |view| registration.into_write(view)).await?;
    Ok(Response::default())
}

async fn deregister(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let id = ServiceId::from(tail.required("service ID")?);
    let node = call.agent_node();
    if call.api.store.view().service(&node.instance(&id)).is_none() {
        return Err(ApiError::NoServiceToChange(id));
    }
    call.store().write_with(move |view| Ok(deregistration(view, &node, &id))).await?;
    Ok(Response::default())
}

impl Call {
    /// The registration in the place that call and body agree on.
    pub(in crate::api) fn registration(&self, mut definition: ServiceDefinition) -> Result<Registration, ApiError> {
        let namespace = Some(&definition.namespace).filter(|namespace| **namespace != Namespace::default());
        let scope = self.scope.clone().in_partition(definition.partition.as_ref())?.in_namespace(namespace)?;
        definition.namespace = scope.namespace;
        Ok(Registration::new(definition, scope.place, &self.api.options)?)
    }
}

impl From<RegistrationError> for ApiError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Invalid(problems) => Self::InvalidRegistration(problems),
            RegistrationError::Script(check) => Self::ScriptsDisabled(check),
        }
    }
}
