//! The certificate authority of the mesh: one root for all hosted datacenters, and a leaf for each identity.
//!
//! **Problem.** Every proxy needs a certificate that says who it is, renewed long before it expires, and the same one
//! after a restart and from every replica.
//!
//! **Invariant.** Roots and leaves are rows of the store. Whatever is handed out was committed before, and of two who
//! make the same row at once the first one wins, because the commit itself looks whether the row is still needed.
//!
//! ```text
//! engine ── request ──► wanted ──┐
//! api ───── leaf ──────► wanted ─┴─► one issuer at a time: all that is wanted ─► one commit ─► Key::Leaf of each
//! clock ─── renewal ───► due ────────┘
//! ```
//!
//! **Rotation.** One root signs; those before it are trusted until their leaves are over. A new root and what the one before
//! it signs about it come with one commit, so whoever sees a new leaf can verify it with the old root or the new one.

mod authority;
mod bundle;
mod error;
mod given;
mod issue;
mod options;
mod pem;
mod renewal;
mod replacement;
mod root;
mod rotation;
mod tally;
#[cfg(test)]
mod tests;

pub use authority::Authority;
pub use bundle::trust_bundle;
pub use error::CaError;
pub use options::{Clock, Options};
pub use tally::Rotations;
