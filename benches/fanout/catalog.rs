//! The meshes of the scenarios, as registrations of Consul's catalog.

use serde_json::{Value, json};

use crate::ads::Identity;
use crate::http::Write;
use crate::marker;

/// Instances of each service that others call.
pub(crate) const INSTANCES: usize = 10;

/// Proxies on one node.
const PER_NODE: usize = 10;

/// Where proxies run and how they are called, for every form of node that a control plane may want.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    /// `node.id`, with `{proxy}`, `{node}` and `{service}` in it.
    pub(crate) id: String,
    /// `node.metadata`, in the same form.
    pub(crate) metadata: Vec<(String, String)>,
}

impl Default for Naming {
    /// The form of Consul and meshgate.
    fn default() -> Self {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Self {
            id: "{proxy}".to_owned(),
            metadata: vec![pair("namespace", "default"), pair("partition", "default"), pair("node_name", "{node}")],
        }
    }
}

/// One proxy that a stream is for.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    node: String,
    service: String,
    proxy: String,
}

impl Member {
    /// The sidecar number `number` of the clients, ten of which make a service.
    pub(crate) fn client(number: usize) -> Self {
        Self {
            node: format!("client-node-{}", number / PER_NODE),
            service: format!("client-{}", number / PER_NODE),
            proxy: format!("client-{number}-sidecar-proxy"),
        }
    }

    /// The only sidecar of the service with this number.
    pub(crate) fn alone(number: usize) -> Self {
        Self { service: format!("alone-{number}"), ..Self::client(number) }
    }

    /// The mesh gateway with this number.
    pub(crate) fn gateway(number: usize) -> Self {
        Self {
            node: format!("gateway-node-{number}"),
            service: "mesh-gateway".to_owned(),
            proxy: format!("gateway-{number}"),
        }
    }

    pub(crate) fn identity(&self, naming: &Naming) -> Identity {
        let fill = |text: &str| {
            text.replace("{proxy}", &self.proxy).replace("{node}", &self.node).replace("{service}", &self.service)
        };
        Identity {
            id: fill(&naming.id),
            cluster: self.service.clone(),
            metadata: naming.metadata.iter().map(|(key, value)| (key.clone(), fill(value))).collect(),
        }
    }

    fn register(&self, address: &str, service: Value) -> Write {
        let body = json!({ "Node": self.node, "Address": address, "Service": service });
        Write { path: "/v1/catalog/register", body }
    }

    /// Registers the sidecar of a client and its application.
    pub(crate) fn register_client(&self, number: usize, upstreams: &[String]) -> Vec<Write> {
        let address = address([172, 16], number);
        let app = format!("{}-{number}", self.service);
        let upstreams: Vec<_> = upstreams
            .iter()
            .zip(20_000..)
            .map(|(name, port)| json!({ "DestinationName": name, "LocalBindPort": port }))
            .collect();
        let proxy = json!({ "DestinationServiceName": self.service, "DestinationServiceID": app,
            "LocalServicePort": 8080, "Upstreams": upstreams });
        let sidecar = json!({ "Kind": "connect-proxy", "ID": self.proxy, "Service": format!("{}-sidecar-proxy", self.service),
            "Address": address, "Port": 21_000, "Proxy": proxy });
        let app = json!({ "ID": app, "Service": self.service, "Address": address, "Port": 8080 });
        vec![self.register(&address, app), self.register(&address, sidecar)]
    }

    /// Registers a mesh gateway.
    pub(crate) fn register_gateway(&self, number: usize) -> Vec<Write> {
        let address = address([172, 17], number);
        let service = json!({ "Kind": "mesh-gateway", "ID": self.proxy, "Service": self.service,
            "Address": address, "Port": 8443 });
        vec![self.register(&address, service)]
    }
}

/// A service that others call.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) name: String,
    number: usize,
    instances: usize,
}

impl Backend {
    pub(crate) fn new(number: usize, instances: usize) -> Self {
        Self { name: format!("web-{number}"), number, instances }
    }

    /// Registers all its instances and their sidecars.
    pub(crate) fn register(&self) -> Vec<Write> {
        (0..self.instances).flat_map(|instance| self.register_instance(instance, None)).collect()
    }

    /// Moves the sidecar of the first instance to the address of a change.
    pub(crate) fn change(&self, sequence: u32) -> Write {
        self.sidecar(0, &marker::address(sequence))
    }

    /// Registers an instance and its sidecar, which may be at the address of a change.
    pub(crate) fn register_instance(&self, instance: usize, moved: Option<&str>) -> [Write; 2] {
        let address = address([192, 168], self.number * self.instances + instance);
        let app = json!({ "ID": format!("{}-{instance}", self.name), "Service": self.name,
            "Address": address, "Port": 8080 });
        let app = self.member(instance).register(&self.node_address(), app);
        // The first one has an address as long as those of changes are.
        let first = marker::address(0);
        let sidecar = if instance == 0 { moved.unwrap_or(&first) } else { &address };
        [app, self.sidecar(instance, sidecar)]
    }

    fn member(&self, instance: usize) -> Member {
        Member {
            node: format!("web-node-{}", self.number),
            service: self.name.clone(),
            proxy: format!("{}-{instance}-sidecar-proxy", self.name),
        }
    }

    fn node_address(&self) -> String {
        address([172, 18], self.number)
    }

    fn sidecar(&self, instance: usize, address: &str) -> Write {
        let member = self.member(instance);
        let proxy = json!({ "DestinationServiceName": self.name,
            "DestinationServiceID": format!("{}-{instance}", self.name), "LocalServicePort": 8080 });
        let sidecar = json!({ "Kind": "connect-proxy", "ID": member.proxy, "Service": format!("{}-sidecar-proxy", self.name),
            "Address": address, "Port": 21_000, "Proxy": proxy });
        member.register(&self.node_address(), sidecar)
    }
}

/// An address of a network with room for 62,500.
fn address(network: [u8; 2], number: usize) -> String {
    format!("{}.{}.{}.{}", network[0], network[1], number / 250 % 250, 1 + number % 250)
}
