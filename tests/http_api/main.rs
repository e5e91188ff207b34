//! Consul's HTTP contract through a real socket (`http-api.md` section 7). The client checks on every call what holds for
//! all answers. `rows` tells which test holds which of its behaviours.

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod blocking;
mod ca_config;
mod catalog;
mod central;
mod certs;
mod chain;
mod change;
mod check;
mod checks;
mod config;
mod connect;
mod conventions;
mod debug;
mod described;
mod explain;
mod exports;
mod filter;
mod gateways;
mod happenings;
mod health;
mod history;
mod https;
mod intentions;
mod page;
mod path;
mod places;
mod process;
mod refusal;
mod rows;
mod serve;
mod sidecar;
mod simulate;
mod snapshot;
mod sni;
mod tenancy;
mod topology;
mod transaction;
mod trial;
mod ui;
