//! The responses of a stream as the body of an HTTP response.
//!
//! Each message has memory of its own, as long as it is, which goes when it is written. An encoder with a buffer would keep
//! as much as the largest message needed, for every client, for as long as it is connected.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::StreamExt;
use http::HeaderMap;
use hyper::body::{Body, Frame};
use tonic::{Code, Status};

use super::stream::AdsStream;
use crate::ads::codec::message;
use crate::ads::wire::DiscoveryRequest;

/// The responses of one stream, and its status at the end.
pub(super) struct Responses<R> {
    stream: AdsStream<R>,
    is_over: bool,
}

impl<R> Responses<R> {
    pub(super) fn new(stream: AdsStream<R>) -> Self {
        Self { stream, is_over: false }
    }
}

impl<R: DiscoveryRequest> Body for Responses<R> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let status = match ready!(self.stream.poll_next_unpin(context)) {
            Some(Ok(response)) => return Poll::Ready(Some(Ok(Frame::data(message(&response))))),
            Some(Err(status)) => status,
            None => Status::new(Code::Ok, ""),
        };
        self.is_over = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if let Err(unsayable) = status.add_header(&mut trailers) {
        // Its message cannot be a header; the code can.
        trailers.insert(Status::GRPC_STATUS, i32::from(unsayable.code()).into());
    }
    trailers
}
