//! What the tests share: a mesh for each, and questions to Envoys.

mod admin;
mod mesh;

pub(crate) use admin::Admin;
pub(crate) use mesh::{TestMesh, Waiting};
