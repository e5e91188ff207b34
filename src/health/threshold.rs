//! How many results in a row it takes to change a status (`http-api.md` 3.6).

use crate::model::{CheckDefinition, CheckStatus};

/// Counts results in a row.
#[derive(Debug, Default)]
pub(super) struct Streak {
    successes: u32,
    failures: u32,
}

impl Streak {
    /// The status that a result leads to; `None` while the streak is too short to change anything. A warning is a
    /// success: the service can be used.
    pub(super) fn add(&mut self, result: CheckStatus, rules: &CheckDefinition) -> Option<CheckStatus> {
        match result {
            CheckStatus::Passing | CheckStatus::Warning => {
                *self = Self { successes: self.successes.saturating_add(1), failures: 0 };
                (self.successes >= rules.success_before_passing).then_some(result)
            }
            CheckStatus::Critical | CheckStatus::Maintenance => {
                *self = Self { successes: 0, failures: self.failures.saturating_add(1) };
                self.failed(rules)
            }
        }
    }

    fn failed(&self, rules: &CheckDefinition) -> Option<CheckStatus> {
        let before_warning = match rules.failures_before_warning {
            0 => rules.failures_before_critical,
            own => own,
        };
        if self.failures >= rules.failures_before_critical {
            Some(CheckStatus::Critical)
        } else if self.failures >= before_warning {
            Some(CheckStatus::Warning)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckStatus::{Critical, Passing, Warning};

    fn statuses(rules: &CheckDefinition, results: &[CheckStatus]) -> Vec<Option<CheckStatus>> {
        let mut streak = Streak::default();
        results.iter().map(|result| streak.add(*result, rules)).collect()
    }

    #[test]
    fn without_thresholds_every_result_counts_at_once() {
        let seen = statuses(&CheckDefinition::default(), &[Passing, Critical, Warning]);

        assert_eq!(seen, [Some(Passing), Some(Critical), Some(Warning)]);
    }

    #[test]
    fn failures_warn_first_and_are_critical_later() {
        let rules =
            CheckDefinition { failures_before_warning: 2, failures_before_critical: 3, ..CheckDefinition::default() };

        let seen = statuses(&rules, &[Critical, Critical, Critical, Critical, Passing, Critical]);

        assert_eq!(seen, [None, Some(Warning), Some(Critical), Some(Critical), Some(Passing), None]);
    }

    #[test]
    fn warning_waits_for_critical_unless_it_has_a_threshold_of_its_own() {
        let rules = CheckDefinition { failures_before_critical: 2, ..CheckDefinition::default() };

        assert_eq!(statuses(&rules, &[Critical, Critical]), [None, Some(Critical)]);
    }

    #[test]
    fn a_failure_restarts_the_way_to_passing() {
        let rules = CheckDefinition { success_before_passing: 2, ..CheckDefinition::default() };

        let seen = statuses(&rules, &[Passing, Critical, Passing, Passing]);

        assert_eq!(seen, [None, Some(Critical), None, Some(Passing)]);
    }
}
