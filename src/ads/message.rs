//! What goes into a session and what comes out of it, without the wire format.

use std::sync::Arc;

use crate::envoy::snapshot::{Resource, ResourceType, Version};

/// The two forms of the xDS protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Only changes travel.
    Delta,
    /// Listeners and clusters travel as the whole set, the other types by name.
    StateOfTheWorld,
}

/// A request for one resource type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The type.
    pub kind: ResourceType,
    /// The nonce of the response that this answers; empty if the client speaks by itself.
    pub nonce: String,
    /// Why the client refuses that response.
    pub rejection: Option<String>,
    /// What the client is interested in.
    pub interest: Interest,
}

/// How a request speaks about subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    /// Changes to what was asked for before.
    Delta {
        /// Names to send now and from now on.
        subscribe: Vec<String>,
        /// Names to forget.
        unsubscribe: Vec<String>,
        /// What the client holds from an earlier stream, by name; counts only in the first request of a type.
        initial_versions: Vec<(String, String)>,
    },
    /// The complete list of names.
    StateOfTheWorld {
        /// The names.
        names: Vec<String>,
        /// The client took something of this type before, perhaps on an earlier stream.
        has_taken: bool,
    },
}

/// A response for one resource type. It shares the resources with the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The type.
    pub kind: ResourceType,
    /// Unique on the stream.
    pub nonce: u64,
    /// What is sent.
    pub content: Content,
}

/// The payload of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// For [`Variant::Delta`].
    Delta {
        /// New and changed resources, sorted by name.
        resources: Vec<Arc<Resource>>,
        /// Names that are gone or never were.
        removed: Vec<Arc<str>>,
    },
    /// For [`Variant::StateOfTheWorld`].
    StateOfTheWorld {
        /// Stands for everything that the client should have of this type after it took this response.
        version: Version,
        /// The resources, sorted by name.
        resources: Vec<Arc<Resource>>,
    },
}

/// What a session learnt about its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The client took everything that it was sent of this type.
    Acked {
        /// The type.
        kind: ResourceType,
    },
    /// The client refused a response.
    Nacked {
        /// The type.
        kind: ResourceType,
        /// Names and versions that were new in the response.
        resources: Vec<(Arc<str>, Version)>,
        /// The client's reason, cut to a bounded length.
        message: String,
    },
    /// The client has not answered in time; what waits for it waits no longer.
    Overdue {
        /// The type.
        kind: ResourceType,
    },
}

/// A request that asks for more than a stream may hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A resource name is too long.
    #[error("{kind}: a resource name of {length} bytes; at most {limit} are allowed")]
    NameTooLong {
        /// The type.
        kind: ResourceType,
        /// Its length in bytes.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// Too many names of one type.
    #[error("{kind}: {count} resource names on one stream; at most {limit} are allowed")]
    TooManyNames {
        /// The type.
        kind: ResourceType,
        /// How many there would be.
        count: usize,
        /// The most that is allowed.
        limit: usize,
    },
}
