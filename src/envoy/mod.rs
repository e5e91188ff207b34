//! `ir` to Envoy's protobuf: one file per resource, the names that two sides must agree on, finished snapshots.

mod access_log;
pub mod bootstrap;
pub mod canonical;
pub mod change;
mod cluster;
mod descriptors;
mod endpoint;
mod given;
mod http;
pub mod json;
mod listener;
mod listening;
mod matcher;
pub mod names;
pub mod path;
mod rbac;
mod resources;
mod route;
mod secret;
mod server_names;
pub mod snapshot;
pub mod stub;
mod tls;
mod wire;

pub use cluster::translate as cluster;
pub use endpoint::translate as assignment;
pub use given::{GivenError, GivenErrors};
pub use listener::translate as listener;
pub use listening::listening_addresses;
pub use route::translate as route;
pub use secret::{leaf as leaf_secret, trust as trust_secret};
pub use server_names::server_names;
