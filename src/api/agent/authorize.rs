//! `POST /v1/agent/connect/authorize`: whether whoever shows a certificate may call a service.

use axum::response::Response;
use http::Method;
use serde::{Deserialize, Serialize};

use crate::api::body::{Body, SMALL};
use crate::api::call::Call;
use crate::api::connect::uncached;
use crate::api::error::{ApiError, Decoder};
use crate::api::intentions::deciding;
use crate::api::route::{Routes, post};
use crate::codec::{self, shape_of};
use crate::model::{Intention, IntentionAction, Namespace, Partition, ServiceName, SpiffeId};
use crate::store::Reader;

pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/agent/connect/authorize", post(authorize).taking(Method::POST, shape_of::<Question>))
}

/// What is asked. The serial number is taken, and nothing is revoked by it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Question {
    target: String,
    #[serde(rename = "ClientCertURI")]
    client_cert_uri: String,
    #[serde(rename = "ClientCertSerial")]
    _client_cert_serial: String,
    namespace: Option<Namespace>,
    partition: Option<Partition>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Verdict {
    authorized: bool,
    reason: String,
}

/// The trust domain of the certificate is not compared: TLS has done so.
async fn authorize(call: Call, Body(body): Body<SMALL>) -> Result<Response, ApiError> {
    let question: Question =
        codec::strict(&body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })?;
    if question.target.is_empty() {
        return Err(ApiError::Missing("Target"));
    }
    let Some((_, SpiffeId::Service(client))) = SpiffeId::parse(&question.client_cert_uri) else {
        return Err(ApiError::NotAService { uri: question.client_cert_uri });
    };
    let scope = call.scope.clone().in_partition(question.partition.as_ref())?;
    let target = scope.in_namespace(question.namespace.as_ref())?.service(&question.target).service;
    let view = call.api.store.view();
    let intention = deciding(&Reader::new(&view), &client.service, &target);
    Ok(uncached(call.json(&verdict(
        intention,
        &client.service,
        &target,
        call.api.options.default_intention_policy.into(),
    ))))
}

fn verdict(
    intention: Option<Intention>,
    client: &ServiceName,
    target: &ServiceName,
    default: IntentionAction,
) -> Verdict {
    let Some(intention) = intention else {
        let reason = format!("no intention is about {client} => {target}: the default is {}", default.as_str());
        return Verdict { authorized: default == IntentionAction::Allow, reason };
    };
    let end = |partition: &Option<Partition>, namespace: &Option<Namespace>, name: &str| {
        let (partition, namespace) = (partition.clone().unwrap_or_default(), namespace.clone().unwrap_or_default());
        ServiceName::new(&partition, &namespace, name)
    };
    let source = end(&intention.source_partition, &intention.source_ns, &intention.source_name);
    let destination = end(&intention.destination_partition, &intention.destination_ns, &intention.destination_name);
    let Intention { action, precedence, .. } = &intention;
    let matched = format!("{source} => {destination} (Precedence: {precedence})");
    if action.is_empty() {
        let reason = format!("the intention {matched} looks at HTTP requests, which this question does not tell");
        return Verdict { authorized: false, reason };
    }
    let reason = format!("Matched intention: {} {matched}", action.to_uppercase());
    Verdict { authorized: action == IntentionAction::Allow.as_str(), reason }
}
