//! Who waits for a change of what: a commit finds those that wait for one of its keys, and looks at nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Index, Key, Readers};

/// Waiters by the keys that they wait for. Each is woken at most once, and forgotten when it is dropped.
///
/// **No change is missed.** A waiter looks at the current state while it holds the lock, before it is indexed; a commit
/// takes the lock after its state has become the current one. So either the waiter sees the change, or the commit finds
/// the waiter.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Register>);

#[derive(Debug, Default)]
struct Register {
    readers: Readers<u64>,
    /// Those that nobody has woken yet.
    asleep: BTreeMap<u64, Asleep>,
    next: u64,
    /// No commit will follow.
    is_closed: bool,
}

#[derive(Debug)]
struct Asleep {
    /// The commit whose state it has seen.
    since: Index,
    waker: oneshot::Sender<()>,
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    number: u64,
    waiters: Arc<Waiters>,
    woken: oneshot::Receiver<()>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Register> {
        // Nothing that is done under the lock leaves the index half changed where it could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of one of these keys by a commit after `since`; `None` if `has_changed` finds that there was one.
    pub(super) fn wait(
        self: &Arc<Self>,
        keys: BTreeSet<Key>,
        since: Index,
        has_changed: impl FnOnce(&BTreeSet<Key>) -> bool,
    ) -> Option<Waiter> {
        let (waker, woken) = oneshot::channel();
        let mut register = self.lock();
        if has_changed(&keys) {
            return None;
        }
        let number = register.next;
        register.next += 1;
        register.readers.set(&number, keys);
        // A waker that is dropped wakes as well, and says that there is nothing to wait for.
        if !register.is_closed {
            register.asleep.insert(number, Asleep { since, waker });
        }
        Some(Waiter { number, waiters: self.clone(), woken })
    }

    /// Wakes all that wait for one of these keys, which changed in these commits. The current state has the changes.
    pub(super) fn wake<'k>(&self, changed: impl Iterator<Item = (&'k Key, Index)>) {
        let mut register = self.lock();
        if register.asleep.is_empty() {
            return;
        }
        let mut woken = Vec::new();
        for (key, at) in changed {
            for number in register.readers.of(std::iter::once(key)) {
                // One that came after the commit has seen it.
                if register.asleep.get(&number).is_some_and(|asleep| asleep.since < at) {
                    woken.extend(register.asleep.remove(&number));
                }
            }
        }
        drop(register);
        for Asleep { waker, .. } in woken {
            // One that is gone needs nothing.
            waker.send(()).ok();
        }
    }

    /// Wakes everybody, now and from now on: no commit will follow.
    pub(super) fn close(&self) {
        let mut register = self.lock();
        register.is_closed = true;
        let asleep = std::mem::take(&mut register.asleep);
        drop(register);
        drop(asleep);
    }
}

impl Waiter {
    /// Returns when it is woken; false if no commit will follow.
    pub(super) async fn woken(mut self) -> bool {
        (&mut self.woken).await.is_ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut register = self.waiters.lock();
        register.readers.remove(&self.number);
        register.asleep.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::model::Datacenter;

    fn partitions(datacenter: &str) -> Key {
        Key::Partitions(Datacenter::from(datacenter))
    }

    fn wait(waiters: &Arc<Waiters>, keys: impl IntoIterator<Item = Key>) -> Waiter {
        waiters.wait(keys.into_iter().collect(), 5, |_| false).expect("nothing has changed")
    }

    /// Nothing is known of anybody.
    fn is_empty(waiters: &Waiters) -> bool {
        let register = waiters.lock();
        register.asleep.is_empty() && format!("{:?}", register.readers) == format!("{:?}", Readers::<u64>::default())
    }

    #[test]
    fn a_change_wakes_those_that_wait_for_it_and_no_other() {
        let waiters = Arc::new(Waiters::default());
        let one = wait(&waiters, [Key::Roots]);
        let both = wait(&waiters, [Key::Roots, partitions("dc1")]);
        let other = wait(&waiters, [partitions("dc1")]);

        waiters.wake([(&Key::Roots, 6), (&Key::CaConfig, 6)].into_iter());

        assert_eq!(one.woken().now_or_never(), Some(true));
        assert_eq!(both.woken().now_or_never(), Some(true));
        let mut other = other.woken().boxed();
        assert_eq!((&mut other).now_or_never(), None);
        waiters.wake([(&partitions("dc1"), 6)].into_iter());
        assert_eq!(other.now_or_never(), Some(true));
    }

    #[test]
    fn a_commit_that_was_seen_wakes_nobody() {
        let waiters = Arc::new(Waiters::default());
        let mut waiting = wait(&waiters, [Key::Roots]).woken().boxed();

        waiters.wake([(&Key::Roots, 5)].into_iter());
        assert_eq!((&mut waiting).now_or_never(), None);

        waiters.wake([(&Key::Roots, 6)].into_iter());
        assert_eq!(waiting.now_or_never(), Some(true));
    }

    #[test]
    fn one_that_sees_the_change_itself_does_not_wait() {
        let waiters = Arc::new(Waiters::default());

        assert!(waiters.wait(BTreeSet::from([Key::Roots]), 5, |keys| keys.contains(&Key::Roots)).is_none());

        assert!(is_empty(&waiters));
    }

    #[test]
    fn whoever_waits_no_more_leaves_nothing_behind() {
        let waiters = Arc::new(Waiters::default());
        let woken = wait(&waiters, [Key::Roots, partitions("dc1")]);
        let gone = wait(&waiters, [Key::Roots, partitions("dc2")]);
        assert!(!is_empty(&waiters));
        waiters.wake([(&partitions("dc1"), 6)].into_iter());

        woken.woken().now_or_never().expect("it was woken");
        drop(gone);

        assert!(is_empty(&waiters));
    }

    #[test]
    fn nobody_waits_for_commits_that_cannot_follow() {
        let waiters = Arc::new(Waiters::default());
        let before = wait(&waiters, [Key::Roots]);

        waiters.close();
        let after = wait(&waiters, [Key::Roots]);

        assert_eq!((before.woken().now_or_never(), after.woken().now_or_never()), (Some(false), Some(false)));
    }
}
