//! Mesh gateways that come and go are looked at when their stream does.
//!
//! A gateway is checked every few seconds. When its process ends, the system closes its stream at once; so its checks run
//! then, and callers avoid it long before the next run would have been due. When it comes back it is used as soon.

use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, ProxyHappening};
use crate::health::Runner;
use crate::model::ServiceKind;
use crate::store::Store;

/// Has the checks of mesh gateways run whenever a stream opens or the last one ends, until `shutdown`.
pub(super) async fn look_at_gateways(engine: Engine, store: Store, runner: Runner, shutdown: CancellationToken) {
    let mut events = engine.events();
    let mut next = 0;
    loop {
        for event in engine.events_from(next) {
            next = event.number + 1;
            let has_moved = match event.what {
                ProxyHappening::Connected(_) => true,
                ProxyHappening::Disconnected(left) => left == 0,
                ProxyHappening::Refused { .. } | ProxyHappening::Problem(_) | ProxyHappening::Trial(..) => false,
            };
            let view = store.view();
            if has_moved && view.service(&event.proxy).is_some_and(|row| row.value.kind == ServiceKind::MeshGateway) {
                runner.look_at(&event.proxy);
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = events.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}
