//! Events as they happen, for whoever listens, at a level of its own.
//!
//! **Invariant.** Listening costs those who log nothing while nobody listens, and never makes them wait: a listener that
//! is too slow misses events, and is told so.

use std::fmt::Write as _;
use std::sync::Arc;

use levels::Levels;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

/// Events that wait for a slow listener.
const WAITING: usize = 1024;
/// Whose events are told: what libraries say about the telling itself would never end.
const OURS: &str = "meshgate";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// When it happened.
    pub time: OffsetDateTime,
    /// How much it matters.
    pub level: Level,
    /// The part of the program.
    pub target: String,
    /// What happened.
    pub message: String,
    /// More about it.
    pub fields: Vec<(String, String)>,
}

/// Where events are heard of. Clones share it.
#[derive(Debug, Clone)]
pub struct Monitor {
    events: broadcast::Sender<Arc<LogEvent>>,
    levels: Arc<Levels>,
}

/// Somebody who listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    events: broadcast::Receiver<Arc<LogEvent>>,
    level: Level,
    levels: Arc<Levels>,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { events: broadcast::channel(WAITING).0, levels: Arc::default() }
    }
}

impl Monitor {
    /// Listens to what matters at least this much.
    pub fn listen(&self, level: Level) -> Listener {
        self.levels.add(level);
        Listener { events: self.events.subscribe(), level, levels: self.levels.clone() }
    }

    pub(super) fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> impl Layer<S> + use<S> {
        Tell(self.events.clone()).with_filter(Wanted(self.levels.clone()))
    }
}

impl Listener {
    /// The next event; `None` once there will be no more. The number is that of events that were missed before it.
    pub async fn next(&mut self) -> Option<(u64, Arc<LogEvent>)> {
        let mut missed = 0;
        loop {
            match self.events.recv().await {
                Ok(event) if event.level <= self.level => return Some((missed, event)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(count)) => missed += count,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.levels.remove(self.level);
    }
}

mod levels {
    //! Which levels somebody listens to.

    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::Level;
    use tracing::level_filters::LevelFilter;

    const LEVELS: [Level; 5] = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];

    /// How many listen to each level, the most talkative one first.
    #[derive(Debug, Default)]
    pub(super) struct Levels([AtomicUsize; LEVELS.len()]);

    impl Levels {
        pub(super) fn add(&self, level: Level) {
            self.count(level, |count| count.fetch_add(1, Ordering::Relaxed));
        }

        pub(super) fn remove(&self, level: Level) {
            self.count(level, |count| count.fetch_sub(1, Ordering::Relaxed));
        }

        fn count(&self, level: Level, change: impl Fn(&AtomicUsize) -> usize) {
            if let Some(position) = LEVELS.iter().position(|known| *known == level) {
                change(&self.0[position]);
            }
            // Every place that logs remembers whether anybody wants to know.
            tracing::callsite::rebuild_interest_cache();
        }

        /// The most that somebody listens to.
        pub(super) fn most(&self) -> LevelFilter {
            let wanted = LEVELS.iter().zip(&self.0).find(|(_, count)| count.load(Ordering::Relaxed) > 0);
            wanted.map_or(LevelFilter::OFF, |(level, _)| LevelFilter::from_level(*level))
        }
    }
}

/// Lets through what somebody listens to.
struct Wanted(Arc<Levels>);

impl Wanted {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with(OURS) && *metadata.level() <= self.0.most()
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.most())
    }
}

/// Tells the listeners.
struct Tell(broadcast::Sender<Arc<LogEvent>>);

impl<S: Subscriber> Layer<S> for Tell {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let event = LogEvent {
            time: OffsetDateTime::now_utc(),
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: said.message,
            fields: said.fields,
        };
        // Nobody may be left.
        let _ = self.0.send(Arc::new(event));
    }
}

#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(String, String)>,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.fields.push((field.name().to_owned(), format!("{value:?}")));
        }
    }
}

impl LogEvent {
    /// One line for people, as Consul writes it.
    pub fn to_line(&self) -> String {
        let level = format!("[{}]", self.level);
        let mut line = format!("{} {level:<7} {}: {}", self.timestamp(), self.target, self.message);
        for (position, (name, value)) in self.fields.iter().enumerate() {
            let separator = if position == 0 { ":" } else { "" };
            let quoted = value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"');
            let _ = if quoted {
                write!(line, "{separator} {name}={value:?}")
            } else {
                write!(line, "{separator} {name}={value}")
            };
        }
        line.replace('\n', " ")
    }

    /// One line for programs, as Consul writes it.
    pub fn to_json(&self) -> String {
        let own = [
            ("@level", self.level.as_str().to_ascii_lowercase()),
            ("@message", self.message.clone()),
            ("@module", self.target.clone()),
            ("@timestamp", self.timestamp()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        let object: serde_json::Map<_, _> =
            own.chain(self.fields.iter().cloned()).map(|(name, value)| (name, value.into())).collect();
        serde_json::Value::Object(object).to_string()
    }

    fn timestamp(&self) -> String {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        self.time.format(format).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[tokio::test]
    async fn listeners_hear_what_they_asked_for_and_nobody_else_pays() {
        let monitor = Monitor::default();
        let subscriber =
            tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), monitor.layer());
        let _on_this_thread = tracing::subscriber::set_default(subscriber);
        let is_enabled = || tracing::enabled!(target: "meshgate::test", Level::DEBUG);

        tracing::info!(target: "meshgate::test", "before");
        let before = is_enabled();
        let mut debug = monitor.listen(Level::DEBUG);
        let mut warn = monitor.listen(Level::WARN);
        tracing::debug!(target: "meshgate::test", count = 7, "hello");
        tracing::warn!(target: "hyper", "of a library");
        tracing::warn!(target: "meshgate::test", "careful");

        assert!(!before);
        let (missed, event) = debug.next().await.unwrap();
        assert_eq!((missed, &*event.message, &event.fields), (0, "hello", &vec![("count".into(), "7".into())]));
        assert_eq!(warn.next().await.unwrap().1.message, "careful");
        drop(debug);
        assert!(!is_enabled());
    }

    #[test]
    fn lines_are_those_of_consul() {
        let event = LogEvent {
            time: datetime!(2026-01-02 03:04:05.678 UTC),
            level: Level::INFO,
            target: "meshgate::app".to_owned(),
            message: "ready".to_owned(),
            fields: vec![("http".to_owned(), "127.0.0.1:1".to_owned()), ("why".to_owned(), "a b".to_owned())],
        };

        let line = "2026-01-02T03:04:05.678Z [INFO]  meshgate::app: ready: http=127.0.0.1:1 why=\"a b\"";
        let json = concat!(
            r#"{"@level":"info","@message":"ready","@module":"meshgate::app","@timestamp":"2026-01-02T03:04:05.678Z","#,
            r#""http":"127.0.0.1:1","why":"a b"}"#
        );
        assert_eq!((event.to_line().as_str(), event.to_json().as_str()), (line, json));
    }
}
