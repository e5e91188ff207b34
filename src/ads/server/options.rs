//! How the server treats its clients.

use std::num::NonZero;
use std::time::Duration;

/// How the server treats its clients.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most resource names of one type on one stream. Default: 100,000.
    pub names_per_type: usize,
    /// Longest request in bytes. Default: 32 MiB, more than a reconnect with 100,000 names.
    pub request_bytes: usize,
    /// Requests that a stream may send at once, and after which time each further one. Default: 1,024 and 1 ms.
    pub request_pace: (u32, Duration),
    /// How long a new stream may be silent. Default: 5 s.
    pub first_request: Duration,
    /// How long a client may take nothing of what is sent before its connection is closed. Default: 30 s.
    pub write: Duration,
    /// How many streams may load their first state at once. Default: four per core.
    pub loading: usize,
    /// How long a stream waits for its turn to load. Default: 10 s.
    pub loading_wait: Duration,
    /// After which silence a connection is probed, and how long the answer may take. Default: 20 s and 10 s.
    pub keepalive: (Duration, Duration),
    /// How long connections may take to end at shutdown. Default: 5 s.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names_per_type: 100_000,
            request_bytes: 32 << 20,
            request_pace: (1024, Duration::from_millis(1)),
            first_request: Duration::from_secs(5),
            write: Duration::from_secs(30),
            loading: 4 * std::thread::available_parallelism().map_or(1, NonZero::get),
            loading_wait: Duration::from_secs(10),
            keepalive: (Duration::from_secs(20), Duration::from_secs(10)),
            drain: Duration::from_secs(5),
        }
    }
}
