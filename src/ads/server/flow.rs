//! Whether clients take what they are sent.
//!
//! A client can keep its connection alive and yet take nothing, or one byte at a time. Its streams are then bounded, as
//! they never hold more than one response of a type, but nothing else would end them (xds-protocol, R48).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The least that a client takes within the write deadline, in bytes. Answers to keepalives stay far below.
const LEAST_PROGRESS: u64 = 4 << 10;

/// What was handed to one connection, and what of it reached the socket.
#[derive(Debug, Default)]
pub(super) struct Flow {
    queued: AtomicU64,
    written: AtomicU64,
    /// Drops the connection with all its streams.
    pub(super) abort: CancellationToken,
}

/// A stream's part in the flow of its connection.
#[derive(Debug)]
pub(super) struct Queued(pub(super) Arc<Flow>);

impl Queued {
    /// A response of this many bytes is handed over.
    pub(super) fn add(&self, bytes: usize) {
        // The socket also carries what is not counted here, such as frame heads.
        let settled = self.0.written.load(Ordering::Relaxed);
        self.0.queued.fetch_max(settled, Ordering::Relaxed);
        self.0.queued.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Queued {
    /// What a stream that ended left unsent is never written.
    fn drop(&mut self) {
        self.0.queued.store(0, Ordering::Relaxed);
    }
}

/// The flows of all connections.
#[derive(Debug, Default)]
pub(super) struct Flows(Mutex<Vec<Watched>>);

#[derive(Debug)]
struct Watched {
    flow: Weak<Flow>,
    /// What had been written when the client last made progress.
    written: u64,
    since: Instant,
}

impl Flows {
    /// Watches one more connection.
    pub(super) fn watch(&self, abort: CancellationToken) -> Arc<Flow> {
        let flow = Arc::new(Flow { abort, ..Flow::default() });
        let watched = Watched { flow: Arc::downgrade(&flow), written: 0, since: Instant::now() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        flow
    }

    /// Drops the connections that took too little of what is due to them for this long. Returns how many.
    pub(super) fn sweep(&self, deadline: Duration) -> usize {
        let mut stalled = 0;
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.retain_mut(|watched| {
            let Some(flow) = watched.flow.upgrade() else { return false };
            let is_stalled = watched.is_stalled(&flow, deadline);
            if is_stalled {
                flow.abort.cancel();
                stalled += 1;
            }
            !is_stalled
        });
        stalled
    }
}

impl Watched {
    fn is_stalled(&mut self, flow: &Flow, deadline: Duration) -> bool {
        let (queued, written) = (flow.queued.load(Ordering::Relaxed), flow.written.load(Ordering::Relaxed));
        if queued <= written || written >= self.written + LEAST_PROGRESS {
            self.written = written;
            self.since = Instant::now();
        }
        self.since.elapsed() > deadline
    }
}

/// A socket that counts what is written.
#[derive(Debug)]
pub(super) struct Counted<S> {
    pub(super) socket: S,
    pub(super) flow: Arc<Flow>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> Counted<S> {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.flow.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    async fn pass(flows: &Flows, seconds: u64) -> usize {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        flows.sweep(DEADLINE)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_next_to_nothing_is_dropped() {
        let flows = Flows::default();
        let flow = flows.watch(CancellationToken::new());
        let mut socket = Counted { socket: tokio::io::sink(), flow: flow.clone() };
        let queued = Queued(flow.clone());

        assert_eq!(pass(&flows, 100).await, 0);
        queued.add(1 << 20);
        assert_eq!(pass(&flows, 1).await, 0);
        for _ in 0..5 {
            socket.write_all(&[0; 4 << 10]).await.unwrap();
            assert_eq!(pass(&flows, 29).await, 0);
        }
        socket.write_all(&[0; 17]).await.unwrap();
        assert_eq!((pass(&flows, 31).await, flow.abort.is_cancelled()), (1, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_took_everything_may_be_idle() {
        let flows = Flows::default();
        let flow = flows.watch(CancellationToken::new());
        let mut socket = Counted { socket: tokio::io::sink(), flow: flow.clone() };
        let queued = Queued(flow.clone());

        queued.add(100);
        socket.write_all(&[0; 150]).await.unwrap();
        assert_eq!(pass(&flows, 1_000).await, 0);
        // What was written beyond the count does not hide the next stall.
        queued.add(20);
        assert_eq!(pass(&flows, 1).await, 0);
        drop(queued);
        assert_eq!(pass(&flows, 1_000).await, 0);
        drop((flow, socket));
        assert_eq!((pass(&flows, 1).await, flows.0.lock().unwrap().len()), (0, 0));
    }
}
