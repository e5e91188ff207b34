//! The engine's own state: proxies, what they share, and who read what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Options;
use super::chains::Chains;
use super::intern::Interner;
use super::journal::{Journal, ProxyHappening, Types};
use super::outbound::{Outbound, Stale, fingerprint};
use super::parts::{Kitchen, OutboundId, Owner, PartId, ProxyId, Recipe, User, contained};
use super::proxy::{Common, Pending, Proxy};
use super::shared::World;
use super::slot::Slot;
use crate::ca::Authority;
use crate::model::{InstanceId, Service, ServiceKey, ServiceKind, SpiffeId};
use crate::resolve::{Caller, collector};
use crate::store::{Index, Key, Reader, Readers, View};

/// The state. One thread owns it.
pub(super) struct Core {
    options: Options,
    authority: Authority,
    view: Arc<View>,
    ids: BTreeMap<InstanceId, ProxyId>,
    /// In boxes: numbers grow, and a map that is filled so is half empty.
    proxies: BTreeMap<ProxyId, Box<Proxy>>,
    last_id: u64,
    /// What decides of which parts a proxy is made.
    readers: Readers<ProxyId>,
    chains: Chains,
    common: Common,
    interner: Interner,
    /// What became of changes.
    journal: Journal,
    /// The last commit whose outcome was published.
    published: Index,
}

impl Core {
    pub(super) fn new(options: Options, authority: Authority, view: Arc<View>, journal: Journal) -> Self {
        Self {
            options,
            authority,
            published: view.index(),
            journal,
            view,
            ids: BTreeMap::new(),
            proxies: BTreeMap::new(),
            last_id: 0,
            readers: Readers::default(),
            chains: Chains::default(),
            common: Common::default(),
            interner: Interner::default(),
        }
    }

    /// Streams ask for these proxies from now on.
    pub(super) fn start(&mut self, slots: Vec<Arc<Slot>>) {
        let mut pending = BTreeMap::new();
        for slot in slots {
            let id = self.id_of(&slot.instance);
            let proxy = self.proxies.entry(id).or_insert_with(|| Box::new(Proxy::new((*slot.instance).clone())));
            if let Some(snapshot) = proxy.snapshot() {
                slot.publish(snapshot.clone(), proxy.index, None);
            }
            let is_fresh = proxy.slots.is_empty();
            proxy.slots.push(slot);
            // The new slot does not know what is wrong.
            pending.insert(id, Pending { has_other_problems: true, ..Pending::default() });
            if is_fresh {
                self.list_parts(id);
            }
        }
        self.publish(pending);
    }

    fn id_of(&mut self, instance: &InstanceId) -> ProxyId {
        if let Some(id) = self.ids.get(instance) {
            return *id;
        }
        self.last_id += 1;
        let id = ProxyId(self.last_id);
        self.ids.insert(instance.clone(), id);
        id
    }

    /// True if the proxy of this slot is registered.
    pub(super) fn is_registered(&self, slot: &Slot) -> bool {
        let proxy = self.ids.get(&slot.instance).and_then(|id| self.proxies.get(id));
        proxy.is_some_and(|proxy| proxy.is_registered)
    }

    /// No stream asks for this slot's proxy under this name any more.
    pub(super) fn stop(&mut self, slot: &Arc<Slot>) {
        let Some(id) = self.ids.get(&slot.instance).copied() else { return };
        let Some(proxy) = self.proxies.get_mut(&id) else { return };
        proxy.slots.retain(|known| !Arc::ptr_eq(known, slot));
        if !proxy.slots.is_empty() {
            return;
        }
        self.ids.remove(&slot.instance);
        self.readers.remove(&id);
        let Some(proxy) = self.proxies.remove(&id) else { return };
        let Common { parts, outbounds, assignments, secrets } = &mut self.common;
        for part in proxy.own {
            parts.leave(part, User::Proxy(id), assignments);
        }
        if let Some(outbound) = proxy.outbound {
            outbounds.leave(outbound, id, parts, assignments);
        }
        for key in &proxy.secrets {
            secrets.leave(key, id);
        }
    }

    /// A newer state.
    pub(super) fn advance(&mut self, view: Arc<View>) {
        let older = std::mem::replace(&mut self.view, view);
        let view = self.view.clone();
        let changed: Vec<&Key> = view.changed_since(&older).collect();
        let keys = || changed.iter().copied();
        self.chains.advance(keys());
        let mut pending: BTreeMap<ProxyId, Pending> = BTreeMap::new();
        let mut stale: BTreeMap<OutboundId, Stale> = BTreeMap::new();
        // Parts first: what a proxy has in common with others is then up to date when its list is made.
        let remade = self.remake_parts(&changed);
        for user in remade.into_iter().flat_map(|part| self.common.parts.users(part)) {
            match user {
                User::Proxy(proxy) => pending.entry(proxy).or_default().has_newer_parts = true,
                User::Outbound(outbound) => stale.entry(outbound).or_default().has_newer_parts = true,
            }
        }
        for id in self.readers.of(keys()) {
            self.list_parts(id);
            pending.entry(id).or_default().has_newer_parts = true;
        }
        self.advance_assignments(&changed, &mut pending, &mut stale);
        for gateway in self.refresh_outbounds(stale, &mut pending) {
            // Its listeners lead to what it forwards.
            self.list_parts(gateway);
        }
        for (id, _) in pending.iter().filter(|(_, pending)| pending.has_newer_parts) {
            self.list_secrets(*id);
        }
        let Self { common, options, authority, chains, interner, .. } = self;
        let world = World { view: &view, options, trust_domain: authority.trust_domain(), chains };
        for change in common.secrets.advance(keys(), world, interner) {
            for proxy in common.secrets.users(&change.key) {
                let pending = pending.entry(proxy).or_default();
                pending.secrets.push(change.key.clone());
                pending.has_other_problems |= change.has_other_problems;
            }
        }
        self.publish(pending);
    }

    /// Computes again the assignments that read one of these keys, and notes who has them.
    fn advance_assignments(
        &mut self,
        changed: &[&Key],
        pending: &mut BTreeMap<ProxyId, Pending>,
        stale: &mut BTreeMap<OutboundId, Stale>,
    ) {
        let Self { view, common, options, authority, chains, interner, .. } = self;
        let world = World { view, options, trust_domain: authority.trust_domain(), chains };
        for change in common.assignments.advance(changed.iter().copied(), world, interner) {
            let parts = common.assignments.users(&change.key);
            // A proxy can have several parts with one assignment.
            let users: BTreeSet<_> = parts.flat_map(|part| common.parts.users(part)).collect();
            for user in users {
                match user {
                    User::Proxy(proxy) => {
                        let pending = pending.entry(proxy).or_default();
                        pending.assignments.push(change.key.clone());
                        pending.has_other_problems |= change.has_other_problems;
                    }
                    User::Outbound(outbound) => {
                        let stale = stale.entry(outbound).or_default();
                        stale.assignments.push(change.key.clone());
                        stale.has_other_omissions |= change.has_other_problems;
                    }
                }
            }
        }
    }

    /// Brings outbound sides up to date, and notes for whom they are other ones. Returns the gateways among those.
    fn refresh_outbounds(
        &mut self,
        stale: BTreeMap<OutboundId, Stale>,
        pending: &mut BTreeMap<ProxyId, Pending>,
    ) -> Vec<ProxyId> {
        let mut gateways = Vec::new();
        let Common { parts, outbounds, assignments, .. } = &mut self.common;
        for (id, stale) in stale {
            let Some(news) = outbounds.refresh(id, &stale, parts, assignments) else { continue };
            for proxy in outbounds.users(id) {
                let pending = pending.entry(proxy).or_default();
                pending.has_newer_parts |= news.has_newer_parts;
                pending.has_newer_endpoints |= news.has_newer_endpoints;
                pending.has_other_problems |= news.has_other_problems;
            }
            if news.has_newer_parts && outbounds.get(id).is_some_and(Outbound::is_of_gateways) {
                gateways.extend(outbounds.users(id));
            }
        }
        gateways
    }

    /// Makes the parts again that read one of these keys; returns those that are other ones then.
    fn remake_parts(&mut self, changed: &[&Key]) -> Vec<PartId> {
        let Self { view, common, options, authority, chains, interner, .. } = self;
        let world = World { view, options, trust_domain: authority.trust_domain(), chains };
        let mut kitchen = Kitchen { world, interner, assignments: &mut common.assignments };
        common.parts.advance(changed.iter().copied(), &mut kitchen)
    }

    /// Finds out of which parts a proxy is made.
    fn list_parts(&mut self, id: ProxyId) {
        let Self { view, proxies, readers, common, options, authority, chains, interner, .. } = self;
        let Some(proxy) = proxies.get_mut(&id) else { return };
        let world = World { view, options, trust_domain: authority.trust_domain(), chains };
        let reader = Reader::new(world.view);
        let service = reader.service(&proxy.instance).map(|row| row.value.clone());
        let asked = || {
            let service = service.as_ref()?;
            let own = own_recipes(&proxy.instance, service, world, &reader)?;
            let state = world.state(&reader);
            let (asking, had) = ((&proxy.instance, &**service), proxy.outbound);
            let outbound = common.outbounds.asked(asking, &state, had, &common.parts);
            Some((own, (outbound, fingerprint(service))))
        };
        let asked = contained(asked);
        readers.set(&id, reader.into_read_set());
        // Nothing is sent to a proxy of which nothing was ever made: an Envoy that has more keeps it.
        proxy.is_registered = matches!(asked, Ok(Some(_)));
        proxy.failures = match (&service, &asked) {
            (None, _) => vec![not_registered(&proxy.instance)],
            (Some(_), Err(defect)) => vec![defect.clone()],
            (Some(service), Ok(None)) => vec![unsupported(&proxy.instance, service)],
            (Some(_), Ok(Some(_))) => Vec::new(),
        };
        // What is gone leaves the proxy as it last was.
        let Ok(Some((own, outbound))) = asked else { return };
        let Common { parts, outbounds, assignments, .. } = common;
        let mut kitchen = Kitchen { world, interner, assignments };
        let had = proxy.outbound.take();
        let outbound = outbounds.join((id, &proxy.instance), outbound, had, parts, &mut kitchen);
        if let Some(had) = had.filter(|had| *had != outbound) {
            outbounds.leave(had, id, parts, kitchen.assignments);
        }
        proxy.outbound = Some(outbound);
        let forwarded = outbounds.get(outbound).map(|outbound| outbound.forwarded(parts)).unwrap_or_default();
        let had = std::mem::take(&mut proxy.own);
        for (owner, recipe) in own {
            let recipe =
                if let Recipe::Own(instance, _) = recipe { Recipe::Own(instance, forwarded.clone()) } else { recipe };
            proxy.own.push(parts.join((User::Proxy(id), &proxy.instance), (owner, recipe), &had, &mut kitchen));
        }
        for part in had.into_iter().filter(|part| !proxy.own.contains(part)) {
            parts.leave(part, User::Proxy(id), kitchen.assignments);
        }
        self.list_secrets(id);
    }

    /// Finds out which secrets a proxy needs.
    fn list_secrets(&mut self, id: ProxyId) {
        let Self { view, proxies, common, options, authority, chains, interner, .. } = self;
        let Some(proxy) = proxies.get_mut(&id) else { return };
        let Some(service) = view.service(&proxy.instance) else { return };
        let world = World { view, options, trust_domain: authority.trust_domain(), chains };
        let wanted = proxy.wanted_secrets(&identity(&proxy.instance, &service.value), common);
        let old = std::mem::take(&mut proxy.secrets);
        proxy.secrets = wanted.into_iter().map(|key| common.secrets.join(key, id, world, interner)).collect();
        for key in old.iter().filter(|key| !proxy.secrets.contains(key)) {
            common.secrets.leave(key, id);
        }
        authority.request(proxy.identity().cloned());
    }

    /// Sends what changed to the streams of these proxies.
    fn publish(&mut self, pending: BTreeMap<ProxyId, Pending>) {
        let index = self.view.index();
        let since = std::mem::replace(&mut self.published, index);
        if pending.is_empty() {
            return;
        }
        let mut published = 0;
        let mut pushing = self.journal.begin(since, index);
        for (id, pending) in pending {
            let Some(proxy) = self.proxies.get_mut(&id) else { continue };
            // What its parts add up to, and what is lost by it, is found out for the first snapshot.
            let before = proxy.snapshot().cloned();
            let is_first = before.is_none();
            let is_changed = proxy.update(&pending, &self.common);
            if is_first || pending.has_newer_parts || pending.has_other_problems {
                for problem in proxy.tell_problems(&self.common) {
                    self.journal.happened(&Arc::new(proxy.instance.clone()), ProxyHappening::Problem(problem));
                }
            }
            if is_changed {
                proxy.publish(Types::changed(before.as_ref(), proxy.snapshot()), &mut pushing);
                published += 1;
                tracing::trace!(proxy = %proxy.instance, "configuration published");
            }
        }
        self.journal.add(pushing);
        if published > 0 {
            tracing::debug!(proxies = published, index = self.view.index(), "configuration published");
        }
    }
}

/// What a proxy has for itself, if it is of a kind that is configured: its inbound side or its listeners, and a collector
/// that it dials for itself.
pub(super) fn own_recipes(
    instance: &InstanceId,
    service: &Service,
    world: World<'_>,
    reader: &Reader<'_>,
) -> Option<Vec<(Owner, Recipe)>> {
    let own = (Owner::Own, Recipe::Own(instance.clone(), Arc::default()));
    match service.kind {
        ServiceKind::ConnectProxy => {
            let state = world.state(reader);
            let collector = collector(&state, service).map(|(id, dialled)| {
                let caller = Arc::new(Caller::of(&state, service));
                (Owner::Upstream(id), Recipe::Upstream(instance.place.clone(), caller, Box::new(dialled)))
            });
            Some(std::iter::once(own).chain(collector).collect())
        }
        ServiceKind::MeshGateway => Some(vec![own]),
        ServiceKind::Typical
        | ServiceKind::TerminatingGateway
        | ServiceKind::IngressGateway
        | ServiceKind::ApiGateway => None,
    }
}

/// Whom the proxy's certificate speaks for, should it need one.
pub(super) fn identity(instance: &InstanceId, service: &Service) -> SpiffeId {
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
