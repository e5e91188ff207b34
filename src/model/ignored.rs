//! Fields that are read over.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// A field that answers show and clients therefore send back, whatever its value. It says nothing, so it is neither kept
/// nor compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}
