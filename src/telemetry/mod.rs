//! Logs and readiness: what every part outside the pure middle may use.

mod logs;
mod readiness;

pub use logs::{LogError, LogOptions};
pub use readiness::{Readiness, ReadinessGuard};
