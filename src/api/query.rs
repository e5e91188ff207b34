//! The query string, read strictly once for each call.

use std::time::Duration;

use super::Waits;
use super::error::ApiError;
use crate::model::GoDuration;
use crate::store::Index;

/// The parameters of a call, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

/// How fresh a read must be. One process holds the state, so all three mean the same; the answer says which was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consistency {
    Leader,
    Consistent,
    Stale,
}

impl Consistency {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Consistency::Leader => "leader",
            Consistency::Consistent => "consistent",
            Consistency::Stale => "stale",
        }
    }
}

impl Query {
    /// The parameters of a raw query string.
    pub(super) fn parse(raw: &str) -> Result<Self, ApiError> {
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) => Ok((name, value)),
                _ => Err(ApiError::UnreadableQuery(pair.to_owned())),
            }
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of a parameter, if it is not empty.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(super) fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// True if the parameter is there, whatever it says.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A parameter that says yes by standing there or by a true value.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(value) => parse_bool(name, value),
        }
    }

    /// A parameter that must be there and say yes or no.
    pub(super) fn required_bool(&self, name: &'static str) -> Result<bool, ApiError> {
        parse_bool(name, self.value(name).ok_or(ApiError::Missing(name))?)
    }

    /// The index that a blocking query has seen already; `None` for a query that does not block.
    pub(super) fn index(&self) -> Result<Option<Index>, ApiError> {
        let Some(text) = self.value("index") else { return Ok(None) };
        text.parse().map(|index| (index > 0).then_some(index)).map_err(|_| ApiError::InvalidIndex)
    }

    /// How long a blocking query waits, jitter not included.
    pub(super) fn wait(&self, waits: Waits) -> Result<Duration, ApiError> {
        let said = match self.value("wait") {
            Some(text) => text.parse::<GoDuration>().map_err(|_| ApiError::InvalidWait)?.to_std(),
            None => Duration::ZERO,
        };
        Ok(if said.is_zero() { waits.default } else { said }.min(waits.longest))
    }

    /// How fresh the answer must be.
    pub(super) fn consistency(&self) -> Result<Consistency, ApiError> {
        if let Some(age) = self.value("max_stale")
            && age.parse::<GoDuration>().is_err()
        {
            return Err(ApiError::InvalidParameter {
                name: "max_stale",
                value: age.to_owned(),
                expected: "expected a duration such as 30s",
            });
        }
        match (self.has("stale"), self.has("consistent")) {
            (true, true) => Err(ApiError::ExclusiveParameters("stale", "consistent")),
            (_, true) if self.has("cached") => Err(ApiError::ExclusiveParameters("cached", "consistent")),
            (_, true) => Ok(Consistency::Consistent),
            (true, _) if !self.has("leader") => Ok(Consistency::Stale),
            (_, false) => Ok(Consistency::Leader),
        }
    }
}

/// The spellings that Go reads as a bool.
fn parse_bool(name: &'static str, value: &str) -> Result<bool, ApiError> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(ApiError::InvalidParameter { name, value: value.to_owned(), expected: "expected true or false" }),
    }
}

/// Percent-decoding that refuses what it does not understand; `None` also for what is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            // Go refuses it too: older servers took it for a separator.
            b';' => return None,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> Query {
        Query::parse(raw).expect(raw)
    }

    #[test]
    fn reads_what_a_client_writes() {
        let query = query("a=1%202+3&flag&b=%E2%82%AC&tag=x&tag=y&&empty=");

        assert_eq!((query.get("a"), query.get("b"), query.get("flag")), (Some("1 2 3"), Some("\u{20ac}"), Some("")));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!((query.value("empty"), query.has("empty")), (None, true));
    }

    #[test]
    fn refuses_what_is_no_percent_encoding() {
        for raw in ["a=%zz", "a=%2", "a=%", "%ff=1", "a;b=1"] {
            assert!(matches!(Query::parse(raw), Err(ApiError::UnreadableQuery(_))), "{raw}");
        }
    }

    #[test]
    fn waits_are_clamped_and_zero_means_the_default() {
        let wait = |raw| query(raw).wait(Waits::default()).map(|wait| wait.as_millis()).ok();

        assert_eq!(wait(""), Some(300_000));
        assert_eq!(wait("wait=0s"), Some(300_000));
        assert_eq!(wait("wait=60000ms"), Some(60_000));
        assert_eq!(wait("wait=24h"), Some(600_000));
        assert_eq!(wait("wait=potato"), None);
        let waits = Waits { default: Duration::from_secs(9), longest: Duration::from_secs(3) };
        assert_eq!(query("").wait(waits).ok(), Some(waits.longest));
        assert_eq!(query("wait=1s").wait(waits).ok(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn consistency_flags_exclude_each_other() {
        let of = |raw| query(raw).consistency().ok().map(Consistency::as_str);

        assert_eq!(of(""), Some("leader"));
        assert_eq!(of("stale="), Some("stale"));
        assert_eq!(of("consistent"), Some("consistent"));
        assert_eq!(of("stale&leader"), Some("leader"));
        for raw in ["stale&consistent", "cached&consistent", "max_stale=soon"] {
            assert_eq!(of(raw), None, "{raw}");
        }
    }
}
