//! The order in which one flush reaches Envoy (xds-protocol, R34): make before break.

use crate::envoy::snapshot::ResourceType;

/// Which part of the changes of a type a step sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// New and changed resources, and the answer that a name does not exist.
    Upserts,
    /// Resources that are gone.
    Removals,
    /// Both, in one response.
    All,
}

/// One step of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The type that is sent.
    pub kind: ResourceType,
    /// What is sent of it.
    pub carries: Carries,
}

/// Every step, first one first.
pub const STEPS: [Step; 6] = [
    // Clusters and listeners name secrets.
    Step { kind: ResourceType::Secret, carries: Carries::All },
    Step { kind: ResourceType::Cluster, carries: Carries::Upserts },
    // A changed cluster warms until its endpoints follow it.
    Step { kind: ResourceType::Endpoint, carries: Carries::All },
    // A listener that moves its name on one address has no gap only if both halves share a response (R35).
    Step { kind: ResourceType::Listener, carries: Carries::All },
    Step { kind: ResourceType::Route, carries: Carries::All },
    // Nothing leads to them any more.
    Step { kind: ResourceType::Cluster, carries: Carries::Removals },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_sent_after_what_it_names_and_clusters_go_last() {
        let steps: Vec<_> = STEPS.iter().map(|step| (step.kind.short_name(), step.carries)).collect();

        assert_eq!(
            steps,
            [
                ("SDS", Carries::All),
                ("CDS", Carries::Upserts),
                ("EDS", Carries::All),
                ("LDS", Carries::All),
                ("RDS", Carries::All),
                ("CDS", Carries::Removals),
            ]
        );
    }
}
