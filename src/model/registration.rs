//! The rules of a registration as a whole: of the service, of its checks and of the sidecar that it carries.

use std::collections::BTreeSet;

use super::{Partition, Problems, ServiceDefinition, SidecarPorts, expand_sidecar};

/// Stands for the name that a service lacks, so that its sidecar need not lack one too.
const ANY_NAME: &str = "service";

impl ServiceDefinition {
    /// Every broken rule of a registration in `partition` (`http-api.md` 3.2, 3.6 to 3.8), at its place in it.
    pub fn validate(&self, partition: &Partition) -> Problems {
        let mut problems = self.validate_alone(partition);
        // The port does not matter here: which one is free is known only where the other services are.
        match expand_sidecar(&self.with_nothing_to_refuse(), Some(1), &BTreeSet::new(), SidecarPorts::default()) {
            Ok(None) => {}
            Ok(Some(sidecar)) => problems.extend_under("Connect.SidecarService", sidecar.validate_alone(partition)),
            Err(nested) => problems.0.extend(nested.0),
        }
        problems
    }

    /// The same, where what a sidecar has from it breaks no rule: that is told once, of the service.
    fn with_nothing_to_refuse(&self) -> Self {
        let name = if self.name.is_empty() { ANY_NAME } else { &self.name };
        let (address, meta, locality) = Default::default();
        Self { name: name.to_owned(), address, meta, locality, ..self.clone() }
    }

    fn validate_alone(&self, partition: &Partition) -> Problems {
        let mut problems = self.to_service(partition).validate();
        let nested = self.check.iter().map(|_| "Check".to_owned());
        let places = nested.chain((0..self.checks.len()).map(|position| format!("Checks[{position}]")));
        for (place, check) in places.zip(self.all_checks()) {
            problems.extend_under(&place, check.validate());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CheckDefinition, Connect, GoDuration};

    fn paths(definition: &ServiceDefinition) -> Vec<String> {
        definition.validate(&Partition::default()).0.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn checks_are_judged_at_the_places_that_they_were_given_in() {
        let late = || CheckDefinition { ttl: Some(GoDuration::from_secs(-1)), ..CheckDefinition::default() };
        let good = CheckDefinition { ttl: Some(GoDuration::from_secs(1)), ..CheckDefinition::default() };
        let definition = ServiceDefinition {
            name: "web".to_owned(),
            check: Some(late()),
            checks: vec![good, late()],
            ..ServiceDefinition::default()
        };

        assert_eq!(paths(&definition), ["Check.TTL", "Checks[1].TTL"]);
    }

    #[test]
    fn what_a_sidecar_has_from_its_service_is_wrong_once() {
        let nested = ServiceDefinition { address: "::".to_owned(), ..ServiceDefinition::default() };
        let definition = ServiceDefinition {
            address: "0.0.0.0".to_owned(),
            meta: [("consul-x".to_owned(), "1".to_owned())].into(),
            connect: Some(Connect { sidecar_service: Some(Box::new(nested)), ..Connect::default() }),
            ..ServiceDefinition::default()
        };

        assert_eq!(paths(&definition), ["Name", "Address", "Meta.consul-x", "Connect.SidecarService.Address"]);
    }
}
