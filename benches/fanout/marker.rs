//! Numbers that a change carries through any control plane, as the address of the instance that changed.
//!
//! All have the same length, so that all messages have.

/// How the addresses begin that are markers. No other instance of the bench has such an address.
const PREFIX: &[u8] = b"10.";

/// Length of an address.
pub(crate) const LENGTH: usize = 14;

/// How many numbers there are.
pub(crate) const COUNT: u32 = 1_000_000;

/// The address that stands for a number below [`COUNT`].
pub(crate) fn address(sequence: u32) -> String {
    let sequence = sequence % COUNT;
    format!("10.{}.{}.{}", 100 + sequence / 10_000, 100 + sequence / 100 % 100, 100 + sequence % 100)
}

/// The number of the last change that left its address in a message.
pub(crate) fn find(message: &[u8]) -> Option<u32> {
    positions(message).filter_map(|at| parse(&message[at..at + LENGTH])).max()
}

/// Where markers are.
pub(crate) fn positions(message: &[u8]) -> impl Iterator<Item = usize> {
    let windows = message.windows(LENGTH).enumerate();
    windows.filter(|(_, window)| window.starts_with(PREFIX) && parse(window).is_some()).map(|(at, _)| at)
}

fn parse(address: &[u8]) -> Option<u32> {
    let mut parts = std::str::from_utf8(address.strip_prefix(PREFIX)?).ok()?.split('.');
    let mut part = || parts.next()?.parse::<u32>().ok()?.checked_sub(100).filter(|part| *part < 100);
    let sequence = part()? * 10_000 + part()? * 100 + part()?;
    parts.next().is_none().then_some(sequence)
}
