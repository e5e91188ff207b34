//! The addresses that a gateway listens on (contract 4.2, 4.3).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::ir::Bind;
use crate::model::{OpaqueConfig, Service, ServiceAddress};
use crate::resolve::{opaque, sidecar};

/// The addresses, sorted by name; of names with one address the first counts.
pub(super) fn of(proxy: &Service, options: &OpaqueConfig) -> Vec<(Arc<str>, Bind)> {
    // Each option has an older spelling.
    let flag = |key: &str| {
        opaque::flag(options, &format!("envoy_gateway_{key}"))
            || opaque::flag(options, &format!("envoy_mesh_gateway_{key}"))
    };
    let bind = |address: &str, port: u16| Bind::Tcp(sidecar::any_address_if_empty(address), port);
    let mut named: Vec<(Arc<str>, Bind)> = Vec::new();
    if !flag("no_default_bind") {
        named.push(("default".into(), bind(&proxy.address, proxy.port)));
    }
    if flag("bind_tagged_addresses") {
        let tagged = proxy.tagged_addresses.iter();
        named.extend(tagged.map(|(name, tagged)| {
            let port = if tagged.port == 0 { proxy.port } else { tagged.port };
            (name.as_str().into(), bind(&tagged.address, port))
        }));
    }
    let listed = opaque::object(options, "envoy_gateway_bind_addresses")
        .or_else(|| opaque::object(options, "envoy_mesh_gateway_bind_addresses"));
    for (name, value) in listed.into_iter().flatten() {
        if let Some(ServiceAddress { address, port }) = bind_address(value) {
            named.push((name.as_str().into(), bind(&address, port)));
        }
    }
    named.sort();
    let mut seen = BTreeSet::new();
    named.retain(|(_, bind)| seen.insert(bind.clone()));
    named
}

fn bind_address(value: &Value) -> Option<ServiceAddress> {
    // HCL's blocks are lists of one object.
    let object = value.as_array().and_then(|items| items.first()).unwrap_or(value).as_object()?;
    Some(ServiceAddress {
        address: opaque::text(object, "address").unwrap_or_default(),
        port: u16::try_from(opaque::integer(object, "port")?).ok()?,
    })
}
