//! Callers of Consul's HTTP API, each with a connection of its own, that wait for changes or ask when they are told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Failure;
use crate::fleet::{Arrivals, LIMIT, Traffic};
use crate::http::Http;
use crate::marker;

/// Connections that are being opened at a time.
const OPENED_AT_ONCE: usize = 256;

/// When callers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// As soon as they have an answer, for a newer one.
    ForNews,
    /// When they are told, for what there is.
    WhenTold,
}

/// Callers of one server.
pub(crate) struct Callers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    /// How many of them shall ask, each time that it is sent.
    orders: watch::Sender<usize>,
}

struct Shared {
    address: SocketAddr,
    headers: String,
    asking: Asking,
    state: Mutex<State>,
    /// All that were expected have the answer, or something failed.
    done: Notify,
}

#[derive(Default)]
struct State {
    /// The number of the change that is expected, and how many have not seen it. 0 stands for any answer.
    expected: Option<(u32, usize)>,
    arrivals: Arrivals,
    traffic: Traffic,
    failure: Option<String>,
}

/// What a server said.
struct Answer {
    index: u64,
    body: Vec<u8>,
}

impl Callers {
    /// Connects callers, each of which asks for the path that `path` says for its number, and returns when all have had
    /// a first answer.
    ///
    /// # Errors
    /// A server that cannot be reached, or answers with something else.
    pub(crate) async fn connect(
        http: &Http,
        asking: Asking,
        paths: impl IntoIterator<Item = String>,
    ) -> Result<Self, Failure> {
        let (orders, told) = watch::channel(0);
        let line = |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}\r\n", value.to_str().unwrap_or(""));
        let headers = http.headers().iter().map(line).collect();
        let (state, done) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { address: http.address(), headers, asking, state, done });
        let mut callers = Self { shared, tasks: JoinSet::new(), orders };
        let paths: Vec<_> = paths.into_iter().collect();
        for (batch, paths) in paths.chunks(OPENED_AT_ONCE).enumerate() {
            let first = callers.expect(0, paths.len());
            for (number, path) in (batch * OPENED_AT_ONCE..).zip(paths) {
                callers.tasks.spawn(callers.shared.clone().run(number, path.clone(), told.clone()));
            }
            callers.done().await?;
            drop(first);
        }
        Ok(callers)
    }

    /// Notes when the answers arrive that so many callers get for a change, or for any if its number is 0.
    pub(crate) fn expect(&self, sequence: u32, count: usize) -> Arrivals {
        let mut state = self.shared.state();
        state.expected = Some((sequence, count));
        state.arrivals = Arrivals::default();
        state.arrivals.clone()
    }

    /// Tells the first callers to ask.
    pub(crate) fn tell(&self, count: usize) {
        self.orders.send_replace(count);
    }

    /// Waits until everything that was expected is there.
    ///
    /// # Errors
    /// A caller got something else, or it takes too long.
    pub(crate) async fn done(&self) -> Result<(), Failure> {
        let in_time = timeout(LIMIT, self.shared.done.notified()).await;
        let mut state = self.shared.state();
        match (state.failure.take(), state.expected.take()) {
            (Some(failure), _) => Err(failure.into()),
            (None, Some((_, missing))) if in_time.is_err() => {
                Err(format!("{missing} callers had no answer within {LIMIT:?}").into())
            }
            _ => Ok(()),
        }
    }

    /// What arrived so far.
    pub(crate) fn traffic(&self) -> Traffic {
        self.shared.state().traffic
    }

    /// Closes every connection.
    pub(crate) async fn disconnect(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, number: usize, path: String, told: watch::Receiver<usize>) {
        if let Err(error) = self.ask(number, &path, told).await {
            self.state().failure.get_or_insert(format!("caller {number}: {error}"));
            self.done.notify_one();
        }
    }

    async fn ask(&self, number: usize, path: &str, mut told: watch::Receiver<usize>) -> Result<(), Failure> {
        let mut socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let mut seen = 0;
        loop {
            let wait = if seen == 0 { String::new() } else { format!("?index={seen}&wait=600s") };
            let request = format!("GET {path}{wait} HTTP/1.1\r\nhost: {}\r\n{}\r\n", self.address, self.headers);
            socket.write_all(request.as_bytes()).await?;
            let answer = read(&mut socket).await?;
            if answer.index <= seen {
                return Err(format!("{path} was answered without news: index {} after {seen}", answer.index).into());
            }
            self.note(&answer);
            match self.asking {
                Asking::ForNews => seen = answer.index,
                Asking::WhenTold => next_order(&mut told, number).await?,
            }
        }
    }

    fn note(&self, answer: &Answer) {
        let at = Instant::now();
        let mut state = self.state();
        state.traffic.responses += 1;
        state.traffic.bytes += answer.body.len() as u64;
        let Some((sequence, missing)) = &mut state.expected else { return };
        if *sequence != 0 && marker::find(&answer.body) != Some(*sequence) {
            return;
        }
        *missing = missing.saturating_sub(1);
        let is_last = *missing == 0;
        state.arrivals.note(at);
        if is_last {
            self.done.notify_one();
        }
    }
}

/// Waits for the next order that is meant for a caller.
async fn next_order(orders: &mut watch::Receiver<usize>, number: usize) -> Result<(), watch::error::RecvError> {
    loop {
        orders.changed().await?;
        if number < *orders.borrow_and_update() {
            return Ok(());
        }
    }
}

/// Reads one answer, which must be a success with a length.
async fn read(socket: &mut TcpStream) -> Result<Answer, Failure> {
    let mut bytes = Vec::with_capacity(2048);
    let head = loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err("the server closed the connection".into());
        }
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = std::str::from_utf8(&bytes[..head])?.to_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(format!("the server answers {text}").into());
    }
    let header = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok::<u64, Failure>(value.ok_or_else(|| format!("an answer has no {name}"))?.trim().parse()?)
    };
    let (index, length) = (header("x-consul-index")?, header("content-length")?);
    let mut body = bytes.split_off(head);
    let missing = (length as usize).checked_sub(body.len()).ok_or("an answer is longer than it says")?;
    let read = body.len();
    body.resize(read + missing, 0);
    timeout(Duration::from_secs(60), socket.read_exact(&mut body[read..])).await??;
    Ok(Answer { index, body })
}
