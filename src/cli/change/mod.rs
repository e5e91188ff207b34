//! `meshgate plan`, `apply`, `diff`, `lint` and `wait`: what a change would do, the change, and whether it is live.

mod apply;
mod canary;
mod input;
mod lint;
mod owned;
mod plan;
mod table;
mod validation;
mod wait;

pub(super) use apply::{ApplyOptions, apply};
pub(super) use lint::{LintOptions, lint};
pub(super) use plan::{DiffOptions, PlanOptions, diff, plan};
pub(super) use wait::{WaitOptions, duration, follow, open, summary, wait};
