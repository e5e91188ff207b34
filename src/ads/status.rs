//! Which gRPC status ends a stream.

use std::error::Error as _;

use tonic::Status;

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
