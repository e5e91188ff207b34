//! `GET /v1/agent/checks`, and the reports on checks with a TTL.

use std::collections::BTreeMap;

use axum::response::Response;
use http::Method;

use crate::api::body::{Body, SMALL};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::filter::Filtered;
use crate::api::route::{Routes, Tail, get, prefix, put};
use crate::api::wire::HealthCheck;
use crate::codec::{self, shape_of};
use crate::model::{Check, CheckId, CheckStatus, CheckUpdate};
use crate::store::{CheckKey, Op, Reader, Stored, Write};

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/agent/checks", get(list))
        .merge(prefix("/v1/agent/check/pass/", put(pass)))
        .merge(prefix("/v1/agent/check/warn/", put(warn)))
        .merge(prefix("/v1/agent/check/fail/", put(fail)))
        .merge(prefix("/v1/agent/check/update/", put(update).taking(Method::PUT, shape_of::<CheckUpdate>)))
}

async fn list(call: Call) -> Result<Response, ApiError> {
    let node = call.agent_node();
    let central = call.api.central.clone();
    let checks = move |reader: &Reader<'_>| {
        let ports = central.exposed_ports(reader, &node);
        let check = |row: &Stored<Check>| {
            let id = row.value.check_id.clone();
            let port = ports.get(&id).copied();
            (id, HealthCheck::exposed_at(row.clone(), port))
        };
        Ok(reader.checks_on(&node).map(check).collect::<BTreeMap<_, _>>())
    };
    call.read(Filtered::Rows, checks).await
}

async fn pass(call: Call, tail: Tail) -> Result<Response, ApiError> {
    call.report_note(tail, CheckStatus::Passing).await
}

async fn warn(call: Call, tail: Tail) -> Result<Response, ApiError> {
    call.report_note(tail, CheckStatus::Warning).await
}

async fn fail(call: Call, tail: Tail) -> Result<Response, ApiError> {
    call.report_note(tail, CheckStatus::Critical).await
}

async fn update(call: Call, tail: Tail, Body(body): Body<SMALL>) -> Result<Response, ApiError> {
    let update =
        codec::check_update(&body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })?;
    call.report(tail, update).await
}

impl Call {
    async fn report_note(&self, tail: Tail, status: CheckStatus) -> Result<Response, ApiError> {
        let output = self.query.get("note").unwrap_or_default().to_owned();
        self.report(tail, CheckUpdate { status, output }).await
    }

    /// Writes a report, and tells of it even if it changes nothing: the time of the check starts anew.
    async fn report(&self, tail: Tail, update: CheckUpdate) -> Result<Response, ApiError> {
        let id = CheckId::from(tail.required("check ID")?);
        let key = CheckKey { node: self.agent_node(), check: id.clone() };
        let view = self.api.store.view();
        let row = view.check(&key).ok_or_else(|| ApiError::UnknownCheck(id.clone()))?;
        if row.value.definition.ttl.is_none() {
            return Err(ApiError::NoTtl(id));
        }
        let (written, most) = (key.clone(), self.api.options.check_output_max_size);
        let reported = move |view: &crate::store::View| {
            // Whoever removed the check in the meantime has the last word.
            let check = view.check(&written).map(|row| with_report(&row.value, update, most));
            Ok(Write::from(check.map(Op::PutCheck).into_iter().collect::<Vec<_>>()))
        };
        self.api.reports.reported(key);
        self.store().write_with(reported).await?;
        Ok(Response::default())
    }
}

fn with_report(check: &Check, update: CheckUpdate, most: usize) -> Check {
    let output = check.definition.kept(&update.output, most).to_owned();
    Check { status: update.status, output, ..check.clone() }
}
