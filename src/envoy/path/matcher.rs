//! Matchers of texts, headers and query parameters, as Envoy evaluates them.

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use regex::bytes::{Regex, RegexBuilder};

use super::Unknown;
use super::known::only;
use super::request::{Found, Headers};

/// Bytes that a compiled regular expression may take.
const REGEX_SIZE: usize = 1 << 20;

/// True if the whole of `text` matches, as Envoy wants it.
pub(super) fn full_match(matcher: &RegexMatcher, text: &str) -> Result<bool, Unknown> {
    let regex = regex(&format!("^(?:{})$", matcher.regex), text);
    regex.map(|regex| regex.is_match(text.as_bytes())).map_err(|_| Unknown::Regex(matcher.regex.clone()))
}

/// A regular expression for `text`. On ASCII it means what it means to RE2, whose classes know nothing else.
fn regex(pattern: &str, text: &str) -> Result<Regex, Unknown> {
    let built = RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_SIZE).build();
    built.ok().filter(|_| text.is_ascii()).ok_or_else(|| Unknown::Regex(pattern.to_owned()))
}

/// True if `matcher` matches `text`.
pub(super) fn text(matcher: &StringMatcher, text: &str) -> Result<bool, Unknown> {
    only(matcher, &["exact", "prefix", "suffix", "contains", "safe_regex", "ignore_case"])?;
    let fold = |text: &str| {
        if matcher.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() }
    };
    let found = fold(text);
    Ok(match &matcher.match_pattern {
        Some(MatchPattern::Exact(wanted)) => found == fold(wanted),
        Some(MatchPattern::Prefix(wanted)) => found.starts_with(&fold(wanted)),
        Some(MatchPattern::Suffix(wanted)) => found.ends_with(&fold(wanted)),
        Some(MatchPattern::Contains(wanted)) => found.contains(&fold(wanted)),
        // Case is the business of the expression.
        Some(MatchPattern::SafeRegex(wanted)) => full_match(wanted, text)?,
        Some(MatchPattern::Custom(_)) | None => return Err(Unknown::Value("a string matcher without a pattern")),
    })
}

/// True if `matcher` matches these headers.
#[allow(deprecated, reason = "older spellings of the same matchers come from escape hatches")]
pub(super) fn header(matcher: &HeaderMatcher, headers: &Headers) -> Result<bool, Unknown> {
    use HeaderMatchSpecifier as Is;
    let found = match headers.find(&matcher.name) {
        Found::Value(value) => Some(value),
        Found::Missing => None,
        Found::Unknown => return Err(Unknown::Value("a header that Envoy sets on its own")),
    };
    if let Some(Is::PresentMatch(wanted)) = matcher.header_match_specifier {
        return Ok((found.is_some() == wanted) != matcher.invert_match);
    }
    let value = match found {
        Some(value) => value,
        None if matcher.treat_missing_header_as_empty => String::new(),
        // Without a specifier the header has to be there; what is not there matches nothing, inverted or not.
        None => return Ok(matcher.header_match_specifier.is_none() && matcher.invert_match),
    };
    let is_match = match &matcher.header_match_specifier {
        Some(Is::StringMatch(wanted)) => text(wanted, &value)?,
        Some(Is::ExactMatch(wanted)) => value == *wanted,
        Some(Is::SafeRegexMatch(wanted)) => full_match(wanted, &value)?,
        Some(Is::PrefixMatch(wanted)) => value.starts_with(wanted.as_str()),
        Some(Is::SuffixMatch(wanted)) => value.ends_with(wanted.as_str()),
        Some(Is::ContainsMatch(wanted)) => value.contains(wanted.as_str()),
        Some(Is::RangeMatch(range)) => {
            value.parse().is_ok_and(|number: i64| (range.start..range.end).contains(&number))
        }
        Some(Is::PresentMatch(_)) | None => true,
    };
    Ok(is_match != matcher.invert_match)
}

/// True if `matcher` matches a query. Neither names nor values are decoded.
pub(super) fn query_parameter(matcher: &QueryParameterMatcher, query: &str) -> Result<bool, Unknown> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let found = pairs.into_iter().find(|(name, _)| *name == matcher.name).map(|(_, value)| value);
    match (&matcher.query_parameter_match_specifier, found) {
        (Some(QueryParameterMatchSpecifier::StringMatch(wanted)), Some(value)) => text(wanted, value),
        (Some(QueryParameterMatchSpecifier::StringMatch(_)), None) => Ok(false),
        (Some(QueryParameterMatchSpecifier::PresentMatch(true)) | None, found) => Ok(found.is_some()),
        (Some(QueryParameterMatchSpecifier::PresentMatch(false)), _) => {
            Err(Unknown::Value("a query parameter that must be absent"))
        }
    }
}

/// The path without query and fragment, and the query.
pub(super) fn split_path(path: &str) -> (&str, &str) {
    let path = path.split('#').next().unwrap_or_default();
    path.split_once('?').unwrap_or((path, ""))
}

/// What a text becomes when all matches of `pattern` are replaced; `\1` stands for a group.
pub(super) fn substitute(pattern: &RegexMatcher, substitution: &str, text: &str) -> Result<String, Unknown> {
    let replacement = replacement(substitution)?;
    let replaced = regex(&pattern.regex, text)?.replace_all(text.as_bytes(), replacement.as_bytes()).into_owned();
    String::from_utf8(replaced).map_err(|_| Unknown::Regex(pattern.regex.clone()))
}

/// RE2's `\1` in the words of this crate, `${1}`.
fn replacement(substitution: &str) -> Result<String, Unknown> {
    let mut written = String::new();
    let mut rest = substitution.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('$', _) => written.push_str("$$"),
            ('\\', Some('\\')) => written.push('\\'),
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                written.push_str("${");
                written.push(digit);
                written.push('}');
            }
            ('\\', _) => return Err(Unknown::Regex(substitution.to_owned())),
            (c, _) => written.push(c),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::v3::Int64Range;

    use super::*;
    use crate::envoy::path::Request;

    fn pattern(pattern: MatchPattern) -> StringMatcher {
        StringMatcher { match_pattern: Some(pattern), ignore_case: false }
    }

    fn safe(regex: &str) -> RegexMatcher {
        RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() }
    }

    #[test]
    fn texts() {
        let exact = pattern(MatchPattern::Exact("Ab".to_owned()));
        let folded = StringMatcher { ignore_case: true, ..exact.clone() };
        let table = [
            (exact.clone(), "Ab", true),
            (exact, "ab", false),
            (folded, "aB", true),
            (pattern(MatchPattern::Prefix("a".to_owned())), "ab", true),
            (pattern(MatchPattern::Suffix("a".to_owned())), "ab", false),
            (pattern(MatchPattern::Contains("b".to_owned())), "abc", true),
            (pattern(MatchPattern::SafeRegex(safe("a|b"))), "a", true),
            // The whole text has to match.
            (pattern(MatchPattern::SafeRegex(safe("a|b"))), "ab", false),
        ];
        for (matcher, value, expected) in table {
            assert_eq!(text(&matcher, value), Ok(expected), "{matcher:?} {value}");
        }
        assert!(text(&StringMatcher::default(), "").is_err());
        assert!(text(&pattern(MatchPattern::SafeRegex(safe("a{1000}{1000}"))), "").is_err());
    }

    #[test]
    fn headers() {
        let headers = Headers::of(&Request { headers: vec![("x-a".to_owned(), "5".to_owned())], ..Request::get("/") });
        let matcher = |name: &str, specifier| HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(specifier),
            ..HeaderMatcher::default()
        };
        let five = HeaderMatchSpecifier::StringMatch(pattern(MatchPattern::Exact("5".to_owned())));
        let present = HeaderMatchSpecifier::PresentMatch(true);
        let range = HeaderMatchSpecifier::RangeMatch(Int64Range { start: 0, end: 5 });
        let table = [
            (matcher("x-a", five.clone()), false, true),
            (matcher("x-a", five.clone()), true, false),
            (matcher("x-b", five.clone()), false, false),
            // A header that is not there matches nothing, inverted or not.
            (matcher("x-b", five), true, false),
            (matcher("x-a", present.clone()), false, true),
            (matcher("x-b", present.clone()), false, false),
            (matcher("x-b", present), true, true),
            (matcher("x-a", range), false, false),
            (
                matcher(
                    ":method",
                    HeaderMatchSpecifier::StringMatch(pattern(MatchPattern::SafeRegex(safe("GET|PUT")))),
                ),
                false,
                true,
            ),
        ];
        for (matcher, invert_match, expected) in table {
            let matcher = HeaderMatcher { invert_match, ..matcher };
            assert_eq!(header(&matcher, &headers), Ok(expected), "{matcher:?}");
        }
    }

    #[test]
    fn query_parameters() {
        let matcher = |specifier| QueryParameterMatcher {
            name: "a".to_owned(),
            query_parameter_match_specifier: Some(specifier),
        };
        let present = matcher(QueryParameterMatchSpecifier::PresentMatch(true));
        let one = matcher(QueryParameterMatchSpecifier::StringMatch(pattern(MatchPattern::Exact("1".to_owned()))));

        let both = |query| [&present, &one].map(|matcher| query_parameter(matcher, query).unwrap());

        assert_eq!(both("a=1"), [true, true]);
        assert_eq!(both("b=2&a=1"), [true, true]);
        assert_eq!(both("a"), [true, false]);
        assert_eq!(both("ab=1"), [false, false]);
        assert_eq!(both(""), [false, false]);
    }

    #[test]
    fn substitutions() {
        assert_eq!(substitute(&safe("^/api(/?)(.*)"), "/\\2", "/api/v1/$x").unwrap(), "/v1/$x");
        assert_eq!(substitute(&safe("o"), "$1\\\\", "foo").unwrap(), "f$1\\$1\\");
        assert!(substitute(&safe("o"), "\\x", "foo").is_err());
    }
}
