//! What a text says, before anybody asks what it means: values with the line they start on.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Number;

/// Deepest nesting of lists and objects that any reader follows, so that no text can exhaust the stack.
pub(super) const MAX_DEPTH: usize = 100;

/// Most characters of the input that a message repeats in one place.
const LONGEST_SHOWN: usize = 60;

/// A value and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// Line of the source, counted from 1.
    pub line: usize,
    /// The value.
    pub content: Content,
}

/// The value proper.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// Values in order.
    List(Vec<Tree>),
    /// Members in the order of the source; JSON may repeat a key.
    Object(Vec<Member>),
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The key as it is spelled.
    pub key: String,
    /// Line of the key.
    pub line: usize,
    /// Its value.
    pub value: Tree,
}

impl Tree {
    /// An object without members.
    pub fn empty(line: usize) -> Self {
        Self { line, content: Content::Object(Vec::new()) }
    }

    /// The members, if it is an object, or a list of one object, which is how HCL blocks travel through other formats.
    pub fn members(&self) -> Option<&[Member]> {
        match &self.content {
            Content::Object(members) => Some(members),
            Content::List(items) => match items.as_slice() {
                [only] if matches!(only.content, Content::Object(_)) => only.members(),
                _ => None,
            },
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::String(_) => None,
        }
    }

    /// The value under `key`, spelled in any case, with or without underscores; the last one if there are several.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.members()?.iter().rev().find(|member| same_key(&member.key, key)).map(|member| &member.value)
    }

    /// Moves the members with these keys, spelled in any case, with or without underscores, into an object of their
    /// own, so that what remains can be read by somebody else.
    pub fn split_off(&mut self, keys: &[&str]) -> Tree {
        let mut taken = Tree::empty(self.line);
        if let (Content::Object(members), Content::Object(moved)) = (&mut self.content, &mut taken.content) {
            let is_known = |member: &mut Member| keys.iter().any(|key| same_key(&member.key, key));
            moved.extend(members.extract_if(.., is_known));
        }
        taken
    }

    /// How many values it is made of, itself included.
    pub(super) fn size(&self) -> usize {
        1 + match &self.content {
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::String(_) => 0,
            Content::List(items) => items.iter().map(Tree::size).sum(),
            Content::Object(members) => members.iter().map(|member| member.value.size()).sum::<usize>(),
        }
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "null".to_owned(),
            Content::Bool(value) => format!("the value {value}"),
            Content::Number(number) => format!("the number {number}"),
            Content::String(text) if text.chars().count() > LONGEST_SHOWN => "a long string".to_owned(),
            Content::String(text) => format!("the string {text:?}"),
            Content::List(items) if items.len() == 1 => "a list".to_owned(),
            Content::List(items) => format!("a list of {}", items.len()),
            Content::Object(_) => "an object".to_owned(),
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.content {
            Content::Null => serializer.serialize_unit(),
            Content::Bool(value) => serializer.serialize_bool(*value),
            Content::Number(number) => number.serialize(serializer),
            Content::String(text) => serializer.serialize_str(text),
            Content::List(items) => serializer.collect_seq(items),
            Content::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for member in members {
                    map.serialize_entry(&member.key, &member.value)?;
                }
                map.end()
            }
        }
    }
}

/// True if two keys have the same letters and digits, whatever their case and underscores.
pub(super) fn same_key(left: &str, right: &str) -> bool {
    letters(left).eq(letters(right))
}

/// A text of the input as messages repeat it: without what makes it too long.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}\u{2026}", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The names and positions of a path such as `Proxy.Upstreams[0].LocalBindPort`.
pub(super) fn path_steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty())
}

fn letters(key: &str) -> impl Iterator<Item = char> + '_ {
    key.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_whatever_their_case_and_underscores() {
        for (left, right) in [("MeshGateway", "mesh_gateway"), ("TLSMinVersion", "tls_min_version"), ("id", "ID")] {
            assert!(same_key(left, right), "{left} {right}");
        }
        assert!(!same_key("Name", "Names"));
    }

    #[test]
    fn known_members_are_split_off_in_any_spelling() {
        let member = |key: &str| Member { key: key.to_owned(), line: 1, value: Tree::empty(1) };
        let mut tree =
            Tree { line: 1, content: Content::Object(vec![member("log_level"), member("service"), member("DataDir")]) };

        let taken = tree.split_off(&["data_dir", "LogLevel"]);

        assert_eq!(taken.content, Content::Object(vec![member("log_level"), member("DataDir")]));
        assert_eq!(tree.content, Content::Object(vec![member("service")]));
    }
}
