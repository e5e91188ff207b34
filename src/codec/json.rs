//! JSON texts.
//!
//! `serde_json` reads from a source that counts the line ends it has handed out. It asks for one byte at a time and looks
//! at most one ahead, so the count is the line of the value being read.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::tree::{Content, MAX_DEPTH, Member, Tree};
use crate::model::{Problem, ProblemKind};

/// Reads one JSON value with nothing behind it.
pub(super) fn read(text: &[u8]) -> Result<Tree, Problem> {
    let line = Cell::new(Position { line: 1, at_end: false });
    let mut deserializer = serde_json::Deserializer::from_reader(Counted { rest: text, position: &line });
    TreeSeed { position: &line, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|tree| deserializer.end().map(|()| tree))
        .map_err(|error| {
            let text = error.to_string();
            // The message repeats the position behind this word.
            let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
            let column = error.column();
            Problem {
                kind: ProblemKind::Syntax,
                path: String::new(),
                message: format!("invalid JSON: {message}, at column {column}"),
                line: Some(error.line()),
            }
        })
}

/// Where the reader stands: a line end counts only once something behind it was read.
#[derive(Clone, Copy)]
struct Position {
    line: usize,
    at_end: bool,
}

struct Counted<'a> {
    rest: &'a [u8],
    position: &'a Cell<Position>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(buffer)?;
        for byte in &buffer[..count] {
            let before = self.position.get();
            self.position.set(Position { line: before.line + usize::from(before.at_end), at_end: *byte == b'\n' });
        }
        Ok(count)
    }
}

/// A value that is about to be read, inside of so many lists and objects.
#[derive(Clone, Copy)]
struct TreeSeed<'a> {
    position: &'a Cell<Position>,
    depth: usize,
}

impl TreeSeed<'_> {
    fn tree(self, content: Content) -> Tree {
        Tree { line: self.position.get().line, content }
    }

    /// One level further in. `serde_json` follows a few levels more, which are left to those who store the value inside
    /// of another and read it back.
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for TreeSeed<'_> {
    type Value = Tree;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(self.tree(Content::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(self.tree(Content::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(self.tree(Content::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(self.tree(Content::Number(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(self.tree(Number::from_f64(value).map_or(Content::Null, Content::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(self.tree(Content::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(self.tree(Content::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut tree = self.tree(Content::Null);
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        tree.content = Content::List(items);
        Ok(tree)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut tree = self.tree(Content::Null);
        let inner = self.inner()?;
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let line = self.position.get().line;
            members.push(Member { key, line, value: map.next_value_seed(inner)? });
        }
        tree.content = Content::Object(members);
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let tree = read(b"{\n  \"a\": 1,\n  \"b\":\n    \"two\",\n  \"c\": [\n    true\n  ]\n}").expect("valid");

        let line = |key| tree.get(key).expect("is there").line;
        assert_eq!((tree.line, line("a"), line("b"), line("c")), (1, 2, 4, 5));
        let Content::List(items) = &tree.get("c").expect("is there").content else { panic!("a list") };
        assert_eq!(items[0].line, 6);
    }

    #[test]
    fn a_number_before_a_line_end_is_on_its_own_line() {
        let tree = read(b"[1\n,2\n]").expect("valid");

        let Content::List(items) = &tree.content else { panic!("a list") };
        assert_eq!((items[0].line, items[1].line), (1, 2));
    }

    #[test]
    fn numbers_keep_their_last_digit() {
        let tree = read(b"-517626283.59799564").expect("valid");

        assert_eq!(tree.content, Content::Number(Number::from_f64(-517_626_283.597_995_64).expect("finite")));
    }

    #[test]
    fn syntax_errors_have_line_and_column() {
        for (text, expected) in [
            ("{\n  \"a\": nope\n}", "line 2: invalid JSON: expected ident, at column 9"),
            ("", "line 1: invalid JSON: EOF while parsing a value, at column 0"),
            ("{} {}", "line 1: invalid JSON: trailing characters, at column 4"),
        ] {
            assert_eq!(read(text.as_bytes()).expect_err(text).to_string(), expected);
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);

        assert!(read(nested(100).as_bytes()).is_ok());
        assert_eq!(
            read(nested(101).as_bytes()).expect_err("too deep").to_string(),
            "line 1: invalid JSON: nested deeper than 100 levels, at column 102"
        );
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }
}
