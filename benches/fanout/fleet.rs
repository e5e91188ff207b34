//! Many proxies on one thread, and what arrives at them.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::ads::{Contents, Identity, Kind, Proxy, Refusal, Response, Server, connect, frame};

/// Longest time that anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// After this time without a message nothing is under way any more.
const QUIET: Duration = Duration::from_millis(100);

/// Longest pause before a proxy comes again that the server was too busy for; Envoy's first one.
const RETRY: Duration = Duration::from_millis(500);

/// Proxies that are compared at a time.
const VERIFIED_AT_ONCE: usize = 256;

/// A response that arrived at a proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// The proxy's number.
    pub(crate) proxy: usize,
    pub(crate) at: Instant,
    /// The highest number of a change in the response.
    pub(crate) sequence: Option<u32>,
    /// A resource of this type came.
    pub(crate) kind: Option<Kind>,
    /// The proxy now has all that it asked for.
    pub(crate) is_complete: bool,
}

/// Looks at arrivals; true when it has seen all that it waits for.
pub(crate) type Observer = Box<dyn FnMut(Arrival) -> bool + Send>;

/// The proxies of one server.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    streams: JoinSet<()>,
}

struct Shared {
    server: Server,
    contents: Arc<Mutex<Contents>>,
    state: Mutex<State>,
    /// The observer has seen everything, or something failed.
    done: Notify,
}

#[derive(Default)]
struct State {
    proxies: Vec<Proxy>,
    observer: Option<Observer>,
    failure: Option<String>,
    traffic: Traffic,
    capture: Option<Vec<Bytes>>,
}

/// What all proxies got.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) responses: u64,
    pub(crate) bytes: u64,
    /// Streams that the server was too busy for.
    pub(crate) refusals: u64,
}

impl Traffic {
    /// What came since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            responses: self.responses - before.responses,
            bytes: self.bytes - before.bytes,
            refusals: self.refusals - before.refusals,
        }
    }
}

/// When something arrived, once for each proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<Instant>>>);

impl Arrivals {
    /// Notes one.
    pub(crate) fn note(&self, at: Instant) {
        lock(&self.0).push(at);
    }

    /// The times since `start`, sorted.
    pub(crate) fn since(&self, start: Instant) -> Vec<Duration> {
        let mut times: Vec<_> = lock(&self.0).iter().map(|at| at.duration_since(start)).collect();
        times.sort_unstable();
        times
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    /// Proxies that are not connected yet.
    pub(crate) fn new(server: Server, identities: impl IntoIterator<Item = Identity>) -> Self {
        Self::over(server, Arc::default(), identities.into_iter().map(Proxy::new).collect())
    }

    fn over(server: Server, contents: Arc<Mutex<Contents>>, proxies: Vec<Proxy>) -> Self {
        let state = Mutex::new(State { proxies, ..State::default() });
        Self { shared: Arc::new(Shared { server, contents, state, done: Notify::new() }), streams: JoinSet::new() }
    }

    /// The same proxies, with what they hold, for another server.
    pub(crate) fn elsewhere(&self, server: Server) -> Self {
        Self::over(server, self.shared.contents.clone(), self.state().proxies.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// How many proxies there are.
    pub(crate) fn len(&self) -> usize {
        self.state().proxies.len()
    }

    /// What arrived so far.
    pub(crate) fn traffic(&self) -> Traffic {
        self.state().traffic
    }

    /// Closes every connection. What the proxies hold stays.
    pub(crate) async fn disconnect(&mut self) {
        self.streams.shutdown().await;
    }

    /// Lets every proxy forget what it holds.
    pub(crate) fn forget(&self) {
        self.state().proxies.iter_mut().for_each(Proxy::forget);
    }

    /// Shows what arrives from now on to an observer.
    pub(crate) fn observe(&self, observer: Observer) {
        self.state().observer = Some(observer);
    }

    /// Notes when the first arrival that is wanted came to each of these proxies.
    pub(crate) fn expect(&self, whom: Range<usize>, is_wanted: impl Fn(&Arrival) -> bool + Send + 'static) -> Arrivals {
        let arrivals = Arrivals::default();
        let (times, mut waiting, mut missing) = (arrivals.clone(), vec![true; whom.len()], whom.len());
        self.observe(Box::new(move |arrival| {
            let waiting = arrival.proxy.checked_sub(whom.start).and_then(|at| waiting.get_mut(at));
            let Some(waiting) = waiting.filter(|waiting| **waiting && is_wanted(&arrival)) else { return false };
            *waiting = false;
            missing -= 1;
            times.note(arrival.at);
            missing == 0
        }));
        arrivals
    }

    /// Waits until the observer has seen everything.
    ///
    /// # Errors
    /// A stream ended, or it takes too long.
    pub(crate) async fn done(&self) -> Result<(), Failure> {
        let in_time = timeout(LIMIT, self.shared.done.notified()).await;
        let mut state = self.state();
        state.observer = None;
        if let Some(failure) = state.failure.take() {
            return Err(failure.into());
        }
        if in_time.is_err() {
            let incomplete = state.proxies.iter().filter(|proxy| !proxy.is_complete()).count();
            return Err(format!("not everything came within {LIMIT:?}; {incomplete} proxies are incomplete").into());
        }
        Ok(())
    }

    /// Connects every proxy at once and returns when each has arrived at all that it needs. Those that hold something
    /// tell it to the server.
    ///
    /// # Errors
    /// As [`Fleet::done`].
    pub(crate) async fn connect(&mut self) -> Result<Arrivals, Failure> {
        let arrivals = self.expect(0..self.len(), |arrival| arrival.is_complete);
        for number in 0..self.len() {
            self.streams.spawn(self.shared.clone().run(number));
        }
        self.done().await?;
        Ok(arrivals)
    }

    /// Waits until no message comes any more.
    ///
    /// # Errors
    /// A stream ended.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        loop {
            let before = self.traffic().responses;
            sleep(QUIET).await;
            if let Some(failure) = self.state().failure.take() {
                return Err(failure.into());
            }
            if self.traffic().responses == before {
                return Ok(());
            }
        }
    }

    /// Keeps what the first proxy gets from now on.
    pub(crate) fn capture(&self) {
        self.state().capture = Some(Vec::new());
    }

    /// What the first proxy got since [`Fleet::capture`].
    pub(crate) fn captured(&self) -> Vec<Bytes> {
        self.state().capture.take().unwrap_or_default()
    }

    /// Checks that each proxy holds exactly what a fresh one in its place gets.
    ///
    /// # Errors
    /// One does not.
    pub(crate) async fn verify(&self) -> Result<(), Failure> {
        self.settle().await?;
        let proxies = self.state().proxies.clone();
        for (batch, held) in proxies.chunks(VERIFIED_AT_ONCE).enumerate() {
            let mut fresh = held.to_vec();
            fresh.iter_mut().for_each(Proxy::forget);
            let mut fresh = Self::over(self.shared.server.clone(), self.shared.contents.clone(), fresh);
            fresh.connect().await?;
            fresh.settle().await?;
            for (number, (held, fresh)) in held.iter().zip(&fresh.state().proxies).enumerate() {
                if !held.holdings().eq(fresh.holdings()) {
                    let number = batch * VERIFIED_AT_ONCE + number;
                    return Err(self.difference(number, held, fresh).into());
                }
            }
        }
        Ok(())
    }

    /// Holds that [`Fleet::verify`] finds what is wrong, by a proxy that forgets what it holds. Its stream does not know that,
    /// so this is for the end of a run.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn verify_finds(&self) -> Result<(), Failure> {
        self.state().proxies.last_mut().ok_or("there are no proxies")?.forget();
        match self.verify().await {
            Ok(()) => Err("a proxy that holds nothing was taken for one that holds everything".into()),
            Err(found) if found.to_string().contains("does not hold what a fresh client gets") => Ok(()),
            Err(other) => Err(other),
        }
    }

    fn difference(&self, number: usize, held: &Proxy, fresh: &Proxy) -> String {
        let contents = lock(&self.shared.contents);
        let only = |a: &Proxy, b: &Proxy| {
            let b: Vec<_> = b.holdings().collect();
            let only = a.holdings().filter(|held| !b.contains(held));
            let only = only.map(|(kind, name, content)| {
                format!("{kind:?} {} {}", contents.name_of(name), contents.get(content).version)
            });
            only.take(5).collect::<Vec<_>>().join(", ")
        };
        format!(
            "proxy {number} does not hold what a fresh client gets: it alone has [{}], the fresh one [{}]",
            only(held, fresh),
            only(fresh, held)
        )
    }
}

impl Shared {
    async fn run(self: Arc<Self>, number: usize) {
        loop {
            let first = lock(&self.state).proxies[number].open(&lock(&self.contents));
            let first = first.iter().map(frame).collect();
            let ended = connect(&self.server, number, first, |message| self.on_message(number, message)).await;
            let Err(error) = ended else { return };
            if !error.downcast_ref().is_some_and(Refusal::is_temporary) {
                lock(&self.state).failure.get_or_insert(format!("proxy {number}: {error}"));
                return self.done.notify_one();
            }
            lock(&self.state).traffic.refusals += 1;
            // Proxies that were refused together come back apart.
            sleep(RETRY * (1 + number % 8) as u32 / 8).await;
        }
    }

    fn on_message(&self, number: usize, message: Bytes) -> Result<Vec<Bytes>, Failure> {
        let at = Instant::now();
        let mut state = lock(&self.state);
        state.traffic.responses += 1;
        state.traffic.bytes += message.len() as u64;
        if number == 0
            && let Some(capture) = &mut state.capture
        {
            capture.push(message.clone());
        }
        let response = Response::decode(message)?;
        let mut contents = lock(&self.contents);
        let mut arrived = Vec::new();
        let seen = |kind, content| arrived.push((kind, content));
        let requests = state.proxies[number].on_response(response, &mut contents, seen)?;
        let arrival = Arrival {
            proxy: number,
            at,
            sequence: arrived.iter().filter_map(|(_, content)| contents.get(*content).sequence).max(),
            kind: arrived.first().map(|(kind, _)| *kind),
            is_complete: state.proxies[number].is_complete(),
        };
        if state.observer.as_mut().is_some_and(|observer| observer(arrival)) {
            self.done.notify_one();
        }
        Ok(requests.iter().map(frame).collect())
    }
}
