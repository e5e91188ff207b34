//! What the bodies are decoded from that are no values of one type.

use super::{Shape, shape_of};
use crate::model::entry::{
    ExportedServices, IngressGateway, Mesh, ProxyDefaults, ServiceDefaults, ServiceIntentions, ServiceResolver,
    ServiceRouter, ServiceSplitter, TerminatingGateway,
};
use crate::model::{CheckDefinition, CheckTenancy, EntryKind};

/// A config entry: one of the kinds, each with its `Kind`.
pub fn entry_shape() -> Shape {
    let shape = |kind: EntryKind| {
        let fields = match kind {
            EntryKind::ProxyDefaults => shape_of::<ProxyDefaults>(),
            EntryKind::ServiceDefaults => shape_of::<ServiceDefaults>(),
            EntryKind::ServiceResolver => shape_of::<ServiceResolver>(),
            EntryKind::ServiceRouter => shape_of::<ServiceRouter>(),
            EntryKind::ServiceSplitter => shape_of::<ServiceSplitter>(),
            EntryKind::ServiceIntentions => shape_of::<ServiceIntentions>(),
            EntryKind::ExportedServices => shape_of::<ExportedServices>(),
            EntryKind::Mesh => shape_of::<Mesh>(),
            EntryKind::IngressGateway => shape_of::<IngressGateway>(),
            EntryKind::TerminatingGateway => shape_of::<TerminatingGateway>(),
        };
        together([Shape::Object(vec![("Kind", Shape::Choice(vec![kind.as_str()]))]), fields])
    };
    Shape::OneOf(EntryKind::ALL.into_iter().map(shape).collect())
}

/// One config entry, or a list of them.
pub fn entries_shape() -> Shape {
    Shape::OneOf(vec![Shape::List(Box::new(entry_shape())), entry_shape()])
}

/// A check that is registered alone.
pub fn check_registration_shape() -> Shape {
    together([shape_of::<CheckDefinition>(), shape_of::<CheckTenancy>()])
}

/// An object with the fields of both.
fn together(parts: [Shape; 2]) -> Shape {
    let fields = parts.into_iter().flat_map(|part| if let Shape::Object(fields) = part { fields } else { Vec::new() });
    Shape::Object(fields.collect())
}
