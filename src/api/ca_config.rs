//! `/v1/connect/ca/configuration`: how the certificate authority signs (`http-api.md` 2.9).

use axum::response::Response;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::{Body, LARGE};
use super::call::Call;
use super::error::{ApiError, Decoder};
use super::filter::Filtered;
use super::route::{Routes, get_put};
use crate::codec::{self, shape_of};
use crate::model::{CaConfig, CaSettings, Ignored, Problems};
use crate::store::{Index, Reader};

/// The routes of the CA's configuration.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/connect/ca/configuration", get_put(read, apply).taking(Method::PUT, shape_of::<Sent>))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigRow {
    #[serde(flatten)]
    config: CaConfig,
    /// What the provider keeps for itself: nothing.
    state: Option<()>,
    create_index: Index,
    modify_index: Index,
}

/// What may be sent back is what was read; `State` is the provider's own.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Sent {
    provider: String,
    config: Option<Value>,
    state: Option<Value>,
    force_without_cross_signing: bool,
    #[serde(rename = "CreateIndex")]
    _create_index: Ignored,
    #[serde(rename = "ModifyIndex")]
    _modify_index: Ignored,
}

/// What nobody has written is as old as the root that was made with it.
async fn read(call: Call) -> Result<Response, ApiError> {
    let row = |reader: &Reader<'_>| {
        let made = reader.roots().last().map_or(0, |root| root.create_index);
        Ok(match reader.ca_config() {
            Some(row) => ConfigRow {
                config: (*row.value).clone(),
                state: None,
                create_index: row.create_index,
                modify_index: row.modify_index,
            },
            None => ConfigRow { config: CaConfig::default(), state: None, create_index: made, modify_index: made },
        })
    };
    call.read(Filtered::Nothing, row).await
}

/// What is left out has its default. Another key or certificate makes another root, and all leaves new; else leaves that are
/// valid stay so until they are due, and new ones are made as is said here.
async fn apply(call: Call, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let sent: Sent =
        codec::strict(&body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })?;
    if sent.state.is_some_and(|state| !is_empty(&state)) {
        return Err(ApiError::CaState);
    }
    let config = CaConfig {
        provider: sent.provider,
        config: settings(sent.config).map_err(ApiError::Refused)?,
        force_without_cross_signing: sent.force_without_cross_signing,
    };
    call.api.certificates.configure(config).await?;
    Ok(Response::default())
}

/// The provider reads its own part, and takes numbers and texts for each other.
fn settings(sent: Option<Value>) -> Result<CaSettings, Problems> {
    let Some(sent) = sent else { return Ok(CaSettings::default()) };
    let text = serde_json::to_vec(&sent).expect("what was JSON can be written as JSON");
    codec::weak(&text).map_err(|inner| {
        let mut problems = Problems::default();
        problems.extend_under("Config", inner);
        problems
    })
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}
