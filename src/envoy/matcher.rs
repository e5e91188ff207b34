//! Matchers of texts and headers.

use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};

use crate::ir;

/// An expression in RE2's syntax, for a text as a whole.
pub(super) fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() }
}

/// An expression that stands for exactly this text.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

/// Which texts.
pub(super) fn string(value: &ir::StringMatch) -> StringMatcher {
    let pattern = match &value.pattern {
        ir::StringPattern::Exact(text) => MatchPattern::Exact(text.to_string()),
        ir::StringPattern::Prefix(text) => MatchPattern::Prefix(text.to_string()),
        ir::StringPattern::Suffix(text) => MatchPattern::Suffix(text.to_string()),
        ir::StringPattern::Contains(text) => MatchPattern::Contains(text.to_string()),
        ir::StringPattern::Regex(text) => MatchPattern::SafeRegex(regex(text)),
    };
    StringMatcher { match_pattern: Some(pattern), ignore_case: value.ignore_case }
}

/// Which values of a header.
pub(super) fn header(header: &ir::HeaderMatch) -> HeaderMatcher {
    HeaderMatcher {
        name: header.name.to_string(),
        invert_match: header.invert,
        header_match_specifier: Some(match &header.value {
            Some(value) => HeaderMatchSpecifier::StringMatch(string(value)),
            None => HeaderMatchSpecifier::PresentMatch(true),
        }),
        ..HeaderMatcher::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_leaves_nothing_of_an_expressions_meaning() {
        assert_eq!(quoted("/a.b-c/(d)$"), r"/a\.b-c/\(d\)\$");
    }
}
