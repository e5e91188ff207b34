//! Health checks: runs those of this process's own nodes and writes their results to the catalog.
//!
//! **Problem.** Thousands of checks run all the time and nearly always say what they said before; but when one says
//! something else, the catalog must know at once, and a check that nobody runs keeps its service out of the mesh.
//!
//! **Invariant.** The check rows are the only list of what runs: a row that appears, changes or goes starts, restarts or
//! stops its task. A result is written only if it differs from the row, and only to the row that it was made for.
//!
//! ```text
//! View ─► changed rows ─► a task each: probe ─► thresholds ─► write if the row says otherwise ─► Store
//!                     └─► aliases: evaluated on the view      reaper: critical for too long ─► removed
//! ```

mod alias;
mod exposed;
mod options;
mod probe;
mod reaper;
mod report;
mod runner;
mod task;
#[cfg(test)]
mod tests;
mod threshold;

pub use exposed::Exposures;
pub use options::Options;
pub use runner::Runner;
