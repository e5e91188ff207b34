//! What `path` answers about random meshes is what the resources of a running engine do.

use std::cell::RefCell;

use http::Method;
use meshgate::envoy::path::{End, Request, Traffic};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use serde_json::Value;

use crate::paths::{Counts, Sight, over_meshes, upstream_name};

fn broken(answer: &Value) -> Vec<u64> {
    let links = answer["Links"].as_array().expect("a list").iter();
    let broken = links.filter(|link| link["Status"] == "broken");
    broken.map(|link| link["Number"].as_u64().expect("a number")).collect()
}

async fn answers_are_true(sight: &Sight<'_>, counts: &RefCell<Counts>) -> Result<(), TestCaseError> {
    for caller in sight.oracle.view().sidecars() {
        for upstream in &caller.service.proxy.upstreams {
            let name = upstream_name(&caller.at.partition, upstream);
            // Without a partition, a service of the caller's own can be meant.
            let to = if name.contains('/') { name.clone() } else { format!("default/default/{name}") };
            let from = format!("{}@{}", caller.service.id, caller.at.datacenter);
            let path = format!(
                "/v1/meshgate/path?from={from}&to={}&dc={}&partition={}",
                to.replace('?', "%3F").replace('=', "%3D"),
                caller.at.datacenter,
                caller.at.partition,
            );
            let (status, body) = sight.mesh.call(&Method::GET, &path, String::new()).await;
            prop_assert_eq!(status, 200, "{}: {}", path, body);
            let answer: Value = serde_json::from_str(&body).expect("JSON");
            let traffic = if answer["Protocol"] == "http" { Traffic::Http(Request::get("/")) } else { Traffic::Tcp };
            let real = sight.network.from_upstream(&caller.name, &name, &traffic);
            // Each way is a share of the traffic.
            let arrives = real.outcomes.iter().all(|it| matches!(it.end, End::Instance { .. }));
            let broken = broken(&answer);
            prop_assert_eq!(broken.is_empty(), arrives, "{}: {:#}\n{:#?}", path, answer, real);
            prop_assert_eq!(answer["Ok"].as_bool(), Some(arrives), "{}", path);
            let ways = answer["Ways"].as_array().expect("a list");
            prop_assert!(ways.len() == real.outcomes.len(), "{}: {:#}\n{:#?}", path, answer, real);
            let what = match broken.first() {
                None => "arrives",
                Some(6) => "is denied",
                Some(9) => "finds nobody",
                Some(5) => "is not exported",
                Some(_) => "is broken elsewhere",
            };
            *counts.borrow_mut().entry(what.to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

#[test]
fn the_path_doctor_says_what_the_resources_do() {
    let wanted = [("arrives", 10), ("is denied", 1), ("finds nobody", 3), ("is not exported", 1)];
    over_meshes(12, &wanted, answers_are_true);
}
