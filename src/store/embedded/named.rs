//! How rows are named to people.

use serde::de::IgnoredAny;

/// Most bytes of a key that are shown. The longest of usual names fit.
const SHOWN: usize = 160;

/// A key for messages. In a damaged file a key may seem to go on into a value, and values have secrets: nothing is shown
/// that is not a key.
pub(in crate::store) fn named(key: &[u8]) -> String {
    let Some(text) = std::str::from_utf8(key).ok().filter(|_| is_key(key)) else {
        let tag = key.first().map(|tag| tag.escape_ascii().to_string()).unwrap_or_default();
        return format!("{tag} (unreadable key)");
    };
    let mut name = String::new();
    for character in text.chars() {
        if name.len() >= SHOWN {
            name.push_str("...");
            break;
        }
        // JSON is full of quotes, which harm nobody.
        if matches!(character, '"' | '\\') {
            name.push(character);
        } else {
            name.extend(character.escape_debug());
        }
    }
    name
}

/// True for what keys of rows look like: the byte of the table and one JSON value, which is none of those that rows have
/// behind their keys.
pub(super) fn is_key(key: &[u8]) -> bool {
    let [b'a'..=b'z', rest @ ..] = key else { return false };
    serde_json::from_slice::<IgnoredAny>(rest).is_ok()
        && !rest.starts_with(b"{\"create\"")
        && !rest.starts_with(b"{\"at\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_and_nothing_that_is_behind_it() {
        let key = br#"s{"node":"n\u00e91","id":"web"}"#;
        assert_eq!(named(key), r#"s{"node":"n\u00e91","id":"web"}"#);
        assert_eq!(named("n\"a\u{202e}b\"".as_bytes()), r#"n"a\u{202e}b""#);

        let value = br#"{"create":4,"modify":4,"value":{"key_pem":"secret"}}"#;
        for (longer, name) in [
            ([&key[..], b"12345678", value].concat(), "s (unreadable key)"),
            ([&key[..], value].concat(), "s (unreadable key)"),
            ([&b"x"[..], value].concat(), "x (unreadable key)"),
            (key[..9].to_vec(), "s (unreadable key)"),
            (b"\x1b[2J".to_vec(), "\\x1b (unreadable key)"),
            (Vec::new(), " (unreadable key)"),
        ] {
            assert_eq!(named(&longer), name);
        }
    }

    #[test]
    fn a_long_key_is_cut() {
        let key = format!("n\"{}\"", "x".repeat(4000));

        assert_eq!(named(key.as_bytes()), format!("n\"{}...", "x".repeat(SHOWN - 2)));
    }
}
