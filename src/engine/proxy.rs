//! One proxy with streams: its parts, and the snapshot that they add up to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::journal::{Pushing, Types};
use super::outbound::{Outbound, Outbounds};
use super::parts::{Assignments, Entry, OutboundId, PartId, PartTable, ProxyId};
use super::reach::Span;
use super::secrets::SecretKey;
use super::shared::AssignmentKey;
use super::slot::{Faults, Handed, Slot};
use super::sum::{self, OF_PARTS, Sum, made, put_shared};
use crate::envoy::snapshot::{ResourceType, Snapshot};
use crate::model::{InstanceId, SpiffeId};
use crate::store::Index;

/// Secrets by the proxies that have them.
pub(super) type Secrets = super::shared::SharedTable<SecretKey, ProxyId>;

/// What a proxy has to take over.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Assignments of its own parts that changed.
    pub(super) assignments: Vec<Arc<AssignmentKey>>,
    /// Secrets that changed.
    pub(super) secrets: Vec<Arc<SecretKey>>,
    /// The endpoints of its outbound side are others.
    pub(super) has_newer_endpoints: bool,
    /// One of its parts is another one, or it has other parts.
    pub(super) has_newer_parts: bool,
    /// It goes without other things than before.
    pub(super) has_other_problems: bool,
}

/// What proxies share.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    pub(super) parts: PartTable,
    pub(super) outbounds: Outbounds,
    pub(super) assignments: Assignments,
    pub(super) secrets: Secrets,
}

/// One proxy.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) instance: InstanceId,
    /// Clients that name the proxy in different ways have a slot each.
    pub(super) slots: Vec<Arc<Slot>>,
    /// What it has for itself: a gateway its listeners, a sidecar its inbound side.
    pub(super) own: Vec<PartId>,
    /// What it may have in common with others.
    pub(super) outbound: Option<OutboundId>,
    pub(super) secrets: Vec<Arc<SecretKey>>,
    pub(super) is_registered: bool,
    /// It is a gateway, as it was last registered.
    pub(super) is_gateway: bool,
    /// What keeps it as it was, apart from what is wrong with its parts.
    pub(super) failures: Vec<String>,
    /// That is a defect, which keeps what should be from being made.
    pub(super) is_broken: bool,
    /// What it loses because two of its parts want the same.
    conflicts: Vec<String>,
    /// What all of its parts add up to, unless that is just both sides, side by side.
    sum: Option<Box<Sum>>,
    snapshot: Option<Arc<Snapshot>>,
    /// The commit that the snapshot was made for.
    pub(super) index: Index,
}

impl Proxy {
    /// A proxy of which nothing is known yet.
    pub(super) fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            slots: Vec::new(),
            own: Vec::new(),
            outbound: None,
            secrets: Vec::new(),
            is_registered: false,
            is_gateway: false,
            failures: Vec::new(),
            is_broken: false,
            conflicts: Vec::new(),
            sum: None,
            snapshot: None,
            index: 0,
        }
    }

    /// What was last published.
    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    fn own_entries<'c>(&self, parts: &'c PartTable) -> Vec<&'c Entry> {
        parts.entries(&self.own)
    }

    fn outbound<'c>(&self, common: &'c Common) -> Option<&'c Outbound> {
        self.outbound.and_then(|id| common.outbounds.get(id))
    }

    /// All parts, the earlier ones first: the inbound side, the upstreams, and what was added to those.
    fn entries<'c>(&self, common: &'c Common) -> Vec<&'c Entry> {
        let mut all = self.own_entries(&common.parts);
        let added = all.split_off(all.len().min(1));
        all.extend(self.outbound(common).into_iter().flat_map(|outbound| outbound.entries(&common.parts)));
        all.extend(added);
        all
    }

    /// The secrets that its parts need, if `identity` is whom its certificate speaks for.
    pub(super) fn wanted_secrets(&self, identity: &SpiffeId, common: &Common) -> BTreeSet<SecretKey> {
        let mut secrets = secrets_of(&self.own_entries(&common.parts));
        secrets.extend(self.outbound(common).into_iter().flat_map(|outbound| outbound.trusts.iter().cloned()));
        if !secrets.is_empty() {
            secrets.insert(SecretKey::Leaf(identity.clone()));
        }
        secrets
    }

    /// The identity that the proxy needs a certificate for.
    pub(super) fn identity(&self) -> Option<&SpiffeId> {
        self.secrets.iter().find_map(|key| match &**key {
            SecretKey::Leaf(identity) => Some(identity),
            SecretKey::Trust(..) => None,
        })
    }

    /// True while the certificate that the proxy needs is still being made.
    pub(super) fn waits_for_certificate(&self, secrets: &Secrets) -> bool {
        let leaf = self.identity().map(|identity| SecretKey::Leaf(identity.clone()));
        leaf.is_some_and(|key| secrets.get(&key).is_none_or(|leaf| leaf.resource.is_none()))
    }

    /// Takes over what is pending. True if the snapshot is another one then. There is no first one without the certificate,
    /// where that is needed.
    ///
    /// Costs what changed, not what the proxy holds, unless one of its parts is another one.
    pub(super) fn update(&mut self, pending: &Pending, common: &Common, needs_certificate: bool) -> bool {
        let is_first = self.snapshot.is_none();
        let waits = || needs_certificate && self.waits_for_certificate(&common.secrets);
        if is_first && (!self.is_registered || waits()) {
            return false;
        }
        let mut next = self.snapshot.as_deref().cloned().unwrap_or_default();
        let mut is_changed = is_first;
        if is_first || pending.has_newer_parts {
            is_changed |= self.put_together(&mut next, common);
        } else {
            if pending.has_newer_endpoints || !pending.assignments.is_empty() {
                is_changed |= self.put_endpoints(&mut next, pending, common);
            }
            for key in &pending.secrets {
                is_changed |= put_shared(&mut next, &**key, common.secrets.get(key));
            }
        }
        if is_changed {
            self.snapshot = Some(Arc::new(next));
        }
        is_changed
    }

    /// Sends the snapshot, which commits of this span made and which differs in these types, to every slot.
    pub(super) fn publish(&mut self, span: Span, types: Types, pushing: &mut Pushing) {
        self.index = span.until;
        let Some(snapshot) = &self.snapshot else { return };
        for slot in &self.slots {
            slot.set_gateway(self.is_gateway);
            let Handed { is_watched, earlier } = slot.publish(snapshot.clone(), span, Some(pushing.next()));
            if is_watched {
                pushing.add(&slot.instance, types, earlier);
            }
        }
    }

    /// Everything that it would be sent, whether or not its certificate is there.
    pub(super) fn whole(&mut self, common: &Common) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.put_together(&mut snapshot, common);
        snapshot
    }

    /// Makes the snapshot hold what the parts add up to.
    fn put_together(&mut self, snapshot: &mut Snapshot, common: &Common) -> bool {
        let both = self.side_by_side(common);
        let (resources, conflicts) = both.unwrap_or_else(|| {
            let sum = Sum::of(snapshot.clone(), &self.entries(common), &common.assignments);
            let sum = self.sum.insert(Box::new(sum));
            (sum.resources.clone(), sum.conflicts.clone())
        });
        self.conflicts = conflicts;
        let mut is_changed = false;
        for kind in OF_PARTS {
            is_changed |= take_over(snapshot, &resources, kind);
            is_changed |= snapshot.set_incomplete(kind, resources.is_incomplete(kind));
        }
        let secrets = self.secrets.iter().filter_map(|key| common.secrets.get(key)?.resource.clone());
        is_changed | snapshot.get_mut(ResourceType::Secret).set_own(secrets)
    }

    /// The resources and conflicts of a sidecar whose two sides do not want the same: what others have, and its own.
    fn side_by_side(&mut self, common: &Common) -> Option<(Snapshot, Vec<String>)> {
        self.sum = None;
        let outbound = self.outbound(common)?;
        let own = Sum::of(Snapshot::default(), &self.own_entries(&common.parts), &common.assignments);
        if own.meets(&outbound.sum) {
            return None;
        }
        let mut both = outbound.sum.resources.clone();
        for kind in OF_PARTS {
            both.get_mut(kind).set_own(own.resources.get(kind).values().cloned());
            both.set_incomplete(kind, both.is_incomplete(kind) || own.resources.is_incomplete(kind));
        }
        Some((both, [own.conflicts, outbound.sum.conflicts.clone()].concat()))
    }

    /// Takes over assignments that changed.
    fn put_endpoints(&mut self, snapshot: &mut Snapshot, pending: &Pending, common: &Common) -> bool {
        let (kind, assignments) = (ResourceType::Endpoint, &common.assignments);
        let Some(outbound) = self.outbound(common) else {
            let own = &self.own;
            let entries = || common.parts.entries(own);
            let Some(sum) = &mut self.sum else { return false };
            let is_changed = sum.put_endpoints(&pending.assignments, entries, assignments);
            snapshot.get_mut(kind).clone_from(sum.resources.get(kind));
            return is_changed;
        };
        if self.sum.is_some() {
            // Its sides want the same, which is rare.
            return self.put_together(snapshot, common);
        }
        let parts = self.own_entries(&common.parts);
        let own: Vec<_> = made(&parts).flat_map(|part| &part.endpoints).collect();
        if own.is_empty() {
            // As almost always; what all have in common changes once for all of them.
            let (set, newer) = (snapshot.get_mut(kind), outbound.sum.resources.get(kind));
            let is_changed = !set.ptr_eq(newer);
            set.clone_from(newer);
            return is_changed;
        }
        let mut both = outbound.sum.resources.clone();
        let resource = |of: &&AssignmentKey| assignments.get(of)?.resource.clone();
        both.get_mut(kind).set_own(own.iter().filter_map(resource));
        take_over(snapshot, &both, kind)
    }

    /// What is wrong with it.
    pub(super) fn problems(&self, common: &Common) -> Vec<String> {
        self.faults(common).problems
    }

    /// What of it could not be made.
    pub(super) fn unmade(&self, common: &Common) -> BTreeSet<String> {
        let Faults { mut problems, unmade, .. } = self.faults(common);
        problems.truncate(unmade);
        problems.into_iter().collect()
    }

    fn faults(&self, common: &Common) -> Faults {
        let own = self.own_entries(&common.parts);
        let outbound = self.outbound(common);
        let of_parts = own.iter().flat_map(|entry| &entry.problems);
        let of_outbound = outbound.iter().flat_map(|outbound| &outbound.problems);
        let of_own_assignments = sum::omissions(&own, &common.assignments);
        let of_assignments = of_own_assignments.iter().chain(outbound.iter().flat_map(|outbound| &outbound.omissions));
        let secrets = self.secrets.iter().filter_map(|key| common.secrets.get(key));
        let omissions = of_assignments.chain(secrets.flat_map(|secret| &secret.omissions));
        let mut told = BTreeSet::new();
        // Two secrets can go without the same root.
        // What is registered no longer stays as it was, as it should.
        let (unmade, rest): (&[String], &[String]) =
            if self.is_broken { (&self.failures, &[]) } else { (&[], &self.failures) };
        let unmade = unmade.iter().chain(of_parts).chain(of_outbound).chain(&self.conflicts);
        let mut problems: Vec<_> = unmade.filter(|problem| told.insert(problem.as_str())).cloned().collect();
        let unmade = problems.len();
        problems.extend(rest.iter().chain(omissions).filter(|problem| told.insert(problem.as_str())).cloned());
        Faults { problems, unmade, tried: Vec::new() }
    }

    /// Tells the slots what is wrong since commits of this span, and the log what is newly wrong; returns that, and the
    /// commit after which something could not be made that can be now.
    pub(super) fn tell_problems(&self, common: &Common, span: Span) -> (BTreeSet<String>, Option<Index>) {
        let of_own = self.own_entries(&common.parts).into_iter().flat_map(Entry::failures);
        let mut tried: Vec<_> = of_own.filter(|(index, _)| span.contains(*index)).map(|(_, failure)| failure).collect();
        tried.extend(self.outbound(common).into_iter().flat_map(|outbound| outbound.failures(span)).cloned());
        let faults = Faults { tried, ..self.faults(common) };
        let (mut new, mut mended_after) = (BTreeSet::new(), None);
        for slot in &self.slots {
            let changed = slot.set_problems(self.is_registered, faults.clone(), span);
            new.extend(changed.new);
            mended_after = [mended_after, changed.mended_after].into_iter().flatten().min();
        }
        for problem in &new {
            tracing::warn!(proxy = %self.instance, "{problem}");
        }
        (new, mended_after)
    }
}

/// The secrets that say whom parts trust.
pub(super) fn secrets_of(entries: &[&Entry]) -> BTreeSet<SecretKey> {
    let trusts = made(entries).flat_map(|part| &part.trusts);
    trusts.map(|(name, source)| SecretKey::Trust(name.clone(), source.clone())).collect()
}

/// Makes `snapshot` hold the resources of a type that `other` has. True if it held others; equal sets stay what they are, so
/// that streams need not look into them.
fn take_over(snapshot: &mut Snapshot, other: &Snapshot, kind: ResourceType) -> bool {
    let (set, wanted) = (snapshot.get_mut(kind), other.get(kind));
    let is_other = !set.ptr_eq(wanted) && set != wanted;
    if is_other {
        set.clone_from(wanted);
    }
    is_other
}
