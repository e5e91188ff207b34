//! A position in an HCL text.

use crate::model::{Problem, ProblemKind};

/// What is left of a text, and the line it starts on.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.line += usize::from(next == '\n');
        Some(next)
    }

    /// Consumes `prefix` if the rest starts with it.
    pub(super) fn eat(&mut self, prefix: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(prefix) else { return false };
        self.advance(self.rest.len() - rest.len());
        true
    }

    /// Consumes the longest run of matching characters.
    pub(super) fn take_while(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !matches(c)).unwrap_or(self.rest.len());
        self.advance(end)
    }

    /// Consumes the rest of the line with its end, and returns it without; `None` at the end of the text.
    pub(super) fn take_line(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.find('\n').map_or(self.rest.len(), |end| end + 1);
        let line = self.advance(end);
        let line = line.strip_suffix('\n').unwrap_or(line);
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
        taken
    }

    /// Skips blanks and comments: `#` and `//` to the end of the line, `/*` to `*/`.
    pub(super) fn skip_blanks(&mut self) -> Result<(), Problem> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest.starts_with("/*") {
                let end =
                    self.rest.find("*/").ok_or_else(|| self.error("a comment that starts here is never closed"))?;
                self.advance(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    /// A syntax error at this line.
    pub(super) fn error(&self, message: impl AsRef<str>) -> Problem {
        syntax_error(self.line, message)
    }

    /// What stands here, for messages.
    pub(super) fn found(&self) -> String {
        self.peek().map_or_else(|| "the end of the text".to_owned(), |c| format!("{c:?}"))
    }
}

/// A syntax error at `line`.
pub(super) fn syntax_error(line: usize, message: impl AsRef<str>) -> Problem {
    Problem {
        kind: ProblemKind::Syntax,
        path: String::new(),
        message: format!("invalid HCL: {}", message.as_ref()),
        line: Some(line),
    }
}
