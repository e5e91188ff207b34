//! Regular expressions as Envoy reads them: in RE2's syntax, of a limited size.

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassSet, ClassSetItem, ClassUnicodeKind, Flag, Flags, FlagsItemKind, GroupKind,
    HexLiteralKind, LiteralKind, RepetitionKind, RepetitionRange, Visitor,
};

/// Why Envoy would not take an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is no expression.
    #[error("{reason} (character {character})")]
    Syntax {
        /// What is wrong.
        reason: String,
        /// Where, counted from 1.
        character: usize,
    },
    /// It has something that RE2 does not have, or reads in another way.
    #[error("{what} cannot be used in Envoy's expressions, which follow RE2 (character {character})")]
    Construct {
        /// What it has.
        what: &'static str,
        /// Where, counted from 1.
        character: usize,
    },
    /// Repetitions inside of repetitions multiply to more than RE2 allows.
    #[error("it repeats something more than {MOST_REPETITIONS} times")]
    Repetitions,
    /// It is too large once compiled.
    #[error("it is too large")]
    Size,
}

/// The most repetitions that RE2 takes, nested ones multiplied.
const MOST_REPETITIONS: u32 = 1000;

/// Bytes of the compiled form of the `regex` crate: at most some 80,000 states. Envoy takes programs of more than 200,000
/// instructions, as its bootstrap allows.
const LARGEST: usize = 2 << 20;

/// General categories that RE2 knows.
const CATEGORIES: [&str; 36] = [
    "C", "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P", "Pc",
    "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs", "Any",
];

/// Scripts, as RE2 spells them. It has more; these are enough for the paths and headers of the world's larger languages.
const SCRIPTS: [&str; 20] = [
    "Arabic",
    "Armenian",
    "Bengali",
    "Cyrillic",
    "Devanagari",
    "Ethiopic",
    "Georgian",
    "Greek",
    "Gujarati",
    "Han",
    "Hangul",
    "Hebrew",
    "Hiragana",
    "Katakana",
    "Khmer",
    "Latin",
    "Mongolian",
    "Tamil",
    "Telugu",
    "Thai",
];

/// Checks that Envoy takes an expression. What it refuses would make it refuse a whole listener or route configuration.
///
/// What RE2 has and other engines do not (`\Q...\E`, `\C`, octal numbers, a lone `{`) is refused too: each can be written
/// in another way.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_expression(text: &str) -> Result<(), ExpressionError> {
    let parsed = Parser::new().parse(text).map_err(|error| ExpressionError::Syntax {
        reason: error.kind().to_string(),
        character: error.span().start.column,
    })?;
    ast::visit(&parsed, Re2::default())?;
    match regex::RegexBuilder::new(text).size_limit(LARGEST).build() {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err(ExpressionError::Size),
        Err(error) => {
            // The last line says what is wrong, those above show where.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(ExpressionError::Syntax { reason, character: 1 })
        }
    }
}

/// Looks for what RE2 does not have.
#[derive(Default)]
struct Re2 {
    /// How often the enclosing repetitions may still be repeated, innermost last.
    allowed: Vec<u32>,
}

fn refuse(what: &'static str, span: &ast::Span) -> Result<(), ExpressionError> {
    Err(ExpressionError::Construct { what, character: span.start.column })
}

impl Visitor for Re2 {
    type Output = ();
    type Err = ExpressionError;

    fn finish(self) -> Result<(), ExpressionError> {
        Ok(())
    }

    fn visit_pre(&mut self, node: &Ast) -> Result<(), ExpressionError> {
        match node {
            Ast::Empty(_) | Ast::Dot(_) | Ast::ClassPerl(_) | Ast::Alternation(_) | Ast::Concat(_) => Ok(()),
            Ast::Flags(set) => flags(&set.flags),
            Ast::Literal(literal) => check_literal(literal),
            Ast::Assertion(assertion) => check_assertion(assertion),
            Ast::ClassUnicode(class) => check_class(class),
            Ast::ClassBracketed(class) => match &class.kind {
                ClassSet::Item(_) => Ok(()),
                ClassSet::BinaryOp(op) => refuse("arithmetic with classes", &op.span),
            },
            Ast::Repetition(repetition) => self.enter(repetition),
            Ast::Group(group) => match &group.kind {
                GroupKind::CaptureIndex(_) => Ok(()),
                GroupKind::CaptureName { name, .. } => {
                    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    if name.name.chars().all(is_plain) { Ok(()) } else { refuse("such a group name", &name.span) }
                }
                GroupKind::NonCapturing(set) => flags(set),
            },
        }
    }

    fn visit_post(&mut self, node: &Ast) -> Result<(), ExpressionError> {
        if let Ast::Repetition(_) = node {
            self.allowed.pop();
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), ExpressionError> {
        match item {
            ClassSetItem::Empty(_) | ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) | ClassSetItem::Union(_) => Ok(()),
            ClassSetItem::Literal(literal) => check_literal(literal),
            ClassSetItem::Range(range) => check_literal(&range.start).and_then(|()| check_literal(&range.end)),
            ClassSetItem::Unicode(class) => check_class(class),
            ClassSetItem::Bracketed(class) => refuse("a class inside of a class", &class.span),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, op: &ast::ClassSetBinaryOp) -> Result<(), ExpressionError> {
        refuse("arithmetic with classes", &op.span)
    }
}

impl Re2 {
    fn enter(&mut self, repetition: &ast::Repetition) -> Result<(), ExpressionError> {
        if let Ast::Repetition(_) = &*repetition.ast {
            return refuse("a repetition of a repetition without a group", &repetition.op.span);
        }
        let times = match &repetition.op.kind {
            RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
            RepetitionKind::Range(RepetitionRange::Exactly(times) | RepetitionRange::AtLeast(times)) => *times,
            RepetitionKind::Range(RepetitionRange::Bounded(_, times)) => *times,
        };
        let allowed = self.allowed.last().copied().unwrap_or(MOST_REPETITIONS) / times.max(1);
        if allowed == 0 {
            return Err(ExpressionError::Repetitions);
        }
        self.allowed.push(allowed);
        Ok(())
    }
}

fn flags(set: &Flags) -> Result<(), ExpressionError> {
    for item in &set.items {
        match item.kind {
            FlagsItemKind::Negation
            | FlagsItemKind::Flag(
                Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed,
            ) => {}
            FlagsItemKind::Flag(Flag::Unicode | Flag::CRLF | Flag::IgnoreWhitespace) => {
                return refuse("this flag", &item.span);
            }
        }
    }
    Ok(())
}

fn check_literal(literal: &ast::Literal) -> Result<(), ExpressionError> {
    match literal.kind {
        LiteralKind::Verbatim
        | LiteralKind::Meta
        | LiteralKind::Superfluous
        | LiteralKind::Special(_)
        | LiteralKind::HexFixed(HexLiteralKind::X) => Ok(()),
        // Envoy matches bytes.
        LiteralKind::HexBrace(HexLiteralKind::X) if literal.c <= '\u{ff}' => Ok(()),
        LiteralKind::Octal | LiteralKind::HexFixed(_) | LiteralKind::HexBrace(_) => {
            refuse("this way to write a character", &literal.span)
        }
    }
}

fn check_assertion(assertion: &ast::Assertion) -> Result<(), ExpressionError> {
    match assertion.kind {
        AssertionKind::StartLine
        | AssertionKind::EndLine
        | AssertionKind::StartText
        | AssertionKind::EndText
        | AssertionKind::WordBoundary
        | AssertionKind::NotWordBoundary => Ok(()),
        AssertionKind::WordBoundaryStart
        | AssertionKind::WordBoundaryEnd
        | AssertionKind::WordBoundaryStartAngle
        | AssertionKind::WordBoundaryEndAngle
        | AssertionKind::WordBoundaryStartHalf
        | AssertionKind::WordBoundaryEndHalf => refuse("this boundary", &assertion.span),
    }
}

fn check_class(class: &ast::ClassUnicode) -> Result<(), ExpressionError> {
    let is_known = match &class.kind {
        ClassUnicodeKind::OneLetter(letter) => CATEGORIES.contains(&letter.to_string().as_str()),
        ClassUnicodeKind::Named(name) => CATEGORIES.contains(&name.as_str()) || SCRIPTS.contains(&name.as_str()),
        ClassUnicodeKind::NamedValue { .. } => false,
    };
    if is_known { Ok(()) } else { refuse("this class of characters", &class.span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_re2_takes_is_taken() {
        for text in [
            "",
            "/v[0-9]+/.*",
            "(?i)^/api/(?P<id>[[:alpha:]_]{1,64})$",
            "(?i:a)|(?s-m:.)(?U)b*?",
            r"\A\d+\W\bx\B\z\x41\x{e4}\t\-\/\.",
            r"[^\]\d[:^space:]a-]+[-a\pL\p{Greek}]*",
            "(a{10}){100}",
            "a|||b",
            "(?:)*",
        ] {
            assert_eq!(check_expression(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_re2_does_not_take_is_refused_with_the_place() {
        for (text, error) in [
            ("(a", "unclosed group (character 1)"),
            ("a(?=b)", "look-around, including look-ahead and look-behind, is not supported (character 2)"),
            (r"(a)\1", "backreferences are not supported (character 4)"),
            (
                "a**",
                "a repetition of a repetition without a group cannot be used in Envoy's expressions, which follow RE2 \
                     (character 3)",
            ),
            ("[a&&b]", "arithmetic with classes cannot be used in Envoy's expressions, which follow RE2 (character 2)"),
            (
                "x[a[bc]]",
                "a class inside of a class cannot be used in Envoy's expressions, which follow RE2 (character 4)",
            ),
            ("(?x) a", "this flag cannot be used in Envoy's expressions, which follow RE2 (character 3)"),
            (
                r"a\x{1F600}",
                "this way to write a character cannot be used in Envoy's expressions, which follow RE2 (character 2)",
            ),
            (
                r"\u0041",
                "this way to write a character cannot be used in Envoy's expressions, which follow RE2 (character 1)",
            ),
            (r"\b{start}a", "this boundary cannot be used in Envoy's expressions, which follow RE2 (character 1)"),
            (
                r"[\p{sc=Greek}]",
                "this class of characters cannot be used in Envoy's expressions, which follow RE2 (character 2)",
            ),
            ("(?<ä>a)", "such a group name cannot be used in Envoy's expressions, which follow RE2 (character 4)"),
            ("a{1001}", "it repeats something more than 1000 times"),
            ("(a{10}b){101}", "it repeats something more than 1000 times"),
            (r"(\pL{100}){10}", "it is too large"),
            ("(?i-)a", "dangling flag negation operator (character 4)"),
        ] {
            assert_eq!(check_expression(text).map_err(|error| error.to_string()), Err(error.to_owned()), "{text}");
        }
    }
}
