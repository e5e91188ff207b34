//! How fast a client may send requests (xds-protocol, R49): a bucket that refills with time.

use std::time::Duration;

/// Allows bursts, and a rate in the long run. Envoy subscribes to each secret in a request of its own, so bursts of many
/// hundred are normal when it connects.
#[derive(Debug)]
pub(super) struct Pace {
    burst: u32,
    interval: Duration,
    /// When the bucket will be full again, as age of the stream.
    full_at: Duration,
}

impl Pace {
    /// Allows `burst` requests at once and one more after each `interval`.
    pub(super) fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, full_at: Duration::ZERO }
    }

    /// Counts one request.
    pub(super) fn spend(&mut self, now: Duration) {
        self.full_at = self.full_at.max(now) + self.interval;
    }

    /// When the next request may be read; `None` for now.
    pub(super) fn wait_until(&self, now: Duration) -> Option<Duration> {
        let ready_at = (self.full_at + self.interval).saturating_sub(self.interval * self.burst);
        (ready_at > now).then_some(ready_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(3, ms(10));

        for _ in 0..3 {
            assert_eq!(pace.wait_until(ms(100)), None);
            pace.spend(ms(100));
        }

        assert_eq!(pace.wait_until(ms(100)), Some(ms(110)));
        assert_eq!(pace.wait_until(ms(110)), None);
        pace.spend(ms(110));
        assert_eq!(pace.wait_until(ms(110)), Some(ms(120)));
        assert_eq!(pace.wait_until(ms(500)), None);
    }
}
