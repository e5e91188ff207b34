//! `GET /v1/agent/checks`, and the reports on checks with a TTL.

use std::collections::BTreeMap;

use axum::Router;
use axum::response::Response;

use crate::api::body::{Body, SMALL};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::api::filter::Filtered;
use crate::api::route::{Routes, Tail, get, prefix, put};
use crate::api::wire::HealthCheck;
use crate::codec;
use crate::model::{Check, CheckId, CheckStatus, CheckUpdate};
use crate::store::{CheckKey, Op, Reader, Stored, Write};

/// Most bytes of output that are kept, unless the check says other.
const OUTPUT_MAX_SIZE: usize = 4096;

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/v1/agent/checks", get(list))
        .merge(prefix("/v1/agent/check/pass/", put(pass)))
        .merge(prefix("/v1/agent/check/warn/", put(warn)))
        .merge(prefix("/v1/agent/check/fail/", put(fail)))
        .merge(prefix("/v1/agent/check/update/", put(update)))
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
        let written = key.clone();
        let reported = move |view: &crate::store::View| {
            // Whoever removed the check in the meantime has the last word.
            let check = view.check(&written).map(|row| with_report(&row.value, update));
            Ok(Write::from(check.map(Op::PutCheck).into_iter().collect::<Vec<_>>()))
        };
        self.api.reports.reported(key);
        self.api.store.write_with(reported).await?;
        Ok(Response::default())
    }
}

fn with_report(check: &Check, mut update: CheckUpdate) -> Check {
    let limit = usize::try_from(check.definition.output_max_size).ok().filter(|size| *size > 0);
    let limit = limit.unwrap_or(OUTPUT_MAX_SIZE);
    update.output.truncate(update.output.floor_char_boundary(limit));
    Check { status: update.status, output: update.output, ..check.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_between_characters() {
        let report = |text: &str| {
            let update = CheckUpdate { status: CheckStatus::Passing, output: text.to_owned() };
            with_report(&Check::default(), update).output.len()
        };

        assert_eq!(report("short"), 5);
        assert_eq!(report(&"x".repeat(5000)), 4096);
        assert_eq!(report(&"\u{20ac}".repeat(2000)), 4095);
    }
}
