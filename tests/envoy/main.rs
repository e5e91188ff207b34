//! Requests through real Envoys: what the control plane says must be what Envoy does.
//!
//! Each test has a mesh of its own, on loopback addresses that no other one has, with the meshgate binary as control plane.
//! Envoy is fetched as `meshgate envoy install` does; where that is impossible, these tests fail and say what to do.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../support/mod.rs"]
mod shared;

mod changes;
mod connections;
mod doors;
mod encrypted;
mod exports;
mod exposed;
mod failover;
mod families;
mod hatches;
mod health;
mod intentions;
mod levels;
mod modes;
mod peering;
mod plan;
mod protocol;
mod refusals;
mod restart;
mod rotation;
mod support;
mod trials;
mod troubleshoot;
mod unknown;
