//! Checks that sidecars expose in plain text, so that whoever runs them reaches an application that only its sidecar
//! reaches (contract 3.7).
//!
//! Every exposed check has a port of its own. Nobody hands them out: which one it is follows from what the sidecars of the
//! node expose, and a check that comes or goes moves another one only if both would have the same.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use super::state::State;
use super::{merge, sidecar};
use crate::model::{
    Check, CheckId, CheckKind, ExposePath, InstanceId, NodeName, Place, Service, ServiceId, ServiceKind,
};

/// The ports of exposed checks (`http-api.md` 3.1).
const PORTS: RangeInclusive<u16> = 21_500..=21_755;

/// The path of a gRPC health check.
const GRPC_PATH: &str = "/grpc.health.v1.Health/Check";

/// A check that a sidecar exposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedCheck {
    /// The sidecar.
    pub proxy: ServiceId,
    /// The check.
    pub check: CheckId,
    /// What the sidecar makes reachable.
    pub path: ExposePath,
    /// An address at which it listens for that.
    pub host: String,
}

/// True for a sidecar that exposes the checks of its application.
pub fn exposes_checks(state: &dyn State, service: &Service) -> bool {
    service.kind == ServiceKind::ConnectProxy && merge::expose(state, service).checks
}

/// The checks that the sidecars of a node expose, by sidecar and check. Those for which no port is left are not exposed.
pub fn exposed_checks(state: &dyn State, place: &Place, node: &NodeName) -> Vec<ExposedCheck> {
    let services = state.services_on(place, node);
    let sidecars = services.iter().filter(|service| service.kind == ServiceKind::ConnectProxy);
    let sidecars: Vec<_> = sidecars.map(|proxy| (proxy, merge::expose(state, proxy))).collect();
    if !sidecars.iter().any(|(_, expose)| expose.checks) {
        return Vec::new();
    }
    let checks = state.checks_on(place, node);
    let mut taken: BTreeSet<u16> =
        sidecars.iter().flat_map(|(_, expose)| &expose.paths).map(|path| path.listener_port).collect();
    let mut exposed = Vec::new();
    for (proxy, _) in sidecars.iter().filter(|(_, expose)| expose.checks) {
        let of_application = checks.iter().filter(|check| check.service_id == proxy.proxy.destination_service_id);
        for check in of_application {
            let Some(path) = path(check) else { continue };
            let Some(port) = free_port(&taken, proxy, &check.check_id) else { continue };
            taken.insert(port);
            exposed.push(ExposedCheck {
                proxy: proxy.id.clone(),
                check: check.check_id.clone(),
                path: ExposePath { listener_port: port, ..path },
                host: reachable(&sidecar::bind_host(&merge::options(state, proxy), proxy)).to_owned(),
            });
        }
    }
    exposed
}

/// The checks that one sidecar exposes.
pub(super) fn exposed_by(state: &dyn State, instance: &InstanceId) -> Vec<ExposedCheck> {
    let all = exposed_checks(state, &instance.place, &instance.node);
    all.into_iter().filter(|exposed| exposed.proxy == instance.id).collect()
}

/// What a check asks for, if it can be asked for in plain text.
fn path(check: &Check) -> Option<ExposePath> {
    let definition = &check.definition;
    let (path, local_path_port, protocol) = match definition.kind()? {
        CheckKind::Http => {
            let (port, path) = definition.plain_http_target()?;
            (path, port, "http")
        }
        CheckKind::Grpc => (GRPC_PATH.to_owned(), definition.plain_grpc_port()?, "http2"),
        CheckKind::Ttl
        | CheckKind::Tcp
        | CheckKind::Udp
        | CheckKind::Alias
        | CheckKind::Docker
        | CheckKind::Script
        | CheckKind::H2Ping
        | CheckKind::OsService => return None,
    };
    Some(ExposePath { path, local_path_port, protocol: protocol.to_owned(), parsed_from_check: true, listener_port: 0 })
}

/// The port that the names choose, or the next one that is free.
fn free_port(taken: &BTreeSet<u16>, proxy: &Service, check: &CheckId) -> Option<u16> {
    let digest = Sha256::digest(format!("{}/{check}", proxy.id));
    let (from, to) = (*PORTS.start(), *PORTS.end());
    let chosen = from + u16::from_be_bytes([digest[0], digest[1]]) % (to - from + 1);
    (chosen..=to).chain(from..chosen).find(|port| !taken.contains(port))
}

/// Whoever listens on every address is reached on the host's own.
fn reachable(bind: &str) -> &str {
    match bind {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        other => other,
    }
}
