//! Removes services that have been critical for too long (`DeregisterCriticalServiceAfter`).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Check, CheckStatus, InstanceId, ServiceId, ServiceKind};
use crate::store::{CheckKey, Op, Store, StoreError, Stored, View, Write};

/// Time between two looks (`http-api.md` 3.6).
pub(super) const LOOK: Duration = Duration::from_secs(30);
/// Shorter times are raised to this.
const SHORTEST: Duration = Duration::from_secs(60);

/// Since when which check is critical, of those that may remove their service.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    critical_since: BTreeMap<CheckKey, Instant>,
}

impl Reaper {
    /// Follows a check that was added, changed or removed.
    pub(super) fn sync(&mut self, key: &CheckKey, row: Option<&Check>) {
        if row.is_some_and(|check| patience(check).is_some()) {
            self.critical_since.entry(key.clone()).or_insert_with(Instant::now);
        } else {
            self.critical_since.remove(key);
        }
    }

    /// Removes what was critical for too long.
    pub(super) async fn reap(&self, store: &Store) -> Result<(), StoreError> {
        let now = Instant::now();
        let view = store.view();
        for (key, since) in &self.critical_since {
            let Some(row) = view.check(key) else { continue };
            if patience(&row.value).is_some_and(|patience| now.duration_since(*since) >= patience) {
                remove(store, key, row).await?;
            }
        }
        Ok(())
    }
}

/// How long the check lets its service be critical; `None` if it is not, or may be for ever.
fn patience(check: &Check) -> Option<Duration> {
    let after = check.definition.deregister_critical_service_after?.to_std();
    let counts = check.status == CheckStatus::Critical && !check.service_id.as_str().is_empty() && !after.is_zero();
    counts.then_some(after.max(SHORTEST))
}

/// Removes the service of a check with its sidecar, if the row is the very same in the moment of the commit.
async fn remove(store: &Store, key: &CheckKey, row: &Stored<Check>) -> Result<(), StoreError> {
    let (key, row) = (key.clone(), row.clone());
    let service = key.node.instance(&row.value.service_id);
    tracing::warn!(%service, check = %key.check, "removed: critical for too long");
    let decide = move |view: &View| {
        let is_same = view.check(&key).is_some_and(|now| now.modify_index == row.modify_index);
        let ids = std::iter::once(service.clone()).chain(sidecar_of(view, &service));
        Ok(Write::from(if is_same { ids.map(Op::DeleteService).collect() } else { Vec::new() }))
    };
    store.write_with(decide).await.map(drop)
}

/// The sidecar that was registered together with a service (`http-api.md` 3.2), which has no use without it.
fn sidecar_of(view: &View, service: &InstanceId) -> Option<InstanceId> {
    let id = InstanceId { id: ServiceId::from(format!("{}-sidecar-proxy", service.id)), ..service.clone() };
    let row = view.service(&id)?;
    let is_its_own =
        row.value.kind == ServiceKind::ConnectProxy && row.value.proxy.destination_service_id == service.id;
    is_its_own.then_some(id)
}
