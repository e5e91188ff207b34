//! Registrations and config entries of the configuration files.

use super::AppError;
use crate::api::{Options, Registration};
use crate::model::{Place, ServiceDefinition};
use crate::settings::Settings;
use crate::store::{Condition, Op, Store, StoreError, Write};

/// Writes what the files hold: entries where there is none of their name, services as the agent registers them.
///
/// # Errors
/// Something is refused by a rule that only the state shows, or the store fails.
pub(super) async fn write(store: &Store, settings: &Settings, options: &Options) -> Result<(), AppError> {
    for entry in &settings.entries {
        let key = entry.key();
        let what = format!("the entry {key}");
        let write = Write { conditions: vec![Condition::EntryAt(key, 0)], ops: vec![Op::PutEntry(entry.clone())] };
        store.write(write).await.map_err(|error| refused(what, error))?;
    }
    for definition in &settings.services {
        register(store, settings, options, definition).await?;
    }
    Ok(())
}

async fn register(
    store: &Store,
    settings: &Settings,
    options: &Options,
    definition: &ServiceDefinition,
) -> Result<(), AppError> {
    let what = || format!("the service {:?}", definition.name);
    let partition = definition.partition.clone().unwrap_or_default();
    let place = Place::new(&settings.datacenter, &partition);
    let registration = Registration::new(definition.clone(), place, options)
        .map_err(|error| AppError::Refused { what: what(), problems: error.to_string() })?;
    let written = store.write_with(move |view| registration.into_write(view)).await;
    written.map(drop).map_err(|error| refused(what(), error))
}

fn refused(what: String, error: StoreError) -> AppError {
    if let StoreError::Rejected(problems) = error {
        return AppError::Refused { what, problems: problems.to_string() };
    }
    AppError::Store(error)
}
