//! Registrations and config entries that files carry, alone or beside settings.

use std::path::Path;

use super::draft::Draft;
use crate::codec::{self, Content, Definitions, Items, Tree};
use crate::model::{CheckRegistration, ConfigEntry, Namespace, Partition, Problems, ServiceDefinition};

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

/// Reads the checks of a document into the draft.
pub(super) fn collect_checks(path: &Path, document: &Tree, draft: &mut Draft) {
    for mut check in codec::checks(document) {
        check.judge(CheckRegistration::validate);
        match check.into_result() {
            Ok(check) => draft.checks.push(check),
            Err(problems) => problems.0.into_iter().for_each(|problem| draft.located_problem(path, problem)),
        }
    }
}

/// True for a document that is a config entry itself, as a list of them is.
pub(super) fn is_entry(document: &Tree) -> bool {
    document.get("Kind").is_some() || matches!(document.content, Content::List(_))
}

/// The registrations and config entries of a document as they were written, all of them good.
///
/// # Errors
/// Everything that cannot be decoded and everything that breaks a rule, with lines and paths, in the order of the source.
fn checked(document: &Tree) -> Result<Definitions, Problems> {
    judged(document).into_result()
}

/// The registrations and config entries of a document as they were written, with everything that breaks a rule.
pub(crate) fn judged(document: &Tree) -> Items<'_> {
    let mut items = codec::items(std::slice::from_ref(document));
    items.services.iter_mut().for_each(|service| service.judge(check_service));
    items.entries.iter_mut().for_each(|entry| entry.judge(check_entry));
    items
}

/// Every broken rule of a registration, which belongs to the partition that it names.
pub(crate) fn check_service(definition: &ServiceDefinition) -> Problems {
    definition.validate(&definition.partition.clone().unwrap_or_default())
}

/// Every broken rule of a config entry, as it is once stored.
fn check_entry(entry: &ConfigEntry) -> Problems {
    let mut canonical = entry.clone();
    canonical.normalize(&Partition::default(), &Namespace::default());
    canonical.validate()
}
