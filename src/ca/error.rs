//! What can go wrong in the certificate authority.

use time::OffsetDateTime;

use crate::model::Problems;
use crate::store::StoreError;

/// A certificate that cannot be made, or an authority that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The certificates could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cluster ID that was asked for is no UUID.
    #[error("cluster ID {0:?} is not a UUID such as \"11111111-2222-3333-4444-555555555555\"")]
    ClusterId(String),
    /// The store belongs to another cluster than the one that was asked for.
    #[error("the store belongs to cluster {found}, not to {wanted}: use another data directory, or leave the ID out")]
    OtherCluster {
        /// The ID that was asked for.
        wanted: String,
        /// The ID of the stored root.
        found: String,
    },
    /// A configuration that breaks rules.
    #[error("{0}")]
    Refused(Problems),
    /// A lifetime that leaves no time to renew.
    #[error("leaf certificates cannot be valid for {0:?}: at least five minutes are needed")]
    LeafTtl(std::time::Duration),
    /// A name that a certificate cannot hold.
    #[error("no certificate can be issued for {uri:?}: names have letters, digits and -._~!$&'()*+,;=:@ only")]
    Identity {
        /// The identity as a URI.
        uri: String,
    },
    /// No certificate of the root would be accepted any more.
    #[error("the root certificate expired at {0}: rotate the root")]
    RootExpired(OffsetDateTime),
    /// The store has no root that signs, although one was there when the authority was opened.
    #[error("the store has no active root")]
    NoRoot,
    /// A key or certificate cannot be made or read.
    #[error("a key or certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// The process stops.
    #[error("the process stops")]
    Stopped,
}
