//! A client of the delta form of ADS that stands for one Envoy, made to be cheap: thousands of it share one core.

mod connection;
mod contents;
mod proxy;
mod references;
mod tls;
mod wire;

pub(crate) use self::connection::{NUMBER_HEADER, Refusal, Server, connect};
pub(crate) use self::contents::Contents;
pub(crate) use self::proxy::{Identity, Proxy};
pub(crate) use self::tls::Tls;
pub(crate) use self::wire::{Kind, Response, frame, frame_bytes};
