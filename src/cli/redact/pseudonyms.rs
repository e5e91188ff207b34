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
/// Tries to find a free spelling of a pseudonym for another spelling of its word.
const SPELLINGS: usize = 16;
/// What a certificate begins with.
const PEM: &str = "-----BEGIN ";

/// Numbers in a row, as those of an IPv4 address are, with what is written to their left without a gap. Nothing else may take
/// a part of them away, so a word, or what looks like the code of a finding, ends where they begin.
const NUMBERS: &str =
    r"(?P<before>\bMG-[A-Z]+-|[\p{L}\p{N}]*[[\p{L}\p{N}]--[0-9]])?(?P<numbers>[0-9]+(?:[._-][0-9]+){3,})";
/// Letters and digits.
const LETTERS_OR_DIGITS: &str = r"[\p{L}\p{N}]+";
/// Colons of what looks like an IPv6 address: a time and the ID of a check have fewer.
const MANY_COLONS: usize = 4;

/// What is told apart in a text.
static PARTS: LazyLock<Regex> = LazyLock::new(|| {
    let time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)";
    let duration = r"\b(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+\b";
    let finding = r"\bMG-[A-Z]+-\d{3}\b";
    let uuid = r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b";
    // With all numbers that follow: they may be an IPv4 address, which must not be cut in two.
    let like_v6 = r"[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*(?:[._-][0-9]+)*";
    let all = format!(
        "(?P<uuid>{uuid})|(?P<v6>{like_v6})|{NUMBERS}|(?P<kept>{time}|{finding}|{duration})|{LETTERS_OR_DIGITS}"
    );
    Regex::new(&all).expect("it is one")
});

/// What is told apart in what looks like an IPv6 address and is none.
static NUMBERS_OR_WORDS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("{NUMBERS}|{LETTERS_OR_DIGITS}")).expect("it is one"));

static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(LETTERS_OR_DIGITS).expect("it is one"));

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
            let (part, is) = (&found[0], |name: &str| found.name(name).is_some());
            match () {
                () if is("kept") => part.to_owned(),
                () if is("uuid") => self.uuid(part),
                () if is("v6") => self.like_v6(part),
                () if is("numbers") => self.behind(found),
                () => self.word(part),
            }
        };
        PARTS.replace_all(text, replace).into_owned()
    }

    /// What looks like an IPv6 address, perhaps with something behind it.
    fn like_v6(&mut self, part: &str) -> String {
        // The end of a sentence, and of the name of a host in front of an error.
        let without_end = part.strip_suffix(['.', ':']).unwrap_or(part);
        let has_numbers = NUMBERS_OR_WORDS.captures_iter(part).any(|found| found.name("numbers").is_some());
        let without_more = if has_numbers { part } else { part.split(['-', '_']).next().unwrap_or(part) };
        let parsed = |text: &str| Some((text.parse::<Ipv6Addr>().ok()?, text.len()));
        if let Some((address, end)) = [part, without_end, without_more].into_iter().find_map(parsed) {
            return self.address(address.into()) + &self.numbers(&part[end..]);
        }
        // Short numbers stay elsewhere. Here they may be an address that something was written in front of.
        let is_like_one = part.contains("::") || part.matches(':').count() >= MANY_COLONS;
        let replace = |found: &Captures<'_>| match &found[0] {
            _ if found.name("numbers").is_some() => self.behind(found),
            word if is_like_one && is_number(word) => self.whole(word),
            word => self.word(word),
        };
        NUMBERS_OR_WORDS.replace_all(part, replace).into_owned()
    }

    /// Numbers in a row and what is in front of them.
    fn behind(&mut self, found: &Captures<'_>) -> String {
        let before = found.name("before").map(|before| self.text(before.as_str()));
        before.unwrap_or_default() + &self.numbers(&found["numbers"])
    }

    /// Numbers that are joined by `.`, `-` or `_`: where four of them are an IPv4 address, they become another one in the same
    /// form, and other four or more become one word.
    fn numbers(&mut self, text: &str) -> String {
        let numbers: Vec<_> = WORD.find_iter(text).collect();
        let (Some(first), Some(last), true) = (numbers.first(), numbers.last(), numbers.len() >= 4) else {
            return WORD.replace_all(text, |number: &Captures<'_>| self.word(&number[0])).into_owned();
        };
        let joint = |at: usize| Some(&text[numbers.get(at)?.end()..numbers.get(at + 1)?.start()]);
        // One that goes on with the same joint is none.
        let address = |at: usize| {
            let of_it = joint(at)?;
            let ends = (at == 0 || joint(at - 1) != Some(of_it)) && joint(at + 3) != Some(of_it);
            let is_joined = (at..at + 3).all(|at| joint(at) == Some(of_it));
            let octet = |at: usize| numbers.get(at)?.as_str().parse::<u8>().ok();
            let octets = [octet(at)?, octet(at + 1)?, octet(at + 2)?, octet(at + 3)?];
            (ends && is_joined).then(|| (numbers[at].start()..numbers[at + 3].end(), of_it, Ipv4Addr::from(octets)))
        };
        match (0..numbers.len()).find_map(address) {
            Some((place, joint, address)) => {
                let (before, behind) = (self.numbers(&text[..place.start]), self.numbers(&text[place.end..]));
                format!("{before}{}{behind}", self.address(address.into()).replace('.', joint))
            }
            None => {
                let (start, end) = (first.start(), last.end());
                format!("{}{}{}", &text[..start], self.whole(&text[start..end]), &text[end..])
            }
        }
    }

    /// One pseudonym for a text as a whole.
    pub(super) fn whole(&mut self, text: &str) -> String {
        self.known_or(&format!("text {text}"), |hash| letters(&hash))
    }

    fn word(&mut self, word: &str) -> String {
        let lower = word.to_lowercase();
        let is_number = is_number(word);
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
        if word == lower {
            return pseudonym;
        }
        // What differs in case alone still does, and in nothing else, as long as there are spellings of the pseudonym.
        let in_capitals = pseudonym.to_ascii_uppercase();
        let with_capital = in_capitals[..1].to_owned() + &pseudonym[1..];
        let is_in_capitals = word == word.to_uppercase();
        let has_one_capital = word.chars().filter(|letter| letter.is_uppercase()).count() == 1
            && word.chars().next().is_some_and(char::is_uppercase);
        let mut attempts = 0;
        self.known_or(&format!("spelling {word}"), |hash| {
            attempts += 1;
            match attempts {
                1 if is_in_capitals => in_capitals.clone(),
                1 if has_one_capital => with_capital.clone(),
                ..=SPELLINGS => {
                    let spelled = pseudonym.bytes().zip(hash);
                    let in_case =
                        |(letter, byte): (u8, u8)| if byte % 2 == 0 { letter } else { letter.to_ascii_uppercase() };
                    spelled.map(in_case).map(char::from).collect()
                }
                _ => letters(&hash),
            }
        })
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
    fn known_or(&mut self, of: &str, mut make: impl FnMut([u8; 32]) -> String) -> String {
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

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

/// A word of a hash, which begins with no digit.
fn letters(hash: &[u8; 32]) -> String {
    let letter = |(at, byte): (usize, &u8)| {
        let among = if at == 0 { NO_DIGITS } else { LETTERS.len() as u8 };
        char::from(LETTERS[usize::from(byte % among)])
    };
    hash.iter().take(LENGTH).enumerate().map(letter).collect()
}
