//! Where traces are sent: our key, and the variables that every program with OpenTelemetry has.

use super::draft::Draft;
use super::error::Source;
use super::inputs::Inputs;
use super::parse;
use crate::telemetry::{TraceOptions, TraceTransport};

const KEY: &str = "telemetry.otlp_endpoint";

/// Where traces are sent. The variables of OpenTelemetry count as variables do: more than files, less than flags, and less than
/// our own variable.
pub(super) fn read(draft: &mut Draft, inputs: &Inputs) -> Option<TraceOptions> {
    let variable = |name: &'static str| {
        let value = inputs.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())?;
        Some((name, value))
    };
    let is = |name, wanted: &str| variable(name).is_some_and(|(_, value)| value.eq_ignore_ascii_case(wanted));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    let ours = draft.read(KEY, parse::text).filter(|url| !url.is_empty()).map(|url| (draft.source_of(KEY), url, false));
    let of = |name, for_traces| {
        variable(name).map(|(name, url)| (Source::Variable(name.to_owned()), url.to_owned(), for_traces))
    };
    let theirs = of("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", true).or_else(|| of("OTEL_EXPORTER_OTLP_ENDPOINT", false));
    let is_of_file = matches!(ours, Some((Source::File { .. }, ..)));
    let (source, url, for_traces) = if is_of_file { theirs.or(ours) } else { ours.or(theirs) }?;
    let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
    let transport = match protocol.map(|(name, value)| (name, TraceTransport::parse(value))) {
        None => None,
        Some((_, Ok(transport))) => Some(transport),
        Some((name, Err(message))) => {
            draft.problem(Source::Variable(name.to_owned()), message);
            return None;
        }
    };
    TraceOptions::parse(&url, for_traces, transport).map_err(|message| draft.problem(source, message)).ok()
}
