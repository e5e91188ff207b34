//! The surroundings of a case as sections of a bundle (`docs/bundle.md`).

use serde_json::{Map, Value, json};

use super::case::Case;

/// Everything that no call can set up.
pub(crate) fn sections(case: &Case) -> Value {
    let state = &case.state;
    let mut catalog = Catalog::default();
    for (datacenter, registrations) in &state.remote_datacenters {
        registrations.iter().for_each(|body| catalog.register(datacenter, body));
    }
    let queries = state.prepared_queries.iter().map(|(name, nodes)| json!({ "Name": name, "Nodes": nodes }));
    json!({
        "Nodes": catalog.nodes.values().collect::<Vec<_>>(),
        "Services": catalog.services,
        "Checks": catalog.checks,
        "Datacenters": case.datacenters.iter().map(|name| json!({ "Name": name })).collect::<Vec<_>>(),
        "FederationStates": state.federation_states,
        "Peerings": state.peerings,
        "PeerTrustBundles": state.peer_trust_bundles,
        "ImportedServices": state.imported_services.iter().map(imported).collect::<Vec<_>>(),
        "PreparedQueries": queries.collect::<Vec<_>>(),
    })
}

/// Rows of catalogs. A node that is registered several times is one row, the latest.
#[derive(Default)]
struct Catalog {
    nodes: Map<String, Value>,
    services: Vec<Value>,
    checks: Vec<Value>,
}

impl Catalog {
    /// Takes a body of `catalog/register` apart.
    fn register(&mut self, datacenter: &str, body: &Value) {
        let (mut node, service, checks) = parts(body);
        node.insert("Datacenter".to_owned(), datacenter.into());
        let name = node["Node"].clone();
        self.nodes.insert(format!("{datacenter}/{name}"), node.into());
        self.services
            .extend(service.map(|service| json!({ "Datacenter": datacenter, "Node": name, "Service": service })));
        self.checks.extend(checks.into_iter().map(|mut check| {
            check["Datacenter"] = datacenter.into();
            check["Node"] = name.clone();
            check
        }));
    }
}

/// The node, the service and the checks of a body.
fn parts(body: &Value) -> (Map<String, Value>, Option<Value>, Vec<Value>) {
    let mut node = body.as_object().cloned().unwrap_or_default();
    let service = node.remove("Service");
    let check = node.remove("Check");
    let checks = node.remove("Checks").and_then(|checks| checks.as_array().cloned()).unwrap_or_default();
    if let Some(meta) = node.remove("NodeMeta") {
        node.insert("Meta".to_owned(), meta);
    }
    (node, service, check.into_iter().chain(checks).collect())
}

/// A row of what a peer exported.
fn imported(body: &Value) -> Value {
    let (mut node, service, checks) = parts(body);
    let peer = node.remove("PeerName");
    json!({ "PeerName": peer, "Node": node, "Service": service, "Checks": checks })
}
