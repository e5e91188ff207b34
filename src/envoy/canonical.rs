//! One encoding for one meaning.
//!
//! **Problem.** Map fields of the generated types are hash maps, so equal messages encode to different bytes, and what is
//! hashed and compared would change without a reason.
//!
//! **Invariant.** Fields stand in the order of their numbers, entries of a map in the order of their bytes, and the same
//! holds inside every message and every `Any`.

//! `prost` writes fields in that order already. What is left are maps, and messages that lead to one are few: a plan for each
//! kind of message says below which fields to look, so that everything else is passed over, whatever its size.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock};

use bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost::{DecodeError, Message, Name};
use prost_reflect::MessageDescriptor;

use super::descriptors;

/// Deeper nesting than anything has: given messages are JSON of at most 128 levels, of which one takes at most three here.
const MAX_DEPTH: usize = 512;

const ANY: &str = "google.protobuf.Any";

/// The canonical encoding of a message.
pub fn encode<M: Message + Name>(message: &M) -> Bytes {
    let bytes = message.encode_to_vec();
    let changed = match canonical(&Plan::of_generated::<M>(), &bytes, 0).expect("an encoded message decodes") {
        Cow::Borrowed(_) => None,
        Cow::Owned(changed) => Some(changed),
    };
    changed.unwrap_or(bytes).into()
}

/// Where maps can be in a kind of message.
#[derive(Debug)]
struct Plan {
    /// The message is an `Any`: what is in it says where.
    is_any: bool,
    /// The fields that are maps, or below which there can be some, by number.
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    number: u32,
    is_map: bool,
    message: MessageDescriptor,
    plan: OnceLock<Arc<Plan>>,
}

/// The plans that were made, by the full names of the messages.
static KNOWN: LazyLock<RwLock<HashMap<String, Arc<Plan>>>> = LazyLock::new(RwLock::default);

impl Plan {
    fn of_generated<M: Name>() -> Arc<Self> {
        let name = M::full_name();
        let descriptor = || descriptors::by_name(&name).expect("every generated message has a descriptor");
        Self::known(&name).unwrap_or_else(|| Self::of(&descriptor()))
    }

    fn known(name: &str) -> Option<Arc<Self>> {
        // Plans are put in whole, so a panic elsewhere leaves none half made.
        KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn of(descriptor: &MessageDescriptor) -> Arc<Self> {
        if let Some(plan) = Self::known(descriptor.full_name()) {
            return plan;
        }
        let step = |field: prost_reflect::FieldDescriptor| {
            let message = field.kind().as_message()?.clone();
            let step = Step { number: field.number(), is_map: field.is_map(), message, plan: OnceLock::new() };
            (step.is_map || leads_to_maps(&step.message)).then_some(step)
        };
        let mut steps: Vec<_> = descriptor.fields().filter_map(step).collect();
        steps.sort_by_key(|step| step.number);
        let plan = Arc::new(Self { is_any: descriptor.full_name() == ANY, steps });
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(descriptor.full_name().to_owned()).or_insert(plan).clone()
    }

    fn step(&self, field: &Field<'_>) -> Option<&Step> {
        let position = self.steps.binary_search_by_key(&field.number, |step| step.number).ok()?;
        (field.wire == WireType::LengthDelimited).then(|| &self.steps[position])
    }
}

impl Step {
    fn plan(&self) -> &Plan {
        self.plan.get_or_init(|| Plan::of(&self.message))
    }
}

/// True if there can be a map somewhere in a message, or an `Any` that could hold one.
fn leads_to_maps(descriptor: &MessageDescriptor) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![descriptor.clone()];
    while let Some(message) = next.pop() {
        if message.full_name() == ANY || message.fields().any(|field| field.is_map()) {
            return true;
        }
        if seen.insert(message.full_name().to_owned()) {
            next.extend(message.fields().filter_map(|field| field.kind().as_message().cloned()));
        }
    }
    false
}

/// A field as it stands in a message.
#[derive(Clone)]
struct Field<'b> {
    number: u32,
    wire: WireType,
    /// Length-delimited content without its length, or the value's own bytes.
    content: Cow<'b, [u8]>,
}

/// The message in canonical form; the very same bytes if they are so already.
fn canonical<'b>(plan: &Plan, bytes: &'b [u8], depth: usize) -> Result<Cow<'b, [u8]>, DecodeError> {
    if depth >= MAX_DEPTH {
        return Ok(Cow::Borrowed(bytes));
    }
    let inner_of_any = if plan.is_any { inner_of_any(bytes)? } else { None };
    let mut is_canonical = true;
    let mut changed = Vec::new();
    let mut before: Option<Field<'b>> = None;
    for (position, field) in Fields(bytes).enumerate() {
        let field = field?;
        let step = plan.step(&field);
        let inner = match &inner_of_any {
            Some(inner) => (field.number == 2).then_some(&**inner),
            None => step.map(Step::plan),
        };
        if let (Some(inner), Cow::Borrowed(content)) = (inner, &field.content)
            && let Cow::Owned(content) = canonical(inner, content, depth + 1)?
        {
            changed.push((position, content));
        }
        if let Some(before) = &before {
            let is_map = step.is_some_and(|step| step.is_map) && before.number == field.number;
            is_canonical &= before.number <= field.number && !(is_map && before.content > field.content);
        }
        before = Some(field);
    }
    if is_canonical && changed.is_empty() {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut fields = Fields(bytes).collect::<Result<Vec<_>, _>>()?;
    for (position, content) in changed {
        fields[position].content = Cow::Owned(content);
    }
    Ok(Cow::Owned(written(plan, fields, bytes.len())))
}

/// The fields in the order of their numbers, entries of maps in that of their bytes.
fn written(plan: &Plan, mut fields: Vec<Field<'_>>, len: usize) -> Vec<u8> {
    // Stable: elements of a repeated field keep their order.
    fields.sort_by_key(|field| field.number);
    let mut out = Vec::with_capacity(len);
    for run in fields.chunk_by_mut(|a, b| a.number == b.number) {
        if plan.step(&run[0]).is_some_and(|step| step.is_map) {
            run.sort_by(|a, b| a.content.cmp(&b.content));
        }
        for Field { number, wire, content } in run {
            encode_key(*number, *wire, &mut out);
            if *wire == WireType::LengthDelimited {
                encode_varint(content.len() as u64, &mut out);
            }
            out.extend_from_slice(content);
        }
    }
    out
}

fn inner_of_any(bytes: &[u8]) -> Result<Option<Arc<Plan>>, DecodeError> {
    for field in Fields(bytes) {
        let field = field?;
        if field.number == 1 {
            let url = std::str::from_utf8(&field.content).ok();
            return Ok(url.and_then(descriptors::by_type_url).map(|descriptor| Plan::of(&descriptor)));
        }
    }
    Ok(None)
}

/// The fields of a message, one after the other.
struct Fields<'b>(&'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = Result<Field<'b>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.has_remaining().then(|| self.take())
    }
}

impl<'b> Fields<'b> {
    fn take(&mut self) -> Result<Field<'b>, DecodeError> {
        let bytes = &mut self.0;
        let (number, wire) = decode_key(bytes)?;
        let length = match wire {
            WireType::LengthDelimited => decode_varint(bytes)? as usize,
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::Varint => bytes.iter().take_while(|byte| **byte >= 0x80).count() + 1,
            // Groups do not exist in proto3, and nothing here writes them.
            WireType::StartGroup | WireType::EndGroup => bytes.len(),
        };
        let (content, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        *bytes = rest;
        Ok(Field { number, wire, content: Cow::Borrowed(content) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use envoy_types::pb::envoy::config::rbac::v3::{Policy, Rbac as Rules};
    use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
    use envoy_types::pb::google::protobuf::Any;

    use super::*;

    fn policies() -> Rbac {
        let policies: HashMap<_, _> = (0..10).map(|n| (format!("policy-{n}"), Policy::default())).collect();
        Rbac { stat_prefix: "x".to_owned(), rules: Some(Rules { policies, ..Rules::default() }), ..Rbac::default() }
    }

    #[test]
    fn a_thousand_builds_have_one_encoding_also_inside_an_any() {
        let direct: BTreeSet<_> = (0..1_000).map(|_| encode(&policies())).collect();
        let packed: BTreeSet<_> = (0..1_000)
            .map(|_| encode(&Any { type_url: Rbac::type_url(), value: policies().encode_to_vec() }))
            .collect();

        assert_eq!((direct.len(), packed.len()), (1, 1));
    }

    #[test]
    fn fields_and_entries_are_put_in_order_wherever_they_are() {
        // Field 2 before field 1, twice, around a map with its entries the wrong way round.
        let entry = |name: &str| {
            let mut entry = vec![0x0a, 0x01];
            entry.extend(name.bytes());
            [&[0x12, u8::try_from(entry.len()).unwrap()][..], &entry].concat()
        };
        let rules = [entry("b"), entry("a"), vec![0x08, 0x01]].concat();
        let value = [&[0x12, 0x01, b'x', 0x0a, u8::try_from(rules.len()).unwrap()][..], &rules].concat();
        let any = |value| encode(&Any { type_url: Rbac::type_url(), value });
        let ordered_rules = [vec![0x08, 0x01], entry("a"), entry("b")].concat();
        let ordered = [&[0x0a, u8::try_from(rules.len()).unwrap()][..], &ordered_rules, &[0x12, 0x01, b'x']].concat();

        let expected = Any { type_url: Rbac::type_url(), value: ordered };

        assert_eq!(Any::decode(any(value)).unwrap(), expected);
        assert_eq!(any(expected.value.clone()), expected.encode_to_vec());
    }

    #[test]
    fn what_has_no_map_stays_the_very_same_bytes() {
        let bytes = policies().encode_to_vec();
        let single = Rbac { rules: None, ..policies() }.encode_to_vec();
        let plan = Plan::of(&descriptors::by_name(&Rbac::full_name()).unwrap());

        assert!(matches!(canonical(&plan, &single, 0), Ok(Cow::Borrowed(_))));
        assert_eq!(canonical(&plan, &bytes, 0).unwrap().len(), bytes.len());
    }

    #[test]
    fn the_meaning_stays() {
        let message = policies();

        assert_eq!(Rbac::decode(encode(&message)).unwrap(), message);
    }
}
