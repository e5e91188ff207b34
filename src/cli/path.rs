//! `meshgate path`: the way from a service to another one, link by link.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use clap::Args;
use owo_colors::OwoColorize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::Target;
use super::output::ViewOption;
use super::{CliError, output};
use crate::api::{PathAnswer, PathLink};

/// How long a real connection may take.
const PROBE: Duration = Duration::from_secs(10);
/// Most bytes of the head of an answer that are read.
const HEAD: usize = 16 << 10;
/// How long a connection that nobody says anything on must stay open to count: Envoy gives up dialling after 5 s unless told.
const STAYS: Duration = Duration::from_secs(6);

/// Options of `path`.
#[derive(Debug, Args)]
pub(super) struct PathOptions {
    /// The service that calls: name, name@datacenter or partition/name
    #[arg(value_name = "SRC")]
    source: String,
    /// The service that is called: name, name@datacenter, name@peer or partition/name
    #[arg(value_name = "DST")]
    destination: String,
    /// The request that is followed, such as "GET /"
    #[arg(long, value_name = "REQUEST", default_value = "", hide_default_value = true)]
    http: String,
    /// Send a real connection through the sidecar too, which must run on this machine
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// Runs `path`.
///
/// # Errors
/// A link is broken, or the control plane does not answer or refuses.
pub(super) async fn run(options: &PathOptions) -> Result<(), CliError> {
    options.output.repeat(async || view(options).await).await
}

async fn view(options: &PathOptions) -> Result<(), CliError> {
    let mut query = vec![("from", options.source.as_str()), ("to", options.destination.as_str())];
    if !options.http.is_empty() {
        query.push(("http", &options.http));
    }
    let answer: PathAnswer = options.target.client()?.get(&["meshgate", "path"], &query).await?;
    let probe = if options.probe { Some(probe(&answer, &options.http).await) } else { None };
    let table = || {
        lines(&answer).iter().try_for_each(|line| output::line(line))?;
        probe.iter().try_for_each(|probe| output::line(&probe.line()))
    };
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Probed<'a> {
        #[serde(flatten)]
        answer: &'a PathAnswer,
        #[serde(skip_serializing_if = "Option::is_none")]
        probe: Option<&'a Probe>,
    }
    options.output.write_or(
        &Probed { answer: &answer, probe: probe.as_ref() },
        || verdict(&answer, probe.as_ref()),
        table,
    )?;
    if answer.ok && probe.is_none_or(|probe| probe.ok) { Ok(()) } else { Err(CliError::No) }
}

/// The answer in a few words.
fn verdict(answer: &PathAnswer, probe: Option<&Probe>) -> String {
    let first = answer.links.iter().find(|link| !answer.ok && link.number == answer.first_broken);
    match first {
        Some(link) => format!("broken: {} {}  {}", link.number, link.name, link.id).trim_end().to_owned(),
        None if answer.ok => probe.filter(|probe| !probe.ok).map_or_else(|| "ok".to_owned(), Probe::line),
        None => "nothing is known to arrive".to_owned(),
    }
}

/// The answer, line by line.
fn lines(answer: &PathAnswer) -> Vec<String> {
    let name = answer.links.iter().map(|link| link.name.len()).max().unwrap_or(0);
    let detail = answer.links.iter().map(|link| link.detail.chars().count()).max().unwrap_or(0).min(70);
    let row = |link: &PathLink| {
        let PathLink { number, name: called, detail: found, .. } = link;
        let id = if link.id.is_empty() { String::new() } else { format!("   {}", link.id) };
        format!("{number:>2} {called:<name$}  {found:<detail$}  {}{id}", status(link))
    };
    let mut lines: Vec<_> = answer.links.iter().map(row).collect();
    for link in answer.links.iter().filter(|link| link.status == "broken" && !link.fix.is_empty()) {
        let head = if link.number == answer.first_broken { "Fix:" } else { "then:" };
        lines.push(format!("{:<5} {}", head.bold(), link.fix));
    }
    // Where some of the traffic arrives, it matters which.
    let arrives = answer.ways.iter().any(|way| way.outcome == "arrives");
    for way in answer.ways.iter().filter(|_| answer.ok || arrives) {
        let hops: Vec<_> = way.hops.iter().map(|hop| hop.proxy.rsplit('/').next().unwrap_or_default()).collect();
        lines.push(format!("way: {} -> {} {}", hops.join(" -> "), way.outcome, way.end));
    }
    lines.extend(answer.left_out.iter().map(|what| format!("not looked at: {what}")));
    lines
}

fn status(link: &PathLink) -> String {
    match link.status.as_str() {
        "ok" => format!("{}", "ok".green()),
        "broken" => format!("{}", "BROKEN".red().bold()),
        "warning" => format!("{}", "warning".yellow().bold()),
        "blocked" => format!("{}", format!("? (because of {})", link.because_of).yellow()),
        "unused" => "-".to_owned(),
        other => other.to_owned(),
    }
}

/// What became of a real connection.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Probe {
    /// Something answered, or the connection stayed open.
    ok: bool,
    /// What was dialled.
    address: String,
    /// What happened.
    detail: String,
}

impl Probe {
    fn line(&self) -> String {
        let verdict = if self.ok { format!("{}", "ok".green()) } else { format!("{}", "FAILED".red().bold()) };
        format!("probe {}: {}  {verdict}", self.address, self.detail)
    }
}

/// Dials the upstream's listener as the application does.
async fn probe(answer: &PathAnswer, http: &str) -> Probe {
    let done = |ok, detail: String| Probe { ok, address: answer.listens.clone(), detail };
    let address = answer.listens.to_socket_addrs().ok().and_then(|mut found| found.next());
    let Some(address) = address else {
        return done(false, "the upstream listens on no TCP address: nothing was sent".to_owned());
    };
    let request = (answer.protocol == "http" || !http.is_empty()).then(|| written(http));
    let started = Instant::now();
    match timeout(PROBE, talk(address, request.as_deref())).await {
        Ok(Ok((ok, said))) => done(ok, format!("{said} in {:.1} ms", started.elapsed().as_secs_f64() * 1000.0)),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            done(false, format!("{error}: does the sidecar run on this machine?"))
        }
        Ok(Err(error)) => done(false, error.to_string()),
        Err(_) => done(false, format!("no answer within {} s", PROBE.as_secs())),
    }
}

fn written(http: &str) -> String {
    let (method, path) = http.split_once(' ').unwrap_or(("GET", if http.is_empty() { "/" } else { http }));
    let method = method.to_ascii_uppercase();
    format!("{method} {path} HTTP/1.1\r\nhost: meshgate-probe\r\nconnection: close\r\n\r\n")
}

/// Sends a request, or waits whether the connection stays open. Envoy accepts a connection before it knows whether the other
/// end can be reached.
async fn talk(address: SocketAddr, request: Option<&str>) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let mut answer = vec![0; HEAD];
    let Some(request) = request else {
        return Ok(match timeout(STAYS, stream.read(&mut answer)).await {
            Ok(Ok(0)) => (false, "closed at once".to_owned()),
            Ok(read) => (true, format!("{} bytes came", read?)),
            Err(_) => (true, format!("connection stays open for {} s", STAYS.as_secs())),
        });
    };
    stream.write_all(request.as_bytes()).await?;
    let mut read = 0;
    while read < answer.len() && !answer[..read].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut answer[read..]).await? {
            0 => break,
            more => read += more,
        }
    }
    Ok(judged(&String::from_utf8_lossy(&answer[..read])))
}

/// Whether an application answered, and the first line, from the head of an answer.
fn judged(head: &str) -> (bool, String) {
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    // Envoy adds it to what others answer, and not to what it says by itself.
    let is_forwarded = lines.any(|line| {
        line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case("x-envoy-upstream-service-time"))
    });
    let code: Option<u16> = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    match code {
        // Envoy says so where it finds nobody, where nobody answers, and where the other end lets nobody in.
        Some(403 | 502..=504) => (false, line),
        // And so where no route matches, or the request is none.
        Some(400 | 404) if !is_forwarded => (false, format!("{line} (from the sidecar itself)")),
        Some(_) => (true, line),
        None if line.is_empty() => (false, "closed without an answer".to_owned()),
        None => (false, format!("no HTTP came back: {line:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_envoy_answers_by_itself_is_no_success() {
        let forwarded = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nX-Envoy-Upstream-Service-Time: 2\r\n\r\n";
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 500 Internal Server Error\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\nserver: envoy\r\n\r\n", false),
            ("HTTP/1.1 400 Bad Request\r\nserver: envoy\r\n\r\n", false),
            (forwarded, true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", false),
            ("SSH-2.0-OpenSSH\r\n", false),
            ("", false),
        ] {
            assert_eq!(judged(head).0, expected, "{head:?}");
        }
    }

    #[test]
    fn the_request_that_is_sent_is_the_one_that_is_followed() {
        assert!(written("get /x").starts_with("GET /x HTTP/1.1\r\n"));
        assert!(written("").starts_with("GET / HTTP/1.1\r\n"));
    }
}
