//! Exports as the API shows them.

use crate::api::{self, Exported};
use crate::model::Place;
use crate::store::Reader;
use crate::{engine, resolve};

/// Finds out what is exported for whoever asks over HTTP, with the code that configures Envoy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exports;

impl api::Exports for Exports {
    fn of(&self, reader: &Reader<'_>, place: &Place) -> Vec<Exported> {
        let exported = resolve::exported_services(&engine::state(reader, &[]), place).into_iter();
        exported
            .map(|resolve::Exported { service, peers, partitions }| Exported { service, peers, partitions })
            .collect()
    }
}
