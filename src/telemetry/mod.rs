//! Logs and readiness: what every part outside the pure middle may use.

mod readiness;

pub use readiness::{Readiness, ReadinessGuard};
