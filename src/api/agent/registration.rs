//! What a registration with the agent does to the state.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::Options;
use crate::model::{
    Check, CheckDefinition, CheckId, CheckKind, InstanceId, Place, Problems, ServiceDefinition, ServiceId,
    expand_sidecar,
};
use crate::store::{CheckKey, NodeKey, Op, View, Write};

/// A registration that breaks no rule, with its sidecar still to be expanded.
#[derive(Debug, Clone)]
pub struct Registration {
    options: Options,
    place: Place,
    definition: ServiceDefinition,
    replace_checks: bool,
    from_file: bool,
}

/// Why something cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// It breaks rules.
    #[error("{0}")]
    Invalid(Problems),
    /// A check would run a script, which no agent does.
    #[error("scripts are disabled: check {0:?} cannot run one")]
    Script(CheckId),
}

impl Registration {
    /// Checks everything that can be seen without the state.
    ///
    /// # Errors
    /// Every broken rule, those of the sidecar included.
    pub fn new(definition: ServiceDefinition, place: Place, options: &Options) -> Result<Self, RegistrationError> {
        refuse_scripts(&definition)?;
        definition.validate(&place.partition).into_result().map_err(RegistrationError::Invalid)?;
        Ok(Self { options: options.clone(), place, definition, replace_checks: false, from_file: false })
    }

    /// The same, removing the checks of the instance that the registration does not name.
    #[must_use]
    pub fn replacing_checks(mut self, replace: bool) -> Self {
        self.replace_checks = replace;
        self
    }

    /// The same, made by a file of the agent: what it registers goes when the file no longer has it.
    #[must_use]
    pub fn from_file(mut self) -> Self {
        self.from_file = true;
        self
    }

    /// The instances and checks that it registers, those of its sidecar included.
    pub fn rows(&self) -> (Vec<InstanceId>, Vec<CheckKey>) {
        let node = NodeKey::new(&self.place, &self.options.node);
        // Which port a sidecar gets does not matter here, and its rules hold.
        let any = expand_sidecar(&self.definition, Some(1), &BTreeSet::new(), self.options.sidecar_ports);
        let sidecar = any.ok().flatten();
        let definitions = std::iter::once(&self.definition).chain(&sidecar);
        let checks = |definition: &ServiceDefinition| {
            let keys = definition.all_checks().into_iter();
            keys.map(|check| CheckKey { node: node.clone(), check: check.check_id }).collect::<Vec<_>>()
        };
        let id = |definition: &ServiceDefinition| node.instance(&definition.to_service(&self.place.partition).id);
        (definitions.clone().map(id).collect(), definitions.flat_map(checks).collect())
    }

    /// The operations, given the latest state. The port of a sidecar without one is chosen here, so this must run inside
    /// [`Store::write_with`](crate::store::Store::write_with).
    ///
    /// # Errors
    /// No port is left for the sidecar.
    pub fn into_write(self, view: &View) -> Result<Write, Problems> {
        let mut ports = UsedPorts::of(&self.options, view);
        self.into_write_beside(view, &mut ports)
    }

    /// [`Registration::into_write`] for one of many: `ports` are those of `view`, and become those of the state after
    /// it.
    ///
    /// # Errors
    /// No port is left for the sidecar.
    pub fn into_write_beside(self, view: &View, ports: &mut UsedPorts) -> Result<Write, Problems> {
        let node = NodeKey::new(&self.place, &self.options.node);
        let sidecar_id = sidecar_id(&self.definition);
        let previous = view.service(&node.instance(&sidecar_id)).map(|row| row.value.port).filter(|port| *port != 0);
        ports.add(self.definition.port);
        let sidecar = expand_sidecar(&self.definition, previous, &ports.used, self.options.sidecar_ports);
        ports.remove(self.definition.port);
        let sidecar = sidecar?;
        let mut ops = Vec::new();
        if view.node(&node).is_none() {
            ops.push(Op::PutNode(self.options.agent_node(&self.place)));
        }
        self.put(view, &node, &self.definition, false, &mut ops);
        if let Some(sidecar) = &sidecar {
            self.put(view, &node, sidecar, true, &mut ops);
        }
        ports.follow(view, &ops);
        Ok(ops.into())
    }

    fn put(&self, view: &View, node: &NodeKey, definition: &ServiceDefinition, is_sidecar: bool, ops: &mut Vec<Op>) {
        let mut service = definition.to_service(&self.place.partition);
        service.locally_registered_as_sidecar = is_sidecar;
        service.from_file = self.from_file;
        let checks: Vec<Check> = definition
            .all_checks()
            .into_iter()
            .map(|check| Check {
                service_name: service.name.clone(),
                service_tags: service.tags.clone(),
                from_file: self.from_file,
                ..check_row(node, check)
            })
            .collect();
        let named: BTreeSet<CheckId> = checks.iter().map(|check| check.check_id.clone()).collect();
        let id = node.instance(&service.id);
        let others = view.checks_of(&id).filter(|row| !named.contains(&row.value.check_id)).map(|row| &*row.value);
        let others: Vec<Op> = if self.replace_checks {
            others.map(|check| Op::DeleteCheck(CheckKey::of(check))).collect()
        } else {
            let renamed = |check: &Check| Check {
                service_name: service.name.clone(),
                service_tags: service.tags.clone(),
                ..check.clone()
            };
            others.map(|check| Op::PutCheck(renamed(check))).collect()
        };
        ops.push(Op::PutService(node.clone(), service));
        ops.extend(others);
        ops.extend(checks.into_iter().map(|check| Op::PutCheck(with_last_result(view, check))));
    }
}

/// The ports of the services of an agent, which no sidecar is given. All places of an agent are on one machine, so they
/// share its ports.
#[derive(Debug, Default)]
pub struct UsedPorts {
    used: BTreeSet<u16>,
    /// How many instances have each of them.
    instances: BTreeMap<u16, usize>,
}

impl UsedPorts {
    /// Those of a state.
    pub fn of(options: &Options, view: &View) -> Self {
        let mut ports = Self::default();
        for datacenter in options.datacenters() {
            for partition in view.partitions(&datacenter) {
                let node = NodeKey::new(&Place::new(&datacenter, &partition), &options.node);
                view.services_on(&node).for_each(|row| ports.add(row.value.port));
            }
        }
        ports
    }

    /// Goes on from the state of `view` to the one after these operations.
    fn follow(&mut self, view: &View, ops: &[Op]) {
        for op in ops {
            if let Op::PutService(node, service) = op {
                if let Some(old) = view.service(&node.instance(&service.id)) {
                    self.remove(old.value.port);
                }
                self.add(service.port);
            }
        }
    }

    fn add(&mut self, port: u16) {
        *self.instances.entry(port).or_default() += 1;
        self.used.insert(port);
    }

    fn remove(&mut self, port: u16) {
        let Some(instances) = self.instances.get_mut(&port) else { return };
        *instances -= 1;
        if *instances == 0 {
            self.instances.remove(&port);
            self.used.remove(&port);
        }
    }
}

/// What removes an instance of the agent, with the sidecar that came with it.
pub(in crate::api) fn deregistration(view: &View, node: &NodeKey, id: &ServiceId) -> Write {
    let sidecar = node.instance(&sidecar_id_of(id.as_str()));
    let came_along = view.service(&sidecar).is_some_and(|row| row.value.locally_registered_as_sidecar);
    let instances = std::iter::once(node.instance(id)).chain(came_along.then_some(sidecar));
    instances.map(Op::DeleteService).collect::<Vec<_>>().into()
}

/// Scripts are refused before the rules are looked at, because that has a status of its own.
fn refuse_scripts(definition: &ServiceDefinition) -> Result<(), RegistrationError> {
    let is_script = |check: &CheckDefinition| matches!(check.kind(), Some(CheckKind::Script | CheckKind::Docker));
    if let Some(check) = definition.all_checks().into_iter().find(is_script) {
        return Err(RegistrationError::Script(check.check_id));
    }
    let nested = definition.connect.as_ref().and_then(|connect| connect.sidecar_service.as_ref());
    let Some(nested) = nested else { return Ok(()) };
    let sidecar = ServiceDefinition { id: sidecar_id(definition), ..nested.as_ref().clone() };
    refuse_scripts(&sidecar)
}

fn sidecar_id(parent: &ServiceDefinition) -> ServiceId {
    sidecar_id_of(if parent.id.as_str().is_empty() { &parent.name } else { parent.id.as_str() })
}

fn sidecar_id_of(parent: &str) -> ServiceId {
    ServiceId::from(format!("{parent}-sidecar-proxy"))
}

/// The row of a check that nobody has run yet. What the row says itself is not repeated in its definition.
pub(super) fn check_row(node: &NodeKey, check: CheckDefinition) -> Check {
    Check {
        node: node.node.clone(),
        check_id: check.check_id.clone(),
        name: check.name.clone(),
        status: check.status.unwrap_or_default(),
        notes: check.notes.clone(),
        service_id: check.service_id.clone(),
        kind: check.kind().map_or("", CheckKind::as_str).to_owned(),
        datacenter: node.place.datacenter.clone(),
        partition: node.place.partition.clone(),
        definition: CheckDefinition {
            check_id: CheckId::default(),
            name: String::new(),
            notes: String::new(),
            service_id: ServiceId::default(),
            status: None,
            ..check
        },
        ..Check::default()
    }
}

/// Registering again does not forget what is known about the health of the instance.
pub(super) fn with_last_result(view: &View, check: Check) -> Check {
    match view.check(&CheckKey::of(&check)) {
        Some(old) if old.value.service_id == check.service_id => {
            Check { status: old.value.status, output: old.value.output.clone(), ..check }
        }
        _ => check,
    }
}
