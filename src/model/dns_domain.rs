//! The DNS domain of the agents.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The DNS domain of the agents: lower case, without a dot at the end. Only the names of WAN-federated servers have it
/// (contract 1.3); identities end in a fixed suffix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsDomain(String);

impl DnsDomain {
    /// The domain that a person writes; `None` if it is not made of labels with dots between them.
    pub fn parse(text: &str) -> Option<Self> {
        let domain = text.strip_suffix('.').unwrap_or(text).to_lowercase();
        let is_label =
            |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        domain.split('.').all(is_label).then_some(Self(domain))
    }

    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<DnsDomain> for String {
    fn from(domain: DnsDomain) -> Self {
        domain.0
    }
}

impl TryFrom<String> for DnsDomain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no DNS domain: expected labels with dots between them"))
    }
}

impl Default for DnsDomain {
    fn default() -> Self {
        Self("consul".to_owned())
    }
}

impl fmt::Display for DnsDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_one_spelling() {
        let parsed = |text| DnsDomain::parse(text).map(|domain| domain.to_string());

        assert_eq!(parsed("Mesh.Example."), Some("mesh.example".to_owned()));
        for text in ["", ".", "a..b", "*.example", "a b"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
