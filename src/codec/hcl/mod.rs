//! HashiCorp's configuration language, version 1, read tolerantly.
//!
//! Version 1 differs from what HCL2 readers accept: a block may stand on one line or inside a list, commas between
//! members are optional, and a block that is repeated forms a list. A block that stands alone is an object here; whether
//! a list was meant is for the decoder to know.

mod cursor;
mod literal;
mod write;

use std::collections::HashMap;

use self::cursor::Cursor;
use super::json;
use super::tree::{Content, MAX_DEPTH, Member, Tree};
use crate::model::Problem;

pub(super) use self::write::write;

/// Reads a text. As in version 1, one that starts with `{` is JSON.
pub(super) fn read(text: &str) -> Result<Tree, Problem> {
    let mut cursor = Cursor::new(text);
    cursor.skip_blanks()?;
    if cursor.peek() == Some('{') {
        return json::read(text.trim_start_matches('\u{feff}').as_bytes());
    }
    let mut reader = Reader { cursor, depth: 0 };
    let members = reader.members()?;
    match reader.cursor.peek() {
        None => Ok(Tree { line: 1, content: Content::Object(members) }),
        Some(_) => Err(reader.expected("a key")),
    }
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    depth: usize,
}

impl Reader<'_> {
    fn expected(&self, what: &str) -> Problem {
        self.cursor.error(format!("expected {what}, found {}", self.cursor.found()))
    }

    /// Members up to whatever cannot start one.
    fn members(&mut self) -> Result<Vec<Member>, Problem> {
        let mut members = Members::default();
        loop {
            self.cursor.skip_blanks()?;
            let line = self.cursor.line();
            let Some(key) = self.key()? else { return Ok(members.list) };
            let value = self.member_value(&key)?;
            members.add(Member { key, line, value }).map_err(|message| cursor::syntax_error(line, message))?;
            self.cursor.skip_blanks()?;
            self.cursor.eat(",");
        }
    }

    fn key(&mut self) -> Result<Option<String>, Problem> {
        match self.cursor.peek() {
            Some('"') => literal::quoted(&mut self.cursor).map(Some),
            Some(first) if first.is_alphabetic() || first == '_' => {
                Ok(Some(self.cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')).to_owned()))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// What follows a key: `= value`, or labels and a block.
    fn member_value(&mut self, key: &str) -> Result<Tree, Problem> {
        self.cursor.skip_blanks()?;
        if self.cursor.eat("=") {
            self.cursor.skip_blanks()?;
            return self.value();
        }
        let line = self.cursor.line();
        let mut labels = Vec::new();
        while let Some(label) = self.key()? {
            labels.push(label);
            self.cursor.skip_blanks()?;
        }
        if self.cursor.peek() != Some('{') {
            return Err(self.expected(&format!("= or {{ behind the key {key:?}")));
        }
        // Each label is a level of its own, also for what stands inside the block.
        if self.depth + labels.len() > MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.depth += labels.len();
        let block = self.value();
        self.depth -= labels.len();
        let block = block?;
        let nest = |value, key| Tree { line, content: Content::Object(vec![Member { key, line, value }]) };
        Ok(labels.into_iter().rev().fold(block, nest))
    }

    fn value(&mut self) -> Result<Tree, Problem> {
        let line = self.cursor.line();
        let content = match self.cursor.peek() {
            Some('"') => Content::String(literal::quoted(&mut self.cursor)?),
            Some('<') if self.cursor.rest().starts_with("<<") => Content::String(literal::heredoc(&mut self.cursor)?),
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::list)?,
            Some(first) if first.is_ascii_digit() || matches!(first, '-' | '.') => {
                Content::Number(literal::number(&mut self.cursor)?)
            }
            Some(first) if first.is_alphabetic() => self.word()?,
            Some(_) | None => return Err(self.expected("a value")),
        };
        Ok(Tree { line, content })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Content, Problem>) -> Result<Content, Problem> {
        if self.depth >= MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let content = read(self);
        self.depth -= 1;
        content
    }

    fn too_deep(&self) -> Problem {
        self.cursor.error(format!("nested deeper than {MAX_DEPTH} levels"))
    }

    fn object(&mut self) -> Result<Content, Problem> {
        let start = self.cursor.line();
        self.cursor.eat("{");
        let members = self.members()?;
        if self.cursor.eat("}") {
            return Ok(Content::Object(members));
        }
        Err(self.expected(&format!("a key or }} to close the block that starts on line {start}")))
    }

    fn list(&mut self) -> Result<Content, Problem> {
        let start = self.cursor.line();
        let mut items = Vec::new();
        self.cursor.eat("[");
        loop {
            self.cursor.skip_blanks()?;
            if self.cursor.eat("]") {
                return Ok(Content::List(items));
            }
            items.push(self.value()?);
            self.cursor.skip_blanks()?;
            if !self.cursor.eat(",") && self.cursor.peek() != Some(']') {
                return Err(self.expected(&format!("a comma, or ] to close the list that starts on line {start}")));
            }
        }
    }

    fn word(&mut self) -> Result<Content, Problem> {
        let line = self.cursor.line();
        match self.cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            "true" => Ok(Content::Bool(true)),
            "false" => Ok(Content::Bool(false)),
            "null" => Ok(Content::Null),
            other => Err(cursor::syntax_error(line, format!("the text {other} needs quotes"))),
        }
    }
}

/// The members of one object, with the place of each key.
#[derive(Default)]
struct Members {
    list: Vec<Member>,
    places: HashMap<String, usize>,
}

impl Members {
    /// A repeated block, or a list that goes on, adds to what the key holds; any other value can be given only once.
    fn add(&mut self, member: Member) -> Result<(), String> {
        let Some(place) = self.places.get(&member.key) else {
            self.places.insert(member.key.clone(), self.list.len());
            self.list.push(member);
            return Ok(());
        };
        let Member { key, value, .. } = member;
        let existing = &mut self.list[*place].value;
        let may_repeat = |tree: &Tree| matches!(tree.content, Content::List(_) | Content::Object(_));
        if !may_repeat(existing) || !may_repeat(&value) {
            return Err(format!("the key {key:?} is given twice, first on line {}", existing.line));
        }
        let line = existing.line;
        let first = std::mem::replace(existing, Tree { line, content: Content::Null });
        let mut items = into_items(first);
        items.append(&mut into_items(value));
        existing.content = Content::List(items);
        Ok(())
    }
}

fn into_items(tree: Tree) -> Vec<Tree> {
    match tree.content {
        Content::List(items) => items,
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::Object(_) => vec![tree],
    }
}

#[cfg(test)]
mod tests;
