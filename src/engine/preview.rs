//! What a few proxies would be sent in some state, made anew by the code that configures Envoy, without streams.
//!
//! **Invariant.** It depends on the state alone. A part that cannot be made is missing here, where a running engine keeps it
//! as it last was; the problems say so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Options;
use super::chains::Chains;
use super::core::{identity, own_recipes};
use super::intern::Interner;
use super::outbound::fingerprint;
use super::parts::{Kitchen, ProxyId, Recipe, User};
use super::proxy::{Common, Proxy};
use super::shared::World;
use super::sum::OF_PARTS;
use crate::envoy::snapshot::Snapshot;
use crate::model::{InstanceId, TrustDomain};
use crate::store::{Key, Reader, View};

/// What one proxy would be sent.
#[derive(Debug, Clone)]
pub struct Previewed {
    /// All of its resources that can be made.
    pub snapshot: Arc<Snapshot>,
    /// What is missing, and why.
    pub problems: Vec<String>,
    /// Every part and every resource could be made. Otherwise a running engine has older ones in their places.
    pub is_whole: bool,
}

/// What proxies would be sent.
#[derive(Debug, Default)]
pub struct Preview {
    proxies: BTreeMap<InstanceId, Previewed>,
    /// Everything that was read to find it out.
    keys: BTreeSet<Key>,
}

impl Preview {
    /// What these proxies would be sent in the state of `view`. Those that are not registered, or of a kind that is not
    /// configured, are not among them.
    pub fn new(
        options: &Options,
        trust_domain: &TrustDomain,
        view: &Arc<View>,
        proxies: impl IntoIterator<Item = InstanceId>,
    ) -> Self {
        let (chains, mut interner, mut common) = (Chains::default(), Interner::default(), Common::default());
        let mut preview = Self::default();
        for (number, instance) in (0..).zip(proxies) {
            let world = World { view, options, trust_domain, chains: &chains };
            let reader = Reader::new(view);
            let made = made(ProxyId(number), &instance, &reader, world, (&mut common, &mut interner));
            preview.keys.extend(reader.into_read_set());
            preview.proxies.extend(made.map(|made| (instance, made)));
        }
        let Common { parts, assignments, secrets, .. } = &common;
        preview.keys.extend(parts.keys_read().chain(assignments.keys_read()).chain(secrets.keys_read()).cloned());
        preview
    }

    /// A proxy.
    pub fn get(&self, proxy: &InstanceId) -> Option<&Previewed> {
        self.proxies.get(proxy)
    }

    /// Every proxy, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&InstanceId, &Previewed)> {
        self.proxies.iter()
    }

    /// Everything that was read to find it out.
    pub fn keys_read(&self) -> &BTreeSet<Key> {
        &self.keys
    }
}

fn made(
    id: ProxyId,
    instance: &InstanceId,
    reader: &Reader<'_>,
    world: World<'_>,
    (common, interner): (&mut Common, &mut Interner),
) -> Option<Previewed> {
    let service = reader.service(instance)?.value.clone();
    let own = own_recipes(instance, &service, world, reader)?;
    let Common { parts, outbounds, assignments, .. } = &mut *common;
    let state = world.state(reader);
    let asked = (outbounds.asked((instance, &*service), &state, None, parts), fingerprint(&service));
    let mut kitchen = Kitchen { world, interner: &mut *interner, assignments };
    let outbound = outbounds.join((id, instance), asked, None, parts, &mut kitchen);
    let forwarded = outbounds.get(outbound).map(|outbound| outbound.forwarded(parts)).unwrap_or_default();
    let mut proxy = Proxy::new(instance.clone());
    proxy.outbound = Some(outbound);
    for (owner, recipe) in own {
        let recipe = match recipe {
            Recipe::Own(instance, _) => Recipe::Own(instance, forwarded.clone()),
            recipe @ (Recipe::Forwarding(..) | Recipe::Upstream(..)) => recipe,
        };
        proxy.own.push(parts.join((User::Proxy(id), instance), (owner, recipe), &[], &mut kitchen));
    }
    let wanted = proxy.wanted_secrets(&identity(instance, &service), common);
    let secrets = &mut common.secrets;
    proxy.secrets = wanted.into_iter().map(|key| secrets.join(key, id, world, interner)).collect();
    let own_problems = proxy.own.iter().filter_map(|part| common.parts.get(*part)).flat_map(|entry| &entry.problems);
    let outbound_problems = common.outbounds.get(outbound).into_iter().flat_map(|outbound| &outbound.problems);
    let problems = own_problems.chain(outbound_problems).cloned().collect();
    let snapshot = Arc::new(proxy.whole(common));
    let own = common.parts.entries(&proxy.own);
    let outbound = common.outbounds.get(outbound).map(|outbound| outbound.entries(&common.parts)).unwrap_or_default();
    let is_made = own.iter().chain(&outbound).all(|entry| entry.part.is_some());
    let is_whole = is_made && !OF_PARTS.into_iter().any(|kind| snapshot.is_incomplete(kind));
    Some(Previewed { snapshot, problems, is_whole })
}
