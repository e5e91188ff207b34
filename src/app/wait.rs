//! Who has acknowledged what, answered by the engine.

use std::pin::Pin;

use crate::api::{Propagation, ReachedProxy};
use crate::engine::{Engine, Stage};
use crate::model::InstanceId;
use crate::store::Index;

/// Asks an engine.
pub struct Acknowledged(pub Engine);

impl Propagation for Acknowledged {
    fn reached(&self, index: Index) -> Option<Vec<ReachedProxy>> {
        let reach = self.0.reach(index);
        reach.is_seen.then(|| reach.proxies.into_iter().filter_map(proxy).collect())
    }

    fn progressed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.0.progressed())
    }
}

fn proxy((instance, stage): (InstanceId, Stage)) -> Option<ReachedProxy> {
    let (state, reason) = match stage {
        Stage::Untouched => return None,
        Stage::Live => ("live", String::new()),
        Stage::Waiting(why) => ("waiting", why),
        Stage::Unmade(why) => ("unmade", why),
        Stage::Refused(why) => ("refused", why),
    };
    let InstanceId { place, node, id } = instance;
    let state = state.to_owned();
    Some(ReachedProxy { datacenter: place.datacenter, partition: place.partition, node, id, state, reason })
}
