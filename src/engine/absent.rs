//! What rows could say and do not. A default is a source too: a timeout is 5 s because no resolver says another one.
//!
//! Only settings that are alone enough to change something are listed. What would need more than one field, such as a
//! splitter, cannot be guessed.

use serde_json::{Value, json};

use super::explain::Row;
use crate::model::{EntryKind, FieldPath, InstanceId};

/// A field that a row may lack, with what it could say, likely values first.
pub(super) type Candidate = (FieldPath, Vec<Value>);

/// What a row of this kind could say, whether it is there or not. Of registrations only that of the proxy itself.
pub(super) fn candidates(row: &Row, proxy: &InstanceId) -> Vec<Candidate> {
    match row {
        Row::Entry(key) => of_entry(key.kind),
        Row::Instance(id) if id == proxy => vec![
            modes(FieldPath::of(["Proxy", "MeshGateway", "Mode"])),
            (FieldPath::of(["Proxy", "Config", "local_connect_timeout_ms"]), vec![json!(7000)]),
            (FieldPath::of(["Proxy", "Config", "max_inbound_connections"]), vec![json!(700)]),
        ],
        Row::Instance(_)
        | Row::Node(_)
        | Row::Check(_)
        | Row::Peering(_)
        | Row::TrustBundle(_)
        | Row::Imported(_)
        | Row::Query(_) => Vec::new(),
    }
}

fn of_entry(kind: EntryKind) -> Vec<Candidate> {
    let protocols = || vec![json!("http"), json!("tcp")];
    match kind {
        EntryKind::ProxyDefaults => vec![
            modes(FieldPath::of(["MeshGateway", "Mode"])),
            (FieldPath::of(["Config", "protocol"]), protocols()),
            (FieldPath::of(["AccessLogs", "Enabled"]), vec![json!(true)]),
        ],
        EntryKind::ServiceDefaults => vec![
            (FieldPath::of(["Protocol"]), protocols()),
            modes(FieldPath::of(["MeshGateway", "Mode"])),
            modes(FieldPath::of(["UpstreamConfig", "Defaults", "MeshGateway", "Mode"])),
            (FieldPath::of(["UpstreamConfig", "Defaults", "ConnectTimeoutMs"]), vec![json!(7000)]),
            (FieldPath::of(["ExternalSNI"]), vec![json!("outside.example")]),
            (FieldPath::of(["MaxInboundConnections"]), vec![json!(700)]),
            (FieldPath::of(["LocalConnectTimeoutMs"]), vec![json!(7000)]),
            (FieldPath::of(["LocalRequestTimeoutMs"]), vec![json!(7000)]),
        ],
        EntryKind::ServiceResolver => vec![
            (FieldPath::of(["ConnectTimeout"]), vec![json!("7s")]),
            (FieldPath::of(["RequestTimeout"]), vec![json!("7s")]),
        ],
        EntryKind::ServiceIntentions => vec![(
            FieldPath::of(["Sources"]),
            ["deny", "allow"].map(|action| json!([{ "Name": "*", "Action": action }])).to_vec(),
        )],
        EntryKind::Mesh => vec![
            (FieldPath::of(["TLS", "Incoming", "TLSMinVersion"]), vec![json!("TLSv1_3")]),
            (FieldPath::of(["TLS", "Outgoing", "TLSMinVersion"]), vec![json!("TLSv1_3")]),
            (FieldPath::of(["Peering", "PeerThroughMeshGateways"]), vec![json!(true)]),
        ],
        EntryKind::ServiceRouter
        | EntryKind::ServiceSplitter
        | EntryKind::ExportedServices
        | EntryKind::IngressGateway
        | EntryKind::TerminatingGateway => Vec::new(),
    }
}

fn modes(field: FieldPath) -> Candidate {
    (field, ["local", "remote", "none"].map(Value::from).to_vec())
}
