//! Checks that sidecars expose: they are asked through the sidecar, which may be the only way to the application.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use super::Options;
use crate::model::{CheckDefinition, CheckId, EntryKind, InstanceId, SocketEndpoint};
use crate::store::{CheckKey, Key, NodeKey, View};

/// What sidecars make of the checks of their applications.
#[derive(Debug, Clone, Copy)]
pub struct Exposures {
    /// True if the instance is a sidecar that exposes checks. Costs no look at others.
    pub exposes: fn(&View, &InstanceId) -> bool,
    /// Finds the checks of a node that sidecars expose, and where.
    pub of_node: fn(&View, &NodeKey) -> BTreeMap<CheckId, SocketEndpoint>,
}

/// Where exposed checks are asked. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Exposed(Arc<RwLock<BTreeMap<CheckKey, SocketEndpoint>>>);

impl Exposed {
    /// What to ask for a check at this moment.
    pub(super) fn question(&self, key: &CheckKey, definition: &CheckDefinition) -> CheckDefinition {
        let exposed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        exposed.get(key).map_or_else(|| definition.clone(), |address| definition.asked_at(address))
    }

    /// Takes over what the sidecars of these nodes expose.
    fn set(&self, view: &View, nodes: &[NodeKey], exposures: Exposures) {
        let of_node = |node: &NodeKey| {
            let found = (exposures.of_node)(view, node).into_iter();
            let keyed = found.map(|(check, address)| (CheckKey { node: node.clone(), check }, address));
            keyed.collect::<Vec<_>>()
        };
        let found = nodes.iter().flat_map(of_node).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// The sidecars of the own nodes that expose checks. As long as there are none, which is the usual case, a change costs a
/// look at the sidecar that changed, however many there are.
#[derive(Debug, Default)]
pub(super) struct Exposing {
    /// `None` until the first state was seen.
    sidecars: Option<BTreeSet<InstanceId>>,
}

impl Exposing {
    /// Brings `exposed` from one state to a newer one.
    pub(super) fn follow(
        &mut self,
        exposed: &Exposed,
        (old, new): (&View, &View),
        options: &Options,
        exposures: Exposures,
    ) {
        let of_own = |key: &Key| {
            let Key::Instance(id) = key else { return None };
            options.is_own(&NodeKey::new(&id.place, &id.node)).then(|| id.clone())
        };
        let changed: Vec<_> = new.changed_since(old).filter_map(of_own).collect();
        let is_central = new.changed_since(old).any(is_central);
        let before = self.sidecars.take();
        let had_some = before.as_ref().is_some_and(|sidecars| !sidecars.is_empty());
        let sidecars = match before {
            Some(mut sidecars) if !is_central => {
                for id in &changed {
                    if (exposures.exposes)(new, id) {
                        sidecars.insert(id.clone());
                    } else {
                        sidecars.remove(id);
                    }
                }
                sidecars
            }
            _ => {
                let nodes = options.nodes(new);
                let ids = nodes.iter().flat_map(|node| new.services_on(node).map(|row| node.instance(&row.value.id)));
                ids.filter(|id| (exposures.exposes)(new, id)).collect()
            }
        };
        // Others on the node take ports, so that any of them may move what is exposed.
        let may_move = || is_central || !changed.is_empty() || is_redefined(old, new, options);
        if (had_some || !sidecars.is_empty()) && may_move() {
            exposed.set(new, &options.nodes(new), exposures);
        }
        self.sidecars = Some(sidecars);
    }
}

/// True for the entries that can say that checks are exposed.
fn is_central(key: &Key) -> bool {
    matches!(key, Key::Entry(entry) if matches!(entry.kind, EntryKind::ProxyDefaults | EntryKind::ServiceDefaults))
}

/// True if an own check asks for something else. Results, which change all the time, do not count.
fn is_redefined(old: &View, new: &View, options: &Options) -> bool {
    let definition = |view: &View, key: &CheckKey| view.check(key).map(|row| row.value.definition.clone());
    let is_other = |key: &CheckKey| options.is_own(&key.node) && definition(old, key) != definition(new, key);
    new.checks_changed_since(old).any(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Datacenter, Node, NodeName, Partition, Place, Service, ServiceId};
    use crate::store::{Memory, Op, Store};

    #[tokio::test]
    async fn the_node_is_looked_at_only_while_something_is_exposed() {
        let place = Place::new(&Datacenter::from("dc1"), &Partition::default());
        let node = NodeKey::new(&place, &NodeName::from("agent"));
        let (store, _) = Store::open(Box::new(Memory), Arc::new(|_, _, _| Ok(()))).expect("memory opens");
        let options = Options::new(node.node.clone(), [place.datacenter.clone()]);
        let put = async |id: &str, checks: bool| {
            let mut service = Service { id: ServiceId::from(id), name: id.to_owned(), ..Service::default() };
            service.proxy.expose.checks = checks;
            let old = store.view();
            let own = Node { node: node.node.clone(), datacenter: place.datacenter.clone(), ..Node::default() };
            store.write(vec![Op::PutNode(own), Op::PutService(node.clone(), service)]).await.expect("it is taken");
            (old, store.view())
        };
        let exposes = |view: &View, id: &InstanceId| view.service(id).is_some_and(|row| row.value.proxy.expose.checks);
        let unlooked = Exposures { exposes, of_node: |_, _| panic!("nothing is exposed") };
        let looked = Exposures {
            exposes,
            of_node: |_, _| BTreeMap::from([("web".into(), SocketEndpoint::new("127.0.0.1", 21500))]),
        };
        let (mut exposing, exposed) = (Exposing::default(), Exposed::default());
        let mut follow = |(old, new): &(Arc<View>, Arc<View>), exposures| {
            exposing.follow(&exposed, (old, new), &options, exposures);
            exposed.0.read().unwrap().len()
        };

        assert_eq!(follow(&put("web", false).await, unlooked), 0);
        assert_eq!(follow(&put("api", false).await, unlooked), 0);
        assert_eq!(follow(&put("proxy", true).await, looked), 1);
        assert_eq!(follow(&put("other", false).await, looked), 1);
        let nothing = Exposures { exposes, of_node: |_, _| BTreeMap::new() };
        assert_eq!(follow(&put("proxy", false).await, nothing), 0);
        assert_eq!(follow(&put("last", false).await, unlooked), 0);
    }
}
