//! Texts and numbers.

use serde_json::Number;

use super::cursor::{Cursor, syntax_error};
use crate::model::Problem;

/// The text between quotes; the cursor stands on the opening one.
///
/// What stands between `${` and its `}` is taken as it is, quotes included.
pub(super) fn quoted(cursor: &mut Cursor<'_>) -> Result<String, Problem> {
    let start = cursor.line();
    let mut text = String::new();
    let mut braces = 0_usize;
    cursor.eat("\"");
    loop {
        if cursor.rest().starts_with("${") {
            cursor.eat("${");
            text.push_str("${");
            braces += 1;
            continue;
        }
        match cursor.next() {
            Some('"') if braces == 0 => return Ok(text),
            Some('\\') if braces == 0 => text.push(escaped(cursor)?),
            Some('\n') if braces == 0 => return Err(syntax_error(start, "a string is not closed on its line")),
            None => return Err(syntax_error(start, "a string that starts here is never closed")),
            Some(other) => {
                match other {
                    '{' if braces > 0 => braces += 1,
                    '}' if braces > 0 => braces -= 1,
                    _ => {}
                }
                text.push(other);
            }
        }
    }
}

/// The character that an escape stands for; the cursor stands behind the backslash.
fn escaped(cursor: &mut Cursor<'_>) -> Result<char, Problem> {
    let line = cursor.line();
    let code = match cursor.next() {
        Some('n') => return Ok('\n'),
        Some('t') => return Ok('\t'),
        Some('r') => return Ok('\r'),
        Some('a') => return Ok('\u{7}'),
        Some('b') => return Ok('\u{8}'),
        Some('f') => return Ok('\u{c}'),
        Some('v') => return Ok('\u{b}'),
        Some(same @ ('"' | '\\')) => return Ok(same),
        Some(first @ '0'..='3') => octal(cursor, first),
        Some('x') => code_point(cursor, 2),
        Some('u') => code_point(cursor, 4),
        Some('U') => code_point(cursor, 8),
        Some(other) => return Err(syntax_error(line, format!("unknown escape \\{}", other.escape_debug()))),
        None => None,
    };
    code.ok_or_else(|| syntax_error(line, "an escape does not name a character"))
}

/// Three digits, of which the first was read; so that they name a byte, it is at most 3.
fn octal(cursor: &mut Cursor<'_>, first: char) -> Option<char> {
    let mut code = first.to_digit(8)?;
    for _ in 0..2 {
        code = code * 8 + cursor.next()?.to_digit(8)?;
    }
    char::from_u32(code)
}

fn code_point(cursor: &mut Cursor<'_>, digits: usize) -> Option<char> {
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + cursor.next()?.to_digit(16)?;
        // Eight digits could overflow; no character needs more than six.
        if code > 0x10_FFFF {
            return None;
        }
    }
    char::from_u32(code)
}

/// The lines behind `<<MARKER` up to a line with nothing but the marker, indented or not. `<<-MARKER` takes away the
/// indentation of the closing marker where every line has it.
pub(super) fn heredoc(cursor: &mut Cursor<'_>) -> Result<String, Problem> {
    let start = cursor.line();
    cursor.eat("<<");
    let is_indented = cursor.eat("-");
    let marker = cursor.take_while(|c| c.is_alphanumeric() || c == '_');
    if marker.is_empty() || !cursor.take_line().is_some_and(|rest| rest.trim().is_empty()) {
        return Err(syntax_error(start, "<< must be followed by a marker, such as <<EOF, and the end of the line"));
    }
    let mut lines = Vec::new();
    let unclosed = || syntax_error(start, format!("no line with only {marker} closes the text that starts here"));
    loop {
        let mut ahead = cursor.clone();
        let line = ahead.take_line().ok_or_else(unclosed)?;
        let indentation = line.strip_suffix(marker);
        if let Some(indentation) = indentation.filter(|indentation| indentation.trim().is_empty()) {
            // The line end stays, as it does behind every other value.
            cursor.eat(indentation);
            cursor.eat(marker);
            return Ok(unindent(&lines, if is_indented { indentation } else { "" }));
        }
        lines.push(line);
        *cursor = ahead;
    }
}

fn unindent(lines: &[&str], indentation: &str) -> String {
    let all_have_it = lines.iter().all(|line| line.starts_with(indentation));
    let cut = if all_have_it { indentation.len() } else { 0 };
    lines.iter().flat_map(|line| [&line[cut..], "\n"]).collect()
}

/// A number: decimal, `0x` hexadecimal, `0` octal (as file modes are written), or with a fraction or exponent.
pub(super) fn number(cursor: &mut Cursor<'_>) -> Result<Number, Problem> {
    let line = cursor.line();
    let token = cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '+' | '-' | '_'));
    let (sign, digits) = token.strip_prefix('-').map_or(("", token), |digits| ("-", digits));
    let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    let integer = match (digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")), octal) {
        (Some(hexadecimal), _) => integer(sign, hexadecimal, 16),
        (None, Some(octal)) => integer(sign, octal, 8),
        (None, None) => integer(sign, digits, 10),
    };
    let starts_well = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let float = || token.parse().ok().filter(|_| starts_well && octal.is_none()).and_then(Number::from_f64);
    integer.or_else(float).ok_or_else(|| {
        syntax_error(line, format!("{token:?} is not a number; a text, such as a duration, needs quotes"))
    })
}

fn integer(sign: &str, digits: &str, radix: u32) -> Option<Number> {
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    match u64::from_str_radix(digits, radix).ok()? {
        value if sign.is_empty() => Some(value.into()),
        value => i64::try_from(-i128::from(value)).ok().map(Number::from),
    }
}
