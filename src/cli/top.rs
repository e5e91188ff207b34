//! `meshgate top`: which proxies take the most, looked at again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Client, Target};
use super::output::OutputOption;
use super::ps::lasting;
use super::{CliError, output};
use crate::model::GoDuration;

/// Options of `top`.
#[derive(Debug, Args)]
#[command(after_help = "\
A push is a response that the proxy has answered. Rates are about the time between two looks; NACKS are all since the proxy
connected. Those that are pushed to most come first, then those that lag most. With -o json each look is one line.")]
pub(super) struct TopOptions {
    /// Look twice, print that, and end
    #[arg(long)]
    once: bool,
    /// How long to wait between two looks
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    interval: GoDuration,
    /// Show at most so many proxies
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: usize,
    #[command(flatten)]
    output: OutputOption,
    #[command(flatten)]
    target: Target,
}

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

/// What was counted at one look.
#[derive(Debug)]
struct Look {
    at: Instant,
    /// The last commit.
    index: u64,
    proxies: BTreeMap<String, Counted>,
}

/// What was counted of one proxy.
#[derive(Debug, Clone, Default)]
struct Counted {
    kind: String,
    sync: String,
    streams: u64,
    acks: u64,
    nacks: u64,
    /// How long it has not had what it should have, in milliseconds.
    behind: Option<f64>,
}

/// Shows the proxies that take the most, until interrupted.
///
/// # Errors
/// The control plane does not answer or refuses.
pub(super) async fn run(options: &TopOptions) -> Result<(), CliError> {
    let client = options.target.client()?;
    let pause = options.interval.to_std().max(SHORTEST);
    let mut before = Look::take(&client).await?;
    loop {
        tokio::time::sleep(pause).await;
        let now = Look::take(&client).await?;
        let shown = now.since(&before, options.limit);
        if !options.once && !options.output.is_for_programs() {
            output::clear()?;
        }
        options.output.write_each((&shown.to_string(), &shown), || table(&shown))?;
        if options.once {
            return Ok(());
        }
        before = now;
    }
}

impl Look {
    async fn take(client: &Client) -> Result<Self, CliError> {
        let proxies: Vec<Value> = client.get(&["meshgate", "proxies"], &[]).await?;
        let status: Value = client.get(&["meshgate", "status"], &[]).await?;
        Ok(Self::of(Instant::now(), &proxies, status["Index"].as_u64().unwrap_or_default()))
    }

    fn of(at: Instant, proxies: &[Value], index: u64) -> Self {
        let counted = |proxy: &Value| {
            let text = |name: &str| proxy[name].as_str().unwrap_or_default().to_owned();
            let name = ["Datacenter", "Partition", "Node", "ID"].map(text).join("/");
            let sum = |name: &str| {
                let types = proxy["Types"].as_array().into_iter().flatten();
                types.filter_map(|it| it[name].as_u64()).sum()
            };
            let counted = Counted {
                kind: text("Kind"),
                sync: text("Sync"),
                streams: proxy["Streams"].as_u64().unwrap_or_default(),
                acks: sum("Acks"),
                nacks: sum("Nacks"),
                behind: proxy["BehindMs"].as_f64(),
            };
            (name, counted)
        };
        Self { at, index, proxies: proxies.iter().map(counted).collect() }
    }

    /// What happened since another look, and how it is now: of so many proxies, the busiest first.
    fn since(&self, before: &Self, limit: usize) -> Value {
        let seconds = (self.at - before.at).as_secs_f64();
        let mut rows: Vec<_> =
            self.proxies.iter().map(|(name, now)| (now.since(before.proxies.get(name), seconds), name)).collect();
        // What is equal stays in the order of the names, so that it does not jump about.
        rows.sort_by(|(left, _), (right, _)| right.weight().total_cmp(&left.weight()));
        let pushes: f64 = rows.iter().map(|(busy, _)| busy.pushes).sum();
        let nacks: f64 = rows.iter().map(|(busy, _)| busy.nacks).sum();
        let streams: u64 = self.proxies.values().map(|it| it.streams).sum();
        let lagging = self.proxies.values().filter(|it| it.streams > 0 && it.behind.is_some()).count();
        json!({
            "Seconds": tenths(seconds),
            "Index": self.index,
            "CommitsPerSecond": tenths(rate(self.index, before.index, seconds)),
            "PushesPerSecond": tenths(pushes),
            "NacksPerSecond": tenths(nacks),
            "Streams": streams,
            "Behind": lagging,
            "Proxies": rows.iter().take(limit).map(|(busy, name)| busy.shown(name)).collect::<Vec<_>>(),
        })
    }
}

/// What one proxy did between two looks.
struct Busy<'l> {
    now: &'l Counted,
    /// Responses that it answered, each second.
    pushes: f64,
    /// Responses that it refused, each second.
    nacks: f64,
}

impl Counted {
    fn since(&self, before: Option<&Self>, seconds: f64) -> Busy<'_> {
        // Whoever was not there has been answering since it came.
        let then = |count: fn(&Self) -> u64| before.map_or(0, count);
        let answered = |it: &Self| it.acks + it.nacks;
        Busy {
            now: self,
            pushes: rate(answered(self), then(answered), seconds),
            nacks: rate(self.nacks, then(|it| it.nacks), seconds),
        }
    }
}

impl Busy<'_> {
    /// Pushes count first, and of those that are pushed to alike how long they lag.
    fn weight(&self) -> f64 {
        const DAY: f64 = 86_400_000.0;
        tenths(self.pushes) + self.now.behind.unwrap_or_default().min(DAY) / DAY / 100.0
    }

    fn shown(&self, name: &str) -> Value {
        let Counted { kind, sync, streams, nacks, behind, .. } = self.now;
        json!({
            "Proxy": name, "Kind": kind, "Sync": sync, "Streams": streams, "PushesPerSecond": tenths(self.pushes),
            "NacksPerSecond": tenths(self.nacks), "Nacks": nacks, "BehindMs": behind,
        })
    }
}

/// How many more there are each second. A count that is less than before began anew.
fn rate(now: u64, then: u64, seconds: f64) -> f64 {
    let more = u32::try_from(now.checked_sub(then).unwrap_or(now)).unwrap_or(u32::MAX);
    f64::from(more) / seconds.max(f64::MIN_POSITIVE)
}

fn tenths(number: f64) -> f64 {
    // The sum of nothing is -0, which no one wants to read.
    (number * 10.0).round() / 10.0 + 0.0
}

fn table(shown: &Value) -> Result<(), CliError> {
    output::line(&format!(
        "commit {}, {} commits/s   {} pushes/s, {} nacks/s   {} streams, {} behind",
        shown["Index"],
        shown["CommitsPerSecond"],
        shown["PushesPerSecond"],
        shown["NacksPerSecond"],
        shown["Streams"],
        shown["Behind"]
    ))?;
    let heading = ["PROXY", "KIND", "SYNC", "STREAMS", "PUSHES/S", "LAG", "NACKS"].map(str::to_owned).to_vec();
    let row = |proxy: &Value| {
        let text = |name: &str| proxy[name].as_str().filter(|it| !it.is_empty()).unwrap_or("-").to_owned();
        let lag = proxy["BehindMs"].as_f64().filter(|_| proxy["Streams"] != 0);
        let lag = lag.map_or_else(|| "-".to_owned(), lasting);
        let [streams, pushes, nacks] = ["Streams", "PushesPerSecond", "Nacks"].map(|name| proxy[name].to_string());
        vec![text("Proxy"), text("Kind"), text("Sync"), streams, pushes, lag, nacks]
    };
    let rows = shown["Proxies"].as_array().into_iter().flatten().map(row);
    output::columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(id: &str, acks: u64, nacks: u64, behind: Option<f64>) -> Value {
        json!({
            "Datacenter": "dc1", "Partition": "default", "Node": "n", "ID": id, "Kind": "connect-proxy", "Sync": "synced",
            "Streams": 1, "BehindMs": behind,
            "Types": [{ "Type": "CDS", "Acks": acks, "Nacks": 0 }, { "Type": "LDS", "Acks": 0, "Nacks": nacks }],
        })
    }

    #[test]
    fn the_busiest_come_first_then_those_that_lag() {
        let start = Instant::now();
        let before =
            [proxy("a", 10, 0, None), proxy("b", 10, 0, None), proxy("c", 5, 1, None), proxy("back", 90, 0, None)];
        let now = [
            proxy("a", 10, 0, None),
            proxy("b", 10, 0, Some(3_000.0)),
            proxy("c", 10, 2, None),
            // Its stream came again.
            proxy("back", 2, 0, None),
        ];
        let before = Look::of(start, &before, 7);
        let now = Look::of(start + Duration::from_secs(2), &now, 12);

        let shown = now.since(&before, 3);

        let rows = shown["Proxies"].as_array().unwrap().iter();
        let rows: Vec<_> =
            rows.map(|it| format!("{} {} {}", it["Proxy"], it["PushesPerSecond"], it["NacksPerSecond"])).collect();
        let expected = ["\"dc1/default/n/c\" 3.0 0.5", "\"dc1/default/n/back\" 1.0 0.0", "\"dc1/default/n/b\" 0.0 0.0"];
        assert_eq!(rows, expected);
        assert_eq!((&shown["CommitsPerSecond"], &shown["PushesPerSecond"]), (&json!(2.5), &json!(4.0)));
        assert_eq!((&shown["Streams"], &shown["Behind"]), (&json!(4), &json!(1)));
        let nobody = Look::of(start + Duration::from_secs(4), &[], 12).since(&Look::of(start, &[], 12), 3);
        assert_eq!(nobody["PushesPerSecond"].to_string(), "0.0");
    }
}
