//! Logs, traces and readiness: what every part outside the pure middle may use.

mod causes;
mod host;
mod logs;
mod monitor;
mod readiness;
mod traces;

pub use causes::with_causes;
pub use host::host;
pub use logs::{LogError, LogOptions, Logs};
pub use monitor::{Listener, LogEvent, Monitor};
pub use readiness::{Readiness, ReadinessGuard};
pub use traces::{TraceOptions, TraceTransport, caused_by, continue_trace};
