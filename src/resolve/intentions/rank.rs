//! Precedence, which Envoy's policies do not have: what decides first is taken out of what would decide later.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Intention;
use super::source::Source;

/// The intentions that decide about anybody, the one that decides first in front.
///
/// One whose callers are all covered by an earlier one never decides, whatever it says.
pub(super) fn deciding(mut intentions: Vec<Intention<'_>>) -> Vec<Intention<'_>> {
    intentions.sort_by(|a, b| (Reverse(a.precedence), &a.source).cmp(&(Reverse(b.precedence), &b.source)));
    let mut seen = BTreeSet::new();
    intentions.retain(|intention| {
        !intention.source.wider().iter().any(|wider| seen.contains(wider)) && seen.insert(intention.source.clone())
    });
    intentions
}

/// For each intention the sources inside of its own about which an earlier one decides, by position, as few as say it.
pub(super) fn exceptions(intentions: &[Intention<'_>]) -> Vec<Vec<usize>> {
    let position_of: BTreeMap<&Source, usize> =
        intentions.iter().enumerate().map(|(position, intention)| (&intention.source, position)).collect();
    let mut exceptions = vec![Vec::new(); intentions.len()];
    for (position, intention) in intentions.iter().enumerate().rev() {
        for wider in intention.source.wider() {
            if let Some(later) = position_of.get(&wider).filter(|later| **later > position) {
                exceptions[*later].push(position);
            }
        }
    }
    for inner in &mut exceptions {
        let all: BTreeSet<&Source> = inner.iter().map(|position| &intentions[*position].source).collect();
        inner.retain(|position| !intentions[*position].source.wider().iter().any(|wider| all.contains(wider)));
        inner.sort_by_key(|position| intentions[*position].source.wildcards());
    }
    exceptions
}
