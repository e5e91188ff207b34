//! What the tests share: a mesh for each, and questions to Envoys.

mod admin;
mod cluster;
mod mesh;
mod process;
mod tls;

pub(crate) use admin::Admin;
pub(crate) use cluster::{Cluster, Exporter, Network, answers, get};
pub(crate) use mesh::{Place, TestMesh, Waiting, envoy_binary, program};
pub(crate) use process::EnvoyProcess;
pub(crate) use tls::{Certificate, Visit, visit, visit_in_plain_text};
