//! Access logs of sidecars and gateways (contract 3.8).

use super::state::State;
use super::{Part, merge};
use crate::ir::{AccessLog, LogFormat, LogSink};
use crate::model::Service;

/// What a proxy logs, if it does.
pub(super) fn of(state: &dyn State, proxy: &Service) -> Option<AccessLog> {
    let logs = merge::access_logs(state, proxy).filter(|logs| logs.enabled)?;
    Some(AccessLog {
        sink: match logs.sink.as_str() {
            "stderr" => LogSink::Stderr,
            "file" => LogSink::File(logs.path.as_str().into()),
            _ => LogSink::Stdout,
        },
        format: match (logs.json_format.as_str(), logs.text_format.as_str()) {
            ("", "") => LogFormat::Default,
            ("", text) => LogFormat::Text(text.into()),
            (json, _) => LogFormat::Json(json.into()),
        },
        of_listeners: !logs.disable_listener_logs,
    })
}

/// Has every listener write it.
pub(super) fn add(part: &mut Part, log: Option<AccessLog>) {
    for listener in &mut part.resources.listeners {
        listener.access_log.clone_from(&log);
    }
}
