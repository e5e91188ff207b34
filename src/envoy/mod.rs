//! `ir` to Envoy's protobuf: one file per resource, the names that two sides must agree on, finished snapshots.

pub mod snapshot;
