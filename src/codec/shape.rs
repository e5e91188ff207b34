//! What a type can be decoded from, found out by decoding it. So a description of bodies is never another one than the
//! decoder's.
//!
//! A value is decoded from nothing but made-up parts: every field of a struct, one item of a list, one entry of a map. What
//! the type asks for on the way is its shape. A part that refuses what was made up is tried with something else in the next
//! pass, and left out if nothing fits.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use serde::de::value::{BorrowedStrDeserializer, Error};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Whatever.
    Any,
    /// True or false.
    Boolean,
    /// A whole number in this range.
    Integer(i128, i128),
    /// A number.
    Number,
    /// A text.
    Text,
    /// One of these texts.
    Choice(Vec<&'static str>),
    /// One of several.
    OneOf(Vec<Shape>),
    /// A list of these.
    List(Box<Shape>),
    /// An object with any keys.
    Map(Box<Shape>),
    /// An object with these fields, in the order of the type. None of them must be there.
    Object(Vec<(&'static str, Shape)>),
}

/// The shape of what `T` is decoded from.
pub fn shape_of<T: DeserializeOwned>() -> Shape {
    let memory = Memory::default();
    loop {
        let found = RefCell::new(Shape::Any);
        memory.blamed.set(false);
        memory.again.set(false);
        let outcome = T::deserialize(Tracer { path: String::new(), found: &found, memory: &memory });
        let root_is_refused = memory.parts.borrow().get("").is_some_and(|part| part.left_out.is_some());
        if (outcome.is_ok() && !memory.again.get()) || root_is_refused {
            return found.into_inner();
        }
    }
}

/// What earlier passes found out, by path.
#[derive(Default)]
struct Memory {
    parts: RefCell<HashMap<String, Part>>,
    /// The part that ended this pass is known.
    blamed: Cell<bool>,
    /// Something is still to be tried.
    again: Cell<bool>,
    /// The structs around the current part.
    around: RefCell<Vec<(&'static str, *const &'static str)>>,
}

#[derive(Default, Clone)]
struct Part {
    /// How many of the made-up values were tried.
    tried: usize,
    /// Those that were taken.
    taken: Vec<usize>,
    /// Its shape, for a part that takes none of them.
    left_out: Option<Shape>,
    /// A second name of another field.
    is_alias: bool,
}

/// A made-up value.
#[derive(Clone, Copy)]
enum MadeUp {
    Text(&'static str),
    Whole,
    Truth,
    Nothing,
    NoItems,
    NoMembers,
}

/// What is tried where a type takes anything.
const ANYTHING: [MadeUp; 9] = [
    MadeUp::Text(""),
    MadeUp::Text("10s"),
    MadeUp::Text("default"),
    MadeUp::Text("2000-01-01T00:00:00Z"),
    MadeUp::Whole,
    MadeUp::Truth,
    MadeUp::NoItems,
    MadeUp::NoMembers,
    MadeUp::Nothing,
];

/// What is tried where it takes a text.
const TEXTS: &[MadeUp] = ANYTHING.first_chunk::<4>().expect("it starts with four texts").as_slice();

impl MadeUp {
    fn shape(self) -> Shape {
        match self {
            MadeUp::Text(_) => Shape::Text,
            MadeUp::Whole => Shape::Integer(i128::from(i64::MIN), i128::from(i64::MAX)),
            MadeUp::Truth => Shape::Boolean,
            MadeUp::Nothing => Shape::Any,
            MadeUp::NoItems => Shape::List(Box::new(Shape::Any)),
            MadeUp::NoMembers => Shape::Map(Box::new(Shape::Any)),
        }
    }

    fn give<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            MadeUp::Text(text) => visitor.visit_borrowed_str(text),
            MadeUp::Whole => visitor.visit_u64(1),
            MadeUp::Truth => visitor.visit_bool(true),
            MadeUp::Nothing => visitor.visit_unit(),
            MadeUp::NoItems => visitor.visit_seq(de::value::SeqDeserializer::<_, Error>::new(std::iter::empty::<u8>())),
            MadeUp::NoMembers => {
                visitor.visit_map(de::value::MapDeserializer::<_, Error>::new(std::iter::empty::<(u8, u8)>()))
            }
        }
    }
}

/// One part of the value.
struct Tracer<'m> {
    path: String,
    found: &'m RefCell<Shape>,
    memory: &'m Memory,
}

impl<'m> Tracer<'m> {
    fn part(&self) -> Part {
        self.memory.parts.borrow().get(&self.path).cloned().unwrap_or_default()
    }

    fn remember(&self, part: Part) {
        self.memory.parts.borrow_mut().insert(self.path.clone(), part);
    }

    /// Says what is here, and leaves it out from now on if it refuses what it was given, unless an inner part has done so.
    fn is<T>(&self, shape: Shape, outcome: Result<T, Error>) -> Result<T, Error> {
        self.found.replace(shape);
        self.blame(outcome)
    }

    fn blame<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if outcome.is_err() && !self.memory.blamed.replace(true) {
            self.remember(Part { left_out: Some(self.found.borrow().clone()), ..self.part() });
        }
        outcome
    }

    /// Tries one made-up value after the other, one in each pass, until `enough` were taken.
    fn attempt<'de, V: Visitor<'de>>(&self, values: &[MadeUp], enough: usize, visitor: V) -> Result<V::Value, Error> {
        let mut part = self.part();
        let taken = |part: &Part| {
            let mut shapes: Vec<Shape> = Vec::new();
            for shape in part.taken.iter().map(|position| values[*position].shape()) {
                if !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
            match shapes.len() {
                0 if values.len() == TEXTS.len() => Shape::Text,
                1 => shapes.remove(0),
                2..=4 => Shape::OneOf(shapes),
                _ => Shape::Any,
            }
        };
        if part.tried >= values.len() || part.taken.len() >= enough {
            let shape = taken(&part);
            let outcome = match part.taken.first() {
                Some(position) => values[*position].give(visitor),
                None => Err(de::Error::custom("it takes nothing")),
            };
            return self.is(shape, outcome);
        }
        let position = part.tried;
        let outcome = values[position].give(visitor);
        part.tried += 1;
        if outcome.is_ok() {
            part.taken.push(position);
        }
        self.memory.again.set(true);
        self.found.replace(taken(&part));
        self.remember(part);
        self.memory.blamed.set(self.memory.blamed.get() || outcome.is_err());
        outcome
    }
}

/// The fields of a struct, in turn.
struct Fields<'a, 'm> {
    struct_: &'a Tracer<'m>,
    rest: std::slice::Iter<'static, &'static str>,
    current: Option<&'static str>,
    shapes: &'a RefCell<Vec<(&'static str, Shape)>>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        for field in self.rest.by_ref() {
            let found = RefCell::new(Shape::Any);
            let part =
                Tracer { path: format!("{}.{field}", self.struct_.path), found: &found, memory: self.struct_.memory };
            let Part { left_out, is_alias, .. } = part.part();
            if is_alias {
                continue;
            }
            if let Some(shape) = left_out {
                self.shapes.borrow_mut().push((field, shape));
                continue;
            }
            self.current = Some(field);
            return seed.deserialize(BorrowedStrDeserializer::new(field)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let field = self.current.take().expect("serde asks for a value only after its key");
        let found = RefCell::new(Shape::Any);
        let part =
            Tracer { path: format!("{}.{field}", self.struct_.path), found: &found, memory: self.struct_.memory };
        let outcome = seed.deserialize(part);
        self.shapes.borrow_mut().push((field, found.into_inner()));
        outcome
    }
}

/// The one item of a list, or the one entry of a map; none if it was left out.
struct One<'a, 'm> {
    path: String,
    memory: &'m Memory,
    found: &'a RefCell<Shape>,
    is_done: bool,
}

impl<'a, 'm> One<'a, 'm> {
    fn of(outer: &Tracer<'m>, found: &'a RefCell<Shape>) -> Self {
        let path = format!("{}.*", outer.path);
        let left_out = outer.memory.parts.borrow().get(&path).and_then(|part| part.left_out.clone());
        let is_done = left_out.is_some();
        if let Some(shape) = left_out {
            found.replace(shape);
        }
        Self { path, memory: outer.memory, found, is_done }
    }
}

impl<'de> SeqAccess<'de> for One<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(None);
        }
        seed.deserialize(Tracer { path: self.path.clone(), found: self.found, memory: self.memory }).map(Some)
    }
}

impl<'de> MapAccess<'de> for One<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(None);
        }
        seed.deserialize("default".into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Tracer { path: self.path.clone(), found: self.found, memory: self.memory })
    }
}

macro_rules! integers {
    ($($method:ident, $visit:ident, $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let outcome = visitor.$visit(1);
            self.is(Shape::Integer(i128::from(<$type>::MIN), i128::from(<$type>::MAX)), outcome)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.attempt(&ANYTHING, ANYTHING.len(), visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let outcome = visitor.visit_bool(false);
        self.is(Shape::Boolean, outcome)
    }

    integers! {
        deserialize_i8, visit_i8, i8;
        deserialize_i16, visit_i16, i16;
        deserialize_i32, visit_i32, i32;
        deserialize_i64, visit_i64, i64;
        deserialize_u8, visit_u8, u8;
        deserialize_u16, visit_u16, u16;
        deserialize_u32, visit_u32, u32;
        deserialize_u64, visit_u64, u64;
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let outcome = visitor.visit_f64(1.0);
        self.is(Shape::Number, outcome)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.attempt(TEXTS, 1, visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let found = RefCell::new(Shape::Any);
        let outcome = visitor.visit_seq(One::of(&self, &found));
        self.is(Shape::List(Box::new(found.into_inner())), outcome)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let found = RefCell::new(Shape::Any);
        let outcome = visitor.visit_map(One::of(&self, &found));
        self.is(Shape::Map(Box::new(found.into_inner())), outcome)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let this = (name, fields.as_ptr());
        if self.memory.around.borrow().contains(&this) {
            // It holds itself; once is enough.
            let outcome = MadeUp::NoMembers.give(visitor);
            return self.is(Shape::Map(Box::new(Shape::Any)), outcome);
        }
        self.memory.around.borrow_mut().push(this);
        let shapes = RefCell::new(Vec::new());
        let mut access = Fields { struct_: &self, rest: fields.iter(), current: None, shapes: &shapes };
        let outcome = visitor.visit_map(&mut access);
        let unread = access.current;
        self.memory.around.borrow_mut().pop();
        self.found.replace(Shape::Object(shapes.into_inner()));
        if let (Err(_), Some(field), false) = (&outcome, unread, self.memory.blamed.get()) {
            // The value of the key was not even asked for: the field has been given under its first name.
            let alias = Part { is_alias: true, ..Part::default() };
            self.memory.parts.borrow_mut().insert(format!("{}.{field}", self.path), alias);
            self.memory.blamed.set(true);
        }
        self.blame(outcome)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let first = variants.first().copied().unwrap_or_default();
        let outcome = visitor.visit_enum(BorrowedStrDeserializer::<Error>::new(first));
        self.is(Shape::Choice(variants.to_vec()), outcome)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let outcome = visitor.visit_unit();
        self.is(Shape::Any, outcome)
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::model::entry::{Consumer, ServiceResolver};
    use crate::model::{GoDuration, ServiceDefinition};

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct Sample {
        port: u16,
        weight: f64,
        names: Vec<String>,
        labels: BTreeMap<String, bool>,
        interval: Option<GoDuration>,
        opaque: serde_json::Value,
        inner: Option<Box<Sample>>,
    }

    fn field<'s>(shape: &'s Shape, path: &str) -> &'s Shape {
        path.split('.').fold(shape, |shape, step| {
            if let (Shape::List(inner) | Shape::Map(inner), "*") = (shape, step) {
                return inner;
            }
            let Shape::Object(fields) = shape else { panic!("{path}: {shape:?} has no {step}") };
            &fields.iter().find(|(name, _)| *name == step).expect(path).1
        })
    }

    #[test]
    fn a_shape_is_what_the_type_asks_for() {
        let whole = || Shape::Integer(i128::from(i64::MIN), i128::from(i64::MAX));

        let shape = shape_of::<Sample>();

        for (path, expected) in [
            ("Port", Shape::Integer(0, 65535)),
            ("Weight", Shape::Number),
            ("Names", Shape::List(Box::new(Shape::Text))),
            ("Labels", Shape::Map(Box::new(Shape::Boolean))),
            ("Interval", Shape::OneOf(vec![Shape::Text, whole()])),
            ("Opaque", Shape::Any),
            ("Inner", Shape::Map(Box::new(Shape::Any))),
        ] {
            assert_eq!(*field(&shape, path), expected, "{path}");
        }
    }

    #[test]
    fn second_names_of_fields_are_left_out() {
        let Shape::Object(fields) = shape_of::<Consumer>() else { panic!("an object") };

        assert_eq!(fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["Partition", "Peer", "SamenessGroup"]);
    }

    #[test]
    fn the_largest_types_are_traced_to_their_leaves() {
        let service = shape_of::<ServiceDefinition>();
        let resolver = shape_of::<ServiceResolver>();

        assert_eq!(*field(&service, "Proxy.Upstreams.*.LocalBindPort"), Shape::Integer(0, 65535));
        assert_eq!(*field(&service, "Connect.SidecarService"), Shape::Map(Box::new(Shape::Any)), "it holds itself");
        assert_eq!(*field(&resolver, "Failover.*.Targets.*.Datacenter"), Shape::Text);
        assert_eq!(*field(&resolver, "LoadBalancer.HashPolicies.*.Terminal"), Shape::Boolean);
    }
}
