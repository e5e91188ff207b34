//! The model over resources that are written out by hand.

use std::sync::Arc;

use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use super::certificate::tests::Authority;
use super::*;
use crate::envoy::descriptors;
use crate::envoy::snapshot::{Resource, ResourceType, Snapshot};
use crate::ir::SocketAddress;

mod gateways;
mod requests;
mod stops;

const TD: &str = "t";

/// Builds what a proxy was sent.
#[derive(Default)]
struct Sent(Snapshot);

impl Sent {
    fn with(mut self, kind: ResourceType, resource: Value) -> Self {
        let descriptor = descriptors::by_type_url(kind.type_url()).unwrap();
        let named = if kind == ResourceType::Endpoint { "clusterName" } else { "name" };
        let name = resource[named].as_str().unwrap().to_owned();
        let message = DynamicMessage::deserialize(descriptor, resource).unwrap_or_else(|e| panic!("{name}: {e}"));
        self.0.insert(kind, Arc::new(Resource::new(&name, message.encode_to_vec().into(), [])));
        self
    }

    fn listener(self, listener: Value) -> Self {
        self.with(ResourceType::Listener, listener)
    }

    fn cluster(self, cluster: Value) -> Self {
        self.with(ResourceType::Cluster, cluster)
    }

    /// An assignment with one priority: addresses, and whether they are healthy.
    fn endpoints(self, cluster: &str, endpoints: &[(&str, bool)]) -> Self {
        let endpoint = |(address, is_healthy): &(&str, bool)| {
            let (host, port) = address.rsplit_once(':').unwrap();
            json!({
                "endpoint": {"address": {"socketAddress": {"address": host, "portValue": port.parse::<u16>().unwrap()}}},
                "healthStatus": if *is_healthy { "HEALTHY" } else { "UNHEALTHY" },
            })
        };
        let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
        self.with(ResourceType::Endpoint, json!({"clusterName": cluster, "endpoints": [{"lbEndpoints": endpoints}]}))
    }

    fn secrets(self, authority: &Authority, identity: &str) -> Self {
        let leaf = json!({"name": "leaf", "tlsCertificate": {
            "certificateChain": {"inlineString": authority.leaf(identity)}, "privateKey": {"inlineString": "secret"},
        }});
        let roots = json!({"name": "roots", "validationContext": {"trustedCa": {"inlineString": authority.pem()}}});
        self.with(ResourceType::Secret, leaf).with(ResourceType::Secret, roots)
    }
}

fn tcp(address: &str) -> SocketAddress {
    let (host, port) = address.rsplit_once(':').unwrap();
    SocketAddress::Tcp(host.into(), port.parse().unwrap())
}

fn address(address: &str) -> Value {
    let (host, port) = address.rsplit_once(':').unwrap();
    json!({"socketAddress": {"address": host, "portValue": port.parse::<u16>().unwrap()}})
}

fn typed(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{kind}"));
    json!({"name": "any", "typedConfig": config})
}

fn tcp_proxy(cluster: &str) -> Value {
    typed("filters.network.tcp_proxy.v3.TcpProxy", json!({"statPrefix": "x", "cluster": cluster}))
}

fn sni_cluster() -> Value {
    typed("filters.network.sni_cluster.v3.SniCluster", json!({}))
}

fn tls_inspector() -> Value {
    typed("filters.listener.tls_inspector.v3.TlsInspector", json!({}))
}

fn network_rbac(rules: Value) -> Value {
    typed("filters.network.rbac.v3.RBAC", json!({"statPrefix": "x", "rules": rules}))
}

fn http_rbac(rules: Value) -> Value {
    typed("filters.http.rbac.v3.RBAC", json!({"rules": rules}))
}

/// A connection manager with these filters before its router.
fn manager(filters: &[Value], mut more: Value) -> Value {
    let router = typed("filters.http.router.v3.Router", json!({}));
    more["statPrefix"] = json!("x");
    more["httpFilters"] = filters.iter().cloned().chain([router]).collect();
    typed("filters.network.http_connection_manager.v3.HttpConnectionManager", more)
}

/// Inline routes.
fn routes(routes: Value) -> Value {
    json!({"routeConfig": {"name": "r", "virtualHosts": [{"name": "v", "domains": ["*"], "routes": routes}]}})
}

fn to_cluster(cluster: &str) -> Value {
    routes(json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]))
}

/// A listener with one filter chain that takes everything.
fn listener(name: &str, at: &str, filters: Value) -> Value {
    json!({"name": format!("{name}:{at}"), "address": address(at), "filterChains": [{"filters": filters}]})
}

fn outbound(upstream: &str, filters: Value) -> Value {
    let mut listener = listener(upstream, "127.0.0.1:9000", filters);
    listener["trafficDirection"] = json!("OUTBOUND");
    listener
}

fn tls(kind: &str, mut context: Value, mut common: Value) -> Value {
    let secret = |name: &str| json!({"name": name, "sdsConfig": {"ads": {}}});
    common["tlsCertificateSdsSecretConfigs"] = json!([secret("leaf")]);
    let names = std::mem::take(&mut context["names"]);
    let names = names.as_array().cloned().unwrap_or_default();
    let matchers = names.iter().map(|name| json!({"sanType": "URI", "matcher": {"exact": name}})).collect::<Vec<_>>();
    common["combinedValidationContext"] = json!({
        "defaultValidationContext": {"matchTypedSubjectAltNames": matchers},
        "validationContextSdsSecretConfig": secret("roots"),
    });
    let fields = context.as_object_mut().unwrap();
    fields.remove("names");
    fields.insert("commonTlsContext".to_owned(), common);
    fields.insert(
        "@type".to_owned(),
        json!(format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}")),
    );
    json!({"name": "tls", "typedConfig": context})
}

/// A cluster that opens mTLS with this SNI to whoever has one of these names.
fn mtls_cluster(name: &str, sni: &str, names: &[&str]) -> Value {
    let mut cluster = plain_cluster(name);
    cluster["transportSocket"] = tls("UpstreamTlsContext", json!({"sni": sni, "names": names}), json!({}));
    cluster["commonLbConfig"] = json!({"healthyPanicThreshold": {}});
    cluster
}

fn plain_cluster(name: &str) -> Value {
    json!({"name": name, "type": "EDS", "edsClusterConfig": {"edsConfig": {"ads": {}}}})
}

fn static_cluster(name: &str, at: &str) -> Value {
    let endpoint = json!({"endpoint": {"address": address(at)}});
    json!({
        "name": name, "type": "STATIC",
        "loadAssignment": {"clusterName": name, "endpoints": [{"lbEndpoints": [endpoint]}]},
    })
}

fn network<const N: usize>(proxies: [(&str, Sent); N], doors: &[(&str, &str, &str)]) -> Network {
    let mut network = Network::default();
    for (name, sent) in proxies {
        network.add_proxy(name, Arc::new(sent.0)).unwrap();
    }
    for (dialled, proxy, local) in doors {
        network.add_door(&tcp(dialled), Door { proxy: (*proxy).into(), local: tcp(local), within: None });
    }
    network
}

/// The proxies of each way, and where it ends.
fn ends(answer: &Answer) -> Vec<(Vec<&str>, String)> {
    let end = |end: &End| match end {
        End::Instance { address: SocketAddress::Tcp(host, port), sni: None } => format!("{host}:{port}"),
        End::Instance { address: SocketAddress::Tcp(host, port), sni: Some(sni) } => format!("{host}:{port} as {sni}"),
        End::Instance { address: SocketAddress::Pipe(path), .. } => path.to_string(),
        End::Stopped(stop) => stop.to_string(),
        End::Unknown(unknown) => unknown.to_string(),
    };
    let outcomes = answer.outcomes.iter();
    let mut ends: Vec<(Vec<&str>, String)> =
        outcomes.map(|it| (it.links.iter().map(|link| &*link.proxy).collect(), end(&it.end))).collect();
    ends.sort();
    ends
}

/// The only end.
fn end(answer: &Answer) -> String {
    match ends(answer).as_slice() {
        [(_, end)] => end.clone(),
        several => panic!("{several:?}"),
    }
}
