//! `/v1/connect/intentions/exact`: the one intention about exactly this source and destination.

use axum::response::{IntoResponse, Response};

use super::pair::{Pair, Peers};
use super::{Found, entry_or_new, write, written};
use crate::api::body::{Body, LARGE};
use crate::api::call::Call;
use crate::api::error::{ApiError, Decoder};
use crate::codec;
use crate::model::{Intention, Problem};
use crate::store::Write;

pub(super) async fn read(call: Call) -> Result<Response, ApiError> {
    let pair = Pair::of(&call, Peers::Allowed)?;
    let key = pair.key();
    let found = call.current(|reader| {
        let row = reader.entry(&key);
        let found = row
            .and_then(|row| written(row).map(|entry| (row, entry)))
            .and_then(|(row, entry)| pair.position(entry).map(|position| Found { row, entry, position }.intention()));
        Ok(found)
    });
    let (intention, meta) = found.await?;
    Ok(meta.on(match intention {
        Some(intention) => call.json(&intention),
        None => ApiError::IntentionNotFound.into_response(),
    }))
}

/// Makes or replaces it. Who calls whom is said by the parameters, whatever the body says.
pub(super) async fn apply(call: Call, Body(body): Body<LARGE>) -> Result<Response, ApiError> {
    let pair = Pair::of(&call, Peers::Refused)?;
    let said: Intention =
        codec::strict(&body).map_err(|problems| ApiError::Undecodable { decoder: Decoder::Strict, problems })?;
    let source = said.source().map_err(ApiError::Refused)?;
    if !said.meta.is_empty() {
        let message = "cannot be set for one intention: write it into the service-intentions entry";
        return Err(ApiError::Refused(Problem::rule("Meta", message).into()));
    }
    let put = move |view: &crate::store::View| {
        let mut entry = entry_or_new(view, &pair.key());
        let source = pair.named(&entry, source);
        match pair.position(&entry) {
            Some(position) => entry.sources[position] = source,
            None => entry.sources.push(source),
        }
        write(entry)
    };
    call.store().write_with(put).await?;
    Ok(call.json(&true))
}

/// Removing what is not there is no error.
pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let pair = Pair::of(&call, Peers::Refused)?;
    let remove = move |view: &crate::store::View| {
        let mut entry = entry_or_new(view, &pair.key());
        let Some(position) = pair.position(&entry) else { return Ok(Write::default()) };
        entry.sources.remove(position);
        write(entry)
    };
    call.store().write_with(remove).await?;
    Ok(call.json(&true))
}
