//! Which field of a struct a key means.

use std::collections::BTreeMap;

use super::decoder::Decoder;
use super::{Path, Typing};
use crate::codec::tree::{Content, Member, Tree, same_key, shortened};
use crate::model::{Problem, ProblemKind};

/// Second names of fields, where a struct has both.
const SECOND_NAMES: [(&str, &str); 4] =
    [("Args", "ScriptArgs"), ("ID", "CheckID"), ("Name", "Service"), ("PeerName", "Peer")];

/// Snake-case spellings that strict bodies do not have (`http-api.md` 1.5).
const NOT_STRICT: [&str; 1] = ["socket_path"];

/// Longer than every name, so that nothing can be close to it. Closeness costs as much as both lengths multiplied.
const LONGEST_MEANT: usize = 64;

/// What replies show and bodies may send back, by struct; it is not read.
const IGNORED: [(&str, &[&str]); 14] = [
    ("Check", &["PeerName"]),
    ("Node", &["CreateIndex", "ModifyIndex", "PeerName"]),
    ("Service", &["Datacenter"]),
    ("CatalogDeregistration", &["Address"]),
    ("ExportedServices", ENTRY),
    ("IngressGateway", ENTRY),
    ("Mesh", ENTRY),
    ("ProxyDefaults", ENTRY),
    ("ServiceDefaults", ENTRY),
    ("ServiceResolver", ENTRY),
    ("ServiceRouter", ENTRY),
    ("ServiceSplitter", ENTRY),
    ("ServiceIntentions", ENTRY),
    ("TerminatingGateway", ENTRY),
];

/// Of every config entry. The namespace of kinds that belong to a partition is always the default one.
const ENTRY: &[&str] = &["Kind", "CreateIndex", "ModifyIndex", "Hash", "Namespace"];

/// The members that mean fields, under the fields' names. The rest is reported, or ignored where that is the rule.
///
/// Where several spellings mean one field, the field's own name wins, then one without underscores, then the last.
pub(super) fn struct_members<'t>(
    decoder: &Decoder<'t, '_>,
    name: &str,
    fields: &'static [&'static str],
    members: &'t [Member],
) -> Vec<(&'t str, &'t Tree)> {
    let mut chosen: BTreeMap<&str, (u8, usize)> = BTreeMap::new();
    for (position, member) in members.iter().enumerate() {
        let Some(field) = field_named(&member.key, fields, decoder.session.typing) else {
            if !is_ignored(decoder, name, member) {
                report_unknown(decoder, fields, member);
            }
            continue;
        };
        if member.value.content == Content::Null {
            continue;
        }
        let field = SECOND_NAMES
            .iter()
            .find(|(second, first)| *second == field && fields.contains(first))
            .map_or(field, |(_, first)| first);
        let rank = if member.key == field { 0 } else { 1 + u8::from(member.key.contains('_')) };
        let choice = chosen.entry(field).or_insert((rank, position));
        if rank <= choice.0 {
            *choice = (rank, position);
        }
    }
    let mut in_order: Vec<_> = chosen.into_iter().map(|(field, (_, position))| (position, field)).collect();
    in_order.sort_unstable();
    in_order.into_iter().map(|(position, field)| (field, &members[position].value)).collect()
}

fn field_named(key: &str, fields: &'static [&'static str], typing: Typing) -> Option<&'static str> {
    if typing == Typing::Strict && NOT_STRICT.iter().any(|name| name.eq_ignore_ascii_case(key)) {
        return None;
    }
    let exact = fields.iter().find(|field| **field == key);
    exact.or_else(|| fields.iter().find(|field| same_key(field, key))).copied()
}

fn is_ignored(decoder: &Decoder<'_, '_>, name: &str, member: &Member) -> bool {
    let keys = IGNORED.iter().find(|(owner, _)| *owner == name).map_or(&[][..], |(_, keys)| keys);
    if keys.iter().any(|key| same_key(key, &member.key)) {
        return true;
    }
    let is_definition = name == "CheckDefinition" && matches!(decoder.path, Path::Field(_, "Definition"));
    decoder.session.typing == Typing::Strict && (name == "Connect" || is_definition)
}

fn report_unknown(decoder: &Decoder<'_, '_>, fields: &[&str], member: &Member) {
    if decoder.session.is_full() {
        return;
    }
    let key = &*shortened(&member.key);
    let mut message = match decoder.session.typing {
        Typing::Strict => format!("json: unknown field {key:?}"),
        Typing::Weak => format!("invalid config key {key:?}"),
    };
    if let Some(suggestion) = suggestion(key, fields) {
        message.push_str(&format!(", did you mean {suggestion:?}?"));
    }
    decoder.session.report(Problem {
        kind: ProblemKind::UnknownKey,
        path: Path::Field(decoder.path, key).to_string(),
        message,
        line: Some(member.line),
    });
}

/// The field whose name is closest, in the spelling that the key uses.
pub(in super::super) fn suggestion(key: &str, fields: &[&str]) -> Option<String> {
    /// Below this, names have little more in common than a few letters.
    const CLOSE: f64 = 0.85;
    if key.len() > LONGEST_MEANT {
        return None;
    }
    let normal = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let key_letters = normal(key);
    let closeness = |field: &&&str| strsim::jaro_winkler(&key_letters, &normal(field));
    let best = fields.iter().max_by(|a, b| closeness(a).total_cmp(&closeness(b)))?;
    if closeness(&best) < CLOSE {
        return None;
    }
    let snake = snake_case(best);
    let starts_low = key.starts_with(|c: char| c.is_ascii_lowercase());
    Some(match key.contains(|c: char| c.is_ascii_uppercase()) {
        true if starts_low => lower_camel_case(best),
        // A key that is spelled well and yet not taken needs the other spelling.
        false if key != snake => snake,
        true | false => (*best).to_owned(),
    })
}

/// `DestinationServiceID` as `destinationServiceID`, `TLSMinVersion` as `tlsMinVersion`.
pub(in super::super) fn lower_camel_case(field: &str) -> String {
    let letters: Vec<char> = field.chars().collect();
    let is_low = |position: usize| letters.get(position).is_some_and(char::is_ascii_lowercase);
    let first_word = (1..letters.len()).find(|at| is_low(*at) || is_low(*at + 1)).unwrap_or(letters.len());
    let lowered = letters[..first_word].iter().map(char::to_ascii_lowercase);
    lowered.chain(letters[first_word..].iter().copied()).collect()
}

/// `DestinationServiceID` as `destination_service_id`.
fn snake_case(field: &str) -> String {
    let letters: Vec<char> = field.chars().collect();
    let mut snake = String::new();
    for (position, letter) in letters.iter().enumerate() {
        let follows_lower = position > 0 && letters[position - 1].is_ascii_lowercase();
        let starts_word = position > 0
            && letters[position - 1].is_ascii_uppercase()
            && letters.get(position + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && (follows_lower || starts_word) {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_keep_the_spelling_of_the_key() {
        let fields = ["DestinationName", "LocalBindPort", "MeshGateway", "TLSMinVersion", "H2PingUseTLS"];

        for (key, expected) in [
            ("destination_nam", Some("destination_name")),
            ("DestinationNam", Some("DestinationName")),
            ("local_bindport_", Some("local_bind_port")),
            ("tls_minimum_version", Some("tls_min_version")),
            ("h2_ping_tls", Some("h2ping_use_tls")),
            ("meshGatway", Some("meshGateway")),
            ("tlsMinimumVersion", Some("tlsMinVersion")),
            ("zzz", None),
        ] {
            assert_eq!(suggestion(key, &fields).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn the_first_word_is_low_in_lower_camel_case() {
        for (field, expected) in
            [("MeshGateway", "meshGateway"), ("SNI", "sni"), ("CAFile", "caFile"), ("Name", "name"), ("", "")]
        {
            assert_eq!(lower_camel_case(field), expected);
        }
    }
}
