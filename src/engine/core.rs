//! The engine's own state: proxies, what they share, and who read what.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;

use super::Options;
use super::chains::Chains;
use super::intern::Interner;
use super::journal::{Journal, ProxyHappening, Types};
use super::outbound::{Outbound, Stale, fingerprint};
use super::parts::{Kitchen, OutboundId, Owner, ProxyId, Recipe, Remade, User, contained};
use super::proxy::{Common, Pending, Proxy};
use super::reach::Span;
use super::shared::World;
use super::slot::Slot;
use crate::ca::Authority;
use crate::model::{InstanceId, Service, ServiceKey, ServiceKind, SpiffeId, TrustDomain};
use crate::resolve::{Caller, collector};
use crate::store::{Key, Reader, Readers, View};

/// Who makes the certificates that proxies need.
#[derive(Clone)]
pub(super) enum Issuer {
    /// The authority, which is asked for what is missing.
    Authority(Authority),
    /// Nobody: what is missing stays so, and nothing waits for it.
    Nobody(TrustDomain),
}

impl Issuer {
    fn trust_domain(&self) -> &TrustDomain {
        match self {
            Self::Authority(authority) => authority.trust_domain(),
            Self::Nobody(trust_domain) => trust_domain,
        }
    }

    fn request(&self, identity: Option<SpiffeId>) {
        if let Self::Authority(authority) = self {
            authority.request(identity);
        }
    }

    fn is_awaited(&self) -> bool {
        matches!(self, Self::Authority(_))
    }
}

/// The state. One thread owns it.
#[derive(Clone)]
pub(super) struct Core {
    options: Options,
    issuer: Issuer,
    view: Arc<View>,
    journal: Journal,
    ids: BTreeMap<InstanceId, ProxyId>,
    /// In boxes: numbers grow, and a map that is filled so is half empty.
    proxies: BTreeMap<ProxyId, Box<Proxy>>,
    last_id: u64,
    /// What decides of which parts a proxy is made.
    readers: Readers<ProxyId>,
    chains: Chains,
    common: Common,
    interner: Interner,
}

impl Core {
    pub(super) fn new(options: Options, issuer: Issuer, view: Arc<View>, journal: Journal) -> Self {
        Self {
            options,
            issuer,
            view,
            journal,
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
                slot.set_gateway(proxy.is_gateway);
                slot.publish(snapshot.clone(), Span::up_to(proxy.index), None);
            }
            let is_fresh = proxy.slots.is_empty();
            proxy.slots.push(slot);
            // The new slot does not know what is wrong.
            pending.insert(id, Pending { has_other_problems: true, ..Pending::default() });
            if is_fresh {
                self.list_parts(id);
            }
        }
        self.publish(pending, Span::arrival(self.view.index()));
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

    /// The same state without streams, in which nobody makes certificates: what is done to it is seen by nobody.
    pub(super) fn detached(&self) -> Self {
        let mut detached = self.clone();
        detached.issuer = Issuer::Nobody(self.issuer.trust_domain().clone());
        detached.journal = Journal::default();
        for proxy in detached.proxies.values_mut() {
            proxy.slots = Vec::new();
        }
        detached
    }

    /// The state that everything is made from.
    pub(super) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Makes the configuration of every proxy that is registered, whether or not a stream asked for it.
    pub(super) fn include_registered(&mut self) {
        let view = self.view.clone();
        for (instance, _) in view.proxies() {
            let id = self.id_of(instance);
            if let btree_map::Entry::Vacant(vacant) = self.proxies.entry(id) {
                vacant.insert(Box::new(Proxy::new(instance.clone())));
                self.list_parts(id);
            }
        }
        let unpublished = self.proxies.iter().filter(|(_, proxy)| proxy.snapshot().is_none());
        let unpublished = unpublished.map(|(id, _)| (*id, Pending::default())).collect();
        self.publish(unpublished, Span::arrival(view.index()));
    }

    /// Every proxy, with what is wrong with it.
    pub(super) fn proxies(&self) -> impl Iterator<Item = (&Proxy, Vec<String>)> {
        self.proxies.values().map(|proxy| (&**proxy, proxy.problems(&self.common)))
    }

    /// The proxies of whose configuration something was made from one of these keys.
    pub(super) fn readers_of(&self, keys: &[&Key]) -> BTreeSet<&InstanceId> {
        let keys = || keys.iter().copied();
        let Common { parts, outbounds, assignments, secrets } = &self.common;
        let mut ids = self.readers.of(keys());
        let of_parts = parts.readers_of(keys()).into_iter();
        let of_assignments = assignments.readers_of(keys());
        let all = of_parts.chain(of_assignments.iter().flat_map(|key| assignments.users(key)));
        for user in all.collect::<BTreeSet<_>>().into_iter().flat_map(|part| parts.users(part)) {
            match user {
                User::Proxy(proxy) => drop(ids.insert(proxy)),
                User::Outbound(outbound) => ids.extend(outbounds.users(outbound)),
            }
        }
        ids.extend(secrets.readers_of(keys()).iter().flat_map(|key| secrets.users(key)));
        ids.into_iter().filter_map(|id| self.proxies.get(&id)).map(|proxy| &proxy.instance).collect()
    }

    /// A proxy.
    pub(super) fn proxy(&self, instance: &InstanceId) -> Option<&Proxy> {
        self.ids.get(instance).and_then(|id| self.proxies.get(id)).map(|proxy| &**proxy)
    }

    /// What could not be made of a proxy.
    pub(super) fn unmade(&self, proxy: &Proxy) -> BTreeSet<String> {
        proxy.unmade(&self.common)
    }

    /// True while the certificate that a proxy needs is still being made.
    pub(super) fn waits_for_certificate(&self, proxy: &Proxy) -> bool {
        proxy.waits_for_certificate(&self.common.secrets)
    }

    /// Forgets all proxies but these.
    pub(super) fn keep_only(&mut self, kept: &BTreeSet<InstanceId>) {
        let others: Vec<_> = self.ids.keys().filter(|instance| !kept.contains(*instance)).cloned().collect();
        others.iter().for_each(|instance| self.remove(instance));
    }

    /// No stream asks for this slot's proxy under this name any more.
    pub(super) fn stop(&mut self, slot: &Arc<Slot>) {
        let Some(id) = self.ids.get(&slot.instance) else { return };
        let Some(proxy) = self.proxies.get_mut(id) else { return };
        proxy.slots.retain(|known| !Arc::ptr_eq(known, slot));
        if proxy.slots.is_empty() {
            self.remove(&slot.instance);
        }
    }

    /// Forgets a proxy, and what it alone had.
    fn remove(&mut self, instance: &InstanceId) {
        let Some(id) = self.ids.remove(instance) else { return };
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

    /// A newer state. Returns how many connected proxies were sent something.
    pub(super) fn advance(&mut self, view: Arc<View>) -> usize {
        let older = self.view.clone();
        let changed: Vec<&Key> = view.changed_since(&older).collect();
        self.advance_by(view.clone(), &changed, Span { after: older.index(), until: view.index() })
    }

    /// Another state, which differs in these keys because of commits of this span. Returns how many connected proxies were sent
    /// something.
    pub(super) fn advance_by(&mut self, view: Arc<View>, changed: &[&Key], span: Span) -> usize {
        self.view = view.clone();
        let keys = || changed.iter().copied();
        self.chains.advance(keys());
        let mut pending: BTreeMap<ProxyId, Pending> = BTreeMap::new();
        let mut stale: BTreeMap<OutboundId, Stale> = BTreeMap::new();
        // Parts first: what a proxy has in common with others is then up to date when its list is made.
        let remade = self.remake_parts(changed);
        for user in remade.changed.into_iter().flat_map(|part| self.common.parts.users(part)) {
            match user {
                User::Proxy(proxy) => pending.entry(proxy).or_default().has_newer_parts = true,
                User::Outbound(outbound) => stale.entry(outbound).or_default().has_newer_parts = true,
            }
        }
        for user in remade.failed.into_iter().flat_map(|part| self.common.parts.users(part)) {
            match user {
                User::Proxy(proxy) => pending.entry(proxy).or_default().has_other_problems = true,
                User::Outbound(outbound) => stale.entry(outbound).or_default().has_failed = true,
            }
        }
        for id in self.readers.of(keys()) {
            self.list_parts(id);
            pending.entry(id).or_default().has_newer_parts = true;
        }
        self.advance_assignments(changed, &mut pending, &mut stale);
        for gateway in self.refresh_outbounds(stale, &mut pending) {
            // Its listeners lead to what it forwards.
            self.list_parts(gateway);
        }
        for (id, _) in pending.iter().filter(|(_, pending)| pending.has_newer_parts) {
            self.list_secrets(*id);
        }
        let Self { common, options, issuer, chains, interner, .. } = self;
        let world = World { view: &view, options, trust_domain: issuer.trust_domain(), chains };
        for change in common.secrets.advance(keys(), world, interner) {
            for proxy in common.secrets.users(&change.key) {
                let pending = pending.entry(proxy).or_default();
                pending.secrets.push(change.key.clone());
                pending.has_other_problems |= change.has_other_problems;
            }
        }
        self.publish(pending, span)
    }

    /// Computes again the assignments that read one of these keys, and notes who has them.
    fn advance_assignments(
        &mut self,
        changed: &[&Key],
        pending: &mut BTreeMap<ProxyId, Pending>,
        stale: &mut BTreeMap<OutboundId, Stale>,
    ) {
        let Self { view, common, options, issuer, chains, interner, .. } = self;
        let world = World { view, options, trust_domain: issuer.trust_domain(), chains };
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

    /// Makes the parts again that read one of these keys.
    fn remake_parts(&mut self, changed: &[&Key]) -> Remade {
        let Self { view, common, options, issuer, chains, interner, .. } = self;
        let world = World { view, options, trust_domain: issuer.trust_domain(), chains };
        let mut kitchen = Kitchen { world, interner, assignments: &mut common.assignments };
        common.parts.advance(changed.iter().copied(), &mut kitchen)
    }

    /// Finds out of which parts a proxy is made.
    fn list_parts(&mut self, id: ProxyId) {
        let Self { view, proxies, readers, common, options, issuer, chains, interner, .. } = self;
        let Some(proxy) = proxies.get_mut(&id) else { return };
        let world = World { view, options, trust_domain: issuer.trust_domain(), chains };
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
        proxy.is_broken = asked.is_err();
        proxy.failures = match (&service, &asked) {
            (None, _) => vec![not_registered(&proxy.instance)],
            (Some(_), Err(defect)) => vec![defect.clone()],
            (Some(service), Ok(None)) => vec![unsupported(&proxy.instance, service)],
            (Some(_), Ok(Some(_))) => Vec::new(),
        };
        // What is gone leaves the proxy as it last was.
        let Ok(Some((own, outbound))) = asked else { return };
        proxy.is_gateway = service.as_ref().is_some_and(|service| service.kind == ServiceKind::MeshGateway);
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
        let Self { view, proxies, common, options, issuer, chains, interner, .. } = self;
        let Some(proxy) = proxies.get_mut(&id) else { return };
        let Some(service) = view.service(&proxy.instance) else { return };
        let world = World { view, options, trust_domain: issuer.trust_domain(), chains };
        let wanted = proxy.wanted_secrets(&identity(&proxy.instance, &service.value), common);
        let old = std::mem::take(&mut proxy.secrets);
        proxy.secrets = wanted.into_iter().map(|key| common.secrets.join(key, id, world, interner)).collect();
        for key in old.iter().filter(|key| !proxy.secrets.contains(key)) {
            common.secrets.leave(key, id);
        }
        issuer.request(proxy.identity().cloned());
    }

    /// Sends what commits of this span changed to the streams of these proxies. Returns how many of those there are.
    fn publish(&mut self, pending: BTreeMap<ProxyId, Pending>, span: Span) -> usize {
        if pending.is_empty() {
            return 0;
        }
        let mut published = 0;
        let mut pushing = self.journal.begin(span);
        let span = span.or_last();
        for (id, pending) in pending {
            let Some(proxy) = self.proxies.get_mut(&id) else { continue };
            // What its parts add up to, and what is lost by it, is found out for the first snapshot.
            let before = proxy.snapshot().cloned();
            let is_first = before.is_none();
            let is_changed = proxy.update(&pending, &self.common, self.issuer.is_awaited());
            let mut mended_after = None;
            if is_first || pending.has_newer_parts || pending.has_other_problems {
                let (new, mended) = proxy.tell_problems(&self.common, span);
                mended_after = mended;
                for problem in new {
                    self.journal.happened(&Arc::new(proxy.instance.clone()), ProxyHappening::Problem(problem));
                }
            }
            if is_changed {
                let types = Types::changed(before.as_ref(), proxy.snapshot());
                proxy.publish(span.since(mended_after), types, &mut pushing);
                // Those without streams are no news to anybody.
                published += usize::from(!proxy.slots.is_empty());
                tracing::trace!(proxy = %proxy.instance, "configuration published");
            }
        }
        self.journal.add(pushing);
        if published > 0 {
            tracing::debug!(proxies = published, index = self.view.index(), "configuration published");
        }
        published
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
