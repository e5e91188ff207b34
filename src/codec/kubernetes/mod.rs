//! Config entries as Kubernetes resources: the name in `metadata`, the fields in a `spec` in lowerCamelCase
//! (`http-api.md` 4.4).
//!
//! A resource is turned into the tree of the entry that it means and decoded as one. What is wrong with it is told in the
//! words of the resource.

use super::decoded::{Decoded, Items};
use super::definitions::{self, NOT_KEPT, unknown_key};
use super::lenient::{MAX_PROBLEMS, lower_camel_case, suggestion};
use super::tree::{Content, Member, Tree, path_steps, same_key, shortened};
use crate::model::entry::Mesh;
use crate::model::{ConfigEntry, EntryKind, Namespace, Problem, ProblemKind};

/// The API that resources belong to.
const API: &str = "consul.hashicorp.com/v1alpha1";

/// Kinds of this API that are no config entries.
const NO_ENTRIES: [&str; 4] = ["GatewayClassConfig", "PeeringAcceptor", "PeeringDialer", "Registration"];

/// Fields of entries that a resource says elsewhere, or not at all.
const NOT_IN_SPEC: [&str; 8] = ["Kind", "Name", "Namespace", "Partition", "Meta", "CreateIndex", "ModifyIndex", "Hash"];

/// Where a resource says what its entry is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// In `metadata`.
    Named,
    /// In `spec.destination`: the intentions for a service have a name of their own.
    Intentions,
}

impl Resource {
    fn of(kind: EntryKind) -> Self {
        if kind == EntryKind::ServiceIntentions { Resource::Intentions } else { Resource::Named }
    }

    const fn names_at(self) -> &'static str {
        match self {
            Resource::Named => "metadata",
            Resource::Intentions => "spec.destination",
        }
    }

    /// The path of the resource that says what the entry has at `path`; `tree` is the entry.
    pub(super) fn spelled(self, tree: &Tree, path: &str) -> String {
        let first = path_steps(path).next().unwrap_or_default();
        match first {
            "" => String::new(),
            "Kind" => "kind".to_owned(),
            "Name" => format!("{}.name", self.names_at()),
            "Namespace" => format!("{}.namespace", self.names_at()),
            _ => spelled_in_spec(tree, path),
        }
    }
}

fn spelled_in_spec(tree: &Tree, path: &str) -> String {
    let mut spelled = "spec".to_owned();
    let mut at = Some(tree);
    for step in path_steps(path) {
        if let Ok(position) = step.parse::<usize>() {
            spelled += &format!("[{position}]");
            at = at.and_then(|tree| match &tree.content {
                Content::List(items) => items.get(position),
                Content::Null | Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::Object(_) => None,
            });
            continue;
        }
        let member = at.and_then(Tree::members).into_iter().flatten().find(|member| same_key(&member.key, step));
        spelled.push('.');
        spelled += &member.map_or_else(|| lower_camel_case(step), |member| member.key.clone());
        at = member.map(|member| &member.value);
    }
    spelled
}

/// True for a document that is a Kubernetes resource of any API.
pub(super) fn is_resource(document: &Tree) -> bool {
    document.get("apiVersion").is_some()
}

/// Adds the entry that a resource means, or the entries of a `List`.
pub(super) fn collect<'t>(document: &'t Tree, place: &str, found: &mut Items<'t>) {
    if let Some(items) = listed(document) {
        for (position, item) in items.iter().enumerate() {
            let inner = format!("items[{position}]");
            collect(item, &if place.is_empty() { inner } else { format!("{place}.{inner}") }, found);
        }
        return;
    }
    match entry_kind(document) {
        Ok(kind) => {
            for problem in strange_members(document, Resource::of(kind)) {
                found.refuse(|| problem.under(place));
            }
            found.entries.push(decoded(document, kind, place));
        }
        Err(problem) => found.refuse(|| problem.under(place)),
    }
}

/// How many resources a document holds.
pub(super) fn count(document: &Tree) -> usize {
    listed(document).map_or(1, |items| items.iter().map(count).sum())
}

/// The resources of a `List`.
fn listed(document: &Tree) -> Option<&[Tree]> {
    let items = document.get("items").filter(|_| text(document, "kind") == Some("List"))?;
    if let Content::List(items) = &items.content { Some(items) } else { None }
}

fn text<'t>(tree: &'t Tree, key: &str) -> Option<&'t str> {
    match &tree.get(key)?.content {
        Content::String(text) => Some(text),
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::List(_) | Content::Object(_) => None,
    }
}

fn entry_kind(document: &Tree) -> Result<EntryKind, Problem> {
    let line = |key: &str| Some(document.get(key).map_or(document.line, |tree| tree.line));
    let problem =
        |key: &str, message| Problem { kind: ProblemKind::Type, path: key.to_owned(), message, line: line(key) };
    let api = text(document, "apiVersion").unwrap_or_default();
    if api != API {
        let message = format!("{:?} has no config entries: expected {API:?}", shortened(api));
        return Err(problem("apiVersion", message));
    }
    let kind = text(document, "kind").unwrap_or_default();
    EntryKind::ALL.into_iter().find(|known| pascal_case(known.as_str()) == kind).ok_or_else(|| {
        let known: Vec<_> = EntryKind::ALL.iter().map(|kind| pascal_case(kind.as_str())).collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let hint = if NO_ENTRIES.contains(&kind) {
            ", which is no config entry".to_owned()
        } else if NOT_KEPT.iter().any(|other| pascal_case(other) == kind) {
            format!(", of which meshgate keeps no entries: expected one of {}", known.join(", "))
        } else if let Some(close) = suggestion(kind, &known) {
            format!(", did you mean {close:?}?")
        } else {
            format!(": expected one of {}", known.join(", "))
        };
        problem("kind", format!("invalid kind: {}{hint}", shortened(kind)))
    })
}

/// `service-defaults` as `ServiceDefaults`, `jwt-provider` as `JWTProvider`.
fn pascal_case(kind: &str) -> String {
    let word = |word: &str| match word {
        "jwt" => "JWT".to_owned(),
        _ => word.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(word.chars().skip(1)).collect(),
    };
    kind.split('-').map(word).collect()
}

fn decoded<'t>(document: &'t Tree, kind: EntryKind, place: &str) -> Decoded<'t, ConfigEntry> {
    let resource = Resource::of(kind);
    let mut problems = Vec::new();
    let tree = entry_tree(document, kind, resource, &mut problems);
    let mut decoding = definitions::entry(&tree);
    decoding.problems.0.extend(problems);
    let namespace = text(&tree, "Namespace").unwrap_or_default().to_owned();
    let decoding = decoding.map(|entry| with_namespace_of_the_resource(entry, &namespace));
    Decoded::of_resource(place, tree, resource, decoding)
}

/// What a resource holds that no part of it says, as much of it as is told.
fn strange_members(document: &Tree, resource: Resource) -> Vec<Problem> {
    const PARTS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let mut problems = Vec::new();
    let is_one_of = |member: &Member, keys: &[&str]| keys.iter().any(|key| same_key(key, &member.key));
    for member in document.members().unwrap_or_default() {
        if problems.len() == MAX_PROBLEMS {
            break;
        }
        if !is_one_of(member, &PARTS) {
            problems.push(unknown_key(member, "", &PARTS));
        } else if is_one_of(member, &["metadata", "spec"])
            && member.value.content != Content::Null
            && member.value.members().is_none()
        {
            problems.push(Problem {
                kind: ProblemKind::Type,
                path: member.key.clone(),
                message: format!("expected an object, found {}", member.value.describe()),
                line: Some(member.value.line),
            });
        }
    }
    let spec = document.get("spec").and_then(Tree::members).unwrap_or_default();
    let strange = spec.iter().filter(|it| is_one_of(it, &NOT_IN_SPEC));
    problems.extend(strange.take(MAX_PROBLEMS).map(|it| unknown_key(it, "spec", &[])));
    if resource == Resource::Intentions {
        let names = ["name", "namespace"];
        let destination = spec.iter().filter(|it| is_one_of(it, &["destination"])).filter_map(|it| it.value.members());
        let strange = destination.flatten().filter(|it| !is_one_of(it, &names));
        problems.extend(strange.take(MAX_PROBLEMS).map(|it| unknown_key(it, "spec.destination", &names)));
    }
    problems
}

/// The entry as its own format would say it, each value with the line that it has in the resource.
fn entry_tree(document: &Tree, kind: EntryKind, resource: Resource, problems: &mut Vec<Problem>) -> Tree {
    let empty = Tree::empty(document.line);
    let (metadata, spec) = (document.get("metadata").unwrap_or(&empty), document.get("spec").unwrap_or(&empty));
    let mut members = vec![Member {
        key: "Kind".to_owned(),
        line: document.line,
        value: Tree { line: document.line, content: Content::String(kind.as_str().to_owned()) },
    }];
    let mut fields = spec.clone();
    let names = match resource {
        Resource::Named => metadata.clone(),
        Resource::Intentions => {
            let destination = fields.split_off(&["destination"]);
            destination.get("destination").cloned().unwrap_or_else(|| Tree::empty(spec.line))
        }
    };
    let has_namespace = kind.is_namespaced() || kind == EntryKind::ExportedServices;
    let namespace = names.get("namespace").or_else(|| metadata.get("namespace")).filter(|_| has_namespace);
    for (key, value) in [("Name", names.get("name")), ("Namespace", namespace)] {
        members.extend(value.map(|tree| Member { key: key.to_owned(), line: tree.line, value: tree.clone() }));
    }
    if kind == EntryKind::Mesh && text(&names, "name") != Some(Mesh::NAME) {
        let line = Some(names.get("name").map_or(names.line, |name| name.line));
        let message = format!("must be {:?}", Mesh::NAME);
        problems.push(Problem { line, ..Problem::rule("Name", message) });
    }
    fields.split_off(&NOT_IN_SPEC);
    members.extend(fields.members().unwrap_or_default().iter().cloned());
    Tree { line: document.line, content: Content::Object(members) }
}

/// The resource's namespace is that of the services that it exports too, where they name none.
fn with_namespace_of_the_resource(entry: ConfigEntry, namespace: &str) -> ConfigEntry {
    let ConfigEntry::ExportedServices(mut exports) = entry else { return entry };
    for service in &mut exports.services {
        if service.namespace.is_default() {
            service.namespace = Namespace::from(namespace);
        }
    }
    ConfigEntry::ExportedServices(exports)
}

#[cfg(test)]
mod tests;
