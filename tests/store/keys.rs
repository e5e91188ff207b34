//! Keys whose readers are not found by random commits.

use std::collections::BTreeSet;

use meshgate::model::{Check, CheckId, Service, ServiceId};
use meshgate::store::{Key, Op, View};

use super::{embedded, in_memory, questions};

#[tokio::test]
async fn a_renamed_instance_changes_the_tags_of_both_names() {
    let store = in_memory();
    let node = questions::nodes().remove(0);
    let service = |id: &str, name: &str, tag: &str| {
        let service = Service {
            id: ServiceId::from(id),
            name: name.to_owned(),
            tags: vec![tag.to_owned()],
            ..Service::default()
        };
        Op::PutService(node.clone(), service)
    };
    store.write(vec![service("1", "web", "a"), service("2", "web", "b"), service("3", "api", "c")]).await.unwrap();
    let old = store.view();

    store.write(service("2", "api", "b")).await.unwrap();

    let new = store.view();
    let changed: BTreeSet<_> = new.changed_since(&old).collect();
    assert!(changed.contains(&Key::ServiceNames(node.place.clone())), "{changed:?}");
}

#[tokio::test]
async fn whoever_saw_nothing_is_told_of_all_checks_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = questions::nodes().remove(0);
    let check = |id: &str| {
        Op::PutCheck(Check {
            node: node.node.clone(),
            datacenter: node.place.datacenter.clone(),
            partition: node.place.partition.clone(),
            check_id: CheckId::from(id),
            ..Check::default()
        })
    };
    let (store, writer) = embedded(directory.path());
    store.write(check("old")).await.unwrap();
    drop(store);
    writer.join().unwrap();
    let (store, _) = embedded(directory.path());
    let loaded = store.view();

    store.write(check("new")).await.unwrap();

    let view = store.view();
    let changed =
        |since: &View| view.checks_changed_since(since).map(|key| key.check.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(changed(&View::default()), ["new", "old"]);
    assert_eq!(changed(&loaded), ["new"]);
}

#[tokio::test]
async fn a_group_of_commits_says_what_all_of_them_changed() {
    let store = in_memory();
    let node = questions::nodes().remove(0);
    let before = store.view();
    let service = |number: usize| {
        let service =
            Service { id: ServiceId::from(format!("s{number}")), name: "web".to_owned(), ..Service::default() };
        store.write(Op::PutService(node.clone(), service))
    };
    let mut views = store.watch();

    // All are asked for before the writer can answer the first.
    let written = futures::future::join_all((0..100).map(service));
    let mut changed = BTreeSet::new();
    let mut seen = before;
    let mut steps = 0;
    let follow = async {
        while seen.service(&node.instance(&ServiceId::from("s99"))).is_none() {
            views.changed().await.unwrap();
            let view = views.borrow_and_update().clone();
            changed.extend(view.changed_since(&seen).cloned());
            seen = view;
            steps += 1;
        }
    };
    tokio::join!(written, follow);

    let instances = (0..100).map(|number| Key::Instance(node.instance(&ServiceId::from(format!("s{number}")))));
    assert!(instances.into_iter().all(|key| changed.contains(&key)), "{changed:?}");
    assert!(steps < 100, "no two writes shared a commit");
}
