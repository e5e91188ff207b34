//! The path model: where traffic ends, told from nothing but the resources that Envoys were sent.
//!
//! **Problem.** Whether bytes arrive where they should, and nowhere else, depends on what several proxies were sent
//! together. No resource shows that by itself.
//!
//! **Invariant.** The model interprets resources as Envoy does, and knows no rule of the mesh. It gives every outcome that
//! is possible. What it does not understand it says, and never guesses: a field, filter or value that is not modelled
//! makes the outcome [`End::Unknown`].
//!
//! Left out is what resources do not tell: active health checks, ejected endpoints, connections in use, time-outs,
//! retries, the clock (certificates do not expire), and names that only a server of the domain name system knows.
//!
//! ```text
//! upstream ─► listener ─► filter chain ─► filters ─► route ─► cluster ─► endpoint ─► door of the next proxy, or instance
//!                ▲                                                                           │
//!                └───────────────────────────────────────────────────────────────────────────┘
//! ```

mod answer;
mod balance;
mod certificate;
mod cluster;
mod http;
mod known;
mod listener;
mod matcher;
mod network;
mod rbac;
mod request;
mod route;
mod tls;
mod uri;
mod walk;

pub use answer::{Answer, ChainUse, End, Link, Outcome, Rbac, RouteUse, Stop, Unknown};
pub use network::{Client, Door, Network};
pub use request::{Request, Traffic};

#[cfg(test)]
mod tests;
