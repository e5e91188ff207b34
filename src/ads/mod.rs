//! The xDS protocol (ADS, Delta and State-of-the-World): sessions as plain values, and a thin gRPC server around them.
//!
//! The problem: tell Envoy what it should have, over a stream that may be slow, refuse what it gets, break, and come
//! back holding anything. The invariant: what a client holds and did not refuse equals the latest snapshot, restricted to
//! what it asked for, as soon as it answered everything; and on the way there it never holds something that points
//! at nothing.
//!
//! ```text
//!   Envoy ──► server ──► codec: bytes ──► Request ──► session ──► Response ──► codec: bytes ──► Envoy
//!                                                        ▲
//!                                    SnapshotSource: the latest snapshot
//! ```
//!
//! Only `server` knows sockets and clocks.

mod codec;
pub mod message;
mod node;
pub mod order;
mod pace;
pub mod server;
pub mod session;
mod status;
pub mod subscription;
mod wire;

pub use self::server::{AdsService, Options, serve};
pub use self::session::Session;
