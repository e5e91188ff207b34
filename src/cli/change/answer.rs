//! What the API tells of a plan, as far as it is shown to people.

use serde::Deserialize;
use serde_json::Value;

/// `POST /v1/meshgate/plan`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Plan {
    pub(super) changes: Vec<Row>,
    pub(super) proxies: Proxies,
    pub(super) impacts: Vec<Impact>,
    pub(super) affected: Vec<Proxy>,
    pub(super) more_affected: usize,
    pub(super) findings: Vec<Finding>,
}

/// A row that changes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Row {
    kind: String,
    name: String,
    partition: String,
    namespace: String,
    pub(super) action: String,
    fields: Vec<Field>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Field {
    path: String,
    old: Option<Value>,
    new: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Proxies {
    pub(super) total: usize,
    pub(super) affected: usize,
    pub(super) connected: usize,
    pub(super) unchanged: Vec<Unchanged>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Unchanged {
    pub(super) reason: String,
    pub(super) proxies: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Impact {
    pub(super) impact: String,
    pub(super) proxies: usize,
    pub(super) resources: usize,
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Proxy {
    pub(super) datacenter: String,
    pub(super) partition: String,
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) connected: bool,
    pub(super) envoy_version: String,
    pub(super) effect: String,
    pub(super) resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Resource {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    name: String,
    action: String,
    impact: String,
    #[serde(default)]
    fields: Vec<Field>,
    #[serde(default)]
    more_fields: usize,
    /// What would be sent.
    pub(super) message: Option<Value>,
}

/// Something that is wrong, or worth knowing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Finding {
    pub(super) severity: String,
    #[serde(rename = "ID")]
    id: String,
    subject: String,
    what: String,
    fix: String,
}

/// The sign of what happens to something.
fn sign(action: &str) -> &'static str {
    match action {
        "create" | "add" => "+",
        "delete" | "remove" => "-",
        "none" => "=",
        _ => "~",
    }
}

impl Row {
    /// The lines that tell it.
    pub(super) fn lines(&self) -> Vec<String> {
        let place = match (self.partition.as_str(), self.namespace.as_str()) {
            ("default", "default") => String::new(),
            (partition, "default") => format!(" (partition {partition})"),
            (partition, namespace) => format!(" (partition {partition}, namespace {namespace})"),
        };
        let nothing = if self.action == "none" { "   as it is" } else { "" };
        let head = format!("{} {}/{}{place}{nothing}", sign(&self.action), self.kind, self.name);
        std::iter::once(head).chain(self.fields.iter().map(|field| format!("    {}", field.line()))).collect()
    }
}

impl Field {
    fn line(&self) -> String {
        let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "(unset)".to_owned(), shortened);
        format!("{}: {} -> {}", self.path, side(&self.old), side(&self.new))
    }
}

/// A value, cut where nobody reads on.
fn shortened(value: &Value) -> String {
    const MOST: usize = 160;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

impl Resource {
    /// The lines that tell it.
    pub(super) fn lines(&self) -> Vec<String> {
        let head = format!("    {} {} {}  [{}]", sign(&self.action), self.kind, self.name, self.impact);
        let more = (self.more_fields > 0).then(|| format!("        and {} more fields", self.more_fields));
        let fields = self.fields.iter().map(|field| format!("        {}", field.line()));
        std::iter::once(head).chain(fields).chain(more).collect()
    }
}

impl Finding {
    /// True if something would not work.
    pub(super) fn is_problem(&self) -> bool {
        self.severity == "problem"
    }

    /// The lines that tell it.
    pub(super) fn lines(&self) -> [String; 2] {
        let sign = if self.is_problem() { "!" } else { "?" };
        [format!("{sign} {}  {}: {}", self.id, self.subject, self.what), format!("      -> {}", self.fix)]
    }
}
