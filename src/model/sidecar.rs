//! `Connect.SidecarService`: the second registration that an application's own one can carry (`http-api.md` 3.2).

use std::collections::BTreeSet;

use super::{CheckDefinition, GoDuration, Problem, Problems, ServiceDefinition, ServiceId, ServiceKind};

/// The range of ports that sidecars without one of their own are given, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SidecarPorts {
    /// Lowest port; 0 switches the range off.
    pub min: u16,
    /// Highest port.
    pub max: u16,
}

impl Default for SidecarPorts {
    fn default() -> Self {
        Self { min: 21_000, max: 21_255 }
    }
}

impl SidecarPorts {
    /// The lowest port of the range that is not in `used`.
    fn lowest_free(self, used: &BTreeSet<u16>) -> Result<u16, Problem> {
        if self.min == 0 || self.max < self.min {
            return Err(Problem::rule(
                "Connect.SidecarService.Port",
                "no port given, and the sidecar port range is off",
            ));
        }
        (self.min..=self.max).find(|port| !used.contains(port)).ok_or_else(|| {
            Problem::rule(
                "Connect.SidecarService.Port",
                format!("none left in the sidecar port range {}..{}", self.min, self.max),
            )
        })
    }
}

/// The sidecar's registration that `parent` implies, if it carries one.
///
/// `previous` is the port that the same sidecar holds already, `used` are the ports of all other local services.
///
/// # Errors
/// Rules that the nested block breaks, or the exhausted port range.
pub fn expand_sidecar(
    parent: &ServiceDefinition,
    previous: Option<u16>,
    used: &BTreeSet<u16>,
    ports: SidecarPorts,
) -> Result<Option<ServiceDefinition>, Problems> {
    const PATH: &str = "Connect.SidecarService";
    let Some(nested) = parent.connect.as_ref().and_then(|connect| connect.sidecar_service.as_deref()) else {
        return Ok(None);
    };
    let mut problems = Problems::default();
    if parent.kind.is_gateway() {
        problems.rule(PATH, format!("a {} cannot have a sidecar service defined", parent.kind));
    }
    if !nested.id.as_str().is_empty() {
        problems.rule(format!("{PATH}.ID"), "Invalid SidecarService: the ID is managed by the agent");
    }
    if nested.connect.as_ref().is_some_and(|connect| connect.sidecar_service.is_some()) {
        problems.rule(format!("{PATH}.Connect"), "Invalid SidecarService: it cannot carry a sidecar of its own");
    }
    problems.into_result()?;

    let mut sidecar = nested.clone();
    let parent_id = if parent.id.as_str().is_empty() { parent.name.as_str() } else { parent.id.as_str() };
    sidecar.id = ServiceId::from(format!("{parent_id}-sidecar-proxy"));
    sidecar.kind = ServiceKind::ConnectProxy;
    sidecar.namespace = parent.namespace.clone();
    sidecar.partition = parent.partition.clone();
    fill(&mut sidecar.name, || format!("{}-sidecar-proxy", parent.name));
    fill(&mut sidecar.address, || parent.address.clone());
    fill(&mut sidecar.token, || parent.token.clone());
    fill(&mut sidecar.tags, || parent.tags.clone());
    fill(&mut sidecar.meta, || parent.meta.clone());
    fill(&mut sidecar.locality, || parent.locality.clone());
    let proxy = sidecar.proxy.get_or_insert_default();
    fill(&mut proxy.destination_service_name, || parent.name.clone());
    fill(&mut proxy.destination_service_id, || ServiceId::from(parent_id));
    if parent.socket_path.is_empty() {
        fill(&mut proxy.local_service_address, || "127.0.0.1".to_owned());
        fill(&mut proxy.local_service_port, || parent.port);
    } else {
        fill(&mut proxy.local_service_socket_path, || parent.socket_path.clone());
    }
    if sidecar.port == 0 {
        sidecar.port = match previous {
            Some(port) => port,
            None => ports.lowest_free(used)?,
        };
    }
    if sidecar.check.is_none() && sidecar.checks.is_empty() {
        sidecar.checks = default_checks(&sidecar, parent_id);
    }
    Ok(Some(sidecar))
}

fn fill<T: Default + PartialEq>(field: &mut T, value: impl FnOnce() -> T) {
    if *field == T::default() {
        *field = value();
    }
}

/// A TCP check of the sidecar's listener and an alias of the application.
fn default_checks(sidecar: &ServiceDefinition, parent_id: &str) -> Vec<CheckDefinition> {
    let local = sidecar.proxy.as_ref().map(|proxy| proxy.local_service_address.as_str());
    let address = match (sidecar.address.as_str(), local) {
        ("", None | Some("")) => "127.0.0.1",
        ("", Some(local)) => local,
        (address, _) => address,
    };
    let listening = CheckDefinition {
        name: "Connect Sidecar Listening".to_owned(),
        tcp: super::SocketEndpoint::new(address, sidecar.port).to_string(),
        interval: Some(GoDuration::from_secs(10)),
        ..CheckDefinition::default()
    };
    let alias = CheckDefinition {
        name: format!("Connect Sidecar Aliasing {parent_id}"),
        alias_service: ServiceId::from(parent_id),
        ..CheckDefinition::default()
    };
    vec![listening, alias]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Connect, Proxy};

    fn web(nested: ServiceDefinition) -> ServiceDefinition {
        ServiceDefinition {
            name: "web".to_owned(),
            port: 80,
            meta: [("a".to_owned(), "b".to_owned())].into(),
            connect: Some(Connect { sidecar_service: Some(Box::new(nested)), ..Connect::default() }),
            ..ServiceDefinition::default()
        }
    }

    fn expand(parent: &ServiceDefinition) -> ServiceDefinition {
        expand_sidecar(parent, None, &BTreeSet::new(), SidecarPorts::default()).expect("valid").expect("has a sidecar")
    }

    #[test]
    fn an_empty_block_is_filled_from_the_application() {
        let sidecar = expand(&web(ServiceDefinition::default()));

        assert_eq!(
            (sidecar.id.as_str(), sidecar.name.as_str(), sidecar.port),
            ("web-sidecar-proxy", "web-sidecar-proxy", 21_000)
        );
        let proxy = sidecar.proxy.clone().expect("has a proxy block");
        assert_eq!((proxy.destination_service_name.as_str(), proxy.local_service_port), ("web", 80));
        let checks = sidecar.all_checks();
        assert_eq!(checks[0].tcp, "127.0.0.1:21000");
        assert_eq!(checks[1].alias_service.as_str(), "web");
        assert_eq!(checks[1].check_id.as_str(), "service:web-sidecar-proxy:2");
    }

    #[test]
    fn its_own_meta_replaces_the_applications() {
        let nested = ServiceDefinition { meta: [("c".to_owned(), "d".to_owned())].into(), ..Default::default() };

        assert_eq!(expand(&web(nested.clone())).meta, nested.meta);
    }

    #[test]
    fn a_kept_port_wins_over_the_lowest_free_one() {
        let used = BTreeSet::from([21_000]);
        let parent = web(ServiceDefinition { proxy: Some(Proxy::default()), ..Default::default() });
        let port = |previous| {
            expand_sidecar(&parent, previous, &used, SidecarPorts::default()).expect("valid").expect("sidecar").port
        };

        assert_eq!((port(None), port(Some(21_007))), (21_001, 21_007));
    }

    #[test]
    fn an_exhausted_range_is_an_error() {
        let used = BTreeSet::from([21_000]);
        let range = SidecarPorts { min: 21_000, max: 21_000 };

        let error = expand_sidecar(&web(ServiceDefinition::default()), None, &used, range).expect_err("full");

        assert!(error.to_string().contains("none left in the sidecar port range"), "{error}");
    }
}
