//! YAML texts: several documents, merge keys and aliases within a budget; a key given twice is an error.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Location, Spanned, UserMessageFormatter};

use super::tree::{Content, Member, Tree};
use crate::model::{Problem, ProblemKind};

/// Deepest nesting that is followed, aliases included. One level of `serde_saphyr` takes some 40 KiB of stack in a build
/// without optimization, and threads have 2 MiB.
const MAX_DEPTH: usize = 32;

/// Reads every document of a text.
pub(super) fn read(text: &str) -> Result<Vec<Tree>, Problem> {
    let budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        max_nodes: 250_000,
        max_events: 1_000_000,
    };
    let options = serde_saphyr::options! {
        budget: budget,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        strict_booleans: true,
        // `0640` is the same number as in HCL, and not the fraction 640.0.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Spanned<Content>>(text, options)
        .map(|documents| documents.into_iter().map(Tree::from).collect())
        .map_err(|error| syntax_error(&error))
}

fn syntax_error(error: &Error) -> Problem {
    let location = error.location();
    let text = error.render_with_formatter(&UserMessageFormatter);
    let text = text.lines().next().unwrap_or_default();
    // The message repeats the position behind this word.
    let message = text.rsplit_once(" at line ").map_or(text, |(message, _)| message);
    let message = if is_too_deep(error) { &format!("nested deeper than {MAX_DEPTH} levels") } else { message };
    let column = location.map(|location| format!(", at column {}", location.column())).unwrap_or_default();
    Problem {
        kind: ProblemKind::Syntax,
        path: String::new(),
        message: format!("invalid YAML: {message}{column}"),
        line: location.map(line),
    }
}

/// Also for an error that is wrapped in where the value is shown or used.
fn is_too_deep(mut error: &Error) -> bool {
    while let Error::WithSnippet { error: inner, .. } | Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    matches!(error, Error::Budget { breach: BudgetBreach::Depth { .. }, .. })
}

impl From<Spanned<Content>> for Tree {
    fn from(spanned: Spanned<Content>) -> Self {
        Self { line: line(spanned.referenced), content: spanned.value }
    }
}

fn line(location: Location) -> usize {
    usize::try_from(location.line()).unwrap_or(usize::MAX)
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Content, E> {
        Number::from_f64(value).map(Content::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Content>>()? {
            items.push(Tree::from(item));
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Content>>()? {
            members.push(Member { line: line(key.referenced), key: key.value, value: Tree::from(value) });
        }
        Ok(Content::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let documents = read("a: 1\nb:\n  - x\n  - y: true\n---\nc: ~\n").expect("valid");

        assert_eq!(documents.len(), 2);
        let Content::List(items) = &documents[0].get("b").expect("is there").content else { panic!("a list") };
        assert_eq!((documents[0].get("a").expect("is there").line, items[0].line), (1, 3));
        assert_eq!(items[1].get("y").expect("is there"), &Tree { line: 4, content: Content::Bool(true) });
        assert_eq!(documents[1].get("c").expect("is there"), &Tree { line: 6, content: Content::Null });
    }

    #[test]
    fn words_are_not_truth_values() {
        let documents = read("a: no\nb: 1.20\nc: \"1.20\"\n1: x\nd: 0640\n").expect("valid");

        let content = |key| documents[0].get(key).expect("is there").content.clone();
        assert_eq!(content("a"), Content::String("no".to_owned()));
        assert_eq!(content("b"), Content::Number(Number::from_f64(1.2).expect("finite")));
        assert_eq!(content("c"), Content::String("1.20".to_owned()));
        assert_eq!(content("1"), Content::String("x".to_owned()));
        assert_eq!(content("d"), Content::Number(0o640.into()));
    }

    #[test]
    fn duplicate_keys_are_refused_with_their_line() {
        let error = read("a: 1\nb: 2\na: 3\n").expect_err("twice");

        assert_eq!(error.line, Some(3));
        assert!(error.message.contains("duplicate"), "{error}");
    }

    #[test]
    fn alias_bombs_stay_within_the_budget() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let previous = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", "));
        }

        assert!(read(&bomb).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let chain: String = (1..100).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();

        assert!(read(&nested(32)).is_ok());
        for (text, line, column) in [(nested(33), 1, 33), (format!("a0: &a0 x\n{chain}"), 33, 12)] {
            assert_eq!(
                read(&text).expect_err("too deep").to_string(),
                format!("line {line}: invalid YAML: nested deeper than 32 levels, at column {column}")
            );
        }
        assert!(read(&nested(10_000)).is_err());
    }
}
