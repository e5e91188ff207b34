//! The requests of a stream, out of the body of an HTTP request.
//!
//! A request that came whole is read where it lies, so that a stream that waits holds no buffer. Only of one that came in
//! pieces the beginning is kept, and only what was received of it: its length is a claim.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use hyper::body::Body as _;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::ads::codec::PREFIX_BYTES;
use crate::ads::wire::DiscoveryRequest;

/// The requests of one stream. They end with the first error.
pub(super) struct Requests<R> {
    body: Body,
    received: Received,
    is_over: bool,
    request: PhantomData<fn() -> R>,
}

impl<R> Requests<R> {
    /// Requests of at most `limit` bytes.
    pub(super) fn new(body: Body, limit: usize) -> Self {
        let received = Received { limit, beginning: BytesMut::new(), rest: Bytes::new() };
        Self { body, received, is_over: false, request: PhantomData }
    }
}

impl<R: DiscoveryRequest> Requests<R> {
    fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<R, Status>>> {
        loop {
            if let Some(message) = self.received.message().transpose() {
                return Poll::Ready(Some(message.and_then(decode)));
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                // The client took the stream back.
                Some(Err(status)) if status.code() == Code::Cancelled => return Poll::Ready(None),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None if self.received.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(Status::internal("the stream ended inside of a request")))),
            };
            if let Ok(data) = frame.into_data() {
                self.received.rest = data;
            }
        }
    }
}

impl<R: DiscoveryRequest> Stream for Requests<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_request(context));
        self.is_over = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

fn decode<R: DiscoveryRequest>(message: Bytes) -> Result<R, Status> {
    R::decode(message).map_err(|error| Status::invalid_argument(format!("a request that cannot be read: {error}")))
}

/// What was received and not read yet.
#[derive(Debug)]
struct Received {
    limit: usize,
    /// The beginning of a message, while the others of its bytes are on their way.
    beginning: BytesMut,
    /// What follows it.
    rest: Bytes,
}

impl Received {
    /// The next message, if all of it is there. What is left is not enough for one then.
    fn message(&mut self) -> Result<Option<Bytes>, Status> {
        if self.beginning.is_empty() {
            let whole = self.length(&self.rest)?.filter(|length| self.rest.len() >= *length);
            if let Some(length) = whole {
                let mut message = self.rest.split_to(length);
                message.advance(PREFIX_BYTES);
                return Ok(Some(message));
            }
        }
        loop {
            let length = self.length(&self.beginning)?;
            let wanted = length.unwrap_or(PREFIX_BYTES) - self.beginning.len();
            if wanted == 0 {
                let mut message = std::mem::take(&mut self.beginning).freeze();
                message.advance(PREFIX_BYTES);
                return Ok(Some(message));
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let part = self.rest.split_to(wanted.min(self.rest.len()));
            self.beginning.extend_from_slice(&part);
        }
    }

    /// The length of the message that begins so, with its prefix, once the prefix is there.
    fn length(&self, beginning: &[u8]) -> Result<Option<usize>, Status> {
        let Some((prefix, _)) = beginning.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [is_compressed, length @ ..] = *prefix;
        if is_compressed != 0 {
            return Err(Status::unimplemented("compressed requests are not understood"));
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > self.limit {
            let limit = self.limit;
            // It is the client's to make it smaller.
            return Err(Status::resource_exhausted(format!(
                "a request of {length} bytes; at most {limit} are allowed"
            )));
        }
        Ok(Some(PREFIX_BYTES + length))
    }

    fn is_empty(&self) -> bool {
        self.beginning.is_empty() && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
    }

    /// What is read of these pieces.
    fn read(pieces: &[&[u8]]) -> Result<Vec<Bytes>, String> {
        let mut received = Received { limit: 10, beginning: BytesMut::new(), rest: Bytes::new() };
        let mut messages = Vec::new();
        for piece in pieces {
            received.rest = Bytes::copy_from_slice(piece);
            while let Some(message) = received.message().map_err(|status| status.message().to_owned())? {
                messages.push(message);
            }
        }
        if received.is_empty() { Ok(messages) } else { Err("something is left".to_owned()) }
    }

    #[test]
    fn messages_are_found_however_they_were_cut() {
        let bytes = [frame(0, b"one"), frame(0, b""), frame(0, b"0123456789")].concat();
        let expected = ["one", "", "0123456789"].map(Bytes::from);

        for size in 1..=bytes.len() {
            let pieces: Vec<_> = bytes.chunks(size).collect();
            assert_eq!(read(&pieces).as_deref(), Ok(&expected[..]), "pieces of {size} bytes");
        }
        assert_eq!(read(&[&bytes[..bytes.len() - 1]]), Err("something is left".to_owned()));
    }

    #[test]
    fn what_is_compressed_or_too_long_is_refused_at_its_prefix() {
        let too_long = frame(0, b"01234567890");

        assert_eq!(read(&[&too_long[..5]]), Err("a request of 11 bytes; at most 10 are allowed".to_owned()));
        assert_eq!(read(&[&frame(1, b"x")[..5]]), Err("compressed requests are not understood".to_owned()));
    }

    #[test]
    fn a_message_that_came_whole_is_not_copied() {
        let mut received = Received { limit: 10, beginning: BytesMut::new(), rest: Bytes::from(frame(0, b"one")) };
        let came = received.rest.as_ptr();

        let message = received.message().unwrap().unwrap();

        assert_eq!((message.as_ptr(), received.beginning.capacity()), (came.wrapping_add(PREFIX_BYTES), 0));
    }
}
