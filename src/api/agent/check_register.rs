//! `PUT /v1/agent/check/register` and `/deregister/:id`: checks that are registered alone.

use axum::response::Response;
use http::Method;

use super::registration::{RegistrationError, check_row, with_last_result};
use crate::api::Options;
use crate::api::body::{Body, SMALL};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::route::{Routes, Tail, prefix, put};
use crate::codec::{self, check_registration_shape};
use crate::model::{Check, CheckDefinition, CheckId, CheckKind, CheckRegistration, Node, Place, Problem, Problems};
use crate::store::{CheckKey, NodeKey, Op, View, Write};

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/agent/check/register", put(register).taking(Method::PUT, check_registration_shape))
        .merge(prefix("/v1/agent/check/deregister/", put(deregister)))
}

async fn register(call: Call, Body(body): Body<SMALL>) -> Result<Response, ApiError> {
    let registration = Decoder::Strict.accept(codec::check_registration(&body), CheckRegistration::validate)?;
    let tenancy = &registration.tenancy;
    let scope =
        call.scope.clone().in_partition(tenancy.partition.as_ref())?.in_namespace(tenancy.namespace.as_ref())?;
    let added = AddedCheck::new(registration, scope.place, &call.api.options)?;
    let service = &added.definition.service_id;
    if !service.is_default() && call.api.store.view().service(&added.node.instance(service)).is_none() {
        return Err(ApiError::NoServiceToCheck(service.clone()));
    }
    call.store().write_with(move |view| added.into_write(view)).await?;
    Ok(Response::default())
}

/// A check that is registered alone and breaks no rule.
#[derive(Debug, Clone)]
pub struct AddedCheck {
    node: NodeKey,
    agent: Node,
    definition: CheckDefinition,
    from_file: bool,
}

impl AddedCheck {
    /// Checks everything that can be seen without the state.
    ///
    /// # Errors
    /// Every broken rule.
    pub fn new(
        mut registration: CheckRegistration,
        place: Place,
        options: &Options,
    ) -> Result<Self, RegistrationError> {
        registration.normalize();
        if matches!(registration.definition.kind(), Some(CheckKind::Script | CheckKind::Docker)) {
            return Err(RegistrationError::Script(registration.definition.check_id));
        }
        registration.validate().into_result().map_err(RegistrationError::Invalid)?;
        let (node, agent) = (NodeKey::new(&place, &options.node), options.agent_node(&place));
        Ok(Self { node, agent, definition: registration.definition, from_file: false })
    }

    /// The same, made by a file of the agent: it goes when the file no longer has it.
    #[must_use]
    pub fn from_file(mut self) -> Self {
        self.from_file = true;
        self
    }

    /// What identifies it.
    pub fn key(&self) -> CheckKey {
        CheckKey { node: self.node.clone(), check: self.definition.check_id.clone() }
    }

    /// The operations, given the latest state.
    ///
    /// # Errors
    /// The service that it judges is not there.
    pub fn into_write(self, view: &View) -> Result<Write, Problems> {
        let Self { node, agent, definition, from_file } = self;
        let new_node = view.node(&node).is_none().then_some(Op::PutNode(agent));
        let check = Check { from_file, ..with_last_result(view, judging(view, &node, definition)?) };
        Ok(new_node.into_iter().chain([Op::PutCheck(check)]).collect::<Vec<_>>().into())
    }
}

/// The row of a check with the name and tags of the service that it judges, which must still be there.
fn judging(view: &View, node: &NodeKey, definition: CheckDefinition) -> Result<Check, Problems> {
    let check = check_row(node, definition);
    if check.service_id.is_default() {
        return Ok(check);
    }
    let Some(service) = view.service(&node.instance(&check.service_id)) else {
        return Err(Problem::rule("ServiceID", format!("ServiceID {:?} does not exist", check.service_id)).into());
    };
    Ok(Check { service_name: service.value.name.clone(), service_tags: service.value.tags.clone(), ..check })
}

async fn deregister(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let id = CheckId::from(tail.required("check ID")?);
    let key = CheckKey { node: call.agent_node(), check: id.clone() };
    if call.api.store.view().check(&key).is_none() {
        return Err(ApiError::UnknownCheck(id));
    }
    call.store().write(Op::DeleteCheck(key)).await?;
    Ok(Response::default())
}
