//! `service-intentions`: who may call a service.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::http_match::{PathCondition, normalize_methods, validate_conditions, validate_expression, validate_methods};
use crate::model::bundle::validate_label;
use crate::model::intention::optional_action;
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
    /// The callers, by descending precedence once they are stored.
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
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_action")]
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
    /// UUID of an intention that was made one by one, by the endpoints that name intentions so. Only they write what
    /// follows.
    #[serde(rename = "LegacyID", skip_serializing_if = "is_default")]
    pub legacy_id: String,
    /// Free-form facts of such an intention.
    #[serde(skip_serializing_if = "is_default")]
    pub legacy_meta: BTreeMap<String, String>,
    /// When such an intention was made.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub legacy_create_time: Option<OffsetDateTime>,
    /// When it was last written.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub legacy_update_time: Option<OffsetDateTime>,
}

/// What becomes of some HTTP requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IntentionPermission {
    /// What becomes of them.
    #[serde(with = "optional_action")]
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

/// The type of all sources: identities of the mesh.
const TYPE: &str = "consul";

/// Longest name of a caller in bytes.
const LONGEST_NAME: usize = 255;

/// Longest description in bytes.
const LONGEST_DESCRIPTION: usize = 512;

/// How much a name and namespace leave open: 0 everything, 1 the name, 2 nothing.
fn exactness(namespace: &Namespace, name: &str) -> u32 {
    match (namespace.as_str(), name) {
        ("*", _) => 0,
        (_, "*") => 1,
        (_, _) => 2,
    }
}

impl ServiceIntentions {
    /// The namespace of a source: its own, else the entry's, which cannot give what stands for all.
    pub fn namespace_of(&self, source: &IntentionSource) -> Namespace {
        let inherited = if self.namespace.as_str() == "*" { Namespace::default() } else { self.namespace.clone() };
        source.namespace.clone().unwrap_or(inherited)
    }

    /// The partition of a source that is in no peer.
    pub fn partition_of<'a>(&'a self, source: &'a IntentionSource) -> &'a Partition {
        source.partition.as_ref().unwrap_or(&self.partition)
    }

    /// The rank of a source among all that match a call (contract 6.9).
    pub fn precedence_of(&self, source: &IntentionSource) -> u32 {
        let highest = 3 * (1 + exactness(&self.namespace, &self.name));
        highest - (2 - exactness(&self.namespace_of(source), &source.name))
    }

    /// True if some calls are judged by their HTTP requests.
    pub fn has_permissions(&self) -> bool {
        self.sources.iter().any(|source| !source.permissions.is_empty())
    }

    /// Takes out what only the endpoints of single intentions write; facts about one source would be lost without a word.
    pub(super) fn take_legacy(&mut self, problems: &mut Problems) {
        for (position, source) in self.sources.iter_mut().enumerate() {
            source.legacy_id.clear();
            source.legacy_create_time = None;
            source.legacy_update_time = None;
            if !source.legacy_meta.is_empty() {
                let message = "only intentions that are written one by one have facts of their own; leave it out";
                problems.rule(format!("Sources[{position}].LegacyMeta"), message);
            }
        }
    }

    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
        let precedences: Vec<_> = self.sources.iter().map(|source| self.precedence_of(source)).collect();
        for (source, precedence) in self.sources.iter_mut().zip(precedences) {
            source.precedence = precedence;
            if source.r#type.is_empty() {
                TYPE.clone_into(&mut source.r#type);
            }
            for http in source.permissions.iter_mut().filter_map(|permission| permission.http.as_mut()) {
                normalize_methods(&mut http.methods);
            }
        }
    }

    /// Puts the sources into the order in which they are kept: by descending precedence, equal ones as they were written.
    pub(super) fn arrange(&mut self) {
        self.sources.sort_by_key(|source| Reverse(source.precedence));
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.name.is_empty() {
            problems.rule("Name", "a name is required; * stands for every service");
        }
        problems.refuse_control_characters("Name", &self.name);
        validate_wildcards(&self.namespace, &self.name, "", problems);
        refuse_jwt(self.jwt.as_ref(), "JWT", problems);
        if self.sources.is_empty() {
            problems.rule("Sources", "at least one source is required");
        }
        let mut seen = BTreeMap::new();
        for (position, source) in self.sources.iter().enumerate() {
            let path = format!("Sources[{position}]");
            source.validate(&self.namespace_of(source), &path, problems);
            if !source.permissions.is_empty() && exactness(&self.namespace, &self.name) < 2 {
                let message = "permissions need a destination with a name: services behind * may speak no HTTP";
                problems.rule(format!("{path}.Permissions"), message);
            }
            let group = (&source.sameness_group, &source.peer);
            let key = (group, self.partition_of(source), self.namespace_of(source), &source.name);
            if let Some(first) = seen.insert(key, position) {
                problems.rule(path, format!("the source is that of Sources[{first}]: each stands once"));
            }
        }
    }
}

/// A wildcard stands for a whole name, and only a wildcard can be in every namespace.
fn validate_wildcards(namespace: &Namespace, name: &str, path: &str, problems: &mut Problems) {
    let at = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    for (field, value) in [("Name", name), ("Namespace", namespace.as_str())] {
        if value.contains('*') && value != "*" {
            problems.rule(at(field), format!("{value:?}: a wildcard stands alone"));
        }
    }
    if namespace.as_str() == "*" && name != "*" {
        problems.rule(at("Name"), "with the namespace * the name must be * too");
    }
}

/// What would not be enforced must not look as if it were.
fn refuse_jwt(jwt: Option<&serde_json::Value>, path: &str, problems: &mut Problems) {
    if jwt.is_some() {
        problems.rule(path, "JSON web tokens are not checked, so that nothing can depend on them; take it out");
    }
}

impl IntentionSource {
    fn validate(&self, namespace: &Namespace, path: &str, problems: &mut Problems) {
        if self.name.is_empty() {
            problems.rule(format!("{path}.Name"), "a name is required; * stands for every service");
        }
        problems.refuse_control_characters(&format!("{path}.Name"), &self.name);
        if self.name.len() > LONGEST_NAME {
            problems.rule(format!("{path}.Name"), format!("has at most {LONGEST_NAME} bytes, as no SNI has more"));
        }
        validate_wildcards(namespace, &self.name, path, problems);
        if !namespace.as_str().contains('*') {
            validate_label(problems, &format!("{path}.Namespace"), namespace.as_str());
        }
        let partition = self.partition.as_ref().map_or("", Partition::as_str);
        for (field, value) in [("Partition", partition), ("Peer", self.peer.as_str())] {
            if value.contains('*') {
                problems.rule(format!("{path}.{field}"), "a wildcard is not allowed here");
            } else if !value.is_empty() {
                validate_label(problems, &format!("{path}.{field}"), value);
            }
        }
        if !self.peer.is_default() && self.partition.is_some() {
            problems.rule(format!("{path}.Partition"), "Partition and Peer exclude each other");
        }
        if !self.sameness_group.is_empty() {
            problems.rule(format!("{path}.SamenessGroup"), "sameness groups are not supported");
        }
        if !matches!(self.r#type.as_str(), "" | TYPE) {
            problems.rule(format!("{path}.Type"), format!("must be {TYPE:?} or not set, not {:?}", self.r#type));
        }
        if self.description.len() > LONGEST_DESCRIPTION {
            problems.rule(format!("{path}.Description"), format!("has at most {LONGEST_DESCRIPTION} bytes"));
        }
        match (self.action, self.permissions.is_empty()) {
            (None, true) => problems.rule(format!("{path}.Action"), "must be allow or deny where no Permissions are"),
            (Some(_), false) => problems.rule(format!("{path}.Action"), "Action and Permissions exclude each other"),
            (Some(_), true) | (None, false) => {}
        }
        for (position, permission) in self.permissions.iter().enumerate() {
            permission.validate(&format!("{path}.Permissions[{position}]"), problems);
        }
    }
}

impl IntentionPermission {
    fn validate(&self, path: &str, problems: &mut Problems) {
        if self.action.is_none() {
            problems.rule(format!("{path}.Action"), "must be allow or deny");
        }
        refuse_jwt(self.jwt.as_ref(), &format!("{path}.JWT"), problems);
        match &self.http {
            Some(http) if *http != IntentionHttp::default() => http.validate(&format!("{path}.HTTP"), problems),
            Some(_) | None => problems
                .rule(format!("{path}.HTTP"), "must name some requests; PathPrefix = \"/\" stands for all of them"),
        }
    }
}

impl IntentionHttp {
    fn validate(&self, path: &str, problems: &mut Problems) {
        let condition = PathCondition { exact: &self.path_exact, prefix: &self.path_prefix, regex: &self.path_regex };
        condition.validate(path, problems);
        for (position, header) in self.header.iter().enumerate() {
            header.validate(&format!("{path}.Header[{position}]"), problems);
        }
        validate_methods(&self.methods, &format!("{path}.Methods"), problems);
    }
}

impl IntentionHeader {
    fn validate(&self, path: &str, problems: &mut Problems) {
        let conditions = [
            ("Present", self.present),
            ("Exact", !self.exact.is_empty()),
            ("Prefix", !self.prefix.is_empty()),
            ("Suffix", !self.suffix.is_empty()),
            ("Contains", !self.contains.is_empty()),
            ("Regex", !self.regex.is_empty()),
        ];
        validate_conditions(&self.name, &conditions, path, problems);
        validate_expression(&self.regex, &format!("{path}.Regex"), problems);
        if self.ignore_case && (self.present || !self.regex.is_empty()) {
            let message = "has no meaning for Present and Regex; an expression says (?i) itself";
            problems.rule(format!("{path}.IgnoreCase"), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(namespace: Option<&str>, name: &str) -> IntentionSource {
        IntentionSource {
            namespace: namespace.map(Namespace::from),
            name: name.to_owned(),
            ..IntentionSource::default()
        }
    }

    #[test]
    fn exact_destinations_go_before_exact_sources() {
        for (destination, expected) in
            [(("default", "db"), [9, 8, 7]), (("default", "*"), [6, 5, 4]), (("*", "*"), [3, 2, 1])]
        {
            let entry = ServiceIntentions {
                namespace: Namespace::from(destination.0),
                name: destination.1.to_owned(),
                ..ServiceIntentions::default()
            };
            let sources = [source(None, "web"), source(None, "*"), source(Some("*"), "*")];

            assert_eq!(sources.map(|source| entry.precedence_of(&source)), expected, "{destination:?}");
        }
    }

    #[test]
    fn sources_are_kept_by_precedence_and_else_as_written() {
        let names = ["*", "web", "cron"].map(|name| source(None, name));
        let mut entry =
            ServiceIntentions { name: "db".to_owned(), sources: names.into(), ..ServiceIntentions::default() };

        entry.normalize(&Namespace::from("shop"));
        entry.arrange();

        let kept: Vec<_> = entry.sources.iter().map(|source| (&*source.name, source.precedence)).collect();
        assert_eq!(kept, [("web", 9), ("cron", 9), ("*", 8)]);
        assert_eq!(entry.namespace_of(&entry.sources[0]).as_str(), "shop");
        assert!(entry.sources.iter().all(|source| source.r#type == "consul"));
    }
}
