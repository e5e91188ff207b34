//! `meshgate demo --once`, as somebody runs it whose terminal is a pipe.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meshgate::cli::envoy;
use regex::Regex;

const EXPECTED: &str = "
Hops by gateway mode, proved by what each Envoy received
  other datacenter: web -> api in dc2 (http)
    ok   none     sidecar web > sidecar api   20/20 ok
    ok   local    sidecar web > gateway dc1 > gateway dc2 > sidecar api   20/20 ok
    ok   remote   sidecar web > gateway dc2 > sidecar api   20/20 ok
  other partition: web -> billing in team-a (tcp)
    ok   none     sidecar web > sidecar billing   20/20 ok
    ok   local    sidecar web > gateway dc1 > gateway team-a > sidecar billing   20/20 ok
    ok   remote   sidecar web > gateway team-a > sidecar billing   20/20 ok

The ladder, weakest level first, while a client keeps sending
  accepted: the sidecar has ACKed all of the change; moved: by then requests take the new way
  other datacenter: web -> api in dc2 (http)
                                                                         accepted    moved  failed   on the way
    ok   proxy-defaults Config.mesh_gateway = local TIMES 2 gateways
    ok   proxy-defaults MeshGateway = remote TIMES 1 gateway
    ok   service-defaults MeshGateway = local TIMES 2 gateways
    ok   service-defaults UpstreamConfig.Defaults.MeshGateway = remote TIMES 1 gateway
    ok   registration Proxy.MeshGateway = local TIMES 2 gateways
    ok   service-defaults UpstreamConfig.Overrides[].MeshGateway = remote TIMES 1 gateway
    ok   registration Proxy.Upstreams[].MeshGateway = local TIMES 2 gateways
    ok   nothing set any more TIMES no gateway
    ok   requests MANY sent, 0 failed
  other partition: web -> billing in team-a (tcp)
                                                                         accepted    moved  failed   on the way
    ok   proxy-defaults Config.mesh_gateway = local TIMES 2 gateways
    ok   proxy-defaults MeshGateway = remote TIMES 1 gateway
    ok   service-defaults MeshGateway = local TIMES 2 gateways
    ok   service-defaults UpstreamConfig.Defaults.MeshGateway = remote TIMES 1 gateway
    ok   registration Proxy.MeshGateway = local TIMES 2 gateways
    ok   service-defaults UpstreamConfig.Overrides[].MeshGateway = remote TIMES 1 gateway
    ok   registration Proxy.Upstreams[].MeshGateway = local TIMES 2 gateways
    ok   nothing set any more TIMES no gateway
    ok   requests MANY sent, 0 failed

exported-services decides what another partition may reach
    ok   none     no export: no way after N ms; exported again: the way is back
    ok   local    no export: no way after N ms; exported again: the way is back
    ok   remote   no export: no way after N ms; exported again: the way is back

The control plane is killed and started again under traffic
    ok   requests MANY sent, 0 failed; every proxy connected again after N ms

28 steps as they should be, 0 not
";

/// The text with words in place of what differs each time.
fn without_figures(text: &str) -> String {
    let replacements =
        [(r" +\d+ ms +\d+ ms +0 +", " TIMES "), (r"\d\d+ sent", "MANY sent"), (r"after \d+ ms", "after N ms")];
    replacements.into_iter().fold(text.to_owned(), |text, (pattern, word)| {
        Regex::new(pattern).expect("a fixed pattern").replace_all(&text, word).into_owned()
    })
}

#[test]
fn the_tour_shows_every_mode_every_level_exports_and_a_restart() {
    let envoy = envoy::find_or_install(None).unwrap_or_else(|error| panic!("this test needs a real Envoy: {error}"));
    let output = Command::new(env!("CARGO_BIN_EXE_meshgate"))
        .args(["demo", "--once", "--envoy-binary"])
        .arg(envoy)
        .output()
        .unwrap();
    let (shown, progress) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());

    assert_eq!(without_figures(&shown), EXPECTED, "{progress}");
    assert!(!progress.contains('\x1b'), "{progress}");
    assert!(progress.lines().count() > 20 && progress.lines().all(|line| line.starts_with("- ")), "{progress}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_envoy_that_does_not_start_ends_the_demo_with_its_reason() {
    let output = Command::new(env!("CARGO_BIN_EXE_meshgate"))
        .args(["demo", "--once", "--envoy-binary", "/bin/false"])
        .output()
        .unwrap();

    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("ended by itself (exit status: 1)") && error.contains("/bin/false"), "{error}");
    assert_eq!(output.status.code(), Some(1));
}

/// The processes that a process has started.
#[cfg(target_os = "linux")]
fn children(process: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(target_os = "linux")]
fn runs(process: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|state| !state.contains(") Z "))
}

#[cfg(target_os = "linux")]
#[test]
fn a_demo_that_is_told_to_end_leaves_nothing_behind() {
    let envoy = envoy::find_or_install(None).unwrap_or_else(|error| panic!("this test needs a real Envoy: {error}"));
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_meshgate"))
        .args(["demo", "--envoy-binary"])
        .arg(envoy)
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(demo.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(progress.by_ref().any(|line| line == "- waiting until every health check passes"));
    let started = children(demo.id());
    assert_eq!(started.len(), 7, "a control plane, three gateways and three sidecars");

    assert!(Command::new("kill").args(["-TERM", &demo.id().to_string()]).status().unwrap().success());

    assert_eq!(demo.wait().unwrap().code(), Some(1));
    assert_eq!(progress.last().unwrap(), "error: stopped before the tour was over");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    // A process that is killed may need a moment to end, and whoever inherits it one to notice.
    let waiting = Instant::now();
    while started.iter().any(|process| runs(process)) {
        assert!(waiting.elapsed() < Duration::from_secs(10), "some of {started:?} still run");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that is killed when it is dropped.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn meshgate(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_meshgate")).args(arguments).output().unwrap()
}

#[test]
fn parts_of_the_demo_serve_call_and_keep_sending() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let url = format!("http://{address}/ready");
    let nobody = meshgate(&["demo", "call", &url]);
    let not_ready = meshgate(&["ready", "-envoy", &address]);
    let no_agent = meshgate(&["ready", "-http-addr", &address]);
    let serve = ["demo", "serve", "-listen", &address, "-text", "hello from api"];
    let _service = Running(Command::new(env!("CARGO_BIN_EXE_meshgate")).args(serve).spawn().unwrap());
    let limit = Instant::now() + Duration::from_secs(20);
    while !meshgate(&["ready", "-envoy", &address]).status.success() {
        assert!(Instant::now() < limit, "the service does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }

    let answer = meshgate(&["demo", "call", &url]);
    let targets = [format!("{url}=hello from api"), format!("{url}=hello from web")];
    let load = Command::new(env!("CARGO_BIN_EXE_meshgate"))
        .args(["demo", "load", "-workers", "1", &targets[0], &targets[1]])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut load = Running(load);
    let told = |stream: Box<dyn std::io::Read>| BufReader::new(stream).lines().map(Result::unwrap);
    let counted = told(Box::new(load.0.stdout.take().unwrap())).nth(1).unwrap();
    let failure = told(Box::new(load.0.stderr.take().unwrap())).next().unwrap();

    assert_eq!(String::from_utf8(answer.stdout).unwrap(), "hello from api\n");
    assert_eq!([nobody, not_ready, no_agent].map(|output| output.status.code().unwrap()), [1, 1, 4]);
    let pattern = Regex::new(r"^(\d+) sent, (\d+) failed, slowest \d+ ms$").unwrap();
    let counts = pattern.captures(&counted).unwrap_or_else(|| panic!("{counted}"));
    let [sent, failed] = [1, 2].map(|group| counts[group].parse::<u32>().unwrap());
    assert!(sent > failed && failed > 0, "{counted}");
    assert!(failure.ends_with("\"hello from api\" in place of \"hello from web\""), "{failure}");
}
