//! Paths of requests, as connection managers normalise them.

use super::{End, Stop, Unknown};

/// What is done with `%2F` and `%5C`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EscapedSlashes {
    /// Nothing.
    Keep,
    /// Such requests are refused.
    Reject,
    /// Such requests are redirected to the path without them.
    Redirect,
    /// They become slashes.
    Unescape,
}

/// How paths are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Normal {
    /// `.` and `..` are resolved, and needless escapes taken away.
    pub(super) dots: bool,
    /// Slashes in a row become one.
    pub(super) merge_slashes: bool,
    /// Escaped slashes.
    pub(super) escaped: EscapedSlashes,
}

impl Normal {
    /// A path, with its query, after normalisation. Escaped slashes come first, then dots, then slashes in a row.
    pub(super) fn of(self, path: &str) -> Result<String, End> {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (path, String::new()),
        };
        let is_plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !is_plain || !has_whole_escapes(path) {
            return Err(Unknown::Value("a path with other characters than those of URIs").into());
        }
        let mut path = path.to_owned();
        let has_escaped = ["%2f", "%2F", "%5c", "%5C"].iter().any(|escape| path.contains(escape));
        match self.escaped {
            EscapedSlashes::Reject if has_escaped => return Err(Stop::RefusedRequest("escaped slashes").into()),
            EscapedSlashes::Redirect if has_escaped => return Err(Stop::Answered { status: 307 }.into()),
            EscapedSlashes::Unescape => {
                path = path.replace("%2f", "/").replace("%2F", "/").replace("%5c", "\\").replace("%5C", "\\");
            }
            EscapedSlashes::Keep | EscapedSlashes::Reject | EscapedSlashes::Redirect => {}
        }
        if self.dots {
            path = without_dots(&unescaped(&path).replace('\\', "/"));
        }
        if self.merge_slashes {
            path = merged(&path);
        }
        Ok(path + &query)
    }
}

fn has_whole_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

/// The path without escapes of characters that need none.
fn unescaped(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        match u8::from_str_radix(digits, 16).map(char::from) {
            Ok(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => out.push(c),
            Ok(_) | Err(_) => {
                out.push('%');
                out.push_str(digits);
            }
        }
        out.push_str(rest);
    }
    out
}

/// RFC 3986, 5.2.4.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let all: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    for (position, segment) in all.iter().enumerate() {
        let is_last = position + 1 == all.len();
        match *segment {
            "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
        if is_last && matches!(*segment, "." | "..") {
            segments.push("");
        }
    }
    format!("/{}", segments.join("/"))
}

fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if !(c == '/' && out.ends_with('/')) {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Normal = Normal { dots: false, merge_slashes: false, escaped: EscapedSlashes::Keep };

    #[test]
    fn paths_become_what_they_mean() {
        let dots = Normal { dots: true, ..OFF };
        let slashes = Normal { merge_slashes: true, ..dots };
        let unescape = Normal { escaped: EscapedSlashes::Unescape, ..dots };
        let table = [
            (OFF, "/a/../b", "/a/../b"),
            (dots, "/a/../b", "/b"),
            (dots, "/a/./b/..?x=/../y", "/a/?x=/../y"),
            (dots, "/../..", "/"),
            (dots, "/%61/%2e%2E/b%2Fc%20", "/b%2Fc%20"),
            (dots, "/a\\..\\b", "/b"),
            (dots, "//a//b", "//a//b"),
            (slashes, "//a//b", "/a/b"),
            (unescape, "/a%2F..%5cb", "/b"),
        ];
        for (normal, path, expected) in table {
            assert_eq!(normal.of(path), Ok(expected.to_owned()), "{path} {normal:?}");
        }
    }

    #[test]
    fn some_paths_are_refused_and_others_not_known() {
        let with = |escaped| Normal { escaped, ..OFF }.of("/a%2Fb");

        assert_eq!(with(EscapedSlashes::Reject), Err(Stop::RefusedRequest("escaped slashes").into()));
        assert_eq!(with(EscapedSlashes::Redirect), Err(Stop::Answered { status: 307 }.into()));
        for path in ["/a b", "/a#b", "/%zz", "/%2", "/é", "*"] {
            assert!(matches!(OFF.of(path), Err(End::Unknown(_))), "{path}");
        }
    }
}
