//! What several test programs share. Each of them uses its own part.
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod ads;
pub(crate) mod envoy;
pub(crate) mod http;
pub(crate) mod mesh;
pub(crate) mod openapi;
pub(crate) mod source;
pub(crate) mod tls;
