//! The engine's own state: proxies, shared assignments, secrets, and who read what.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Options;
use super::chains::Chains;
use super::intern::Interner;
use super::proxy::{Common, Pending, Proxy};
use super::readers::Readers;
use super::recording::Recording;
use super::shared::World;
use super::slot::Slot;
use crate::ca::Authority;
use crate::model::{InstanceId, Service, ServiceKey, ServiceKind, SpiffeId};
use crate::resolve::{self, Context, Parts};
use crate::store::{Key, Reader, View};

/// The state. One thread owns it.
pub(super) struct Core {
    options: Options,
    authority: Authority,
    view: Arc<View>,
    proxies: BTreeMap<InstanceId, Proxy>,
    readers: Readers<InstanceId>,
    chains: Chains,
    common: Common,
    interner: Interner,
}

impl Core {
    pub(super) fn new(options: Options, authority: Authority, view: Arc<View>) -> Self {
        Self {
            options,
            authority,
            view,
            proxies: BTreeMap::new(),
            readers: Readers::default(),
            chains: Chains::default(),
            common: Common::default(),
            interner: Interner::default(),
        }
    }

    /// Streams ask for these proxies from now on.
    pub(super) fn start(&mut self, slots: Vec<Arc<Slot>>) {
        let mut pending = BTreeMap::new();
        let mut fresh = BTreeSet::new();
        for slot in slots {
            let instance = slot.instance.clone();
            let proxy = self.proxies.entry(instance.clone()).or_default();
            match proxy.snapshot() {
                Some(snapshot) => slot.publish(snapshot.clone()),
                None => drop(fresh.insert(instance.clone())),
            }
            proxy.slots.push(slot);
            // The new slot does not know what is wrong.
            pending.insert(instance, Pending { has_other_problems: true, ..Pending::default() });
        }
        self.recompute(&fresh);
        self.publish(&pending);
    }

    /// No stream asks for this slot's proxy under this name any more.
    pub(super) fn stop(&mut self, slot: &Arc<Slot>) {
        let instance = &slot.instance;
        let Some(proxy) = self.proxies.get_mut(instance) else { return };
        proxy.slots.retain(|known| !Arc::ptr_eq(known, slot));
        if !proxy.slots.is_empty() {
            return;
        }
        self.readers.remove(instance);
        let Some(proxy) = self.proxies.remove(instance) else { return };
        for key in &proxy.assignments {
            self.common.assignments.leave(key, instance);
        }
        for key in &proxy.secrets {
            self.common.secrets.leave(key, instance);
        }
    }

    /// A newer state.
    pub(super) fn advance(&mut self, view: Arc<View>) {
        let older = std::mem::replace(&mut self.view, view);
        let view = self.view.clone();
        let changed: Vec<&Key> = view.changed_since(&older).collect();
        self.chains.advance(changed.iter().copied());
        let remade = self.readers.of(changed.iter().copied());
        self.recompute(&remade);
        let mut pending: BTreeMap<_, _> = remade.into_iter().map(|instance| (instance, Pending::default())).collect();
        let world = World { view: &view, hosted: &self.options.hosted, trust_domain: self.authority.trust_domain() };
        let keys = || changed.iter().copied();
        self.common.assignments.advance(keys(), world, &mut self.interner, &mut pending);
        self.common.secrets.advance(keys(), world, &mut self.interner, &mut pending);
        self.publish(&pending);
    }

    /// Makes the parts of these proxies again, from the current view.
    fn recompute(&mut self, instances: &BTreeSet<InstanceId>) {
        let view = self.view.clone();
        for instance in instances {
            let reader = Reader::new(&view);
            let state = Recording::new(&reader, &self.options.hosted).sharing(&self.chains);
            let context = Context {
                state: &state,
                trust_domain: self.authority.trust_domain(),
                default_intention: self.options.default_intention,
                dns_domain: &self.options.dns_domain,
            };
            let service = reader.service(instance).map(|row| row.value.clone());
            let made = service.as_ref().map(|service| contained(|| parts(context, instance, service)));
            self.readers.set(instance, reader.into_read_set());
            let Some(proxy) = self.proxies.get_mut(instance) else { continue };
            // Nothing is sent to a proxy of which nothing was ever made: an Envoy that has more keeps it.
            proxy.is_registered = matches!(made, Some(Ok(Some(_))));
            match (service, made) {
                (Some(service), Some(Ok(Some(parts)))) => self.take(instance, &service, parts),
                // What cannot be made stays as it last was.
                (None, _) | (_, None) => proxy.failures = vec![not_registered(instance)],
                (Some(service), Some(Ok(None))) => proxy.failures = vec![unsupported(instance, &service)],
                (Some(_), Some(Err(defect))) => proxy.failures = vec![defect],
            }
        }
    }

    fn take(&mut self, instance: &InstanceId, service: &Service, parts: Parts) {
        let Some(proxy) = self.proxies.get_mut(instance) else { return };
        let world =
            World { view: &self.view, hosted: &self.options.hosted, trust_domain: self.authority.trust_domain() };
        let (assignments, secrets) = (proxy.assignments.clone(), proxy.secrets.clone());
        proxy.take(&instance.place, &identity(instance, service), parts, &mut self.interner);
        self.common.assignments.replace(instance, (&assignments, &proxy.assignments), world, &mut self.interner);
        self.common.secrets.replace(instance, (&secrets, &proxy.secrets), world, &mut self.interner);
        self.authority.request(proxy.identity().cloned());
    }

    /// Sends what changed to the streams of these proxies.
    fn publish(&mut self, pending: &BTreeMap<InstanceId, Pending>) {
        for (instance, pending) in pending {
            let Some(proxy) = self.proxies.get_mut(instance) else { continue };
            if proxy.has_newer_parts || pending.has_other_problems || !proxy.is_registered {
                proxy.tell_problems(instance, &self.common);
            }
            if proxy.update(pending, &self.common) {
                tracing::info!(proxy = %instance, index = self.view.index(), "configuration published");
            }
        }
    }
}

/// What `make` returns, or what to say if it panics: a defect that one proxy's configuration meets must not keep the others
/// from theirs.
fn contained<T>(make: impl FnOnce() -> T) -> Result<T, String> {
    // What `make` leaves half done is its own, and is dropped with it.
    catch_unwind(AssertUnwindSafe(make)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        format!("a defect of meshgate, please report it: resolving panicked: {text}")
    })
}

/// The parts of a proxy, if it is of a kind that is configured.
fn parts(context: Context<'_>, instance: &InstanceId, service: &Service) -> Option<Parts> {
    match service.kind {
        ServiceKind::ConnectProxy => Some(resolve::sidecar(context, instance, service)),
        ServiceKind::MeshGateway => Some(resolve::mesh_gateway(context, &instance.place, service)),
        ServiceKind::Typical
        | ServiceKind::TerminatingGateway
        | ServiceKind::IngressGateway
        | ServiceKind::ApiGateway => None,
    }
}

/// Whom the proxy's certificate speaks for, should it need one.
fn identity(instance: &InstanceId, service: &Service) -> SpiffeId {
    let datacenter = instance.place.datacenter.clone();
    match service.mesh_destination() {
        Some(service) => SpiffeId::Service(ServiceKey { datacenter, service }),
        None => SpiffeId::MeshGateway(instance.place.clone()),
    }
}

fn not_registered(instance: &InstanceId) -> String {
    let InstanceId { place, node, id } = instance;
    format!(
        "no service {:?} is registered on node {:?} in datacenter {:?}, partition {:?}; it is configured as soon as it \
         is registered there",
        id.as_str(),
        node.as_str(),
        place.datacenter.as_str(),
        place.partition.as_str()
    )
}

fn unsupported(instance: &InstanceId, service: &Service) -> String {
    let (kind, hint) = if service.kind == ServiceKind::Typical {
        ("an application", "; is it the ID of the sidecar that is meant?")
    } else {
        (service.kind.as_str(), "")
    };
    let id = instance.id.as_str();
    format!("{id:?} is registered as {kind}, and only a connect-proxy or a mesh-gateway is configured{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_contained_and_told() {
        assert_eq!(contained(|| 7), Ok(7));
        let defect = Err("a defect of meshgate, please report it: resolving panicked: no 7".to_owned());
        assert_eq!(contained(|| -> u8 { panic!("no {}", 7) }), defect);
    }
}
