//! serde's view of a tree.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::fields::struct_members;
use super::{Path, Refusal, Session, Typing};
use crate::codec::tree::{Content, Member, Tree};

/// A value to decode. `'t` is the tree, `'p` this step of the decoding.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'t, 'p> {
    pub(super) tree: &'t Tree,
    pub(super) path: &'p Path<'p>,
    pub(super) session: &'p Session<'p>,
}

impl<'t, 'p> Decoder<'t, 'p> {
    pub(super) fn is_weak(&self) -> bool {
        self.session.typing == Typing::Weak
    }

    fn refuse(&self, expected: &str) -> Refusal<'t> {
        Refusal::new(format!("expected {expected}, found {}", self.tree.describe())).located(self)
    }

    /// The items of a list that may stand for something else.
    fn weak_list(self) -> Option<&'t [Tree]> {
        match &self.tree.content {
            Content::List(items) if self.is_weak() => Some(items),
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::String(_)
            | Content::List(_)
            | Content::Object(_) => None,
        }
    }

    /// The only item of a list where one value is expected; nothing for an empty one.
    fn single(self) -> &'t Content {
        match self.weak_list() {
            Some([]) => &Content::Null,
            Some([only]) => &only.content,
            Some(_) | None => &self.tree.content,
        }
    }

    fn boolean(self) -> Result<bool, Refusal<'t>> {
        match self.single() {
            Content::Null => Ok(false),
            Content::Bool(value) => Ok(*value),
            Content::Number(number) if self.is_weak() => Ok(number.as_f64() != Some(0.0)),
            Content::String(text) if self.is_weak() => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => Err(self.refuse("true or false")),
            },
            Content::Number(_) | Content::String(_) | Content::List(_) | Content::Object(_) => {
                Err(self.refuse("true or false"))
            }
        }
    }

    fn integer<I: TryFrom<i128>>(self, expected: &str) -> Result<I, Refusal<'t>> {
        let value = match self.single() {
            Content::Null => Some(0),
            Content::Number(number) => {
                let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                whole.or_else(|| number.as_f64().filter(|f| self.is_weak() && f.fract() == 0.0).map(|f| f as i128))
            }
            Content::Bool(value) if self.is_weak() => Some(i128::from(*value)),
            Content::String(text) if self.is_weak() => weak_integer(text),
            Content::Bool(_) | Content::String(_) | Content::List(_) | Content::Object(_) => None,
        };
        value.and_then(|value| I::try_from(value).ok()).ok_or_else(|| self.refuse(expected))
    }

    fn float(self) -> Result<f64, Refusal<'t>> {
        let value = match self.single() {
            Content::Null => Some(0.0),
            Content::Number(number) => number.as_f64(),
            Content::String(text) if self.is_weak() => text.parse().ok(),
            Content::Bool(_) | Content::String(_) | Content::List(_) | Content::Object(_) => None,
        };
        value.ok_or_else(|| self.refuse("a number"))
    }

    fn text(self) -> Result<String, Refusal<'t>> {
        match self.single() {
            Content::Null => Ok(String::new()),
            Content::String(text) => Ok(text.clone()),
            Content::Number(number) if self.is_weak() => Ok(number.to_string()),
            Content::Bool(value) if self.is_weak() => Ok(if *value { "1" } else { "0" }.to_owned()),
            Content::Bool(_) | Content::Number(_) | Content::List(_) | Content::Object(_) => {
                Err(self.refuse("a string"))
            }
        }
    }

    fn items(self) -> Result<&'t [Tree], Refusal<'t>> {
        match &self.tree.content {
            Content::Null => Ok(&[]),
            Content::List(items) => Ok(items),
            Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::Object(_) if self.is_weak() => {
                Ok(std::slice::from_ref(self.tree))
            }
            Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::Object(_) => {
                Err(self.refuse("a list"))
            }
        }
    }

    /// The members of the only object that stands here.
    fn object(self) -> Result<&'t [Member], Refusal<'t>> {
        match &self.tree.content {
            Content::Null => Ok(&[]),
            Content::Object(members) => Ok(members),
            Content::List(items) if self.is_weak() && items.is_empty() => Ok(&[]),
            Content::List(_) if self.is_weak() => self.tree.members().ok_or_else(|| self.refuse("one object")),
            Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::List(_) => {
                Err(self.refuse("an object"))
            }
        }
    }

    /// The entries of a map; a list of objects, which is what labelled blocks form, is merged into one.
    fn entries(self) -> Result<Vec<(&'t str, &'t Tree)>, Refusal<'t>> {
        let mut entries = Vec::new();
        for tree in self.weak_list().unwrap_or(std::slice::from_ref(self.tree)) {
            // A map is left out as a whole: what is merged has no places of its own.
            let in_whole = |refusal: Refusal<'t>| Refusal { value: Some(self.tree), ..refusal };
            let members = Decoder { tree, ..self }.object().map_err(in_whole)?;
            entries.extend(members.iter().map(|member| (member.key.as_str(), &member.value)));
        }
        Ok(entries)
    }

    fn access(self, entries: Vec<(&'t str, &'t Tree)>) -> Entries<'t, 'p> {
        Entries { rest: entries.into_iter(), current: None, parent: self }
    }
}

/// A number in a text, in Go's notation: decimal, `0x`, `0o`, `0b`, or octal behind a leading zero. Empty means 0.
fn weak_integer(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (digits, radix) = match digits.as_bytes() {
        [] => return text.is_empty().then_some(0),
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    u64::from_str_radix(digits, radix).ok().map(|value| sign * i128::from(value))
}

/// The items of a list, in turn.
struct Items<'t, 'p> {
    rest: std::iter::Enumerate<std::slice::Iter<'t, Tree>>,
    parent: Decoder<'t, 'p>,
}

impl<'de, 't> SeqAccess<'de> for Items<'t, '_> {
    type Error = Refusal<'t>;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal<'t>> {
        let session = self.parent.session;
        let Some((position, tree)) = self.rest.find(|(_, tree)| !session.leaves_out(tree)) else { return Ok(None) };
        let path = Path::Item(self.parent.path, position);
        let decoder = Decoder { tree, path: &path, session };
        seed.deserialize(decoder).map(Some).map_err(|refusal| refusal.located(&decoder))
    }
}

/// The members of an object, in turn, under the names that the visitor knows.
struct Entries<'t, 'p> {
    rest: std::vec::IntoIter<(&'t str, &'t Tree)>,
    current: Option<(&'t str, &'t Tree)>,
    parent: Decoder<'t, 'p>,
}

impl<'de, 't> MapAccess<'de> for Entries<'t, '_> {
    type Error = Refusal<'t>;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal<'t>> {
        let session = self.parent.session;
        self.current = self.rest.find(|(_, tree)| !session.leaves_out(tree));
        let Some((name, tree)) = self.current else { return Ok(None) };
        let path = Path::Field(self.parent.path, name);
        let decoder = Decoder { tree, path: &path, session };
        let key = seed.deserialize(de::value::StrDeserializer::<Refusal<'t>>::new(name));
        key.map(Some).map_err(|refusal| refusal.located(&decoder))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal<'t>> {
        let (name, tree) = self.current.take().expect("serde asks for a value only after its key");
        let path = Path::Field(self.parent.path, name);
        let decoder = Decoder { tree, path: &path, session: self.parent.session };
        seed.deserialize(decoder).map_err(|refusal| refusal.located(&decoder))
    }
}

macro_rules! integers {
    ($($method:ident, $visit:ident, $type:ty, $expected:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
            visitor.$visit(self.integer::<$type>($expected)?)
        }
    )*};
}

impl<'de, 't> Deserializer<'de> for Decoder<'t, '_> {
    type Error = Refusal<'t>;

    /// Whatever stands here, for opaque values: a list of one object is what HCL makes of a block, and unwrapped.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        match &self.tree.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(self.float()?),
            },
            Content::String(text) => visitor.visit_str(text),
            Content::List(_) if self.is_weak() && self.tree.members().is_some() => self.deserialize_map(visitor),
            Content::List(_) => self.deserialize_seq(visitor),
            Content::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        visitor.visit_bool(self.boolean()?)
    }

    integers! {
        deserialize_i8, visit_i8, i8, "a whole number from -128 to 127";
        deserialize_i16, visit_i16, i16, "a whole number from -32768 to 32767";
        deserialize_i32, visit_i32, i32, "a whole number from -2147483648 to 2147483647";
        deserialize_i64, visit_i64, i64, "a whole number";
        deserialize_u8, visit_u8, u8, "a whole number from 0 to 255";
        deserialize_u16, visit_u16, u16, "a whole number from 0 to 65535";
        deserialize_u32, visit_u32, u32, "a whole number from 0 to 4294967295";
        deserialize_u64, visit_u64, u64, "a whole number that is not negative";
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        if self.tree.content == Content::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal<'t>> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        visitor.visit_seq(Items { rest: self.items()?.iter().enumerate(), parent: self })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        visitor.visit_map(self.access(self.entries()?))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal<'t>> {
        let members = struct_members(&self, name, fields, self.object()?);
        visitor.visit_map(self.access(members))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal<'t>> {
        let text = self.text()?;
        let Some(variant) = variants.iter().find(|variant| **variant == text) else {
            let choices: Vec<_> = variants.iter().filter(|v| !v.is_empty()).map(|v| format!("{v:?}")).collect();
            let message = format!("unknown value {text:?}: expected one of {}", choices.join(", "));
            return Err(Refusal::new(message).located(&self));
        };
        visitor.visit_enum(BorrowedStrDeserializer::new(variant))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal<'t>> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}
