//! The store through its public API: what it answers, what it announces, and what survives.

mod commit;
mod crash;
mod keys;
mod model;
mod properties;
mod questions;

use std::path::Path;
use std::sync::Arc;

use meshgate::store::{Backend, Embedded, Guard, Memory, Store};

/// A guard that refuses nothing.
fn anything() -> Guard {
    Arc::new(|_, _, _| Ok(()))
}

fn open(backend: impl Backend + 'static) -> (Store, std::thread::JoinHandle<()>) {
    Store::open(Box::new(backend), anything()).unwrap()
}

fn in_memory() -> Store {
    open(Memory).0
}

fn embedded(directory: &Path) -> (Store, std::thread::JoinHandle<()>) {
    open(Embedded::open(directory).unwrap())
}
