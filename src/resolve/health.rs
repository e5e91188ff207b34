//! From checks to Envoy's health and weight (contract 7).

use super::Instance;
use crate::ir::Health;
use crate::model::CheckStatus;

/// Envoy's largest useful weight.
const MAX_WEIGHT: i64 = 128;

/// Health and load balancing weight of an instance. With `only_passing`, warning instances take no traffic.
pub(super) fn of(instance: &Instance, only_passing: bool) -> (Health, u32) {
    let weights = instance.service.weights;
    let mut health = Health::Healthy;
    let mut weight = weights.passing;
    for check in &instance.checks {
        match check.status {
            CheckStatus::Passing => {}
            CheckStatus::Warning => {
                weight = weights.warning;
                if only_passing {
                    health = Health::Unhealthy;
                }
            }
            CheckStatus::Critical => health = Health::Unhealthy,
            CheckStatus::Maintenance => {
                if only_passing {
                    health = Health::Unhealthy;
                }
            }
        }
    }
    if weight < 1 {
        return (Health::Unhealthy, 1);
    }
    (health, u32::try_from(weight.min(MAX_WEIGHT)).expect("from 1 to 128"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Check, Node, Service, Weights};

    fn instance(weights: Weights, statuses: &[CheckStatus]) -> Instance {
        let check = |status: &CheckStatus| Arc::new(Check { status: *status, ..Check::default() });
        Instance {
            service: Arc::new(Service { weights, ..Service::default() }),
            node: Arc::new(Node::default()),
            checks: statuses.iter().map(check).collect(),
            modify_index: 0,
        }
    }

    #[test]
    fn statuses_and_weights() {
        use CheckStatus::{Critical, Maintenance, Passing, Warning};
        let weights = |passing, warning| Weights { passing, warning };
        let table = [
            (weights(1, 1), &[][..], false, (Health::Healthy, 1)),
            (weights(10, 2), &[Passing], false, (Health::Healthy, 10)),
            (weights(10, 2), &[Passing, Warning], false, (Health::Healthy, 2)),
            (weights(10, 2), &[Passing, Warning], true, (Health::Unhealthy, 2)),
            (weights(10, 2), &[Critical], false, (Health::Unhealthy, 10)),
            (weights(10, 0), &[Warning], false, (Health::Unhealthy, 1)),
            (weights(10, 2), &[Maintenance], false, (Health::Healthy, 10)),
            (weights(10, 2), &[Maintenance], true, (Health::Unhealthy, 10)),
            (weights(1_000, 1), &[], false, (Health::Healthy, 128)),
        ];
        for (weights, statuses, only_passing, expected) in table {
            assert_eq!(of(&instance(weights, statuses), only_passing), expected, "{weights:?} {statuses:?}");
        }
    }
}
