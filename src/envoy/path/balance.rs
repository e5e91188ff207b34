//! Load balancing: which endpoints can be chosen. One priority after the other takes what the ones before it cannot, by
//! Envoy's arithmetic of priorities, panic thresholds and overprovisioning.

/// Envoy's default: healthy endpoints of a priority count this much, in percent, towards its traffic.
pub(super) const OVERPROVISIONING: u32 = 140;
/// Envoy's default: with a smaller share of healthy endpoints, in percent, a priority uses all of them.
pub(super) const PANIC_THRESHOLD: u32 = 50;

/// The endpoints of one priority, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Priority<E> {
    pub(super) healthy: Vec<E>,
    pub(super) unhealthy: Vec<E>,
    /// How much healthy endpoints count, in percent.
    pub(super) overprovisioning: u32,
}

impl<E> Default for Priority<E> {
    fn default() -> Self {
        Self { healthy: Vec::new(), unhealthy: Vec::new(), overprovisioning: OVERPROVISIONING }
    }
}

impl<E> Priority<E> {
    pub(super) fn size(&self) -> usize {
        self.healthy.len() + self.unhealthy.len()
    }

    /// How much of all traffic it can take, in percent.
    fn availability(&self) -> u64 {
        match self.size() {
            0 => 0,
            size => (u64::from(self.overprovisioning) * self.healthy.len() as u64 / size as u64).min(100),
        }
    }

    fn is_below(&self, panic_threshold: u32) -> bool {
        let healthy = if self.size() == 0 { 0.0 } else { 100.0 * self.healthy.len() as f64 / self.size() as f64 };
        healthy < f64::from(panic_threshold)
    }
}

/// What a set of priorities does with traffic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spread {
    /// Priorities that get some, by position.
    pub(super) chosen: Vec<usize>,
    /// For each priority: it uses unhealthy endpoints as well.
    pub(super) panics: Vec<bool>,
}

/// How traffic is spread over `priorities`.
pub(super) fn spread<E>(priorities: &[Priority<E>], panic_threshold: u32) -> Spread {
    let total: u64 = priorities.iter().map(Priority::availability).sum::<u64>().min(100);
    let panics: Vec<bool> =
        priorities.iter().map(|priority| total < 100 && priority.is_below(panic_threshold)).collect();
    let chosen = if panic_threshold == 0 && total == 0 {
        // It has to go somewhere, and finds nobody there.
        Vec::from_iter((!priorities.is_empty()).then_some(0))
    } else if panics.iter().all(|panic| *panic) {
        by_size(priorities)
    } else {
        by_availability(priorities, total)
    };
    Spread { chosen, panics }
}

/// Where everybody panics, large priorities get much.
fn by_size<E>(priorities: &[Priority<E>]) -> Vec<usize> {
    let total: usize = priorities.iter().map(Priority::size).sum();
    if total == 0 {
        return Vec::from_iter((!priorities.is_empty()).then_some(0));
    }
    let first = priorities.iter().position(|priority| priority.size() > 0);
    let share = |position: &usize| 100 * priorities[*position].size() / total;
    (0..priorities.len()).filter(|position| Some(*position) == first || share(position) > 0).collect()
}

fn by_availability<E>(priorities: &[Priority<E>], total: u64) -> Vec<usize> {
    let mut left = 100;
    let mut chosen = Vec::new();
    for (position, priority) in priorities.iter().enumerate() {
        let load = (priority.availability() * 100).checked_div(total).unwrap_or_default().min(left);
        left -= load;
        if load > 0 {
            chosen.push(position);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority((healthy, unhealthy): (usize, usize)) -> Priority<()> {
        Priority { healthy: vec![(); healthy], unhealthy: vec![(); unhealthy], ..Priority::default() }
    }

    /// Healthy and unhealthy endpoints of each priority, panic threshold, and the priorities that get traffic.
    type Row = (&'static [(usize, usize)], u32, &'static [usize]);

    #[test]
    fn priorities_take_what_those_before_them_cannot() {
        let table: [Row; 12] = [
            (&[(1, 0), (1, 0)], 50, &[0]),
            (&[(0, 1), (1, 0)], 50, &[1]),
            (&[(0, 0), (1, 0)], 50, &[1]),
            // Five of seven are enough, with half of them a second priority helps.
            (&[(5, 2), (1, 0)], 50, &[0]),
            (&[(1, 1), (1, 0)], 50, &[0, 1]),
            (&[(1, 1), (1, 1), (1, 0)], 50, &[0, 1]),
            // Nobody else can help.
            (&[(1, 9), (0, 1)], 0, &[0]),
            // Everybody panics: then sizes decide.
            (&[(1, 9), (0, 1)], 50, &[0, 1]),
            (&[(0, 1), (0, 0), (0, 300)], 50, &[0, 2]),
            (&[(0, 1), (0, 1)], 0, &[0]),
            (&[], 50, &[]),
            (&[(0, 0)], 50, &[0]),
        ];
        for (sizes, threshold, expected) in table {
            let priorities: Vec<_> = sizes.iter().copied().map(priority).collect();
            assert_eq!(spread(&priorities, threshold).chosen, expected, "{sizes:?} {threshold}");
        }
    }

    #[test]
    fn a_priority_panics_below_its_threshold_unless_others_are_enough() {
        let panics = |sizes: &[(usize, usize)], threshold| {
            spread(&sizes.iter().copied().map(priority).collect::<Vec<_>>(), threshold).panics
        };

        assert_eq!(panics(&[(1, 2)], 50), [true]);
        assert_eq!(panics(&[(1, 1)], 50), [false]);
        assert_eq!(panics(&[(1, 2)], 0), [false]);
        assert_eq!(panics(&[(1, 2), (1, 0)], 50), [false, false]);
    }
}
