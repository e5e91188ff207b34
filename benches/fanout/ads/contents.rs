//! Every resource that any proxy got, once: a resource that thousands share is looked into once.

use std::collections::HashMap;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::references::{Reference, references};
use super::wire::{Kind, Resource};
use crate::marker;

/// One content of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContentId(u32);

/// The name of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NameId(u32);

/// What is known of a content.
#[derive(Debug)]
pub(crate) struct Content {
    /// The version under which the server sent it last.
    pub(crate) version: String,
    /// What it leads to.
    pub(crate) references: Box<[(Kind, NameId)]>,
    /// The number of the change that made it, if it has one.
    pub(crate) sequence: Option<u32>,
}

/// The table of contents and names.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    by_hash: HashMap<(Kind, u64), ContentId>,
    contents: Vec<Content>,
    by_name: HashMap<String, NameId>,
    names: Vec<String>,
}

impl Contents {
    pub(crate) fn name(&mut self, name: &str) -> NameId {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let id = NameId(self.names.len() as u32);
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), id);
        id
    }

    pub(crate) fn name_of(&self, id: NameId) -> &str {
        &self.names[id.0 as usize]
    }

    pub(crate) fn get(&self, id: ContentId) -> &Content {
        &self.contents[id.0 as usize]
    }

    /// The content of a resource that arrived.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub(crate) fn take(&mut self, kind: Kind, resource: Resource) -> Result<ContentId, prost::DecodeError> {
        let value = resource.any.map(|any| any.value).unwrap_or_default();
        let hash = (kind, xxh3_64(&value));
        if let Some(known) = self.by_hash.get(&hash) {
            return Ok(*known);
        }
        let id = ContentId(self.contents.len() as u32);
        let content = self.look_into(kind, value, resource.version)?;
        self.contents.push(content);
        self.by_hash.insert(hash, id);
        Ok(id)
    }

    fn look_into(&mut self, kind: Kind, value: Bytes, version: String) -> Result<Content, prost::DecodeError> {
        let sequence = if kind == Kind::Endpoint { marker::find(&value) } else { None };
        let references = references(kind, value)?;
        let references = references.iter().map(|Reference { kind, name }| (*kind, self.name(name))).collect();
        Ok(Content { version, references, sequence })
    }
}
