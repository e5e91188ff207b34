//! The engine's own state: proxies, shared assignments, secrets, and who read what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Options;
use super::intern::Interner;
use super::proxy::Proxy;
use super::readers::Readers;
use super::recording::Recording;
use super::secrets::Secrets;
use super::shared::Assignments;
use super::slot::Slot;
use crate::ca::Authority;
use crate::model::{InstanceId, Service, ServiceKind, SpiffeId};
use crate::resolve::{self, Context, Parts};
use crate::store::{Key, Reader, View};

/// The state. One thread owns it.
pub(super) struct Core {
    options: Options,
    authority: Authority,
    view: Arc<View>,
    proxies: BTreeMap<InstanceId, Proxy>,
    readers: Readers<InstanceId>,
    assignments: Assignments,
    secrets: Secrets,
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
            assignments: Assignments::default(),
            secrets: Secrets::default(),
            interner: Interner::default(),
        }
    }

    /// Streams ask for these proxies from now on.
    pub(super) fn start(&mut self, slots: Vec<Arc<Slot>>) {
        let mut started = BTreeSet::new();
        for slot in slots {
            let proxy = self.proxies.entry(slot.instance.clone()).or_default();
            if let Some(snapshot) = proxy.snapshot() {
                slot.publish(snapshot.clone());
            }
            started.insert(slot.instance.clone());
            proxy.slots.push(slot);
        }
        self.recompute(&started);
        self.publish(&started);
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
        for key in self.proxies.remove(instance).into_iter().flat_map(|proxy| proxy.assignments) {
            self.assignments.leave(&key, instance);
        }
        let used: BTreeSet<_> = self.proxies.values().filter_map(|proxy| proxy.identity.as_ref()).collect();
        self.secrets.retain(|identity| used.contains(identity));
    }

    /// A newer state.
    pub(super) fn advance(&mut self, view: Arc<View>) {
        let older = std::mem::replace(&mut self.view, view);
        let view = self.view.clone();
        let changed: Vec<&Key> = view.changed_since(&older).collect();
        let mut affected = self.readers.of(changed.iter().copied());
        self.recompute(&affected);
        let users =
            self.assignments.advance(changed.iter().copied(), (&view, &self.options.hosted), &mut self.interner);
        affected.extend(users);
        affected.extend(self.holders_of_secrets(&changed));
        self.publish(&affected);
    }

    /// Proxies whose certificate, or whose roots, are among what changed.
    fn holders_of_secrets(&self, changed: &[&Key]) -> BTreeSet<InstanceId> {
        let roots_changed = changed.contains(&&Key::Roots);
        let leaf = |key: &&Key| if let Key::Leaf(identity) = key { Some(identity.clone()) } else { None };
        let leaves: BTreeSet<SpiffeId> = changed.iter().filter_map(leaf).collect();
        if !roots_changed && leaves.is_empty() {
            return BTreeSet::new();
        }
        let holds = |proxy: &Proxy| proxy.identity.as_ref().is_some_and(|id| roots_changed || leaves.contains(id));
        self.proxies.iter().filter(|(_, proxy)| holds(proxy)).map(|(instance, _)| instance.clone()).collect()
    }

    /// Makes the parts of these proxies again, from the current view.
    fn recompute(&mut self, instances: &BTreeSet<InstanceId>) {
        let view = self.view.clone();
        for instance in instances {
            let reader = Reader::new(&view);
            let state = Recording::new(&reader, &self.options.hosted);
            let context = Context {
                state: &state,
                trust_domain: self.authority.trust_domain(),
                default_intention: self.options.default_intention,
            };
            let service = reader.service(instance).map(|row| row.value.clone());
            let parts = service.as_ref().and_then(|service| parts(context, instance, service));
            self.readers.set(instance, reader.into_read_set());
            let Some(proxy) = self.proxies.get_mut(instance) else { continue };
            proxy.is_registered = parts.is_some();
            match (service, parts) {
                (Some(service), Some(parts)) => self.take(instance, &service, parts),
                // A proxy that is not registered any more keeps what it has.
                (None, _) => proxy.failures = vec![not_registered(instance)],
                (Some(service), None) => proxy.failures = vec![unsupported(instance, &service)],
            }
        }
    }

    fn take(&mut self, instance: &InstanceId, service: &Service, parts: Parts) {
        let Some(proxy) = self.proxies.get_mut(instance) else { return };
        let old = std::mem::take(&mut proxy.assignments);
        proxy.take(parts, &mut self.interner);
        proxy.identity = identity(instance, service);
        for key in proxy.assignments.difference(&old) {
            self.assignments.join(key, instance, (&self.view, &self.options.hosted), &mut self.interner);
        }
        for key in old.difference(&proxy.assignments) {
            self.assignments.leave(key, instance);
        }
        self.authority.request(proxy.identity.clone());
    }

    /// Sends what changed to the streams of these proxies.
    fn publish(&mut self, instances: &BTreeSet<InstanceId>) {
        for instance in instances {
            let Some(proxy) = self.proxies.get_mut(instance) else { continue };
            proxy.tell_problems(instance, &self.assignments);
            if !proxy.is_registered && proxy.snapshot().is_none() {
                continue;
            }
            let next = proxy.compose(&self.view, &self.assignments, (&mut self.secrets, &mut self.interner));
            if next.is_some_and(|next| proxy.publish(next)) {
                tracing::info!(proxy = %instance, index = self.view.index(), "configuration published");
            }
        }
    }
}

/// The parts of a proxy, if it is of a kind that is configured.
fn parts(context: Context<'_>, instance: &InstanceId, service: &Service) -> Option<Parts> {
    match service.kind {
        ServiceKind::ConnectProxy => Some(resolve::sidecar(context, &instance.place, service)),
        ServiceKind::MeshGateway => Some(resolve::mesh_gateway(context, &instance.place, service)),
        ServiceKind::Typical
        | ServiceKind::TerminatingGateway
        | ServiceKind::IngressGateway
        | ServiceKind::ApiGateway => None,
    }
}

/// Whom the proxy's certificate speaks for. A mesh gateway opens no TLS, so it needs none.
fn identity(instance: &InstanceId, service: &Service) -> Option<SpiffeId> {
    let datacenter = instance.place.datacenter.clone();
    service.mesh_destination().map(|service| SpiffeId::Service(crate::model::ServiceKey { datacenter, service }))
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
    let kind = if service.kind == ServiceKind::Typical { "an application" } else { service.kind.as_str() };
    format!(
        "{:?} is registered as {kind}, and only a connect-proxy or a mesh-gateway is configured; is it the ID of the \
         sidecar that is meant?",
        instance.id.as_str()
    )
}
