//! What explanations are made with: resolving for one proxy, and views that differ from the state in one field.

use serde_json::Value;

use super::Options;
use super::recording::Recording;
use crate::model::{ConfigEntry, EntryKey, FieldPath, InstanceId, Service, TrustDomain, Upstream};
use crate::resolve::explain::Leading;
use crate::resolve::{Caller, Context, PartError, upstream_leading};
use crate::store::{Index, NodeKey, Op, Reader, View};

/// Where an upstream of a registered sidecar leads, and why; what is read goes through `reader`.
///
/// # Errors
/// It cannot be told.
pub fn leading(
    reader: &Reader<'_>,
    options: &Options,
    trust_domain: &TrustDomain,
    (instance, service): (&InstanceId, &Service),
    upstream: &Upstream,
) -> Result<Leading, PartError> {
    let state = Recording::new(reader, &options.hosted);
    let caller = Caller::of(&state, service);
    let context = Context {
        state: &state,
        trust_domain,
        default_intention: options.default_intention,
        dns_domain: &options.dns_domain,
    };
    upstream_leading(context, &instance.place, &caller, upstream)
}

/// A row that can be changed by hand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A config entry.
    Entry(EntryKey),
    /// The registration of an instance.
    Instance(InstanceId),
}

impl Row {
    /// The row in JSON, and the commit that last changed it.
    pub fn read(&self, reader: &Reader<'_>) -> Option<(Value, Index)> {
        match self {
            Row::Entry(key) => {
                let row = reader.entry(key)?;
                Some((written(&*row.value), row.modify_index))
            }
            Row::Instance(id) => {
                let row = reader.service(id)?;
                Some((written(&*row.value), row.modify_index))
            }
        }
    }

    /// The operation that makes the row say this.
    ///
    /// # Errors
    /// It cannot say this.
    pub fn to_say(&self, value: Value) -> Result<Op, serde_json::Error> {
        Ok(match self {
            Row::Entry(_) => Op::PutEntry(ConfigEntry::from_stored(value)?),
            Row::Instance(id) => {
                Op::PutService(NodeKey::new(&id.place, &id.node), serde_json::from_value::<Service>(value)?)
            }
        })
    }

    /// The state without one field of the row; `None` if there is no such field, or the row cannot be without it.
    pub fn without(&self, view: &View, field: &FieldPath) -> Option<View> {
        let (mut value, _) = self.read(&Reader::new(view))?;
        let op = field.remove(&mut value).then(|| self.to_say(value))?.ok()?;
        Some(view.after(&[op]))
    }
}

fn written(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
