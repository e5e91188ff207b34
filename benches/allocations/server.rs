//! The control plane in a process of its own that counts its allocations.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::ops::{Div, Sub};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use meshgate::app::App;
use meshgate::settings::{Inputs, Settings};

use crate::Failure;
use crate::http::Http;

/// The argument that makes this program the server.
pub(crate) const COMMAND: &str = "serve";

/// Allocations and their bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { allocations: self.allocations - other.allocations, bytes: self.bytes - other.bytes }
    }
}

impl Div<f64> for Count {
    type Output = Self;

    fn div(self, by: f64) -> Self {
        Self { allocations: self.allocations / by, bytes: self.bytes / by }
    }
}

/// Serves until standard input ends. Prints where the HTTP API and ADS listen; for each line that is read, what was
/// allocated so far.
///
/// # Errors
/// It cannot start.
pub(crate) async fn serve() -> Result<(), Failure> {
    let flags = [("ports.http", "0"), ("ports.grpc", "0"), ("node_name", "bench")];
    let flags = flags.map(|(key, value)| (key, value.to_owned())).to_vec();
    let settings = Settings::load(&Inputs { flags, dev: true, ..Inputs::default() })?;
    let app = App::start(settings).await?;
    println!("{} {}", app.http, app.grpc.ok_or("no xDS")?);
    let answer = || {
        for line in std::io::stdin().lock().lines() {
            line?;
            let stats = crate::ALLOCATOR.stats();
            println!("{} {}", stats.allocations + stats.reallocations, stats.bytes_allocated);
        }
        Ok(())
    };
    tokio::task::spawn_blocking(answer).await?
}

/// The server as the bench sees it.
pub(crate) struct Counting {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) http: Http,
    pub(crate) grpc: SocketAddr,
}

impl Counting {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let line = read(&mut output)?;
        let (http, grpc) = line.split_once(' ').ok_or("the server says something else")?;
        Ok(Self { child, input, output, http: Http::connect(http.parse()?, Vec::new()).await?, grpc: grpc.parse()? })
    }

    /// What the server allocated so far.
    pub(crate) fn count(&mut self) -> Result<Count, Failure> {
        self.input.write_all(b"count\n")?;
        let line = read(&mut self.output)?;
        let (allocations, bytes) = line.split_once(' ').ok_or("the server says something else")?;
        Ok(Count { allocations: allocations.parse()?, bytes: bytes.parse()? })
    }
}

fn read(output: &mut BufReader<ChildStdout>) -> Result<String, Failure> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

impl Drop for Counting {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
