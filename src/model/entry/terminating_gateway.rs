//! `terminating-gateway`: the services outside the mesh that a gateway leads to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{Namespace, Partition, Problems, is_default};

/// The services outside the mesh that a gateway leads to. Kept and shown; no Envoy is configured by it.
///
/// ```hcl
/// Kind = "terminating-gateway"
/// Name = "egress"
/// Services = [{ Name = "billing", CAFile = "/etc/ssl/ca.pem", SNI = "billing.example.com" }]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TerminatingGateway {
    /// The name that the gateway is registered under.
    pub name: String,
    /// Its partition.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Its namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// What it leads to.
    pub services: Vec<LinkedService>,
    /// Free-form facts.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
}

/// A service that a terminating gateway leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LinkedService {
    /// The service; `*` means every one of the namespace that is outside of the mesh.
    pub name: String,
    /// Its namespace; the entry's own when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// File on the gateway with the roots that the service is verified with.
    #[serde(rename = "CAFile", skip_serializing_if = "is_default")]
    pub ca_file: String,
    /// File with the certificate that the service is shown.
    #[serde(skip_serializing_if = "is_default")]
    pub cert_file: String,
    /// File with its key.
    #[serde(skip_serializing_if = "is_default")]
    pub key_file: String,
    /// The name that the service is asked for.
    #[serde(rename = "SNI", skip_serializing_if = "is_default")]
    pub sni: String,
    /// Leave the `Host` of requests as it is.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_auto_host_rewrite: bool,
}

impl TerminatingGateway {
    /// The namespace of a service: its own, else the entry's.
    pub fn namespace_of<'a>(&'a self, service: &'a LinkedService) -> &'a Namespace {
        service.namespace.as_ref().unwrap_or(&self.namespace)
    }

    pub(super) fn normalize(&mut self, namespace: &Namespace) {
        if self.namespace.is_default() {
            self.namespace = namespace.clone();
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        super::validate_service_name(&self.name, "Name", problems);
        let mut seen = BTreeSet::new();
        for (position, service) in self.services.iter().enumerate() {
            let path = format!("Services[{position}]");
            if service.name.trim().is_empty() {
                problems.rule(format!("{path}.Name"), "a name is required; * stands for every service");
            }
            problems.refuse_control_characters(&format!("{path}.Name"), &service.name);
            if !seen.insert((self.namespace_of(service), &service.name)) {
                problems.rule(&path, format!("{:?} is there already: each service stands once", service.name));
            }
            if service.cert_file.is_empty() != service.key_file.is_empty() {
                problems.rule(&path, "CertFile and KeyFile come together");
            }
            if !service.cert_file.is_empty() && service.ca_file.is_empty() {
                problems.rule(format!("{path}.CAFile"), "is required where CertFile and KeyFile are set");
            }
        }
    }
}
