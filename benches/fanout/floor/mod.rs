//! The floor: what this machine needs to tell N streams something and to hear that they have it. A stock tonic server whose
//! messages are encoded before they are needed, are the same bytes for every stream, and are sent to whom the bench says.
//!
//! It reads every request, as a control plane must, and looks at nothing but its type. It has the socket options, buffers
//! and keepalives of meshgate's server, so that what differs is what a control plane does.

mod control;
mod server;
mod stream;
mod tls;

pub(crate) use self::control::Control;
pub(crate) use self::server::{Style, serve};
