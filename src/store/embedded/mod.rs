//! The embedded backend: one transactional file.
//!
//! ```text
//! open ─► examine (a look that changes nothing: sums of rows, structure) ─► migrate, if the format is older ─► load
//!                    │                                                         └─ keeps the old file beside it
//!                    └─ damage: the process does not start; `salvage` saves what can be read
//!
//! write ─► rows, and what the history keeps of them, in one transaction
//!      └─► failure (full, broken): nobody knows what of it is on the disk ─► replace: all rows into a new file beside it,
//!          synced and compared, which takes its name
//! ```

#[cfg(test)]
mod damage;
mod examine;
#[cfg(test)]
mod failure;
mod format;
#[cfg(test)]
#[cfg(unix)]
mod kill;
mod named;
mod overlay;
mod past;
#[cfg(test)]
mod power_loss;
mod salvage;
mod seal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, CommitError, Database, DatabaseError, ReadableTable, StorageBackend, StorageError,
    TableError, TransactionError,
};

use self::examine::{Contents, examine};
use self::format::{FORMATS, Formats, INDEX, META, ROWS, SUM, fill, initialise};
pub(super) use self::named::named;
use self::overlay::{Overlay, Shared};
pub(super) use self::salvage::{Remaining, salvage};
use self::seal::{Total, sealed, unsealed};
use super::{Backend, Batch, Damage, Loaded, StoreError};

const FILE: &str = "meshgate.redb";
const UNFINISHED: &str = "meshgate.redb.new";

/// After a replacement that failed, so many times as long as it took nothing is tried: each try writes all rows.
const REST: u32 = 10;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes a database of a new file that nobody else can have until it is closed.
type Make = Box<dyn Fn(File) -> Result<Database, Failure> + Send>;

/// Rows in one file of the data directory. A file belongs to one process at a time.
pub struct Embedded {
    database: Database,
    path: PathBuf,
    /// What was there when it was opened, until somebody has taken it.
    loaded: Option<Loaded>,
    make: Make,
    /// Until when no replacement is tried.
    rests_until: Option<Instant>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store of a data directory, or makes one. One of an older format is brought to the newest, and the old
    /// file stays beside it as `meshgate.redb.format-N`.
    ///
    /// # Errors
    /// The file cannot be opened or made, another process has it, its format is unknown, or it is damaged. It was not
    /// changed then.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_with(directory, FORMATS)
    }

    fn open_with(directory: &Path, formats: Formats) -> Result<Self, StoreError> {
        Self::open_on(directory, formats, FileBackend::new)
    }

    /// Like `open`, with `backend` between redb and the file.
    fn open_on<B: StorageBackend>(
        directory: &Path,
        formats: Formats,
        backend: impl Fn(File) -> Result<B, DatabaseError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let opened = unless_damaged(|| {
            create_if_missing(directory, &path, |file| {
                initialise(&Builder::new().create_with_backend(backend(file)?)?, formats)
            })?;
            let opened = File::options().read(true).write(true).open(&path)?;
            keep_private(&opened)?;
            let found = opened.metadata()?;
            let file = Arc::new(backend(opened)?);
            lock(&*file)?;
            // Whoever had it may have put another one in its place before it was closed.
            if !is_at(&path, &found)? {
                return Err(DatabaseError::DatabaseAlreadyOpen.into());
            }
            // A process that was killed while it wrote all of its state anew left it: it has keys in it, and takes room.
            std::fs::remove_file(path.with_file_name(UNFINISHED)).ok();
            let contents = match unless_damaged(|| examine(Overlay::new(file.clone())?, formats)) {
                Ok(Ok(contents)) => contents,
                Ok(Err(found)) => {
                    file.close()?;
                    return Ok(Err(found));
                }
                Err(source) => {
                    // What has failed may hold it for ever; others may have it again.
                    file.close()?;
                    return Err(source);
                }
            };
            if contents.format < formats.newest() {
                keep(&path, contents.format)?;
            }
            let database = Builder::new().create_with_backend(Shared(file))?;
            taken_over(database, &path, contents, formats).map(Ok)
        });
        match opened {
            Ok(Ok((database, loaded))) => {
                let make = move |file| {
                    let file = Arc::new(backend(file)?);
                    lock(&*file)?;
                    Ok(Builder::new().create_with_backend(Shared(file))?)
                };
                Ok(Self { database, path, loaded: Some(loaded), make: Box::new(make), rests_until: None })
            }
            Ok(Err(found)) => Err(formats.refuse(path, found)),
            Err(source) => Err(refused(path, source)),
        }
    }

    fn write(&self, batch: &Batch) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        // Costs a little with each commit and saves the scan of the whole file after a crash.
        transaction.set_quick_repair(true);
        {
            let mut rows = transaction.open_table(ROWS)?;
            let mut meta = transaction.open_table(META)?;
            let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |number| number.value()));
            let mut total = Total(number(SUM)?).moved(number(INDEX)?, batch.index);
            let mut olds = Vec::with_capacity(batch.changes.len());
            for (key, value) in &batch.changes {
                let stored = value.as_ref().map(|value| sealed(key, value));
                let old = match &stored {
                    Some(stored) => rows.insert(key.as_slice(), stored.as_slice())?,
                    None => rows.remove(key.as_slice())?,
                };
                total = old.as_ref().map_or(total, |old| total.without(old.value()));
                olds.push(old.map(|old| unsealed(old.value()).to_vec()));
                total = stored.map_or(total, |stored| total.with(&stored));
            }
            meta.insert(INDEX, batch.index)?;
            meta.insert(SUM, total.0)?;
            past::write(&transaction, batch, olds)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Puts a new file with these rows in the place of the one that is open. What a disk has of the old one after a failed
    /// sync cannot be told by reading, as the system may show what never was written.
    fn write_anew(&mut self, all: &Loaded) -> Result<(), Failure> {
        let unfinished = self.path.with_file_name(UNFINISHED);
        let made = unless_damaged(|| filled(&unfinished, &self.make, all)).and_then(|database| {
            std::fs::rename(&unfinished, &self.path)?;
            Ok(database)
        });
        if made.is_err() {
            // It may be what takes the last room on the disk.
            std::fs::remove_file(&unfinished).ok();
        }
        let old = std::mem::replace(&mut self.database, made?);
        // To close what has failed may panic, and the file has no name any more.
        catch_unwind(AssertUnwindSafe(|| drop(old))).ok();
        // Held already, as nobody else may have it; but until this succeeds, a crash can bring the old one back.
        self.directory()?.sync_all()?;
        Ok(())
    }

    fn directory(&self) -> std::io::Result<File> {
        File::open(self.path.parent().unwrap_or(Path::new(".")))
    }
}

/// A new file with these rows, synced, and compared with them as the database has it.
fn filled(path: &Path, make: &Make, all: &Loaded) -> Result<Database, Failure> {
    let file = new_file(path)?;
    let database = make(file)?;
    fill(&database, FORMATS.newest(), all)?;
    if !examine::holds(&database, FORMATS.newest(), all)? {
        return Err(Damage::Incomplete.into());
    }
    Ok(database)
}

/// A file under a name that nothing that counts has.
fn new_file(path: &Path) -> Result<File, Failure> {
    if path.try_exists()? {
        std::fs::remove_file(path)?;
    }
    let made = File::options().read(true).write(true).create_new(true).open(path)?;
    keep_private(&made)?;
    Ok(made)
}

/// A file that was examined, in the newest format.
fn taken_over(
    database: Database,
    path: &Path,
    contents: Contents,
    formats: Formats,
) -> Result<(Database, Loaded), Failure> {
    let Contents { format, loaded } = contents;
    if format == formats.newest() {
        return Ok((database, loaded));
    }
    // A migration needs room of its own, and what it makes is read again in any case.
    drop(loaded);
    formats.migrate(&database, format)?;
    let loaded = examine::read(&database, formats.newest())?;
    tracing::info!(path = %path.display(), from = format, to = formats.newest(), "the store has a newer format now");
    Ok((database, loaded))
}

/// True if a name still leads to the file that was opened by it.
fn is_at(path: &Path, opened: &std::fs::Metadata) -> std::io::Result<bool> {
    let now = std::fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok((now.dev(), now.ino()) == (opened.dev(), opened.ino()))
    }
    #[cfg(not(unix))]
    Ok(now.len() == opened.len())
}

/// Makes the file under another name and renames it when it is complete: one that is cut short in the middle could never
/// be opened again.
fn create_if_missing(
    directory: &Path,
    path: &Path,
    initialise: impl FnOnce(File) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let directory_file = File::open(directory)?;
    // Two processes that start on one empty directory take turns here; the second finds the file of the first.
    directory_file.lock()?;
    if path.try_exists()? {
        return Ok(());
    }
    let unfinished = directory.join(UNFINISHED);
    initialise(new_file(&unfinished)?)?;
    std::fs::rename(&unfinished, path)?;
    directory_file.sync_all()?;
    Ok(())
}

/// Keeps all others from a file until it is closed.
///
/// # Errors
/// Another process has it open.
fn lock(file: &impl StorageBackend) -> Result<(), Failure> {
    held(file.try_lock_range(Bound::Unbounded, Bound::Unbounded))
}

fn held(locked: Result<bool, BackendError>) -> Result<(), Failure> {
    match locked {
        Ok(true) | Err(BackendError::Unsupported) => Ok(()),
        Ok(false) => Err(DatabaseError::DatabaseAlreadyOpen.into()),
        Err(error) => Err(error.into()),
    }
}

/// Lets only its owner read a file: there are keys in it, and copies of it have its mode.
fn keep_private(file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Copies a file of an older format, for those who want to go back to the version that wrote it.
fn keep(path: &Path, format: u64) -> Result<(), Failure> {
    let unfinished = path.with_file_name(UNFINISHED);
    let copied = std::fs::copy(path, &unfinished).and_then(|_| File::open(&unfinished)?.sync_all());
    if let Err(error) = copied {
        // The error is what counts, and half a copy only takes room.
        std::fs::remove_file(&unfinished).ok();
        let why = format!("the old file is kept beside the new one, and there is no copy of it: {error}");
        return Err(std::io::Error::new(error.kind(), why).into());
    }
    std::fs::rename(&unfinished, path.with_file_name(format!("{FILE}.format-{format}")))?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Reads what may be damaged: redb panics where a page makes no sense.
fn unless_damaged<T>(read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let panicked = |_| Err(Damage::Structure("a page makes no sense".into()).into());
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(panicked)
}

/// Why a file is of no use, for whoever has to do something about it.
fn refused(path: PathBuf, source: Failure) -> StoreError {
    if let Some(DatabaseError::DatabaseAlreadyOpen) = source.downcast_ref() {
        return StoreError::InUse { path };
    }
    let source = match source.downcast::<Damage>() {
        Ok(damage) => return StoreError::Damaged { path, damage: *damage },
        Err(source) => source,
    };
    if is_unreadable(&*source) {
        return StoreError::Damaged { path, damage: Damage::Unreadable(source) };
    }
    if is_damage(&*source) {
        return StoreError::Damaged { path, damage: Damage::Structure(source) };
    }
    StoreError::Open { path, source }
}

/// True if the disk itself does not give back what is on it.
fn is_unreadable(error: &(dyn std::error::Error + 'static)) -> bool {
    #[cfg(unix)]
    let broken = Some(rustix::io::Errno::IO.raw_os_error());
    #[cfg(not(unix))]
    let broken = None::<i32>;
    let Some(StorageError::Io(error)) = of_storage(error) else { return false };
    broken.is_some() && error.raw_os_error() == broken
}

/// True for errors that say what the file holds, and not what the system refuses.
fn is_damage(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};

    match of_storage(error) {
        Some(StorageError::Io(error)) => matches!(error.kind(), InvalidData | UnexpectedEof),
        Some(error) => matches!(error, StorageError::Corrupted(_)),
        // What a table or a transaction cannot be opened for is what the file says about them.
        None => !error.is::<std::io::Error>() && !error.is::<DatabaseError>(),
    }
}

/// What became of the file, if that is what the error is about.
fn of_storage<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e StorageError> {
    if let Some(DatabaseError::Storage(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(TransactionError::Storage(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(TableError::Storage(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(CommitError::Storage(error)) = error.downcast_ref() {
        return Some(error);
    }
    error.downcast_ref()
}

impl Backend for Embedded {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        if let Some(loaded) = self.loaded.take() {
            return Ok(loaded);
        }
        unless_damaged(|| examine::read(&self.database, FORMATS.newest()))
            .map_err(|source| refused(self.path.clone(), source))
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StoreError> {
        unless_damaged(|| Ok(self.write(batch)?)).map_err(StoreError::Backend)
    }

    fn replace(&mut self, all: &dyn Fn() -> Loaded) -> Result<(), StoreError> {
        let begun = Instant::now();
        if let Some(until) = self.rests_until.filter(|until| begun < *until) {
            return Err(StoreError::Backend(Box::new(Resting(until - begun))));
        }
        let replaced = unless_damaged(|| self.write_anew(&all()));
        // Also where it could: what is tried next may fail again, which would have all of it written for each write.
        self.rests_until = Some(Instant::now() + begun.elapsed() * REST);
        replaced.map_err(StoreError::Backend)
    }
}

/// The state could not be written anew a moment ago.
#[derive(Debug, thiserror::Error)]
#[error("it was tried a moment ago, and is tried again in {} ms", .0.as_millis())]
struct Resting(Duration);
