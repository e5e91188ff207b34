//! The two decoders of `http-api.md` 1.5 as one serde `Deserializer` over a [`Tree`].
//!
//! serde gives up at the first value that does not fit. To report everything at once, a value that was refused is left
//! out and the rest is decoded again, until only problems remain that need no giving up (unknown keys) or nothing at all.

mod decoder;
mod fields;
mod left_out;
mod path;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use serde::de::{self, DeserializeOwned};

use self::decoder::Decoder;
pub(super) use self::fields::{lower_camel_case, suggestion};
use self::left_out::LeftOut;
use self::path::Path;
use super::tree::Tree;
use crate::model::{Problem, ProblemKind, Problems};

/// How closely types must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// A text is a text and a number a number, as in the bodies of registrations (decoder A).
    Strict,
    /// `"8080"` is a number, 1 is true, one thing is a list of it, and a list of one object is the object, as in config
    /// entries and files (decoder B).
    Weak,
}

/// Most problems that are reported of one document; whoever has more will decode again anyway.
pub const MAX_PROBLEMS: usize = 50;

/// Most values that are looked at again to find further problems, so that a large text costs little more than reading it.
const MAX_AGAIN: usize = 2_000_000;

/// The value that a tree means.
///
/// Keys fit fields whatever their case, with or without underscores. The contents of opaque maps keep their spelling.
///
/// # Errors
/// Every unknown key and every value that does not fit.
pub fn from_tree<T: DeserializeOwned>(tree: &Tree, typing: Typing) -> Result<T, Problems> {
    let Decoding { value, problems, .. } = decode(tree, typing);
    value.filter(|_| problems.0.is_empty()).ok_or(problems)
}

/// What a tree means as far as it can be decoded. Without a value there is a problem.
#[derive(Debug, Clone)]
pub(super) struct Decoding<T> {
    /// The value without what was refused; nothing if too much was.
    pub(super) value: Option<T>,
    /// Every unknown key and every value that does not fit, in the order of the source.
    pub(super) problems: Problems,
    /// What the value lacks.
    pub(super) left_out: LeftOut,
}

impl<T> Decoding<T> {
    /// Nothing but a problem.
    pub(super) fn refused(problem: Problem) -> Self {
        Self { value: None, problems: problem.into(), left_out: LeftOut::default() }
    }

    /// The same with another value.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Decoding<U> {
        Decoding { value: self.value.map(change), problems: self.problems, left_out: self.left_out }
    }
}

/// Decodes as much of a tree as can be.
pub(super) fn decode<T: DeserializeOwned>(tree: &Tree, typing: Typing) -> Decoding<T> {
    let mut refused = HashMap::new();
    let mut most = None;
    loop {
        let session = Session { typing, refused: &refused, problems: RefCell::default() };
        let decoder = Decoder { tree, path: &Path::Root, session: &session };
        let outcome = T::deserialize(decoder).map_err(|refusal| refusal.located(&decoder));
        let mut problems = Problems(session.problems.into_inner());
        let refusal = match outcome {
            Ok(value) => {
                in_order(&mut problems);
                return Decoding { value: Some(value), problems, left_out: LeftOut::of(refused.into_values()) };
            }
            Err(refusal) => refusal,
        };
        let value = refusal.value.unwrap_or(tree);
        let is_new =
            !std::ptr::eq(value, tree) && refused.insert(std::ptr::from_ref(value), refusal.problem.clone()).is_none();
        let most = *most.get_or_insert_with(|| (MAX_AGAIN / tree.size()).clamp(1, MAX_PROBLEMS));
        if !is_new || refused.len() >= most {
            problems.0.push(refusal.problem);
            in_order(&mut problems);
            return Decoding { value: None, problems, left_out: LeftOut::default() };
        }
    }
}

/// Puts problems into the order of the source, as far as lines tell it.
pub(super) fn in_order(problems: &mut Problems) {
    problems.0.sort_by_key(|problem| problem.line);
}

/// Leaves as many problems as whoever reads them can use, and says how many more there are.
pub(super) fn cut(problems: &mut Problems) {
    let more = problems.0.len().saturating_sub(MAX_PROBLEMS);
    problems.0.truncate(MAX_PROBLEMS);
    if more > 0 {
        problems.rule("", format!("and {more} more"));
    }
}

/// One pass over a document.
struct Session<'s> {
    typing: Typing,
    /// Values that earlier passes refused, and why.
    refused: &'s HashMap<*const Tree, Problem>,
    problems: RefCell<Vec<Problem>>,
}

impl Session<'_> {
    fn report(&self, problem: Problem) {
        if !self.is_full() {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// True once nothing more is reported, so that nobody need find words for it.
    fn is_full(&self) -> bool {
        self.problems.borrow().len() >= MAX_PROBLEMS
    }

    /// True, with its problem reported, for a value that an earlier pass refused.
    fn leaves_out(&self, tree: &Tree) -> bool {
        let problem = self.refused.get(&std::ptr::from_ref(tree));
        if let Some(problem) = problem {
            self.report(problem.clone());
        }
        problem.is_some()
    }
}

/// Why a value cannot be decoded, and which, once that is known.
#[derive(Debug)]
struct Refusal<'a> {
    problem: Problem,
    value: Option<&'a Tree>,
}

impl<'a> Refusal<'a> {
    fn new(message: String) -> Self {
        let problem = Problem { kind: ProblemKind::Type, path: String::new(), message, line: None };
        Self { problem, value: None }
    }

    /// The same refusal with its place, unless an inner value has claimed it.
    fn located(mut self, decoder: &Decoder<'a, '_>) -> Self {
        if self.value.is_none() {
            self.value = Some(decoder.tree);
            self.problem.path = decoder.path.to_string();
            self.problem.line = Some(decoder.tree.line);
        }
        self
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Refusal<'_> {}

impl de::Error for Refusal<'_> {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

#[cfg(test)]
mod tests;
