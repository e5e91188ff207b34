//! Real Envoys of the oldest and the newest supported version take every case over ADS, one after the other.

use std::sync::Arc;

use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log::ConfigType};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::substitution_format_string::Format;
use envoy_types::pb::envoy::config::core::v3::{DataSource, SubstitutionFormatString};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::access_loggers::stream::v3::{
    StdoutAccessLog, stdout_access_log::AccessLogFormat,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use envoy_types::pb::google::protobuf::{Duration, UInt32Value};
use envoy_types::util::pack_any;
use meshgate::envoy::canonical;
use meshgate::envoy::snapshot::{Resource, ResourceType, Snapshot};
use meshgate::model::{Parameters, access_log_operators};
use prost::{Message, Name};

use crate::case::Case;
use crate::conformance;
use crate::support::envoy::{TestEnvoy, oldest_and_newest};

/// The tests here take turns: Envoys that wait for each other's processor wait in vain for what is on its way.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Cases in which the operator gives something that Envoy refuses, and its reason.
const REFUSED: [(&str, &str); 1] = [("custom-public-listener-http", "StatPrefix: value length must be at least 1")];

/// Loads snapshots by name into both Envoys; every refusal.
async fn refusals(snapshots: &[(String, Arc<Snapshot>)]) -> Vec<String> {
    let _turn = TURN.lock().await;
    let of_version = async |version| {
        let envoy = TestEnvoy::start(version).await;
        let mut refused = Vec::new();
        for (name, snapshot) in snapshots {
            if let Err(reason) = envoy.load(snapshot).await {
                refused.push(format!("{name}: Envoy {version}: {reason}"));
            }
        }
        refused
    };
    futures::future::join_all(oldest_and_newest().map(of_version)).await.concat()
}

#[tokio::test]
async fn envoys_accept_every_case() {
    let mut snapshots = Vec::new();
    for case in Case::all() {
        snapshots.push((case.name(), case.run().await.snapshot));
    }

    let refused = refusals(&snapshots).await;

    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[tokio::test]
async fn envoys_accept_every_conformance_case() {
    let snapshots = conformance::snapshots().await;

    let mut refused = refusals(&snapshots).await;

    refused.retain(|text| !REFUSED.iter().any(|(case, reason)| text.starts_with(case) && text.contains(reason)));
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// A snapshot with the last resource of a type changed.
fn changed<M: Message + Name + Default>(
    snapshot: &Snapshot,
    kind: ResourceType,
    change: impl FnOnce(&mut M),
) -> Snapshot {
    let mut snapshot = snapshot.clone();
    let resource = snapshot.get(kind).values().last().expect("there is one").clone();
    let mut message = M::decode(resource.body.clone()).expect("a message of the type");
    change(&mut message);
    let body = canonical::encode(&message);
    let changed = Resource::new(&resource.name, body, resource.references.iter().cloned());
    snapshot.insert(kind, Arc::new(changed));
    snapshot
}

/// A snapshot without the last resource of a type.
fn without(snapshot: &Snapshot, kind: ResourceType) -> Snapshot {
    let mut snapshot = snapshot.clone();
    let set = snapshot.get_mut(kind);
    let last = set.keys().last().expect("there is one").clone();
    set.remove(&last);
    snapshot
}

/// The check above sees what is wrong in each type of resource, and what something waits for in vain.
#[tokio::test]
async fn envoys_refuse_what_is_broken() {
    let case = Case::all().into_iter().find(|case| case.name() == "upstream-http-redirect-to-other-dc");
    let good = case.expect("a case with resources of every type").run().await.snapshot;
    let broken = [
        changed(&good, ResourceType::Listener, |listener: &mut Listener| listener.filter_chains.clear()),
        changed(&good, ResourceType::Cluster, |cluster: &mut Cluster| {
            cluster.connect_timeout = Some(Duration::default());
        }),
        changed(&good, ResourceType::Endpoint, |endpoints: &mut ClusterLoadAssignment| {
            endpoints.endpoints[0].lb_endpoints[0].load_balancing_weight = Some(UInt32Value { value: 0 });
        }),
        changed(&good, ResourceType::Route, |route: &mut RouteConfiguration| route.virtual_hosts[0].domains.clear()),
        changed(&good, ResourceType::Secret, |secret: &mut Secret| {
            secret.r#type = Some(secret::Type::TlsCertificate(Default::default()));
        }),
    ];

    const A_WHILE: std::time::Duration = std::time::Duration::from_secs(2);
    let _turn = TURN.lock().await;
    for version in oldest_and_newest() {
        let envoy = TestEnvoy::start(version).await;
        envoy.load(&good).await.unwrap();
        for (position, snapshot) in broken.iter().enumerate() {
            let refused = envoy.load(snapshot).await;
            assert!(refused.is_err(), "Envoy {version} does not see break {position}");
        }
        for kind in [ResourceType::Secret, ResourceType::Route] {
            let refused = envoy.load_within(&without(&good, kind), A_WHILE).await;
            assert!(refused.is_err(), "Envoy {version} does not miss a resource of {kind}");
        }
        envoy.load(&good).await.unwrap();
    }
}

/// What is let through between percent signs in the formats of access logs is what the newest Envoy knows.
#[tokio::test]
async fn an_envoy_knows_every_operator_of_access_logs() {
    let case = Case::all().into_iter().find(|case| case.name() == "sidecar-tcp");
    let good = case.expect("a case with a listener").run().await.snapshot;
    let with_format = |format: &str| {
        let text = DataSource { specifier: Some(Specifier::InlineString(format.to_owned())), ..DataSource::default() };
        let format = Some(Format::TextFormatSource(text));
        let log_format = SubstitutionFormatString { format, ..SubstitutionFormatString::default() };
        let stdout = StdoutAccessLog { access_log_format: Some(AccessLogFormat::LogFormat(log_format)) };
        changed(&good, ResourceType::Listener, |listener: &mut Listener| {
            let config_type = Some(ConfigType::TypedConfig(pack_any(stdout)));
            listener.access_log = vec![AccessLog { config_type, ..AccessLog::default() }];
        })
    };
    let all: String = access_log_operators()
        .map(|(name, parameters)| match parameters {
            Parameters::Required(example) => format!("%{name}({example})% "),
            Parameters::Optional | Parameters::No => format!("%{name}% "),
        })
        .collect();

    let [_, newest] = oldest_and_newest();
    let envoy = TestEnvoy::start(newest).await;
    envoy.load(&with_format(&all)).await.unwrap();
    assert!(envoy.load(&with_format("%NO_SUCH_OPERATOR%")).await.is_err());
}
