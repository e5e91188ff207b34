//! One stream of the floor server.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;
use futures::{Stream, StreamExt};
use http_body::{Body, Frame};
use prost::Message;
use tonic::{Status, Streaming};

use crate::ads::{Kind, Response, frame_bytes};

/// What is under way to one stream.
#[derive(Debug, Default)]
pub(super) struct Slot {
    queue: Mutex<VecDeque<Bytes>>,
    waker: AtomicWaker,
}

impl Slot {
    pub(super) fn push(&self, frame: Bytes) {
        lock(&self.queue).push_back(frame);
        self.waker.wake();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers to first requests, in frames: for each type the first, the second and so on.
#[derive(Debug, Default, Clone)]
pub(super) struct Script(HashMap<String, Vec<Bytes>>);

impl Script {
    /// Adds an answer.
    pub(super) fn add(&mut self, message: &[u8]) {
        let Ok(response) = Response::decode(message) else { return };
        self.0.entry(response.type_url).or_default().push(frame_bytes(message));
    }

    /// The answer to the request number `at` for a type. An Envoy does not go on without one for clusters and listeners.
    fn answer(&self, type_url: &str, at: usize) -> Option<Bytes> {
        if let Some(frames) = self.0.get(type_url) {
            return frames.get(at).cloned();
        }
        let is_needed = Kind::from_type_url(type_url).is_some_and(Kind::is_wildcard);
        let empty = || Response { type_url: type_url.to_owned(), nonce: "1".to_owned(), ..Response::default() };
        is_needed.then(|| frame_bytes(&empty().encode_to_vec()))
    }
}

/// A request, with the fields that the server looks at.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, tag = "2")]
    type_url: String,
    #[prost(string, tag = "6")]
    nonce: String,
}

/// One stream: its requests, and what is to be sent on it.
pub(super) struct FloorStream {
    pub(super) requests: Streaming<Request>,
    pub(super) slot: Arc<Slot>,
    pub(super) script: Arc<Script>,
    pub(super) answered: Vec<(String, usize)>,
}

impl FloorStream {
    /// The next frame. Requests are read first, in the task that sends.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while let Poll::Ready(request) = self.requests.poll_next_unpin(context) {
            match request {
                Some(Ok(request)) if request.nonce.is_empty() => self.on_first(request.type_url),
                Some(Ok(_ack)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
        self.slot.waker.register(context.waker());
        match lock(&self.slot.queue).pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Poll::Pending,
        }
    }

    fn on_first(&mut self, type_url: String) {
        let at = match self.answered.iter_mut().find(|(known, _)| *known == type_url) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.answered.push((type_url.clone(), 0));
                0
            }
        };
        if let Some(frame) = self.script.answer(&type_url, at) {
            lock(&self.slot.queue).push_back(frame);
        }
    }
}

/// For tonic's encoder, which writes the prefix itself and copies the message.
impl Stream for FloorStream {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(context).map(|frame| frame.map(|frame| Ok(frame.slice(5..))))
    }
}

/// For hyper, without a copy.
impl Body for FloorStream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.poll_message(context).map(|frame| frame.map(|frame| Ok(Frame::data(frame))))
    }
}
