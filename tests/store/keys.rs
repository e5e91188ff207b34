//! Keys whose readers are not found by random commits.

use std::collections::BTreeSet;

use meshgate::model::{Service, ServiceId};
use meshgate::store::Key;

use super::{in_memory, questions};

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
        meshgate::store::Op::PutService(node.clone(), service)
    };
    store.write(vec![service("1", "web", "a"), service("2", "web", "b"), service("3", "api", "c")]).await.unwrap();
    let old = store.view();

    store.write(service("2", "api", "b")).await.unwrap();

    let new = store.view();
    let changed: BTreeSet<_> = new.changed_since(&old).collect();
    assert!(changed.contains(&Key::ServiceNames(node.place.clone())), "{changed:?}");
}
