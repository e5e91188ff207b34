//! What an operator gives in place of what would be generated.

use std::sync::Arc;

/// A message of Envoy's API that an operator wrote, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Given {
    /// Its proto3 JSON with `@type`.
    pub document: Arc<str>,
    /// Which option of which registration or config entry it is, for people.
    pub origin: Arc<str>,
}
