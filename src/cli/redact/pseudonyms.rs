//! Words, addresses, IDs and certificates, each with what stands for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use regex::{Captures, Regex};

use super::kept::KEPT;
use crate::cli::CliError;

/// What words are made of: no vowels, so that none comes out that means something.
const LETTERS: &[u8; 26] = b"bcdfghjkmnpqrstvwxz2345678";
/// How many of them begin a word: the rest are digits.
const NO_DIGITS: u8 = 19;
/// Letters of a pseudonym.
const LENGTH: usize = 6;
/// Digits that a number in a text may have before it can be the number of somebody's account.
const SHORT: usize = 5;
/// What a certificate begins with.
const PEM: &str = "-----BEGIN ";

/// What is told apart in a text.
static PARTS: LazyLock<Regex> = LazyLock::new(|| {
    let time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)";
    let duration = r"\b(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+\b";
    let finding = r"\bMG-[A-Z]+-\d{3}\b";
    let uuid = r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b";
    let v4 = r"\b\d{1,3}(?:\.\d{1,3}){3}\b";
    let v6 = r"[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*\b";
    let all = format!(
        r"(?P<kept>{time}|{finding}|{duration})|(?P<uuid>{uuid})|(?P<ip>{v4}|{v6})|(?P<word>[\p{{L}}\p{{N}}]+)"
    );
    Regex::new(&all).expect("it is one")
});

static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}]+").expect("it is one"));

/// What stands for what.
pub(super) struct Pseudonyms {
    key: hmac::Key,
    /// Words that stay, in lower case.
    kept: BTreeSet<String>,
    /// By what it stands for, so that equal things stay equal.
    known: BTreeMap<String, String>,
    /// Those that are taken, so that different things stay different.
    taken: BTreeSet<String>,
}

impl Pseudonyms {
    /// None yet, under a new key. The values of a description, `more`, stay as the words of [`KEPT`] do.
    pub(super) fn new(more: BTreeSet<&str>) -> Result<Self, CliError> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .map_err(|_| CliError::Usage("the system has no random numbers to make pseudonyms of".to_owned()))?;
        let more =
            more.into_iter().flat_map(|value| WORD.find_iter(value)).map(|word| word.as_str().to_ascii_lowercase());
        let kept = KEPT.iter().map(|word| (*word).to_owned()).chain(more).collect();
        Ok(Self { key, kept, known: BTreeMap::new(), taken: BTreeSet::new() })
    }

    /// A text in which everything has its pseudonym that does not stay.
    pub(super) fn text(&mut self, text: &str) -> String {
        if text.contains(PEM) {
            return self.certificate(text);
        }
        let replace = |found: &Captures<'_>| {
            let (part, group) = (&found[0], |name: &str| found.name(name).is_some());
            match part.parse::<IpAddr>() {
                _ if group("kept") => part.to_owned(),
                _ if group("uuid") => self.uuid(part),
                Ok(address) if group("ip") => self.address(address),
                Err(_) if group("ip") => WORD.replace_all(part, |word: &Captures<'_>| self.word(&word[0])).into_owned(),
                Ok(_) | Err(_) => self.word(part),
            }
        };
        PARTS.replace_all(text, replace).into_owned()
    }

    /// One pseudonym for a text as a whole.
    pub(super) fn whole(&mut self, text: &str) -> String {
        self.known_or(&format!("text {text}"), |hash| letters(&hash))
    }

    fn word(&mut self, word: &str) -> String {
        let lower = word.to_lowercase();
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        if self.kept.contains(&lower) || (is_number && word.len() <= SHORT) {
            return word.to_owned();
        }
        if is_number {
            let length = word.len();
            return self.known_or(&format!("number {word}"), |hash| {
                let digits = hash.iter().cycle().take(length).enumerate();
                digits.map(|(at, byte)| char::from(if at == 0 { b'1' + byte % 9 } else { b'0' + byte % 10 })).collect()
            });
        }
        let pseudonym = self.known_or(&format!("word {lower}"), |hash| letters(&hash));
        // What differs in case alone still does, and in nothing else.
        if word == lower {
            pseudonym
        } else if word == word.to_uppercase() {
            pseudonym.to_ascii_uppercase()
        } else {
            let (first, rest) = pseudonym.split_at(1);
            first.to_ascii_uppercase() + rest
        }
    }

    fn uuid(&mut self, text: &str) -> String {
        self.known_or(&format!("uuid {}", text.to_ascii_lowercase()), |hash| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash[..16]);
            uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
        })
    }

    /// Another address of the same family; one that means the same on every host stays.
    fn address(&mut self, address: IpAddr) -> String {
        let is_special = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified() || v4.is_broadcast() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
        };
        if is_special {
            return address.to_string();
        }
        self.known_or(&format!("address {address}"), |hash| match address {
            IpAddr::V4(_) => Ipv4Addr::new(10, hash[0], hash[1], hash[2].max(1)).to_string(),
            IpAddr::V6(_) => {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&hash[..16]);
                bytes[0] = 0xfd;
                Ipv6Addr::from(bytes).to_string()
            }
        })
    }

    /// A certificate that nobody has signed and nobody uses.
    fn certificate(&mut self, text: &str) -> String {
        let known = format!("certificate {text}");
        if let Some(made) = self.known.get(&known) {
            return made.clone();
        }
        let name = self.whole(text);
        // Without one there is nothing to trust, which is what Envoy is told then.
        let made = rcgen::generate_simple_self_signed(vec![name]).map(|made| made.cert.pem()).unwrap_or_default();
        self.known.insert(known, made.clone());
        made
    }

    /// What stands for something; made of a hash of it unless there is something already, and of the next hash if that stands
    /// for something else.
    fn known_or(&mut self, of: &str, make: impl Fn([u8; 32]) -> String) -> String {
        if let Some(known) = self.known.get(of) {
            return known.clone();
        }
        let mut attempt = 0_u32;
        let made = loop {
            let tag = hmac::sign(&self.key, format!("{attempt} {of}").as_bytes());
            let mut hash = [0; 32];
            hash.copy_from_slice(tag.as_ref());
            let made = make(hash);
            if self.taken.insert(made.clone()) {
                break made;
            }
            attempt += 1;
        };
        self.known.insert(of.to_owned(), made.clone());
        made
    }
}

/// A word of a hash, which begins with no digit.
fn letters(hash: &[u8; 32]) -> String {
    let letter = |(at, byte): (usize, &u8)| {
        let among = if at == 0 { NO_DIGITS } else { LETTERS.len() as u8 };
        char::from(LETTERS[usize::from(byte % among)])
    };
    hash.iter().take(LENGTH).enumerate().map(letter).collect()
}
