//! Bounds, versions and what a response may hold.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ads::message::{Content, Event, Interest, Request, RequestError, Response, Variant};
use crate::ads::session::Session;
use crate::envoy::snapshot::{Published, Resource, ResourceType, Snapshot, Version};

fn request(kind: ResourceType, nonce: &str, subscribe: &[&str]) -> Request {
    let subscribe = subscribe.iter().map(|name| (*name).to_owned()).collect();
    let interest = Interest::Delta { subscribe, unsubscribe: Vec::new(), initial_versions: Vec::new() };
    Request { kind, nonce: nonce.to_owned(), rejection: None, interest }
}

fn snapshot(kind: ResourceType, resources: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Published {
    let mut snapshot = Snapshot::default();
    for (name, body) in resources {
        snapshot.insert(kind, Arc::new(Resource::new(name, Bytes::from(body), [])));
    }
    Published { number: 1, snapshot: Arc::new(snapshot) }
}

fn names(response: &Response) -> Vec<&str> {
    match &response.content {
        Content::Delta { resources, .. } | Content::StateOfTheWorld { resources, .. } => {
            resources.iter().map(|resource| &*resource.name).collect()
        }
    }
}

// T129
#[test]
fn large_responses_are_split_one_after_the_other() {
    let mut session = Session::new(Variant::Delta, 100);
    let five = || vec![0; 5 << 20];
    session.on_snapshot(snapshot(
        ResourceType::Endpoint,
        [("a", five()), ("b", vec![1]), ("c", five()), ("d", vec![0; 20 << 20])],
    ));
    session.on_request(request(ResourceType::Endpoint, "", &["a", "b", "c", "d"])).unwrap();

    let mut sent = Vec::new();
    while let Some(response) = session.next(Duration::ZERO) {
        sent.push(names(&response).join(" "));
        session.on_request(request(ResourceType::Endpoint, &response.nonce.to_string(), &[])).unwrap();
    }

    assert_eq!(sent, ["a b", "c", "d"]);
}

#[test]
fn too_much_interest_is_refused() {
    let mut session = Session::new(Variant::Delta, 2);
    let kind = ResourceType::Endpoint;
    let long = "x".repeat(2_049);

    assert_eq!(session.on_request(request(kind, "", &["a", "b"])), Ok(None));
    assert_eq!(session.on_request(request(kind, "", &["a", "b"])), Ok(None));
    let error = session.on_request(request(kind, "", &["c"])).unwrap_err();
    assert_eq!(error, RequestError::TooManyNames { kind, count: 3, limit: 2 });
    assert_eq!(error.to_string(), "EDS: 3 resource names on one stream; at most 2 are allowed");
    let error = session.on_request(request(ResourceType::Secret, "", &[&long])).unwrap_err();
    assert_eq!(error, RequestError::NameTooLong { kind: ResourceType::Secret, length: 2_049, limit: 2_048 });
    let interest = Interest::StateOfTheWorld { names: vec!["a".to_owned(); 3], has_taken: false };
    let request = Request { kind, nonce: String::new(), rejection: None, interest };
    assert_eq!(session.on_request(request), Err(RequestError::TooManyNames { kind, count: 3, limit: 2 }));
}

// T055
#[test]
fn a_long_reason_is_cut() {
    let mut session = Session::new(Variant::Delta, 100);
    let kind = ResourceType::Listener;
    session.on_snapshot(snapshot(kind, [("l", vec![1])]));
    session.on_request(request(kind, "", &[])).unwrap();
    let nonce = session.next(Duration::ZERO).unwrap().nonce.to_string();

    let reason = format!("x{}", "ä".repeat(1 << 19));
    let event = session.on_request(Request { rejection: Some(reason), ..request(kind, &nonce, &[]) }).unwrap();

    let Some(Event::Nacked { message, resources, .. }) = event else { panic!("{event:?}") };
    assert_eq!(message, format!("x{}", "ä".repeat(511)));
    assert_eq!(resources, [(Arc::from("l"), Version::of(&[1]))]);
}

// T012
#[test]
fn nonces_differ_and_set_versions_follow_the_content_alone() {
    let sent = |bodies: &[u8]| {
        let mut session = Session::new(Variant::StateOfTheWorld, 100);
        let mut sent = Vec::new();
        for body in bodies {
            session.on_snapshot(snapshot(ResourceType::Cluster, [("a", vec![*body]), ("b", vec![0])]));
            let nonce = sent.last().map(|(nonce, _): &(u64, Version)| nonce.to_string()).unwrap_or_default();
            let interest = Interest::StateOfTheWorld { names: Vec::new(), has_taken: false };
            session.on_request(Request { kind: ResourceType::Cluster, nonce, rejection: None, interest }).unwrap();
            let response = session.next(Duration::ZERO).unwrap();
            let Content::StateOfTheWorld { version, .. } = response.content else { panic!() };
            sent.push((response.nonce, version));
        }
        sent
    };

    let (first, second) = (sent(&[1, 2, 1]), sent(&[2, 1]));

    assert!(first[0].0 != first[1].0 && first[1].0 != first[2].0);
    assert!(first[0].1 == first[2].1 && first[0].1 != first[1].1);
    assert_eq!((first[0].1, first[1].1), (second[1].1, second[0].1));
}

// T133
#[test]
fn streams_share_the_bytes_of_a_resource() {
    let state = snapshot(ResourceType::Cluster, [("a", vec![1])]);
    let bodies = [Variant::Delta, Variant::Delta].map(|variant| {
        let mut session = Session::new(variant, 100);
        session.on_snapshot(state.clone());
        session.on_request(request(ResourceType::Cluster, "", &[])).unwrap();
        match session.next(Duration::ZERO).unwrap().content {
            Content::Delta { resources, .. } | Content::StateOfTheWorld { resources, .. } => resources[0].clone(),
        }
    });

    assert!(Arc::ptr_eq(&bodies[0], &bodies[1]));
}
