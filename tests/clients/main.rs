//! What operators and their programs do with a running agent, with clients that know nothing of meshgate.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../support/agent.rs"]
mod agent;

mod config_write;
mod described_calls;
mod explain;
mod foreign;
mod path;
