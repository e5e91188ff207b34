//! Registrations and config entries that files carry beside settings.

use std::collections::BTreeSet;
use std::path::Path;

use super::draft::Draft;
use crate::codec::{self, Tree};
use crate::model::{Namespace, Partition, Problem, Problems, ServiceDefinition, SidecarPorts, expand_sidecar};

/// Reads the registrations and config entries of a file into the draft.
pub(super) fn collect(path: &Path, document: &Tree, draft: &mut Draft) {
    let definitions = match codec::definitions_in(std::slice::from_ref(document)) {
        Ok(definitions) => definitions,
        Err(problems) => return report(path, problems, draft),
    };
    for (position, service) in definitions.services.into_iter().enumerate() {
        let mut problems = Problems::default();
        problems.extend_under(&format!("services[{position}]"), check_service(&service));
        report(path, problems, draft);
        draft.services.push(service);
    }
    let alone = definitions.entries.len() == 1 && is_entry(document);
    for (position, mut entry) in definitions.entries.into_iter().enumerate() {
        entry.normalize(&Partition::default(), &Namespace::default());
        let prefix = if alone { String::new() } else { format!("config_entries.bootstrap[{position}]") };
        let mut problems = Problems::default();
        problems.extend_under(&prefix, entry.validate());
        report(path, problems, draft);
        draft.entries.push(entry);
    }
}

/// True for a document that is a config entry itself.
pub(super) fn is_entry(document: &Tree) -> bool {
    document.get("kind").is_some()
}

pub(super) fn report(path: &Path, problems: Problems, draft: &mut Draft) {
    for Problem { path: key, message, line, .. } in problems.0 {
        let at = match (line, key.as_str()) {
            (Some(line), "") => format!("line {line}"),
            (Some(line), key) => format!("line {line}: {key}"),
            (None, key) => key.to_owned(),
        };
        draft.file_problem(path, &at, message);
    }
}

/// Every broken rule of a registration: of the service, of its checks and of the sidecar that it carries.
pub(crate) fn check_service(definition: &ServiceDefinition) -> Problems {
    let mut problems = check_alone(definition);
    match expand_sidecar(definition, None, &BTreeSet::new(), SidecarPorts::default()) {
        Ok(Some(sidecar)) => problems.extend_under("Connect.SidecarService", check_alone(&sidecar)),
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
