//! Sums that tell whether a file still holds what was written into it: one for each row, and one for all together.
//!
//! The file's own checksums are looked at only after a crash, and know nothing of a row that is gone with its page.

use sha2::{Digest, Sha256};

/// Bytes in front of each value.
const LENGTH: usize = size_of::<u64>();

/// The sum of a row.
fn sum(key: &[u8], value: &[u8]) -> u64 {
    let mut digest = Sha256::new();
    // With its length a key cannot be taken for the start of a value.
    digest.update((key.len() as u64).to_le_bytes());
    digest.update(key);
    digest.update(value);
    first(&digest.finalize())
}

/// The first eight bytes as a number.
fn first(bytes: &[u8]) -> u64 {
    bytes.iter().take(LENGTH).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A value with the sum of its row, as it is stored.
pub(super) fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&sum(key, value).to_be_bytes(), value].concat()
}

/// The value of a row; `None` if it is not as it was written.
pub(super) fn opened<'s>(key: &[u8], stored: &'s [u8]) -> Option<&'s [u8]> {
    let value = stored.get(LENGTH..)?;
    (first(stored) == sum(key, value)).then_some(value)
}

/// The value of a row that was looked at before.
pub(super) fn unsealed(stored: &[u8]) -> &[u8] {
    stored.get(LENGTH..).unwrap_or_default()
}

/// The sum of everything that a file holds: its rows in any order, and its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Total(pub(super) u64);

impl Total {
    /// That of a file with an index and no rows.
    pub(super) fn of_index(index: u64) -> Self {
        Self(sum(b"index", &index.to_le_bytes()))
    }

    /// That of the same rows under another index.
    pub(super) fn moved(self, from: u64, to: u64) -> Self {
        Self(self.0.wrapping_sub(Self::of_index(from).0).wrapping_add(Self::of_index(to).0))
    }

    /// With a row that is stored so.
    pub(super) fn with(self, stored: &[u8]) -> Self {
        Self(self.0.wrapping_add(first(stored)))
    }

    /// Without a row that is stored so.
    pub(super) fn without(self, stored: &[u8]) -> Self {
        Self(self.0.wrapping_sub(first(stored)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_opens_as_it_was_sealed_and_not_otherwise() {
        let stored = sealed(b"key", b"value");

        assert_eq!(opened(b"key", &stored), Some(&b"value"[..]));
        assert_eq!(opened(b"other", &stored), None);
        assert_eq!(opened(b"keyv", &[&stored[..LENGTH], b"alue"].concat()), None);
        for at in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[at] ^= 1;
            assert_eq!(opened(b"key", &damaged), None, "byte {at}");
            assert_eq!(opened(b"key", &stored[..at]), None, "length {at}");
        }
    }

    #[test]
    fn what_comes_and_goes_leaves_the_total_as_it_was() {
        let (a, b) = (sealed(b"a", b"1"), sealed(b"b", b"2"));
        let total = Total::of_index(7).with(&a).with(&b);

        assert_eq!(total, Total::of_index(7).with(&b).with(&a));
        assert_eq!(total.without(&a).moved(7, 8), Total::of_index(8).with(&b));
        assert_ne!(total.without(&a), Total::of_index(7).with(&a));
    }
}
