//! What a text means as far as it can be decoded, with everything that is wrong with it.

use std::borrow::Cow;

use super::kubernetes::Resource;
use super::lenient::{Decoding, MAX_PROBLEMS, in_order};
use super::tree::{Content, Tree, path_steps};
use super::{Definitions, Format, parse};
use crate::model::{ConfigEntry, Problem, Problems, ServiceDefinition};

/// A value that was decoded from a tree, or what could be of it.
///
/// Who knows the rules of the value adds what it breaks ([`judge`](Self::judge)), so that one report holds what cannot
/// be decoded and what is forbidden.
#[derive(Debug, Clone)]
pub struct Decoded<'t, T> {
    decoding: Decoding<T>,
    origin: Origin<'t>,
}

/// Where a value was read, for saying what is wrong with it in the words of its text.
#[derive(Debug, Clone)]
pub struct Origin<'t> {
    /// What the value was decoded from.
    tree: Cow<'t, Tree>,
    /// Path of the value in its document.
    place: String,
    /// How the text says it, if it is a Kubernetes resource.
    resource: Option<Resource>,
}

/// Most problems around the values of a text: each may be longer than what it is about.
const MOST_AROUND: usize = 10 * MAX_PROBLEMS;

impl Origin<'_> {
    /// The same, independent of the text.
    pub fn into_owned(self) -> Origin<'static> {
        Origin { tree: Cow::Owned(self.tree.into_owned()), place: self.place, resource: self.resource }
    }

    /// A problem of the value with its line, and with its path from the top of the document.
    pub fn locate(&self, problem: Problem) -> Problem {
        let line = problem.line.or_else(|| Some(line_of(&self.tree, &problem.path)));
        let path = match &self.resource {
            Some(resource) => resource.spelled(&self.tree, &problem.path),
            None => problem.path,
        };
        Problem { line, path, ..problem }.under(&self.place)
    }
}

impl<'t, T> Decoded<'t, T> {
    /// What `decode` makes of the tree at `place` of a larger document.
    pub(super) fn at(place: &str, tree: &'t Tree, decode: impl FnOnce(&Tree) -> Decoding<T>) -> Self {
        let origin = Origin { tree: Cow::Borrowed(tree), place: place.to_owned(), resource: None };
        Self { decoding: decode(tree), origin }
    }

    /// What was decoded from a tree that stands for the Kubernetes resource at `place`.
    pub(super) fn of_resource(place: &str, tree: Tree, resource: Resource, decoding: Decoding<T>) -> Self {
        let origin = Origin { tree: Cow::Owned(tree), place: place.to_owned(), resource: Some(resource) };
        Self { decoding, origin }
    }

    /// What `decode` makes of a text of one document.
    pub(super) fn of_text(text: &[u8], format: Format, decode: impl FnOnce(&Tree) -> Decoding<T>) -> Self {
        let (decoding, tree) = match parse(text, format) {
            Ok(tree) => (decode(&tree), tree),
            Err(problem) => (Decoding::refused(problem), Tree::empty(1)),
        };
        Self { decoding, origin: Origin { tree: Cow::Owned(tree), place: String::new(), resource: None } }
    }

    /// Path of the value in its document, which the paths of its problems start with.
    pub fn place(&self) -> &str {
        &self.origin.place
    }

    /// Adds the rules that the value breaks, with the lines of what breaks them.
    ///
    /// If values were refused, `rules` sees the rest. What it says about a refused value, or about one that lost a part,
    /// is not added: it would be true of the rest alone. It cannot be told where a rule about one field looks at a
    /// refused one beside it.
    pub fn judge(&mut self, rules: impl FnOnce(&T) -> Problems) {
        let Decoding { value: Some(value), problems, left_out } = &mut self.decoding else { return };
        let located = |problem: Problem| {
            let path = left_out.place_of(&problem.path)?;
            Some(Problem { line: Some(line_of(&self.origin.tree, &path)), path, ..problem })
        };
        let room = MAX_PROBLEMS.saturating_sub(problems.0.len());
        problems.0.extend(rules(value).0.into_iter().filter_map(located).take(room));
        in_order(problems);
    }

    /// The value, if nothing is wrong.
    ///
    /// # Errors
    /// What cannot be decoded and the broken rules that were added, in the order of the source.
    pub fn into_result(self) -> Result<T, Problems> {
        self.into_located().map(|(value, _)| value)
    }

    /// The value with where it was read, if nothing is wrong.
    ///
    /// # Errors
    /// As [`into_result`](Self::into_result).
    pub fn into_located(self) -> Result<(T, Origin<'t>), Problems> {
        match self.decoding {
            Decoding { value: Some(value), problems, .. } if problems.0.is_empty() => Ok((value, self.origin)),
            Decoding { problems, .. } => {
                Err(Problems(problems.0.into_iter().map(|problem| self.origin.locate(problem)).collect()))
            }
        }
    }

    /// The value, not yet judged, if all of it can be decoded.
    ///
    /// # Errors
    /// What cannot be decoded, and the rules that the rest breaks, in the order of the source.
    pub fn whole_or_judged(mut self, rules: impl FnOnce(&T) -> Problems) -> Result<T, Problems> {
        if !self.decoding.problems.0.is_empty() {
            self.judge(rules);
        }
        self.into_result()
    }
}

/// The registrations and config entries of documents, in document order, with what is wrong around them.
#[derive(Debug, Clone, Default)]
pub struct Items<'t> {
    /// Service registrations.
    pub services: Vec<Decoded<'t, ServiceDefinition>>,
    /// Config entries, not yet normalized.
    pub entries: Vec<Decoded<'t, ConfigEntry>>,
    /// What is wrong around them.
    pub problems: Problems,
}

/// A value with where it was read.
pub type Located<'t, T> = (T, Origin<'t>);

impl<'t> Items<'t> {
    /// Adds what is wrong around the values. Of a text with very much of it, most is left out.
    pub(super) fn refuse(&mut self, problem: impl FnOnce() -> Problem) {
        if self.problems.0.len() < MOST_AROUND {
            self.problems.0.push(problem());
        }
    }

    /// The values, if nothing is wrong.
    ///
    /// # Errors
    /// Everything that is wrong with them and around them, in the order of the source.
    pub fn into_result(self) -> Result<Definitions, Problems> {
        fn values<T>(located: Vec<Located<'_, T>>) -> Vec<T> {
            located.into_iter().map(|(value, _)| value).collect()
        }
        let (services, entries) = self.into_located()?;
        Ok(Definitions { services: values(services), entries: values(entries) })
    }

    /// The registrations and the config entries with where they were read, if nothing is wrong.
    ///
    /// # Errors
    /// As [`into_result`](Self::into_result).
    #[allow(clippy::type_complexity, reason = "two lists of the same kind")]
    pub fn into_located(
        self,
    ) -> Result<(Vec<Located<'t, ServiceDefinition>>, Vec<Located<'t, ConfigEntry>>), Problems> {
        let mut problems = self.problems;
        let services = good(self.services, &mut problems);
        let entries = good(self.entries, &mut problems);
        in_order(&mut problems);
        problems.into_result().map(|()| (services, entries))
    }
}

/// The values with which nothing is wrong.
fn good<'t, T>(items: Vec<Decoded<'t, T>>, problems: &mut Problems) -> Vec<Located<'t, T>> {
    let value = |item: Decoded<'t, T>| item.into_located().map_err(|inner| problems.0.extend(inner.0)).ok();
    items.into_iter().filter_map(value).collect()
}

/// The line of the last part of a path that the text has; what is missing is reported where it should be.
fn line_of(tree: &Tree, path: &str) -> usize {
    let mut at = tree;
    for step in path_steps(path) {
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
