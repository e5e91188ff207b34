//! The example configurations of the mesh gateway guide are understood, in both formats.

use meshgate::codec::{Definitions, Format, definitions};
use meshgate::model::{ConfigEntry, GatewayMode, MeshGateway, ServiceDefinition, ServiceKind, Upstream};

fn example(text: &str, format: Format) -> Definitions {
    definitions(text.as_bytes(), format).unwrap_or_else(|problems| panic!("{problems}"))
}

fn mode(mode: GatewayMode) -> MeshGateway {
    MeshGateway { mode: Some(mode) }
}

/// Name, datacenter, peer, port and gateway mode.
fn upstream(upstream: &Upstream) -> (&str, &str, &str, u16, MeshGateway) {
    let datacenter = upstream.datacenter.as_str();
    let peer = upstream.destination_peer.as_str();
    (&upstream.destination_name, datacenter, peer, upstream.local_bind_port, upstream.mesh_gateway)
}

#[test]
fn gateways_are_enabled_globally() {
    for (text, format) in [
        (include_str!("../testdata/examples/global.hcl"), Format::Hcl),
        (include_str!("../testdata/examples/global.yaml"), Format::Yaml),
    ] {
        let found = example(text, format);

        let [ConfigEntry::ProxyDefaults(entry)] = found.entries.as_slice() else { panic!("{found:?}") };
        assert_eq!((entry.name.as_str(), entry.mesh_gateway), ("global", mode(GatewayMode::Local)));
        assert_eq!(found.services, []);
    }
}

#[test]
fn gateways_are_enabled_per_service() {
    for (text, format) in [
        (include_str!("../testdata/examples/service.hcl"), Format::Hcl),
        (include_str!("../testdata/examples/service.yaml"), Format::Yaml),
    ] {
        let found = example(text, format);

        let [ConfigEntry::ServiceDefaults(entry)] = found.entries.as_slice() else { panic!("{found:?}") };
        assert_eq!((entry.name.as_str(), entry.mesh_gateway), ("web", mode(GatewayMode::Local)));
        assert_eq!(found.services, []);
    }
}

/// A sidecar registered by itself, as every example of a registration has one.
fn assert_sidecar(service: &ServiceDefinition, gateway: MeshGateway) {
    assert_eq!(
        (service.kind, service.name.as_str(), service.port),
        (ServiceKind::ConnectProxy, "web-sidecar-proxy", 8181)
    );
    let proxy = service.proxy.as_ref().expect("has a proxy block");
    assert_eq!((proxy.destination_service_name.as_str(), proxy.mesh_gateway), ("web", gateway));
}

fn upstreams(service: &ServiceDefinition) -> Vec<(&str, &str, &str, u16, MeshGateway)> {
    service.proxy.iter().flat_map(|proxy| &proxy.upstreams).map(upstream).collect()
}

#[test]
fn gateways_are_enabled_for_an_instance() {
    let found = example(include_str!("../testdata/examples/instance.hcl"), Format::Hcl);

    let [sidecar, application] = found.services.as_slice() else { panic!("{found:?}") };
    assert_sidecar(sidecar, mode(GatewayMode::Remote));
    assert_eq!(upstreams(sidecar), [("api", "secondary", "", 10_000, MeshGateway::default())]);
    assert_eq!((application.name.as_str(), application.port), ("web", 8181));
    let nested = application.connect.as_ref().and_then(|connect| connect.sidecar_service.as_deref());
    let nested = nested.expect("has a sidecar");
    assert_eq!(nested.proxy.as_ref().expect("has a proxy block").mesh_gateway, mode(GatewayMode::Remote));
    assert_eq!(upstreams(nested), [("api", "secondary", "", 10_000, MeshGateway::default())]);
    assert_eq!(found.entries, []);
}

#[test]
fn gateways_are_enabled_for_an_instance_in_yaml() {
    let found = example(include_str!("../testdata/examples/instance.yaml"), Format::Yaml);

    let [sidecar] = found.services.as_slice() else { panic!("{found:?}") };
    assert_sidecar(sidecar, mode(GatewayMode::Remote));
    assert_eq!(upstreams(sidecar), [("api", "secondary", "", 100, MeshGateway::default())]);
}

#[test]
fn gateways_are_enabled_for_single_upstreams() {
    let found = example(include_str!("../testdata/examples/upstreams.hcl"), Format::Hcl);

    let [sidecar] = found.services.as_slice() else { panic!("{found:?}") };
    assert_sidecar(sidecar, MeshGateway::default());
    assert_eq!(
        upstreams(sidecar),
        [
            ("api", "", "cluster-01", 10_000, mode(GatewayMode::Remote)),
            ("db", "secondary", "", 10_001, mode(GatewayMode::Local)),
            ("logging", "secondary", "", 10_002, mode(GatewayMode::None)),
        ]
    );
}

#[test]
fn gateways_are_enabled_for_single_upstreams_in_yaml() {
    let found = example(include_str!("../testdata/examples/upstreams.yaml"), Format::Yaml);

    let [sidecar] = found.services.as_slice() else { panic!("{found:?}") };
    assert_sidecar(sidecar, MeshGateway::default());
    assert_eq!(
        upstreams(sidecar),
        [
            ("api", "", "", 10_000, mode(GatewayMode::Remote)),
            ("db", "", "", 10_001, mode(GatewayMode::Local)),
            ("logging", "", "", 10_002, mode(GatewayMode::None)),
        ]
    );
}
