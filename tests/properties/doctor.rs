//! What `path` answers about random meshes is what the resources of a running engine do.

use std::cell::RefCell;
use std::collections::BTreeMap;

use http::Method;
use meshgate::envoy::path::{End, Request, Traffic};
use meshgate::model::IntentionPolicy;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use proptest::{prop_assert, prop_assert_eq, sample::select};
use serde_json::Value;

use crate::paths::{Sight, upstream_name};
use crate::world::{Purpose, world};
use crate::{config, runtime};

/// How often each answer was given.
type Counts = BTreeMap<&'static str, u32>;

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
            *counts.borrow_mut().entry(what).or_default() += 1;
        }
    }
    Ok(())
}

#[test]
fn the_path_doctor_says_what_the_resources_do() {
    let counts = RefCell::new(Counts::new());
    let policies = vec![IntentionPolicy::Allow, IntentionPolicy::Allow, IntentionPolicy::Deny];
    let found = TestRunner::new(config(12)).run(&(world(Purpose::Paths), select(policies)), |(world, policy)| {
        runtime().block_on(async { answers_are_true(&Sight::of(&world, policy).await, &counts).await })
    });
    match found {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Err(TestError::Fail(reason, mesh)) => panic!("{reason}\nin {mesh:?}"),
    }
    let counts = counts.into_inner();
    for (what, at_least) in [("arrives", 10), ("is denied", 1), ("finds nobody", 3), ("is not exported", 1)] {
        assert!(counts.get(what).is_some_and(|seen| *seen >= at_least), "{what} seen too rarely: {counts:?}");
    }
}
