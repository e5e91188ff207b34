//! Changes of HTTP headers, as routes and splits make them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::is_default;

/// Changes of the headers of requests or responses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeaderModifiers {
    /// Values that are added beside those that are there.
    #[serde(skip_serializing_if = "is_default")]
    pub add: BTreeMap<String, String>,
    /// Values that replace those that are there.
    #[serde(skip_serializing_if = "is_default")]
    pub set: BTreeMap<String, String>,
    /// Headers that are taken away.
    #[serde(skip_serializing_if = "is_default")]
    pub remove: Vec<String>,
}
