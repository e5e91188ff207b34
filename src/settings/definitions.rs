//! Registrations and config entries that files carry, alone or beside settings.

use std::collections::BTreeSet;
use std::path::Path;

use super::draft::Draft;
use crate::codec::{self, Content, Definitions, Member, Tree};
use crate::model::{Namespace, Partition, Problem, Problems, ServiceDefinition, SidecarPorts, expand_sidecar};

/// Reads the registrations and config entries of a document into the draft.
pub(super) fn collect(path: &Path, document: &Tree, draft: &mut Draft) {
    match checked(document) {
        Ok(mut definitions) => {
            definitions
                .entries
                .iter_mut()
                .for_each(|entry| entry.normalize(&Partition::default(), &Namespace::default()));
            draft.services.extend(definitions.services);
            draft.entries.extend(definitions.entries);
        }
        Err(problems) => problems.0.into_iter().for_each(|problem| draft.located_problem(path, problem)),
    }
}

/// True for a document that is a config entry itself.
pub(super) fn is_entry(document: &Tree) -> bool {
    document.get("Kind").is_some()
}

/// The registrations and config entries of a document as they were written, all of them good.
///
/// # Errors
/// Everything that cannot be decoded, else everything that breaks a rule; with lines and paths.
pub(crate) fn checked(document: &Tree) -> Result<Definitions, Problems> {
    let definitions = codec::definitions_in(std::slice::from_ref(document))?;
    let mut problems = Problems::default();
    for ((place, tree), service) in services(document).iter().zip(&definitions.services) {
        problems.0.extend(located(check_service(service), place, tree));
    }
    for ((place, tree), entry) in entries(document).iter().zip(&definitions.entries) {
        let mut canonical = entry.clone();
        canonical.normalize(&Partition::default(), &Namespace::default());
        problems.0.extend(located(canonical.validate(), place, tree));
    }
    problems.into_result()?;
    Ok(definitions)
}

/// The registrations of a document with their places, in the order in which `codec` reads them.
fn services(document: &Tree) -> Vec<(String, &Tree)> {
    let members = members(document).filter(|member| is(member, "service") || is(member, "services"));
    members.flat_map(|member| each(&member.value, &member.key)).collect()
}

/// The config entries of a document with their places, in the order in which `codec` reads them.
fn entries(document: &Tree) -> Vec<(String, &Tree)> {
    if is_entry(document) {
        return vec![(String::new(), document)];
    }
    let blocks = members(document).filter(|member| is(member, "config_entries"));
    let lists = blocks.flat_map(|member| each(&member.value, &member.key)).flat_map(|(place, block)| {
        let bootstraps = members(block).filter(|member| is(member, "bootstrap"));
        bootstraps.map(move |member| (format!("{place}.bootstrap"), &member.value))
    });
    lists.flat_map(|(place, list)| each(list, &place)).collect()
}

fn members(tree: &Tree) -> impl Iterator<Item = &Member> {
    tree.members().into_iter().flatten()
}

/// Keys are the same whatever their case and underscores.
fn is(member: &Member, key: &str) -> bool {
    let letters = |text: &str| text.replace('_', "").to_ascii_lowercase();
    letters(&member.key) == letters(key)
}

/// A value, or each value of a list.
fn each<'t>(tree: &'t Tree, place: &str) -> Vec<(String, &'t Tree)> {
    match &tree.content {
        Content::Null => Vec::new(),
        Content::List(items) => {
            items.iter().enumerate().map(|(position, item)| (format!("{place}[{position}]"), item)).collect()
        }
        Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::Object(_) => {
            vec![(place.to_owned(), tree)]
        }
    }
}

/// The same problems, seen from the document, with the lines of the fields that they are about.
fn located(problems: Problems, place: &str, tree: &Tree) -> Vec<Problem> {
    let locate = |problem: Problem| {
        let line = Some(line_of(tree, &problem.path));
        Problem { line, ..problem }.under(place)
    };
    problems.0.into_iter().map(locate).collect()
}

/// The line of the last part of a path that the text has; what is missing is reported where it should be.
fn line_of(tree: &Tree, path: &str) -> usize {
    let steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty());
    let mut at = tree;
    for step in steps {
        let next = match (step.parse::<usize>(), &at.content) {
            (Ok(position), Content::List(items)) => items.get(position),
            (Ok(0), _) => Some(at),
            (_, _) => at.get(step),
        };
        match next {
            Some(inner) => at = inner,
            None => break,
        }
    }
    at.line
}

/// Every broken rule of a registration: of the service, of its checks and of the sidecar that it carries.
pub(crate) fn check_service(definition: &ServiceDefinition) -> Problems {
    let mut problems = check_alone(definition);
    match expand_sidecar(definition, None, &BTreeSet::new(), SidecarPorts::default()) {
        Ok(Some(sidecar)) => {
            // What the sidecar has from the service is wrong once.
            let own = check_alone(&sidecar).0.into_iter().filter(|problem| !problems.0.contains(problem)).collect();
            problems.extend_under("Connect.SidecarService", Problems(own));
        }
        Ok(None) => {}
        Err(nested) => problems.0.extend(nested.0),
    }
    problems
}

fn check_alone(definition: &ServiceDefinition) -> Problems {
    let partition = definition.partition.clone().unwrap_or_default();
    let mut problems = definition.to_service(&partition).validate();
    for (position, check) in definition.all_checks().iter().enumerate() {
        problems.extend_under(&format!("Checks[{position}]"), check.validate());
    }
    problems
}
