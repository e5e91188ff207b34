//! The embedded backend: one transactional file.

#[cfg(test)]
mod power_loss;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Backend, Batch, Loaded, StoreError};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FILE: &str = "meshgate.redb";
const UNFINISHED: &str = "meshgate.redb.new";
/// The format of keys and values. Raised together with a migration.
const FORMAT: u64 = 1;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Rows in one file of the data directory. A file belongs to one process at a time.
#[derive(Debug)]
pub struct Embedded {
    database: Database,
    path: PathBuf,
}

impl Embedded {
    /// Opens the store of a data directory, or makes one.
    ///
    /// # Errors
    /// The file cannot be opened or made, another process has it, or its format is another.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let opened = unless_damaged(|| {
            create_if_missing(directory, &path)?;
            let embedded = Self { database: Database::open(&path)?, path: path.clone() };
            let format = embedded.format()?;
            Ok((embedded, format))
        });
        match opened {
            Ok((embedded, FORMAT)) => Ok(embedded),
            Ok((_, found)) => Err(StoreError::Format { found, known: FORMAT }),
            Err(source) if matches!(source.downcast_ref(), Some(DatabaseError::DatabaseAlreadyOpen)) => {
                Err(StoreError::InUse { path })
            }
            Err(source) => Err(StoreError::Open { path, source }),
        }
    }

    /// The format of a file; writes our own into a new one.
    fn format(&self) -> Result<u64, Failure> {
        let transaction = self.database.begin_write()?;
        let found = {
            transaction.open_table(ROWS)?;
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|value| value.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            found
        };
        if found.is_none() {
            transaction.commit()?;
        }
        Ok(found.unwrap_or(FORMAT))
    }

    fn read(&self) -> Result<Loaded, redb::Error> {
        let transaction = self.database.begin_read()?;
        let index = transaction.open_table(META)?.get("index")?.map_or(0, |value| value.value());
        let mut rows = Vec::new();
        for item in transaction.open_table(ROWS)?.iter()? {
            let (key, value) = item?;
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(Loaded { index, rows })
    }

    fn write(&self, batch: &Batch) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        // Costs a little with each commit and saves the scan of the whole file after a crash.
        transaction.set_quick_repair(true);
        {
            let mut rows = transaction.open_table(ROWS)?;
            for (key, value) in &batch.changes {
                match value {
                    Some(value) => rows.insert(key.as_slice(), value.as_slice())?,
                    None => rows.remove(key.as_slice())?,
                };
            }
            transaction.open_table(META)?.insert("index", batch.index)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Makes the file under another name and renames it when it is complete: one that is cut short in the middle could never
/// be opened again.
fn create_if_missing(directory: &Path, path: &Path) -> Result<(), Failure> {
    let directory_file = File::open(directory)?;
    // Two processes that start on one empty directory take turns here; the second finds the file of the first.
    directory_file.lock()?;
    if path.try_exists()? {
        return Ok(());
    }
    let unfinished = directory.join(UNFINISHED);
    if unfinished.try_exists()? {
        std::fs::remove_file(&unfinished)?;
    }
    let created = Embedded { database: Database::create(&unfinished)?, path: unfinished.clone() };
    created.format()?;
    drop(created);
    std::fs::rename(&unfinished, path)?;
    directory_file.sync_all()?;
    Ok(())
}

/// Reads what may be damaged: redb panics where a page makes no sense.
fn unless_damaged<T>(read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("the file is damaged; restore it from a copy".into()))
}

impl Backend for Embedded {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        unless_damaged(|| Ok(self.read()?)).map_err(|source| StoreError::Open { path: self.path.clone(), source })
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.write(batch).map_err(|error| StoreError::Backend(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_persisted_is_loaded_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let batch = Batch {
            index: 2,
            changes: vec![
                (b"a".to_vec(), Some(b"1".to_vec())),
                (b"b".to_vec(), Some(b"2".to_vec())),
                (b"a".to_vec(), None),
            ],
        };

        Embedded::open(directory.path()).unwrap().persist(&batch).unwrap();

        let loaded = Embedded::open(directory.path()).unwrap().load().unwrap();
        assert_eq!(loaded, Loaded { index: 2, rows: vec![(b"b".to_vec(), b"2".to_vec())] });
    }

    #[test]
    fn a_creation_that_was_cut_short_is_started_anew() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("meshgate.redb.new"), vec![0; 1 << 20]).unwrap();

        Embedded::open(directory.path()).unwrap().persist(&Batch { index: 2, changes: Vec::new() }).unwrap();

        assert_eq!(Embedded::open(directory.path()).unwrap().load().unwrap().index, 2);
        assert!(!directory.path().join("meshgate.redb.new").exists());
    }

    #[test]
    fn two_that_start_on_an_empty_directory_do_not_spoil_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Embedded::open(directory.path());

        let opened = std::thread::scope(|scope| {
            let threads = [scope.spawn(open), scope.spawn(open)];
            threads.map(|thread| thread.join().unwrap())
        });

        // One may be told that the other has the file; none finds it broken.
        assert!(opened.iter().any(Result::is_ok), "{opened:?}");
        drop(opened);
        assert_eq!(open().unwrap().load().unwrap(), Loaded::default());
    }

    #[test]
    fn a_second_process_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Embedded::open(directory.path()).unwrap();

        let error = Embedded::open(directory.path()).unwrap_err();

        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("meshgate.redb");
        let changes = (0..1000_u32).map(|row| (row.to_be_bytes().to_vec(), Some(vec![7; 100]))).collect();
        Embedded::open(directory.path()).unwrap().persist(&Batch { index: 2, changes }).unwrap();
        let whole = std::fs::read(&path).unwrap();

        let mut refused = 0;
        for page in (0..whole.len()).step_by(4096) {
            let mut damaged = whole.clone();
            damaged[page..page + 64].fill(0xa5);
            std::fs::write(&path, damaged).unwrap();
            match Embedded::open(directory.path()).and_then(|mut embedded| embedded.load()) {
                Ok(_) => {}
                Err(StoreError::Open { .. }) => refused += 1,
                Err(error) => panic!("page {page}: {error}"),
            }
        }

        assert!(refused > 1, "{refused}");
    }

    #[test]
    fn a_file_of_another_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        {
            let database = Database::create(directory.path().join("meshgate.redb")).unwrap();
            let transaction = database.begin_write().unwrap();
            transaction.open_table(META).unwrap().insert("format", 7).unwrap();
            transaction.commit().unwrap();
        }

        let error = Embedded::open(directory.path()).unwrap_err();

        assert!(matches!(error, StoreError::Format { found: 7, known: 1 }), "{error}");
    }
}
