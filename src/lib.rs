//! meshgate, an open control plane for Envoy mesh gateways and sidecars.

pub mod ads;
pub mod api;
pub mod app;
pub mod ca;
pub mod cli;
pub mod codec;
pub mod engine;
pub mod envoy;
pub mod federation;
pub mod health;
pub mod ir;
pub mod model;
pub mod net;
pub mod resolve;
pub mod settings;
pub mod store;
pub mod telemetry;
