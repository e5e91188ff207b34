//! Which version an Envoy binary is.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::EnvoyError;

/// A version of Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvoyVersion {
    /// Always 1 so far.
    pub major: u32,
    /// What compatibility is promised by.
    pub minor: u32,
    /// Fixes.
    pub patch: u32,
}

impl EnvoyVersion {
    /// Reads `1.40.0`; a suffix such as `-dev` is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.split(['-', '+']).next()?;
        let mut parts = number.split('.').map(|part| part.parse().ok());
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }

    /// True if the configuration for one works with the other.
    pub fn is_compatible(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }
}

impl fmt::Display for EnvoyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Asks a binary for its version.
///
/// # Errors
/// It does not run, or does not answer as Envoy does.
pub fn version_of(path: &Path) -> Result<EnvoyVersion, EnvoyError> {
    let refused = |reason: String| EnvoyError::NoVersion { path: path.to_owned(), reason };
    let asked = Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let output = asked.map_err(|error| refused(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_answer(&text).ok_or_else(|| refused(format!("it says {:?}", text.trim().lines().next().unwrap_or_default())))
}

/// Envoy answers `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn parse_answer(text: &str) -> Option<EnvoyVersion> {
    let (_, build) = text.split_once("version:")?;
    EnvoyVersion::parse(build.split('/').nth(1)?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_the_answer() {
        let answer = "\n/usr/bin/envoy  version: 0123456789abcdef/1.38.3/Clean/RELEASE/BoringSSL\n\n";

        assert_eq!(parse_answer(answer), Some(EnvoyVersion { major: 1, minor: 38, patch: 3 }));
        assert_eq!(parse_answer("hello"), None);
    }

    #[test]
    fn minors_decide_compatibility() {
        let version = |text| EnvoyVersion::parse(text).unwrap();

        assert!(version("1.40.0").is_compatible(version("1.40.3-dev")));
        assert!(!version("1.40.0").is_compatible(version("1.39.0")));
    }
}
