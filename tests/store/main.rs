//! The store through its public API: what it answers, what it announces, and what survives.

#![allow(clippy::unwrap_used, reason = "the lint knows test functions, not the functions that they share")]

mod commit;
mod crash;
mod history;
mod keys;
mod model;
mod properties;
mod questions;
mod waiting;

use std::path::Path;
use std::sync::Arc;

use meshgate::store::{Backend, Embedded, Memory, Store};

/// A store whose guard refuses nothing.
fn open(backend: impl Backend + 'static) -> (Store, std::thread::JoinHandle<()>) {
    Store::open(Box::new(backend), Arc::new(|_, _, _| Ok(()))).unwrap()
}

fn in_memory() -> Store {
    open(Memory).0
}

fn embedded(directory: &Path) -> (Store, std::thread::JoinHandle<()>) {
    open(Embedded::open(directory).unwrap())
}
