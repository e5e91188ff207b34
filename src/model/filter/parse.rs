//! The grammar.

use regex::{Regex, RegexBuilder};
use winnow::LocatingSlice;
use winnow::ascii::{multispace0, multispace1};
use winnow::combinator::{alt, cut_err, delimited, eof, fail, not, opt, peek, preceded, repeat, separated, terminated};
use winnow::error::{ContextError, ErrMode, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::token::{none_of, one_of, take_till, take_while};

use super::{Comparison, Expression, FilterError, Test};

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 8192;
/// Deepest nesting of `not` and parentheses.
const MAX_DEPTH: usize = 50;
/// Largest compiled regular expression, in bytes.
const MAX_PATTERN: usize = 1 << 20;

type Input<'s> = LocatingSlice<&'s str>;
type Parsed<T> = Result<T, ErrMode<ContextError>>;

/// Reads a whole text.
pub(super) fn expression(text: &str) -> Result<Expression, FilterError> {
    if text.len() > MAX_LENGTH {
        let expected = format!("at most {MAX_LENGTH} bytes");
        return Err(FilterError::Syntax { column: text.chars().count(), expected });
    }
    let end = (multispace0, eof).context(expected("and, or, or the end"));
    delimited(multispace0, alternatives(0), end).parse(LocatingSlice::new(text)).map_err(|error| {
        let column = 1 + text[..error.offset()].chars().count();
        let wanted = error.inner().context().find_map(|context| {
            let StrContext::Expected(StrContextValue::Description(what)) = context else { return None };
            Some((*what).to_owned())
        });
        FilterError::Syntax { column, expected: wanted.unwrap_or_else(|| "another character".to_owned()) }
    })
}

const fn expected(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

/// `and`s joined by `or`.
fn alternatives<'s>(depth: usize) -> impl FnMut(&mut Input<'s>) -> Parsed<Expression> {
    move |input| joined("or", all(depth), Expression::Or, input)
}

/// Terms joined by `and`.
fn all<'s>(depth: usize) -> impl FnMut(&mut Input<'s>) -> Parsed<Expression> {
    move |input| joined("and", term(depth), Expression::And, input)
}

fn joined<'s>(
    word: &'static str,
    mut part: impl FnMut(&mut Input<'s>) -> Parsed<Expression>,
    join: fn(Vec<Expression>) -> Expression,
    input: &mut Input<'s>,
) -> Parsed<Expression> {
    let first = part(input)?;
    let mut parts = vec![first];
    let blank = || cut_err(multispace1.context(expected("a blank")));
    while opt((multispace1, keyword(word), blank())).parse_next(input)?.is_some() {
        parts.push(cut_err(&mut part).parse_next(input)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { join(parts) })
}

fn term<'s>(depth: usize) -> impl FnMut(&mut Input<'s>) -> Parsed<Expression> {
    move |input| {
        if depth > MAX_DEPTH {
            return cut_err(fail.context(expected("less nesting"))).parse_next(input);
        }
        if opt(terminated(keyword("not"), multispace1)).parse_next(input)?.is_some() {
            return cut_err(term(depth + 1)).parse_next(input).map(|inner| Expression::Not(Box::new(inner)));
        }
        if opt(('(', multispace0)).parse_next(input)?.is_some() {
            let close = (multispace0, ')').context(expected("and, or, or )"));
            return cut_err(terminated(alternatives(depth + 1), close)).parse_next(input);
        }
        comparison.map(Expression::Comparison).parse_next(input)
    }
}

fn comparison(input: &mut Input<'_>) -> Parsed<Comparison> {
    let (value, is_negated) = match opt((value, membership)).parse_next(input)? {
        Some(parts) => parts,
        None => return selector_first(input),
    };
    let selector = cut_err(preceded(multispace1, selector)).context(expected("a selector")).parse_next(input)?;
    Ok(Comparison { selector, is_negated, test: Test::Contains(value) })
}

/// `in` or `not in`; true for the latter.
fn membership(input: &mut Input<'_>) -> Parsed<bool> {
    let negation = opt(terminated(keyword("not"), multispace1)).map(|not| not.is_some());
    delimited(multispace1, negation, keyword("in")).parse_next(input)
}

fn selector_first(input: &mut Input<'_>) -> Parsed<Comparison> {
    if opt(peek(one_of(('"', '`', '-', '0'..='9')))).parse_next(input)?.is_some() {
        let operator = "in or not in behind the value";
        return cut_err((value, fail.context(expected(operator)))).map(|(_, never)| never).parse_next(input);
    }
    let selector = selector.context(expected("a selector or a value")).parse_next(input)?;
    let operator = alt((equality, emptiness, pattern, containment));
    let what = "an operator: ==, !=, is empty, matches, contains or in";
    let (is_negated, test) = cut_err(operator.context(expected(what))).parse_next(input)?;
    Ok(Comparison { selector, is_negated, test })
}

fn equality(input: &mut Input<'_>) -> Parsed<(bool, Test)> {
    let operator = alt(("==".value(false), "!=".value(true)));
    let is_negated = delimited(multispace0, operator, multispace0).parse_next(input)?;
    let value = cut_err(value.context(expected("a value"))).parse_next(input)?;
    Ok((is_negated, Test::Equals(value)))
}

fn emptiness(input: &mut Input<'_>) -> Parsed<(bool, Test)> {
    let negation = opt(delimited(multispace1, keyword("not"), peek(multispace1)));
    let words = (multispace1, keyword("is"), negation, cut_err((multispace1, keyword("empty"))));
    let (_, _, not, _) = words.context(expected("is empty or is not empty")).parse_next(input)?;
    Ok((not.is_some(), Test::IsEmpty))
}

fn pattern(input: &mut Input<'_>) -> Parsed<(bool, Test)> {
    let is_negated = operator("matches", input)?;
    let compiled = value.verify_map(|pattern| compile(&pattern));
    let pattern = cut_err(compiled.context(expected("a regular expression"))).parse_next(input)?;
    Ok((is_negated, Test::Matches(pattern)))
}

fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build().ok()
}

fn containment(input: &mut Input<'_>) -> Parsed<(bool, Test)> {
    let is_negated = operator("contains", input)?;
    let part = cut_err(value.context(expected("a value"))).parse_next(input)?;
    Ok((is_negated, Test::Contains(part)))
}

/// A word that may follow `not`, with the blanks around; true if it does.
fn operator(word: &'static str, input: &mut Input<'_>) -> Parsed<bool> {
    let negation = opt(terminated(keyword("not"), multispace1)).map(|not| not.is_some());
    delimited(multispace1, negation, (keyword(word), multispace1)).parse_next(input)
}

/// A word that no letter, digit or underscore continues.
fn keyword<'s>(word: &'static str) -> impl Parser<Input<'s>, &'s str, ErrMode<ContextError>> {
    terminated(word, not(one_of(('a'..='z', 'A'..='Z', '0'..='9', '_'))))
}

/// Names joined by dots, or in brackets where they have other characters.
fn selector(input: &mut Input<'_>) -> Parsed<Vec<String>> {
    let first = identifier.parse_next(input)?.to_owned();
    let key = delimited('[', cut_err(quoted), cut_err(']')).context(expected("a key in quotes and ]"));
    let name = preceded('.', cut_err(identifier.map(ToOwned::to_owned).context(expected("a name"))));
    let append = |mut names: Vec<String>, name| {
        names.push(name);
        names
    };
    repeat(0.., alt((name, key))).fold(move || vec![first.clone()], append).parse_next(input)
}

fn identifier<'s>(input: &mut Input<'s>) -> Parsed<&'s str> {
    let rest = take_while(0.., ('a'..='z', 'A'..='Z', '0'..='9', '_'));
    (one_of(('a'..='z', 'A'..='Z')), rest).take().parse_next(input)
}

fn value(input: &mut Input<'_>) -> Parsed<String> {
    let word = separated::<_, _, (), _, _, _, _>(1.., identifier, '.').take();
    let digits = || take_while(1.., '0'..='9');
    let number = (opt('-'), digits(), opt(('.', digits()))).take();
    alt((quoted, alt((word, number)).map(ToOwned::to_owned))).parse_next(input)
}

/// A text in double quotes, with escapes, or in back quotes, without.
fn quoted(input: &mut Input<'_>) -> Parsed<String> {
    let raw = delimited('`', take_till(0.., '`'), cut_err('`')).map(ToOwned::to_owned);
    let escape = preceded('\\', cut_err(alt(('n'.value('\n'), 't'.value('\t'), 'r'.value('\r'), one_of(['"', '\\'])))));
    let text = repeat(0.., alt((escape, none_of(['"', '\\']))));
    let escaped = delimited('"', text, cut_err('"'));
    alt((raw, escaped)).context(expected("a closed text in quotes")).parse_next(input)
}
