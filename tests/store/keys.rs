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
