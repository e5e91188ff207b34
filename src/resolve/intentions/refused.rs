//! What cannot be enforced as it is meant, and is refused instead.

use crate::model::ExpressionError;

/// Why calls are refused that an intention might let in. A rule that cannot be made must never be an open door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Everybody, because Envoy would not take an expression.
    #[error(
        "nobody may call it: an intention has {expression:?}, which is no regular expression that Envoy takes: {error}"
    )]
    Expression {
        /// The expression.
        expression: String,
        /// What is wrong with it.
        #[source]
        error: ExpressionError,
    },
    /// Everybody, because there are too many rules.
    #[error("nobody may call it: its intentions make {conditions} conditions, at most {most} can be enforced")]
    Size {
        /// How many there would be.
        conditions: usize,
        /// How many there may be.
        most: usize,
    },
    /// Callers that an intention with permissions is about, because the service does not speak HTTP.
    #[error("calls from {caller} are refused: the permissions of that intention need a service that speaks HTTP")]
    NoRequests {
        /// The source of the intention.
        caller: String,
    },
    /// All peers, because nobody tells who calls.
    #[error(
        "calls from peers are refused: they come through gateways, and the mesh entry's SanitizeXForwardedClientCert \
         hides for whom"
    )]
    HiddenPeers,
}
