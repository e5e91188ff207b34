//! The embedded backend: one transactional file.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Backend, Batch, Loaded, StoreError};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The format of keys and values. Raised together with a migration.
const FORMAT: u64 = 1;

/// Rows in one file of the data directory. A file belongs to one process at a time.
#[derive(Debug)]
pub struct Embedded {
    database: Database,
}

impl Embedded {
    /// Opens the store of a data directory, or makes one.
    ///
    /// # Errors
    /// The file cannot be opened or made, another process has it, or its format is another.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("meshgate.redb");
        let database =
            open_file(&path).map_err(|source| StoreError::Open { path: path.clone(), source: Box::new(source) })?;
        let embedded = Self { database };
        embedded.check_format().map_err(|source| StoreError::Open { path: PathBuf::from(&path), source })??;
        Ok(embedded)
    }

    /// Writes the format into a new file, and compares it in an old one.
    fn check_format(&self) -> Result<Result<(), StoreError>, Box<dyn std::error::Error + Send + Sync>> {
        let transaction = self.database.begin_write()?;
        let found = {
            transaction.open_table(ROWS)?;
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|value| value.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            found.unwrap_or(FORMAT)
        };
        if found != FORMAT {
            return Ok(Err(StoreError::Format { found, known: FORMAT }));
        }
        transaction.commit()?;
        Ok(Ok(()))
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

fn open_file(path: &Path) -> Result<Database, redb::DatabaseError> {
    Database::create(path)
}

impl Backend for Embedded {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.read().map_err(|error| StoreError::Backend(Box::new(error)))
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
