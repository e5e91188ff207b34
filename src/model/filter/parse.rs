//! From text to expression.

use regex::Regex;

use super::{Expression, FilterError, Test};

/// Deepest nesting of parentheses and `not`s.
const MAX_DEPTH: usize = 64;
/// Longest expression in bytes.
const MAX_LENGTH: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A bare word or number, with what may stand in selectors.
    Word(String),
    Quoted(String),
    /// `==`, `!=`, `(`, `)`, `.`, `[`, `]`.
    Sign(&'static str),
    End,
}

/// Parses a whole text.
pub(super) fn expression(text: &str) -> Result<Expression, FilterError> {
    if text.len() > MAX_LENGTH {
        return Err(FilterError { position: MAX_LENGTH, expected: format!("at most {MAX_LENGTH} bytes are read") });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let parsed = parser.or()?;
    if *parser.peek() != Token::End {
        return Err(parser.expected("\"and\", \"or\" or the end"));
    }
    Ok(parsed)
}

const SIGNS: [&str; 7] = ["==", "!=", "(", ")", ".", "[", "]"];

/// The tokens with their positions, ended by [`Token::End`].
fn tokens(text: &str) -> Result<Vec<(Token, usize)>, FilterError> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let position = text[..text.len() - rest.len()].chars().count() + 1;
        let Some(first) = rest.chars().next() else {
            found.push((Token::End, position));
            return Ok(found);
        };
        let (token, length) = if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Token::Sign(sign), sign.len())
        } else if first == '"' || first == '`' {
            quoted(rest, first).ok_or_else(|| FilterError {
                position,
                expected: format!("the text that starts here has no closing {first}"),
            })?
        } else {
            let is_part = |c: char| c.is_alphanumeric() || "_-/:*".contains(c);
            let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            if length == 0 {
                return Err(FilterError { position, expected: format!("{first:?} has no meaning here") });
            }
            (Token::Word(rest[..length].to_owned()), length)
        };
        found.push((token, position));
        rest = &rest[length..];
    }
}

/// A quoted text at the start of `rest`, with its length in the source. A backslash takes the next character as it is
/// between double quotes.
fn quoted(rest: &str, quote: char) -> Option<(Token, usize)> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return Some((Token::Quoted(text), at + 1)),
            '\\' if quote == '"' => text.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            other => text.push(other),
        }
    }
    None
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].0.clone();
        // The end stays where it is.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_there = matches!(self.peek(), Token::Word(found) if found == word);
        if is_there {
            self.take();
        }
        is_there
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Token::Sign(found) if *found == sign);
        if is_there {
            self.take();
        }
        is_there
    }

    fn expected(&self, what: &str) -> FilterError {
        let found = match self.peek() {
            Token::Word(word) => format!("{word:?}"),
            Token::Quoted(text) => format!("the text {text:?}"),
            Token::Sign(sign) => format!("{sign:?}"),
            Token::End => "the end".to_owned(),
        };
        FilterError { position: self.tokens[self.next].1, expected: format!("expected {what}, found {found}") }
    }

    fn or(&mut self) -> Result<Expression, FilterError> {
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, FilterError> {
        let mut left = self.not()?;
        while self.take_word("and") {
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.expected(&format!("at most {MAX_DEPTH} levels")));
        }
        let parsed = if self.take_word("not") {
            Expression::Not(Box::new(self.not()?))
        } else if self.take_sign("(") {
            let inner = self.or()?;
            if !self.take_sign(")") {
                return Err(self.expected("\")\""));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(parsed)
    }

    /// `value in selector`, or a selector with a test behind it.
    fn test(&mut self) -> Result<Expression, FilterError> {
        if let Token::Quoted(value) = self.peek().clone() {
            self.take();
            return self.membership(value);
        }
        let path = self.selector()?;
        if self.is_membership() {
            return self.membership(path.join("."));
        }
        let test = if self.take_sign("==") {
            Test::Equal(self.value()?)
        } else if self.take_sign("!=") {
            Test::NotEqual(self.value()?)
        } else if self.take_word("is") {
            let is_negated = self.take_word("not");
            if !self.take_word("empty") {
                return Err(self.expected("\"empty\""));
            }
            if is_negated { Test::NotEmpty } else { Test::Empty }
        } else {
            let is_negated = self.take_word("not");
            if self.take_word("contains") {
                let value = self.value()?;
                if is_negated { Test::NotContains(value) } else { Test::Contains(value) }
            } else if self.take_word("matches") {
                let pattern = self.pattern()?;
                if is_negated { Test::NotMatches(pattern) } else { Test::Matches(pattern) }
            } else {
                return Err(self.expected("an operator (==, !=, in, contains, matches, is empty)"));
            }
        };
        Ok(Expression::Match(path, test))
    }

    /// True if `in` or `not in` comes next, so that what was read is a value.
    fn is_membership(&self) -> bool {
        let word = |at: usize| match self.tokens.get(at) {
            Some((Token::Word(word), _)) => word.as_str(),
            _ => "",
        };
        word(self.next) == "in" || (word(self.next) == "not" && word(self.next + 1) == "in")
    }

    fn membership(&mut self, value: String) -> Result<Expression, FilterError> {
        let is_negated = self.take_word("not");
        if !self.take_word("in") {
            return Err(self.expected("\"in\" or \"not in\""));
        }
        let path = self.selector()?;
        Ok(Expression::Match(path, if is_negated { Test::NotContains(value) } else { Test::Contains(value) }))
    }

    fn selector(&mut self) -> Result<Vec<String>, FilterError> {
        let mut path = vec![self.word("a selector")?];
        loop {
            if self.take_sign(".") {
                path.push(self.word("the rest of the selector")?);
            } else if self.take_sign("[") {
                let Token::Quoted(key) = self.peek().clone() else { return Err(self.expected("a quoted key")) };
                self.take();
                path.push(key);
                if !self.take_sign("]") {
                    return Err(self.expected("\"]\""));
                }
            } else {
                return Ok(path);
            }
        }
    }

    fn word(&mut self, what: &str) -> Result<String, FilterError> {
        let Token::Word(word) = self.peek().clone() else { return Err(self.expected(what)) };
        self.take();
        Ok(word)
    }

    /// A quoted text, a number or a bare word with dots.
    fn value(&mut self) -> Result<String, FilterError> {
        if let Token::Quoted(text) = self.peek().clone() {
            self.take();
            return Ok(text);
        }
        let mut value = self.word("a value")?;
        while self.take_sign(".") {
            value.push('.');
            value += &self.word("the rest of the value")?;
        }
        Ok(value)
    }

    fn pattern(&mut self) -> Result<Regex, FilterError> {
        let position = self.tokens[self.next].1;
        let text = self.value()?;
        Regex::new(&text).map_err(|error| FilterError {
            position,
            expected: format!("expected a regular expression: {}", error.to_string().replace('\n', " ")),
        })
    }
}
