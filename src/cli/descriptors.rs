//! How many files and connections the process may have open.

/// Below this many, some hundred proxies with their callers could fill the process.
pub(super) const FEW: u64 = 4096;

/// Raises the limit to as many as the system lets this process have, which is returned (`None` for any number), and warns
/// where that is few. Each proxy takes one, and so does each call that waits.
#[cfg(unix)]
pub(super) fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files and connections cannot be raised");
    }
    let current = getrlimit(Resource::Nofile).current;
    match current {
        Some(most) if most < FEW => tracing::warn!(
            most,
            "few files and connections may be open at a time, and each proxy takes one: raise the hard limit (LimitNOFILE \
             of systemd, ulimit -Hn)"
        ),
        most => tracing::debug!(most, "open files and connections"),
    }
    current
}

/// The most that the system lets this process have; `None` for any number.
#[cfg(unix)]
pub(super) fn highest() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum
}

/// There is no limit.
#[cfg(not(unix))]
pub(super) fn highest() -> Option<u64> {
    None
}

/// There is no limit that the process could raise.
#[cfg(not(unix))]
pub(super) fn raise_limit() -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    #[test]
    fn the_limit_is_the_highest_that_there_can_be() {
        let told = super::raise_limit();

        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, told), (limit.maximum, limit.maximum));
    }
}
