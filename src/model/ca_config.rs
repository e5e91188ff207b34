//! The configuration of the certificate authority (`http-api.md` 2.9).

use serde::{Deserialize, Serialize, Serializer};

use super::{GoDuration, Ignored, PrivateKey, Problems, is_default};

/// The one provider that there is: the authority of this process.
const PROVIDER: &str = "consul";
/// The kinds of keys that can be made, in Consul's word, with their sizes in bits.
const KEYS: [(KeyKind, &str, u32); 4] = [
    (KeyKind::Ec256, "ec", 256),
    (KeyKind::Ec384, "ec", 384),
    (KeyKind::Rsa2048, "rsa", 2048),
    (KeyKind::Rsa4096, "rsa", 4096),
];

const HOUR: GoDuration = GoDuration::from_secs(60 * 60);

/// A kind of keys that the authority makes: those of Consul that Envoy takes in a handshake by itself, which leaves out elliptic
/// curves of 224 and 521 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// Elliptic curve P-256.
    #[default]
    Ec256,
    /// Elliptic curve P-384.
    Ec384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyKind {
    /// The kind with this word and size.
    pub fn of(word: &str, bits: usize) -> Option<Self> {
        KEYS.iter().find(|(_, known, size)| *known == word && *size as usize == bits).map(|(kind, _, _)| *kind)
    }
}

/// What signs certificates, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaConfig {
    /// Who signs; always `consul`.
    pub provider: String,
    /// How it signs.
    pub config: CaSettings,
    /// A root may be replaced without being signed by the old one.
    pub force_without_cross_signing: bool,
}

/// How the authority signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaSettings {
    /// How long a new leaf is valid.
    #[serde(rename = "LeafCertTTL", serialize_with = "in_short")]
    pub leaf_cert_ttl: GoDuration,
    /// How long an intermediate would be valid.
    #[serde(rename = "IntermediateCertTTL", serialize_with = "in_short")]
    pub intermediate_cert_ttl: GoDuration,
    /// How long a root that is made is valid.
    #[serde(rename = "RootCertTTL", serialize_with = "in_short")]
    pub root_cert_ttl: GoDuration,
    /// Most leaves in a second; 0 for any number.
    #[serde(rename = "CSRMaxPerSecond", serialize_with = "whole")]
    pub csr_max_per_second: f64,
    /// Most leaves at a time; 0 for any number.
    #[serde(rename = "CSRMaxConcurrent")]
    pub csr_max_concurrent: u32,
    /// The kind of keys that are made.
    pub private_key_type: String,
    /// Their size.
    pub private_key_bits: u32,
    /// The key to sign with, in PEM form; one is made where none is given. It is kept with the root, and never shown.
    #[serde(skip_serializing)]
    pub private_key: PrivateKey,
    /// The certificate of that key, in PEM form; one is made where none is given.
    #[serde(skip_serializing_if = "is_default")]
    pub root_cert: String,
    /// Old versions had it, and documents still show it.
    #[serde(skip_serializing)]
    pub rotation_period: Ignored,
}

impl Default for CaConfig {
    fn default() -> Self {
        Self { provider: PROVIDER.to_owned(), config: CaSettings::default(), force_without_cross_signing: false }
    }
}

impl Default for CaSettings {
    /// Consul's defaults.
    fn default() -> Self {
        Self {
            leaf_cert_ttl: GoDuration::from_secs(72 * 60 * 60),
            intermediate_cert_ttl: GoDuration::from_secs(8760 * 60 * 60),
            root_cert_ttl: GoDuration::from_secs(87_600 * 60 * 60),
            csr_max_per_second: 50.0,
            csr_max_concurrent: 0,
            private_key_type: KEYS[0].1.to_owned(),
            private_key_bits: KEYS[0].2,
            private_key: PrivateKey::default(),
            root_cert: String::new(),
            rotation_period: Ignored,
        }
    }
}

impl CaConfig {
    /// Every broken rule, and what this authority cannot do.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        if self.provider != PROVIDER {
            problems.rule("Provider", format!("{:?} is not there: the provider is {PROVIDER:?}", self.provider));
        }
        self.config.validate(&mut problems);
        problems
    }
}

impl CaSettings {
    fn validate(&self, problems: &mut Problems) {
        let Self { leaf_cert_ttl: leaf, intermediate_cert_ttl: intermediate, root_cert_ttl: root, .. } = self;
        let hours = |count: i64| GoDuration::from_nanos(HOUR.as_nanos() * count);
        if *leaf < HOUR || *leaf > hours(8760) {
            problems.rule("Config.LeafCertTTL", format!("{} is not between 1h and 8760h", short(*leaf)));
        }
        if *intermediate < hours(3) || intermediate.as_nanos() / 3 < leaf.as_nanos() {
            let message = format!("{} is not at least 3h, and three times LeafCertTTL", short(*intermediate));
            problems.rule("Config.IntermediateCertTTL", message);
        }
        if root < intermediate {
            let message = format!("{} is shorter than IntermediateCertTTL", short(*root));
            problems.rule("Config.RootCertTTL", message);
        }
        if self.csr_max_per_second < 0.0 {
            problems.rule("Config.CSRMaxPerSecond", "must not be negative; 0 stands for any number");
        }
        if self.key_kind().is_none() {
            let (found, bits) = (&self.private_key_type, self.private_key_bits);
            let message = format!(
                "no keys of type {found:?} with {bits} PrivateKeyBits are made: use ec with 256 or 384, or rsa with 2048 or 4096"
            );
            problems.rule("Config.PrivateKeyType", message);
        }
    }

    /// The kind of keys that are made, if there is such a one.
    pub fn key_kind(&self) -> Option<KeyKind> {
        KeyKind::of(&self.private_key_type, self.private_key_bits as usize)
    }
}

/// A duration without the parts at its end that are zero, as people write it: `72h`.
fn short(duration: GoDuration) -> String {
    let mut text = duration.to_string();
    for (end, zeros) in [("m0s", 2), ("h0m", 2)] {
        if text.ends_with(end) {
            text.truncate(text.len() - zeros);
        }
    }
    text
}

fn in_short<S: Serializer>(duration: &GoDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&short(*duration))
}

/// A number that is whole is written without a fraction.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn whole<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return serializer.serialize_i64(*number as i64);
    }
    serializer.serialize_f64(*number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_do() {
        for (seconds, expected) in [(72 * 3600, "72h"), (5400, "1h30m"), (60, "1m"), (3601, "1h0m1s"), (0, "0s")] {
            assert_eq!(short(GoDuration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn the_keys_are_those_that_envoy_takes() {
        let kind = |word: &str, bits| {
            let settings =
                CaSettings { private_key_type: word.to_owned(), private_key_bits: bits, ..CaSettings::default() };
            let problems = CaConfig { config: settings.clone(), ..CaConfig::default() }.validate();
            assert_eq!(problems.0.is_empty(), settings.key_kind().is_some(), "{word} {bits}: {problems}");
            settings.key_kind()
        };

        assert_eq!(CaSettings::default().key_kind(), Some(KeyKind::Ec256));
        assert_eq!((kind("ec", 384), kind("rsa", 2048)), (Some(KeyKind::Ec384), Some(KeyKind::Rsa2048)));
        assert_eq!(kind("rsa", 4096), Some(KeyKind::Rsa4096));
        for (word, bits) in [("ec", 224), ("ec", 521), ("rsa", 256), ("rsa", 1024), ("ed25519", 256), ("", 0)] {
            assert_eq!(kind(word, bits), None, "{word} {bits}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = CaConfig::default();

        let text = serde_json::to_string(&config).expect("it has string keys");

        assert!(text.contains(r#""LeafCertTTL":"72h""#) && text.contains(r#""CSRMaxPerSecond":50,"#), "{text}");
        assert_eq!(serde_json::from_str::<CaConfig>(&text).expect("it was written"), config);
    }
}
