//! `service-intentions`: who may call a service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{IntentionAction, Namespace, Partition, PeerName, Problems, is_default};

/// Who may call a service, or every service of a namespace.
///
/// ```hcl
/// Kind = "service-intentions"
/// Name = "db"
/// Sources = [{ Name = "web", Action = "allow" }, { Name = "*", Action = "deny" }]
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceIntentions {
    /// The service that is called; `*` means every one.
    pub name: String,
    /// Its partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its namespace; `*` means every one, and only with the name `*`.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// Requirements on JSON web tokens; refused.
    #[serde(rename = "JWT", skip_serializing_if = "Option::is_none")]
    pub jwt: Option<serde_json::Value>,
    /// The callers. `normalize` sorts them by descending precedence.
    pub sources: Vec<IntentionSource>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// One caller, or a group of callers, and what becomes of its calls.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IntentionSource {
    /// The service that calls; `*` means every one.
    pub name: String,
    /// Its namespace; `*` means every one, and only with the name `*`. The entry's own when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Its partition; the entry's own when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// The peer that it belongs to.
    #[serde(skip_serializing_if = "is_default")]
    pub peer: PeerName,
    /// A group of partitions and peers; refused.
    #[serde(skip_serializing_if = "is_default")]
    pub sameness_group: String,
    /// What becomes of every call. Not set where permissions say so for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<IntentionAction>,
    /// What becomes of HTTP requests: the first permission that matches decides.
    #[serde(skip_serializing_if = "is_default")]
    pub permissions: Vec<IntentionPermission>,
    /// Rank among the sources that match a call, computed: the highest decides.
    pub precedence: u32,
    /// Always `consul`.
    pub r#type: String,
    /// Free text.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
}

/// What becomes of some HTTP requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IntentionPermission {
    /// What becomes of them.
    pub action: Option<IntentionAction>,
    /// Which requests.
    #[serde(rename = "HTTP", skip_serializing_if = "Option::is_none")]
    pub http: Option<IntentionHttp>,
    /// Requirements on JSON web tokens; refused.
    #[serde(rename = "JWT", skip_serializing_if = "Option::is_none")]
    pub jwt: Option<serde_json::Value>,
}

/// Which HTTP requests a permission is about: those that fit all that is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IntentionHttp {
    /// This very path.
    #[serde(skip_serializing_if = "is_default")]
    pub path_exact: String,
    /// Paths that start so.
    #[serde(skip_serializing_if = "is_default")]
    pub path_prefix: String,
    /// Paths that fit this regular expression as a whole.
    #[serde(skip_serializing_if = "is_default")]
    pub path_regex: String,
    /// Conditions on headers.
    #[serde(skip_serializing_if = "is_default")]
    pub header: Vec<IntentionHeader>,
    /// Methods, any of which fits; all of them when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub methods: Vec<String>,
}

/// A condition on a header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IntentionHeader {
    /// The header.
    pub name: String,
    /// It is there.
    #[serde(skip_serializing_if = "is_default")]
    pub present: bool,
    /// Its value is this.
    #[serde(skip_serializing_if = "is_default")]
    pub exact: String,
    /// Its value starts so.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix: String,
    /// Its value ends so.
    #[serde(skip_serializing_if = "is_default")]
    pub suffix: String,
    /// Its value holds this.
    #[serde(skip_serializing_if = "is_default")]
    pub contains: String,
    /// Its value fits this regular expression as a whole.
    #[serde(skip_serializing_if = "is_default")]
    pub regex: String,
    /// The condition is turned round.
    #[serde(skip_serializing_if = "is_default")]
    pub invert: bool,
    /// Upper and lower case of the value are the same.
    #[serde(skip_serializing_if = "is_default")]
    pub ignore_case: bool,
}

impl ServiceIntentions {
    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.name.is_empty() {
            problems.rule("Name", "a name is required");
        }
        problems.refuse_control_characters("Name", &self.name);
    }
}
