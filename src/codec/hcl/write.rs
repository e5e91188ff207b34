//! HCL texts for people, in the part of the language that versions 1 and 2 share: objects as blocks where every key is a
//! word, with two spaces of indentation.

use super::super::tree::{Content, Member, Tree};

/// Writes an object as a document; anything else cannot stand at the top of one and is written as a value.
pub(in super::super) fn write(tree: &Tree) -> String {
    let mut text = String::new();
    match &tree.content {
        Content::Object(members) => write_members(&mut text, members, 0, Style::Blocks),
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::List(_) => {
            write_value(&mut text, tree, 0);
            text.push('\n');
        }
    }
    text
}

/// How objects are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `key { ... }`, whose keys must be words.
    Blocks,
    /// `key = { ... }`, in which no block may stand.
    Values,
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn write_members(text: &mut String, members: &[Member], depth: usize, style: Style) {
    for Member { key, value, .. } in members {
        indent(text, depth);
        write_key(text, key);
        match &value.content {
            Content::Object(inner) if style == Style::Blocks && inner.iter().all(|member| is_word(&member.key)) => {
                text.push(' ');
                write_object(text, inner, depth, Style::Blocks);
            }
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::String(_)
            | Content::List(_)
            | Content::Object(_) => {
                text.push_str(" = ");
                write_value(text, value, depth);
            }
        }
        text.push('\n');
    }
}

fn write_object(text: &mut String, members: &[Member], depth: usize, style: Style) {
    if members.is_empty() {
        text.push_str("{}");
        return;
    }
    text.push_str("{\n");
    write_members(text, members, depth + 1, style);
    indent(text, depth);
    text.push('}');
}

fn write_value(text: &mut String, tree: &Tree, depth: usize) {
    match &tree.content {
        Content::Null => text.push_str("null"),
        Content::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Content::Number(number) => text.push_str(&number.to_string()),
        Content::String(value) => write_quoted(text, value),
        Content::Object(members) => write_object(text, members, depth, Style::Values),
        Content::List(items) => write_list(text, items, depth),
    }
}

/// Scalars share a line; objects and lists have lines of their own.
fn write_list(text: &mut String, items: &[Tree], depth: usize) {
    let is_nested = |tree: &Tree| matches!(tree.content, Content::Object(_) | Content::List(_));
    if !items.iter().any(is_nested) {
        text.push('[');
        for (position, item) in items.iter().enumerate() {
            text.push_str(if position == 0 { "" } else { ", " });
            write_value(text, item, depth);
        }
        text.push(']');
        return;
    }
    text.push_str("[\n");
    for item in items {
        indent(text, depth + 1);
        write_value(text, item, depth + 1);
        text.push_str(",\n");
    }
    indent(text, depth);
    text.push(']');
}

/// True for a key that both versions read without quotes.
fn is_word(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        && !matches!(key, "true" | "false" | "null" | "for")
}

fn write_key(text: &mut String, key: &str) {
    if is_word(key) { text.push_str(key) } else { write_quoted(text, key) }
}

fn write_quoted(text: &mut String, value: &str) {
    text.push('"');
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            // Would start an interpolation, in which quotes mean something else.
            '$' if characters.peek() == Some(&'{') => text.push_str("\\u0024"),
            control if control.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
}
