//! Which gRPC status ends a stream.

use std::error::Error as _;

use tonic::{Code, Status};

use super::message::RequestError;
use super::node::NodeError;

impl From<NodeError> for Status {
    fn from(error: NodeError) -> Self {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        match &error {
            NodeError::Missing
            | NodeError::EmptyId
            | NodeError::ValueTooLong { .. }
            | NodeError::MetadataTooLarge { .. }
            | NodeError::Metadata(_)
            | NodeError::UnsupportedVersion { .. } => Status::invalid_argument(format!("{error}{cause}")),
        }
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        match &error {
            RequestError::NameTooLong { .. } => Status::invalid_argument(error.to_string()),
            RequestError::TooManyNames { .. } => Status::resource_exhausted(error.to_string()),
        }
    }
}

/// The status for a request that could not be received. One that is too long is the client's to make smaller.
pub(super) fn of_broken_request(status: Status, limit: usize) -> Status {
    if status.code() == Code::OutOfRange {
        return Status::resource_exhausted(format!("a request of more than {limit} bytes"));
    }
    status
}
