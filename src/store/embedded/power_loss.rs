//! The power fails at every single call to the disk, and the disk keeps what it likes of what was not synced.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::*;

/// Something that was asked of the disk since the last sync.
#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

#[derive(Debug, Default)]
struct State {
    /// What the process sees.
    current: Vec<u8>,
    /// What was there at the last sync.
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Calls until the power fails.
    left: usize,
}

/// A disk without power from a given call on.
#[derive(Debug, Clone)]
struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn with(image: Vec<u8>, calls: usize) -> Self {
        let state = State { current: image.clone(), durable: image, pending: Vec::new(), left: calls };
        Self(Arc::new(Mutex::new(state)))
    }

    /// What may be found after the power fails: nothing that was not synced, all of it, or some, torn in the middle.
    fn images(&self) -> Vec<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let keeps: [fn(usize) -> Keep; 5] = [
            |_| Keep::Nothing,
            |_| Keep::Whole,
            |n| if n % 2 == 0 { Keep::Whole } else { Keep::Nothing },
            |n| if n % 2 == 1 { Keep::Whole } else { Keep::Nothing },
            |n| if n % 3 == 0 { Keep::Half } else { Keep::Whole },
        ];
        keeps.iter().map(|keep| state.image(*keep)).collect()
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        apply(&mut state.current, &change);
        state.pending.push(change);
        Ok(())
    }
}

enum Keep {
    Nothing,
    Half,
    Whole,
}

impl State {
    fn call(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        Ok(())
    }

    fn image(&self, keep: fn(usize) -> Keep) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (n, change) in self.pending.iter().enumerate() {
            match (keep(n), change) {
                (Keep::Nothing, _) => {}
                (Keep::Half, Change::Write(offset, data)) => {
                    apply(&mut image, &Change::Write(*offset, data[..data.len() / 2].to_vec()));
                }
                (Keep::Half | Keep::Whole, change) => apply(&mut image, change),
            }
        }
        image
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => image.resize(*length, 0),
        Change::Write(offset, data) => {
            let end = offset + data.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*offset..end].copy_from_slice(data);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (state, offset) = (self.0.lock().unwrap(), offset as usize);
        let found = state.current.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        state.durable = state.current.clone();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset as usize, data.to_vec()))
    }
}

fn open(disk: &Disk) -> Option<Embedded> {
    let database = Database::builder().create_with_backend(disk.clone()).ok()?;
    let embedded = Embedded { database, path: PathBuf::new() };
    embedded.format().ok()?;
    Some(embedded)
}

/// Each batch replaces a row, adds one and removes one.
fn batch(n: u64) -> Batch {
    let key = |name: &str, n: u64| format!("{name}{n}").into_bytes();
    Batch {
        index: n,
        changes: vec![
            (b"same".to_vec(), Some(n.to_string().repeat(500).into_bytes())),
            (key("new", n), Some(key("value", n))),
            (key("new", n - 1), None),
        ],
    }
}

/// What is loaded after the first `n` batches.
fn after(n: u64) -> Loaded {
    let rows = match n {
        0 => Vec::new(),
        n => vec![
            (format!("new{n}").into_bytes(), format!("value{n}").into_bytes()),
            (b"same".to_vec(), n.to_string().repeat(500).into_bytes()),
        ],
    };
    Loaded { index: n, rows }
}

/// Persists batches until the power fails; returns how many were acknowledged.
fn persist_all(disk: &Disk, first: u64, last: u64) -> Option<u64> {
    let mut embedded = open(disk)?;
    let acknowledged = (first..=last).take_while(|n| embedded.persist(&batch(*n)).is_ok()).count() as u64;
    Some(first + acknowledged - 1)
}

#[test]
fn whatever_was_acknowledged_is_there_after_the_power_fails() {
    const LAST: u64 = 5;
    let disk = Disk::with(Vec::new(), usize::MAX);
    assert_eq!(persist_all(&disk, 1, 1), Some(1));
    let image = disk.0.lock().unwrap().current.clone();

    let mut failures = 0;
    for calls in 0.. {
        let disk = Disk::with(image.clone(), calls);
        let acknowledged = persist_all(&disk, 2, LAST).unwrap_or(1);
        for (n, image) in disk.images().into_iter().enumerate() {
            let mut embedded = open(&Disk::with(image, usize::MAX)).expect("the file can be opened");
            let loaded = embedded.load().unwrap();
            let is_next = acknowledged < LAST && loaded == after(acknowledged + 1);
            assert!(
                loaded == after(acknowledged) || is_next,
                "after {calls} calls {acknowledged} batches were acknowledged, image {n} has index {}",
                loaded.index
            );
        }
        if disk.0.lock().unwrap().left > 0 {
            break;
        }
        failures += 1;
    }
    assert!(failures > 20, "the power failed only {failures} times");
}
