//! Blocking queries: an answer now, or once something that it was made of changes (`http-api.md` 1.6).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use axum::response::Response;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::Api;
use super::call::Call;
use super::error::ApiError;
use super::filter::Filtered;
use super::query::Consistency;
use crate::model::Filter;
use crate::store::{Index, Reader};

/// Reads until the result is news, the time is up, or the process stops. Without a wait, the first result is the answer.
///
/// The result is made anew only when a commit changed a key that it was made of, so that a call that waits costs nothing
/// while others write. While it waits it keeps neither its result nor the state that it was made of: both may be large,
/// and many may wait.
pub(super) async fn poll<T>(
    api: &Api,
    wait: Option<Duration>,
    size: Size,
    read: impl Fn(&Reader<'_>) -> Result<T, ApiError>,
    is_news: impl Fn(&T, Index) -> bool,
) -> Result<(T, Index), ApiError> {
    let mut deadline = wait.map(|wait| Instant::now() + jittered(wait));
    loop {
        let turn = size.turn().await;
        let (until, keys, seen) = {
            let view = api.store.view();
            let reader = Reader::new(&view);
            let value = size.run(|| read(&reader))?;
            let index = reader.index();
            let Some(deadline) = deadline.filter(|_| !is_news(&value, index)) else { return Ok((value, index)) };
            (deadline, reader.into_read_set(), index)
        };
        drop(turn);
        let _waiting = api.metrics.count_waiting();
        let goes_on = tokio::select! {
            changed = api.store.changed(keys, seen) => changed.is_ok(),
            () = tokio::time::sleep_until(until) => false,
            () = api.shutdown.cancelled() => false,
        };
        if !goes_on {
            // What is current then is the answer, news or not.
            deadline = None;
        }
    }
}

/// How much there is to compute for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Rows are looked up.
    Small,
    /// Configurations are made. Only few of these are computed at a time, beside everything else that the process does.
    Large,
}

/// Answers to large questions that are computed at a time.
static LARGE: Semaphore = Semaphore::const_new(2);

impl Size {
    /// Waits until the answer may be computed; the turn lasts as long as what is returned.
    pub(super) async fn turn(self) -> Option<SemaphorePermit<'static>> {
        match self {
            Size::Small => None,
            // It is never closed.
            Size::Large => LARGE.acquire().await.ok(),
        }
    }

    /// Computes what is no read of rows alone, once it may.
    pub(super) async fn compute<R>(self, compute: impl FnOnce() -> R) -> R {
        let _turn = self.turn().await;
        self.run(compute)
    }

    /// Computes it, without keeping what else the thread has to do waiting.
    pub(super) fn run<R>(self, compute: impl FnOnce() -> R) -> R {
        let is_shared = || Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        if self == Size::Large && is_shared() { block_in_place(compute) } else { compute() }
    }
}

/// Up to a sixteenth more than `wait`, so that clients that started together do not come back together.
fn jittered(wait: Duration) -> Duration {
    // A fresh `RandomState` hashes with random keys, which is random enough to spread load.
    let share = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    wait + wait.mul_f64(share / 16.0)
}

impl Call {
    /// What `read` makes of the state, at once or as the call's `index` and `wait` ask.
    pub(super) async fn current<T>(
        &self,
        read: impl Fn(&Reader<'_>) -> Result<T, ApiError>,
    ) -> Result<(T, Meta), ApiError> {
        self.current_sized(Size::Small, read).await
    }

    async fn current_sized<T>(
        &self,
        size: Size,
        read: impl Fn(&Reader<'_>) -> Result<T, ApiError>,
    ) -> Result<(T, Meta), ApiError> {
        let (seen, wait, consistency) =
            (self.query.index()?, self.query.wait(self.api.options.waits)?, self.query.consistency()?);
        let wait = seen.map(|_| wait);
        let (value, index) = poll(&self.api, wait, size, read, |_, index| seen.is_none_or(|seen| index > seen)).await?;
        Ok((value, Meta { index, consistency }))
    }

    /// Answers with what `read` makes of the state, at once or as the call's `index` and `wait` ask.
    pub(super) async fn read<T: Serialize>(
        &self,
        filtered: Filtered,
        read: impl Fn(&Reader<'_>) -> Result<T, ApiError>,
    ) -> Result<Response, ApiError> {
        self.read_sized(filtered, Size::Small, read).await
    }

    /// [`Call::read`] for answers that take long to compute.
    pub(super) async fn read_at_length<T: Serialize>(
        &self,
        filtered: Filtered,
        read: impl Fn(&Reader<'_>) -> Result<T, ApiError>,
    ) -> Result<Response, ApiError> {
        self.read_sized(filtered, Size::Large, read).await
    }

    async fn read_sized<T: Serialize>(
        &self,
        filtered: Filtered,
        size: Size,
        read: impl Fn(&Reader<'_>) -> Result<T, ApiError>,
    ) -> Result<Response, ApiError> {
        // A bad expression is told at once, not after the wait.
        self.filter(filtered)?;
        let (value, meta) = self.current_sized(size, read).await?;
        Ok(meta.on(self.answer(filtered, &value)?))
    }

    /// Returns at once, or when there is a commit later than the call's `index`, or its `wait` is over.
    pub(super) async fn after_commit(&self) -> Result<Meta, ApiError> {
        let (seen, wait, consistency) =
            (self.query.index()?, self.query.wait(self.api.options.waits)?, self.query.consistency()?);
        let mut commits = self.api.store.history().watch();
        if let Some(seen) = seen {
            let _waiting = self.api.metrics.count_waiting();
            tokio::select! {
                // Whatever it is that ends the wait, the answer is what is known then.
                _ = commits.wait_for(|index| *index > seen) => {}
                () = tokio::time::sleep(jittered(wait)) => {}
                () = self.api.shutdown.cancelled() => {}
            }
        }
        Ok(Meta { index: self.api.store.view().index().max(1), consistency })
    }

    /// What an answer says about itself that shows the state at a commit without waiting for another one.
    pub(super) fn meta_at(&self, index: Index) -> Result<Meta, ApiError> {
        Ok(Meta { index: index.max(1), consistency: self.query.consistency()? })
    }

    /// Answers with a value that is no part of the state.
    pub(super) fn answer(&self, filtered: Filtered, value: &impl Serialize) -> Result<Response, ApiError> {
        let Some(filter) = self.filter(filtered)? else { return Ok(self.json(value)) };
        let mut value = serde_json::to_value(value).expect("answers have string keys");
        filtered.retain(&mut value, &filter)?;
        Ok(self.json(&value))
    }

    /// The filter that the call asks for, where one is taken.
    pub(super) fn filter(&self, filtered: Filtered) -> Result<Option<Filter>, ApiError> {
        match self.query.value("filter") {
            Some(expression) if filtered != Filtered::Nothing => Ok(Some(Filter::parse(expression)?)),
            _ => Ok(None),
        }
    }
}

/// What the answer to a read of the state says about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    index: Index,
    consistency: Consistency,
}

impl Meta {
    /// The commit that the answer is as new as.
    pub(super) fn index(self) -> Index {
        self.index
    }

    /// Adds the headers that every read of the state has.
    pub(super) fn on(self, mut response: Response) -> Response {
        let headers = [
            ("x-consul-index", HeaderValue::from(self.index)),
            ("x-consul-knownleader", HeaderValue::from_static("true")),
            ("x-consul-lastcontact", HeaderValue::from_static("0")),
            ("x-consul-effective-consistency", HeaderValue::from_static(self.consistency.as_str())),
            ("x-consul-query-backend", HeaderValue::from_static("blocking-query")),
        ];
        for (name, value) in headers {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_at_most_a_sixteenth() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_millis(1600));
            assert!((1600..=1700).contains(&wait.as_millis()), "{wait:?}");
        }
    }
}
