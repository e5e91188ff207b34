//! `meshgate agent` as a process of its own, and commands that speak to it.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

/// A running agent; it is killed when the test is done with it.
pub(crate) struct Agent {
    process: Child,
    /// Where its API is, as `host:port`.
    pub(crate) http: String,
    /// Where it serves xDS, as `host:port`.
    pub(crate) grpc: String,
    /// Read to the end, so that the process never waits for us.
    log: Option<JoinHandle<Vec<String>>>,
}

/// The binary with these arguments, and with nothing of this process's environment but what it needs to find programs.
pub(crate) fn meshgate(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(line.split_whitespace());
    command
}

impl Agent {
    /// Starts an agent and returns when it is ready.
    pub(crate) fn start(line: &str) -> Self {
        Self::start_with(line, &[])
    }

    /// The same with these variables in its environment.
    pub(crate) fn start_with(line: &str, variables: &[(&str, &str)]) -> Self {
        let ports = "-http-port 0 -grpc-port 0 -log-json -node laptop";
        let mut command = meshgate(&format!("agent {ports} {line}"));
        command.envs(variables.iter().copied());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line).unwrap())
            .find(|event| event["message"] == "ready");
        let ready = ready.expect("the agent ended before it was ready");
        let of = |listener: &str| ready[listener].as_str().unwrap_or_default().to_owned();
        let (http, grpc) = (of("http"), of("grpc"));
        Self { process, http, grpc, log: Some(std::thread::spawn(move || lines.collect())) }
    }

    /// What a command that speaks to it does.
    pub(crate) fn run(&self, line: &str) -> Output {
        meshgate(line).env("CONSUL_HTTP_ADDR", &self.http).output().unwrap()
    }

    /// What a command says that must not fail.
    pub(crate) fn say(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it answers to a `GET`, body alone.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").expect("headers end").1.to_owned()
    }

    /// Sends a signal, such as `-TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended, and tells what it logged.
    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.process.wait().unwrap();
        (status, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already where a test waited for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
