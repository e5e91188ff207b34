//! Request bodies: bounded in size and in time.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::error::ApiError;

/// Consul's limit for registrations and check reports.
pub(super) const SMALL: usize = 512 * 1024;
/// Limit of every other body. Consul has none there; the largest config entries are far below this.
pub(super) const LARGE: usize = 4 * 1024 * 1024;
/// Limit of archives of the state.
const ARCHIVE: usize = 1 << 30;
/// Time in which an archive must arrive.
const ARCHIVE_TIME: Duration = Duration::from_secs(600);
/// Time in which a body must arrive.
const TIME: Duration = Duration::from_secs(30);
/// So much more than the limit is read and thrown away before the answer, so that a client that is still writing gets
/// the answer and not a broken connection.
const DRAIN: usize = 8 * 1024 * 1024;

/// The bytes of a body of at most `MAX` bytes. The content type is ignored, as Consul does.
pub(super) struct Body<const MAX: usize>(pub(super) Bytes);

impl<S: Sync, const MAX: usize> FromRequest<S> for Body<MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = tokio::time::timeout(TIME, collect(request.into_body(), MAX)).await;
        body.unwrap_or(Err(ApiError::BodyTimeout)).map(Self)
    }
}

/// The bytes of an archive of the state, which may be large and come slowly.
pub(super) struct Archive(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for Archive {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = tokio::time::timeout(ARCHIVE_TIME, collect(request.into_body(), ARCHIVE)).await;
        body.unwrap_or(Err(ApiError::BodyTimeout)).map(Self)
    }
}

async fn collect(body: axum::body::Body, max: usize) -> Result<Bytes, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut received = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(ApiError::BodyBroken)?;
        received = received.saturating_add(chunk.len());
        if received <= max {
            kept.extend_from_slice(&chunk);
        } else if received > max.saturating_add(DRAIN) {
            break;
        }
    }
    if received > max { Err(ApiError::BodyTooLarge(max)) } else { Ok(kept.freeze()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_allowed_byte_is_allowed() {
        assert_eq!(collect("12345".into(), 5).await.expect("fits"), "12345");
        assert!(matches!(collect("123456".into(), 5).await, Err(ApiError::BodyTooLarge(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let silent = axum::body::Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let started = tokio::time::Instant::now();

        let result = Body::<SMALL>::from_request(Request::new(silent), &()).await.map(|body| body.0);

        assert!(matches!(result, Err(ApiError::BodyTimeout)));
        assert_eq!(started.elapsed(), TIME);
    }
}
