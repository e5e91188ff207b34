//! `ingress-gateway`: the ports at which a gateway takes calls from outside the mesh.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{HeaderModifiers, PassiveHealthCheck, TlsDirection};
use crate::model::{Namespace, Partition, Problems, is_default};

/// The ports at which a gateway takes calls from outside the mesh. Kept and shown; no Envoy is configured by it.
///
/// ```hcl
/// Kind = "ingress-gateway"
/// Name = "front"
/// Listeners = [{ Port = 8080, Protocol = "http", Services = [{ Name = "web", Hosts = ["web.example.com"] }] }]
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IngressGateway {
    /// The name that the gateway is registered under.
    pub name: String,
    /// Its partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// TLS of every port that says nothing else.
    #[serde(rename = "TLS")]
    pub tls: IngressTls,
    /// The ports.
    pub listeners: Vec<IngressListener>,
    /// Limits of every service that says nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<IngressLimits>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// TLS towards the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IngressTls {
    /// Calls come over TLS.
    pub enabled: bool,
    /// `TLS_AUTO` or `TLSv1_0` to `TLSv1_3`.
    #[serde(rename = "TLSMinVersion", skip_serializing_if = "is_default")]
    pub min_version: String,
    /// `TLS_AUTO` or `TLSv1_0` to `TLSv1_3`.
    #[serde(rename = "TLSMaxVersion", skip_serializing_if = "is_default")]
    pub max_version: String,
    /// IANA names; only for TLS up to 1.2.
    #[serde(skip_serializing_if = "is_default")]
    pub cipher_suites: Vec<String>,
    /// Where the certificate comes from, if not from the mesh.
    #[serde(rename = "SDS", skip_serializing_if = "Option::is_none")]
    pub sds: Option<IngressSds>,
}

/// A certificate that another server has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IngressSds {
    /// The cluster of that server, as the gateway's bootstrap names it.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_name: String,
    /// The certificate.
    #[serde(skip_serializing_if = "is_default")]
    pub cert_resource: String,
}

/// A port with what is behind it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IngressListener {
    /// The port.
    pub port: u16,
    /// What is spoken there; `tcp` unless set.
    pub protocol: String,
    /// TLS of this port.
    #[serde(rename = "TLS", skip_serializing_if = "Option::is_none")]
    pub tls: Option<IngressTls>,
    /// The services behind it.
    pub services: Vec<IngressService>,
}

/// A service behind a port.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IngressService {
    /// The service; `*` means every one of the namespace that is in the mesh.
    pub name: String,
    /// Its namespace; the entry's own when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Its partition; the entry's own, which is the only one that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// The hosts that it is asked for under.
    #[serde(skip_serializing_if = "is_default")]
    pub hosts: Vec<String>,
    /// Its own certificate.
    #[serde(rename = "TLS", skip_serializing_if = "Option::is_none")]
    pub tls: Option<IngressServiceTls>,
    /// Changes of the headers of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<HeaderModifiers>,
    /// Changes of the headers of responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<HeaderModifiers>,
    /// Most connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Most requests that wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Most requests at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_requests: Option<u32>,
    /// When an instance is left out for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_health_check: Option<PassiveHealthCheck>,
}

/// The certificate of a service behind a port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IngressServiceTls {
    /// Where it comes from.
    #[serde(rename = "SDS", skip_serializing_if = "Option::is_none")]
    pub sds: Option<IngressSds>,
}

/// Limits of services.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IngressLimits {
    /// Most connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Most requests that wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Most requests at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_requests: Option<u32>,
    /// When an instance is left out for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_health_check: Option<PassiveHealthCheck>,
}

/// What a port speaks unless it says so.
const TCP: &str = "tcp";
/// What a port can speak.
const PROTOCOLS: [&str; 4] = [TCP, "http", "http2", "grpc"];

impl IngressGateway {
    /// The namespace of a service: its own, else the entry's.
    pub fn namespace_of<'a>(&'a self, service: &'a IngressService) -> &'a Namespace {
        service.namespace.as_ref().unwrap_or(&self.namespace)
    }

    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
        for listener in &mut self.listeners {
            listener.protocol = listener.protocol.to_lowercase();
            if listener.protocol.is_empty() {
                TCP.clone_into(&mut listener.protocol);
            }
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        super::validate_service_name(&self.name, "Name", problems);
        self.tls.validate("TLS", problems);
        if let Some(check) = self.defaults.as_ref().and_then(|defaults| defaults.passive_health_check.as_ref()) {
            check.validate("Defaults.PassiveHealthCheck", problems);
        }
        let mut ports = BTreeMap::new();
        for (position, listener) in self.listeners.iter().enumerate() {
            let path = format!("Listeners[{position}]");
            if let Some(first) = ports.insert(listener.port, position) {
                let message = format!("{} is the port of Listeners[{first}]: each stands once", listener.port);
                problems.rule(format!("{path}.Port"), message);
            }
            self.validate_listener(listener, &path, problems);
        }
    }

    fn validate_listener(&self, listener: &IngressListener, path: &str, problems: &mut Problems) {
        if listener.port == 0 {
            problems.rule(format!("{path}.Port"), "must be set");
        }
        if !PROTOCOLS.contains(&listener.protocol.as_str()) {
            let message = format!("unknown protocol {:?}: use {}", listener.protocol, PROTOCOLS.join(", "));
            problems.rule(format!("{path}.Protocol"), message);
        }
        if let Some(tls) = &listener.tls {
            tls.validate(&format!("{path}.TLS"), problems);
        }
        let is_http = listener.protocol != TCP;
        match listener.services.len() {
            0 => problems.rule(format!("{path}.Services"), "at least one service is required"),
            2.. if !is_http => {
                problems.rule(format!("{path}.Services"), "several services need a protocol other than tcp");
            }
            _ => {}
        }
        let has_tls = self.tls.enabled || listener.tls.as_ref().is_some_and(|tls| tls.enabled);
        let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
        for (position, service) in listener.services.iter().enumerate() {
            let path = format!("{path}.Services[{position}]");
            if !names.insert((self.namespace_of(service), &service.name)) {
                problems.rule(&path, format!("{:?} is there already: each service stands once", service.name));
            }
            if service.partition.as_ref().is_some_and(|partition| *partition != self.partition) {
                problems.rule(format!("{path}.Partition"), "must be the partition of the entry");
            }
            service.validate(is_http, has_tls, &path, problems);
            for (number, host) in service.hosts.iter().enumerate() {
                if !hosts.insert(host) {
                    problems.rule(format!("{path}.Hosts[{number}]"), format!("{host:?} is there already on this port"));
                }
            }
        }
    }
}

impl IngressService {
    fn validate(&self, is_http: bool, has_tls: bool, path: &str, problems: &mut Problems) {
        if self.name.is_empty() {
            problems.rule(format!("{path}.Name"), "a name is required; * stands for every service");
        }
        problems.refuse_control_characters(&format!("{path}.Name"), &self.name);
        if self.name == "*" && !is_http {
            problems.rule(format!("{path}.Name"), "* needs a protocol other than tcp");
        }
        if self.name == "*" && !self.hosts.is_empty() {
            problems.rule(format!("{path}.Hosts"), "cannot be set for *: no call could tell the services apart");
        }
        if !self.hosts.is_empty() && !is_http {
            problems.rule(format!("{path}.Hosts"), "need a protocol other than tcp");
        }
        for (number, host) in self.hosts.iter().enumerate() {
            let path = format!("{path}.Hosts[{number}]");
            if host == "*" && has_tls {
                problems.rule(path, "* cannot be used with TLS: no certificate is for every name");
            } else if host != "*" && !is_host(host) {
                problems.rule(path, format!("{host:?} is no DNS name; a * may only be its first label"));
            }
        }
        if let Some(sds) = self.tls.as_ref().and_then(|tls| tls.sds.as_ref()) {
            sds.validate(&format!("{path}.TLS.SDS"), problems);
        }
        for (field, headers) in [("RequestHeaders", &self.request_headers), ("ResponseHeaders", &self.response_headers)]
        {
            if let Some(headers) = headers {
                if !is_http {
                    problems.rule(format!("{path}.{field}"), "need a protocol other than tcp");
                }
                headers.validate(&format!("{path}.{field}"), problems);
            }
        }
        if let Some(check) = &self.passive_health_check {
            check.validate(&format!("{path}.PassiveHealthCheck"), problems);
        }
    }
}

impl IngressTls {
    fn validate(&self, path: &str, problems: &mut Problems) {
        let parameters = TlsDirection {
            min_version: self.min_version.clone(),
            max_version: self.max_version.clone(),
            cipher_suites: self.cipher_suites.clone(),
        };
        parameters.validate(path, problems);
        if let Some(sds) = &self.sds {
            sds.validate(&format!("{path}.SDS"), problems);
        }
    }
}

impl IngressSds {
    fn validate(&self, path: &str, problems: &mut Problems) {
        if self.cluster_name.is_empty() != self.cert_resource.is_empty() {
            problems.rule(path, "ClusterName and CertResource come together");
        }
    }
}

/// A DNS name, perhaps with a port, whose first label may be `*`.
fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let name = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_dns_names() {
        for host in ["web", "web.example.com", "*.example.com", "web.example.com:8443"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", "*", "a.*.com", "*web.com", "web_1.com", "-a.com", "a-.com", "a..com", "a:b", "a/b"] {
            assert!(!is_host(host), "{host}");
        }
    }
}
