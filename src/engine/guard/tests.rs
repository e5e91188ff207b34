//! The guard remembers who depends on what; what it decides must be what it would decide without a memory.

use std::sync::Arc;

use proptest::prelude::{ProptestConfig, Strategy};
use proptest::sample::select;
use proptest::{prop_assert_eq, prop_oneof, proptest};
use serde_json::json;

use super::chains::Chains;
use super::guard;
use crate::model::{ConfigEntry, Namespace, Partition, Problems};
use crate::store::{Guard, Memory, Op, Store};

/// Checks every chain on every write.
fn forgetful() -> Guard {
    Arc::new(|before, after, _| {
        let mut problems = Problems::default();
        Chains::default().check(before, after, &mut problems);
        problems.into_result()
    })
}

fn entry() -> impl Strategy<Value = serde_json::Value> {
    let service = || select(vec!["a", "b", "c"]);
    let subset = || select(vec!["", "v1"]);
    let protocol = select(vec!["", "http", "grpc"]);
    let defaults = (service(), protocol)
        .prop_map(|(name, protocol)| json!({ "Kind": "service-defaults", "Name": name, "Protocol": protocol }));
    let redirect = (service(), service(), subset()).prop_map(|(name, to, subset)| {
        json!({ "Kind": "service-resolver", "Name": name, "Redirect": { "Service": to, "ServiceSubset": subset } })
    });
    let subsets = (service(), subset()).prop_map(|(name, subset)| {
        let subsets = if subset.is_empty() { json!({}) } else { json!({ subset: {} }) };
        json!({ "Kind": "service-resolver", "Name": name, "Subsets": subsets })
    });
    let split = (service(), service(), subset()).prop_map(|(name, to, subset)| {
        let splits = json!([{ "Weight": 100, "Service": to, "ServiceSubset": subset }]);
        json!({ "Kind": "service-splitter", "Name": name, "Splits": splits })
    });
    let route = (service(), service(), subset()).prop_map(|(name, to, subset)| {
        let routes = json!([{ "Destination": { "Service": to, "ServiceSubset": subset } }]);
        json!({ "Kind": "service-router", "Name": name, "Routes": routes })
    });
    let all = select(vec!["tcp", "http"])
        .prop_map(|protocol| json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": protocol } }));
    prop_oneof![2 => defaults, 2 => redirect, 3 => subsets, 3 => split, 2 => route, 2 => all]
}

fn op() -> impl Strategy<Value = Op> {
    (entry(), proptest::bool::weighted(0.25)).prop_map(|(entry, is_removal)| {
        let mut entry = ConfigEntry::from_stored(entry).expect("it is written as it is stored");
        entry.normalize(&Partition::default(), &Namespace::default());
        if is_removal { Op::DeleteEntry(entry.key()) } else { Op::PutEntry(entry) }
    })
}

async fn decisions(guard: Guard, ops: &[Op]) -> Vec<Result<(), String>> {
    let (store, _) = Store::open(Box::new(Memory), guard).expect("memory opens");
    let mut decisions = Vec::new();
    for op in ops {
        decisions.push(store.write(vec![op.clone()]).await.map(drop).map_err(|error| error.to_string()));
    }
    decisions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_changes_no_decision(ops in proptest::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (remembering, forgetting) =
            runtime.block_on(async { (decisions(guard(), &ops).await, decisions(forgetful(), &ops).await) });

        prop_assert_eq!(remembering, forgetting);
    }
}

#[tokio::test]
async fn a_write_that_breaks_a_chain_is_refused_with_the_reason() {
    let entries = [
        json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": "http" } }),
        json!({ "Kind": "service-resolver", "Name": "b", "Subsets": { "v1": {} } }),
        json!({ "Kind": "service-splitter", "Name": "a", "Splits": [
            { "Weight": 100, "Service": "b", "ServiceSubset": "v1" },
        ] }),
        // The splitter of another service would lose what it leads to.
        json!({ "Kind": "service-resolver", "Name": "b", "Subsets": { "v2": {} } }),
        json!({ "Kind": "service-defaults", "Name": "b", "Protocol": "grpc" }),
    ];
    let put = |entry: serde_json::Value| {
        let mut entry = ConfigEntry::from_stored(entry).expect("it is written as it is stored");
        entry.normalize(&Partition::default(), &Namespace::default());
        Op::PutEntry(entry)
    };

    let decisions = decisions(guard(), &entries.map(put)).await;

    assert_eq!(decisions[..3], [Ok(()), Ok(()), Ok(())]);
    let [subset, protocol] = [&decisions[3], &decisions[4]].map(|decision| decision.clone().unwrap_err());
    assert!(subset.contains("chain of a could not be compiled: service b has no subset \"v1\""), "{subset}");
    assert!(protocol.contains("a speaks http, b speaks grpc"), "{protocol}");
}

#[tokio::test]
async fn a_service_with_permissions_goes_on_speaking_http() {
    let defaults =
        |name: &str, protocol: &str| json!({ "Kind": "service-defaults", "Name": name, "Protocol": protocol });
    let permission = json!({ "Action": "allow", "HTTP": { "PathPrefix": "/" } });
    let intentions = |name: &str| json!({ "Kind": "service-intentions", "Name": name, "Sources": [{ "Name": "a", "Permissions": [permission] }] });
    let all =
        |protocol: &str| json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": protocol } });
    let put = |entry: serde_json::Value| {
        let mut entry = ConfigEntry::from_stored(entry).expect("it is written as it is stored");
        entry.normalize(&Partition::default(), &Namespace::default());
        Op::PutEntry(entry)
    };
    let entries = [
        all("http"),
        intentions("by-default"),
        defaults("own", "grpc"),
        intentions("own"),
        // Permissions that deny until there is HTTP, and what does not take HTTP away.
        defaults("plain", "tcp"),
        intentions("plain"),
        defaults("own", "http"),
        defaults("other", "tcp"),
    ];
    let ops: Vec<_> = entries.into_iter().chain([defaults("own", "tcp"), all("tcp")]).map(put).collect();

    let decisions = decisions(guard(), &ops).await;

    let (accepted, refused) = decisions.split_at(8);
    assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
    let message =
        |name: &str| Err(format!("{name} must go on speaking HTTP, as service-intentions/{name} has permissions"));
    assert_eq!(refused, [message("own"), message("by-default")]);
}

#[tokio::test]
async fn what_peers_import_stays_where_their_gateway_leads_them() {
    let export = json!({ "Kind": "exported-services", "Name": "default", "Partition": "default", "Services": [
        { "Name": "api", "Consumers": [{ "Peer": "west" }] },
        { "Name": "inside", "Consumers": [{ "Partition": "team-a" }] },
    ] });
    let resolver = |name: &str, key: &str, value: serde_json::Value| json!({ "Kind": "service-resolver", "Name": name, key: value });
    let to = |field: &str, value: &str| json!({ "Service": "api", field: value });
    let put = |entry: &serde_json::Value| {
        let mut entry = ConfigEntry::from_stored(entry.clone()).expect("it is written as it is stored");
        entry.normalize(&Partition::default(), &Namespace::default());
        Op::PutEntry(entry)
    };
    let refused = async |entries: &[serde_json::Value]| {
        let ops: Vec<_> = entries.iter().map(put).collect();
        decisions(guard(), &ops).await.pop().expect("one for each").err()
    };
    let says = |decision: Option<String>, reason: &str| {
        let decision = decision.unwrap_or_else(|| panic!("it is taken, against: {reason}"));
        assert!(decision.contains(reason), "{decision}");
    };

    for (key, value, reason) in [
        ("Redirect", to("Datacenter", "dc2"), "cannot lead to api.default.default.dc2"),
        ("Redirect", to("Peer", "east"), "cannot lead to api.default.default.external.east"),
        ("Redirect", to("Partition", "team-a"), "cannot lead to api.default.team-a.dc"),
        ("Failover", json!({ "*": { "Datacenters": ["dc2"] } }), "cannot fail over to api.default.default.dc2"),
        ("Redirect", json!({ "Service": "other" }), "cannot begin to lead to other.default.default.dc"),
    ] {
        let change = resolver("api", key, value.clone());
        says(refused(&[export.clone(), change.clone()]).await, reason);
        // The same for who exports what leads elsewhere already, unless it leads to a neighbour from the start.
        let later = refused(&[change, export.clone()]).await;
        assert_eq!(later.is_none(), reason.contains("other"), "{later:?}");
        assert_eq!(refused(&[export.clone(), resolver("inside", key, value)]).await, None, "no peer imports it");
    }
    let peer = json!({ "*": { "Targets": [{ "Peer": "east" }] } });
    assert_eq!(refused(&[export.clone(), resolver("api", "Failover", peer)]).await, None, "it is not used there");
    let http = json!({ "Kind": "proxy-defaults", "Name": "global", "Config": { "protocol": "http" } });
    let redirect = resolver("api", "Redirect", json!({ "Service": "other" }));
    assert_eq!(refused(&[http, export, redirect]).await, None, "the gateway ends their TLS");
}

#[tokio::test]
async fn nothing_begins_to_be_permissive_where_the_mesh_does_not_allow_it() {
    let put = |entry: serde_json::Value| {
        let mut entry = ConfigEntry::from_stored(entry).expect("it is written as it is stored");
        entry.normalize(&Partition::default(), &Namespace::default());
        Op::PutEntry(entry)
    };
    let mesh = |allows: bool| put(json!({ "Kind": "mesh", "AllowEnablingPermissiveMutualTLS": allows }));
    let web = |mode: &str, more: &str| {
        put(json!({ "Kind": "service-defaults", "Name": "web", "MutualTLSMode": mode, "ExternalSNI": more }))
    };
    let all = |mode: &str| put(json!({ "Kind": "proxy-defaults", "Name": "global", "MutualTLSMode": mode }));
    let ops = [
        web("permissive", ""),
        all("permissive"),
        web("strict", ""),
        mesh(true),
        web("permissive", ""),
        mesh(false),
        // It is permissive already, and stays so until it is strict again.
        web("permissive", "other"),
        web("", ""),
        web("permissive", ""),
    ];

    let decisions = decisions(guard(), &ops).await;

    let refused: Vec<usize> = (0..ops.len()).filter(|position| decisions[*position].is_err()).collect();
    assert_eq!(refused, [0, 1, 8]);
    assert_eq!(
        decisions[0],
        Err("MutualTLSMode: service-defaults/web cannot begin to be permissive: set AllowEnablingPermissiveMutualTLS in \
             the mesh entry first"
            .to_owned())
    );
}
