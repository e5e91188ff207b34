//! Chains that make no sense.

/// A chain that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Redirects lead back.
    #[error("circular redirect: {}", .0.join(" -> "))]
    RedirectLoop(Vec<String>),
    /// Splitters lead back.
    #[error("circular split: {}", .0.join(" -> "))]
    SplitLoop(Vec<String>),
    /// A subset that its resolver does not define.
    #[error("service {service} has no subset {subset:?}")]
    UnknownSubset {
        /// The service.
        service: String,
        /// The subset.
        subset: String,
    },
    /// Services with different protocols in one chain.
    #[error(
        "protocol mismatch: {first} speaks {first_protocol}, {second} speaks {second_protocol}; set the same Protocol \
         in their service-defaults"
    )]
    ProtocolMismatch {
        /// One service.
        first: String,
        /// Its protocol.
        first_protocol: &'static str,
        /// Another one.
        second: String,
        /// Its protocol.
        second_protocol: &'static str,
    },
    /// Requests cannot be told apart, and a router or splitter would have to.
    #[error(
        "service {service} speaks {protocol}, and its {kind} needs requests; set Protocol to http, http2 or grpc in its \
         service-defaults"
    )]
    NoRequests {
        /// The service.
        service: String,
        /// Its protocol.
        protocol: &'static str,
        /// The entry that needs requests.
        kind: &'static str,
    },
    /// A service outside of the mesh that a resolver treats as one inside.
    #[error("service {service} has an ExternalSNI, so its resolver cannot have {field}")]
    External {
        /// The service.
        service: String,
        /// What it cannot have.
        field: &'static str,
    },
}
