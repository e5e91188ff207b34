//! The file as the process finds it.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::format::Step;
use super::*;
use crate::model::{Node, NodeName};
use crate::store::{NodeKey, Op, Store, View};

/// A process that is being started has all files of this one open for a moment, and with them their locks.
static STARTING: RwLock<()> = RwLock::new(());

/// Held while a process is started.
pub(super) fn starting() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held while files are opened that were open before.
pub(super) fn undisturbed() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// The rows of every file in `testdata/store`, one of each kind: key, tab, value.
const ROWS_OF_FILES: &str = include_str!("../../../testdata/store/rows.txt");

/// The bytes of the file of a format.
pub(super) fn unpacked(format: u64) -> Vec<u8> {
    let path = format!("{}/testdata/store/format-{format}.redb.gz", env!("CARGO_MANIFEST_DIR"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// What a file holds now.
fn examined(path: &Path) -> Contents {
    let file = FileBackend::new(File::open(path).unwrap()).unwrap();
    examine(Overlay::new(Arc::new(file)).unwrap(), FORMATS).unwrap().unwrap()
}

/// What those files hold.
pub(super) fn golden_rows() -> Vec<(Vec<u8>, Vec<u8>)> {
    let row = |line: &str| {
        let (key, value) = line.split_once('\t').unwrap();
        (key.as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    ROWS_OF_FILES.lines().map(row).collect()
}

pub(super) fn pair(number: u64) -> Vec<Op> {
    let node = |name: &str| {
        let node = NodeName::from(format!("{name}-{number}"));
        Op::PutNode(Node { node, address: number.to_string(), ..Node::default() })
    };
    vec![node("a"), node("b")]
}

/// The pairs that are there.
///
/// # Panics
/// One of them is there by half.
pub(super) fn pairs(view: &View) -> BTreeSet<u64> {
    let place = Node::default().place();
    let numbers: BTreeSet<u64> = view.nodes(&place).map(|row| row.value.address.parse().unwrap()).collect();
    for number in &numbers {
        for name in ["a", "b"] {
            let key = NodeKey::new(&place, &NodeName::from(format!("{name}-{number}")));
            assert!(view.node(&key).is_some(), "{name}-{number} is missing");
        }
    }
    numbers
}

pub(super) fn open_store(embedded: Embedded) -> (Store, std::thread::JoinHandle<()>) {
    Store::open(Box::new(embedded), Arc::new(|_, _, _| Ok(()))).unwrap()
}

#[test]
fn what_was_persisted_is_loaded_by_the_next_process() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let batch = Batch {
        index: 2,
        changes: vec![
            (b"a".to_vec(), Some(b"1".to_vec())),
            (b"b".to_vec(), Some(b"2".to_vec())),
            (b"a".to_vec(), None),
        ],
        ..Batch::default()
    };

    Embedded::open(directory.path()).unwrap().persist(&batch).unwrap();

    let loaded = Embedded::open(directory.path()).unwrap().load().unwrap();
    assert_eq!(loaded, Loaded { index: 2, rows: vec![(b"b".to_vec(), b"2".to_vec())], history: None });
}

#[test]
fn a_creation_that_was_cut_short_is_started_anew() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("meshgate.redb.new"), vec![0; 1 << 20]).unwrap();

    Embedded::open(directory.path()).unwrap().persist(&Batch { index: 2, ..Batch::default() }).unwrap();

    assert_eq!(Embedded::open(directory.path()).unwrap().load().unwrap().index, 2);
    assert!(!directory.path().join("meshgate.redb.new").exists());
}

#[test]
fn what_a_killed_process_left_beside_the_file_goes_at_the_next_start() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join("meshgate.redb.new");
    drop(Embedded::open(directory.path()).unwrap());
    std::fs::write(&left, "a state with its keys").unwrap();

    let opened = Embedded::open(directory.path());

    assert!(opened.is_ok() && !left.exists());
}

#[test]
fn two_that_start_on_an_empty_directory_do_not_spoil_each_other() {
    let _undisturbed = undisturbed();
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
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let _first = Embedded::open(directory.path()).unwrap();

    let error = Embedded::open(directory.path()).unwrap_err();

    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn a_disk_that_is_full_is_no_damage() {
    let full = || StorageError::Io(std::io::ErrorKind::StorageFull.into());
    let broken = || StorageError::Corrupted("a page".to_owned());
    let reasons = |storage: &dyn Fn() -> StorageError| -> [Failure; 5] {
        [
            storage().into(),
            DatabaseError::Storage(storage()).into(),
            TransactionError::Storage(storage()).into(),
            TableError::Storage(storage()).into(),
            CommitError::Storage(storage()).into(),
        ]
    };

    for reason in reasons(&full) {
        assert!(matches!(refused(PathBuf::new(), reason), StoreError::Open { .. }));
    }
    for reason in reasons(&broken) {
        assert!(matches!(refused(PathBuf::new(), reason), StoreError::Damaged { .. }));
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let mode = |name: &str| std::fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    drop(Embedded::open(directory.path()).unwrap());
    assert_eq!(mode(FILE), 0o600);

    // As earlier versions left it.
    std::fs::write(&path, unpacked(1)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Embedded::open(directory.path()).unwrap());

    assert_eq!((mode(FILE), mode("meshgate.redb.format-1")), (0o600, 0o600));
}

#[test]
fn a_file_of_each_format_is_read_and_one_that_is_older_is_kept() {
    let _undisturbed = undisturbed();
    for format in FORMATS.oldest..=FORMATS.newest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        std::fs::write(&path, unpacked(format)).unwrap();

        let loaded = Embedded::open(directory.path()).unwrap().load().unwrap();

        assert_eq!((loaded.index, loaded.rows), (7, golden_rows()), "format {format}");
        let kept = directory.path().join(format!("meshgate.redb.format-{format}"));
        if format == FORMATS.newest() {
            assert!(!kept.exists());
        } else {
            assert_eq!(std::fs::read(kept).unwrap(), unpacked(format));
        }
        // It goes on in the newest one.
        let contents = examined(&path);
        assert_eq!((contents.format, contents.loaded.rows), (FORMATS.newest(), golden_rows()));
    }
}

#[test]
fn the_files_hold_every_kind_of_row() {
    let _undisturbed = undisturbed();
    let snapshot =
        crate::store::apply::load(7, &golden_rows()).map(|view| crate::store::Snapshot::of(&view, String::new()));

    let tables: Vec<_> = snapshot.unwrap().tables().into_iter().map(|(name, table)| (name, table.rows)).collect();

    let names = [
        "Checks",
        "ConfigEntries",
        "ConnectCAConfig",
        "ConnectCALeaves",
        "ConnectCARoots",
        "Datacenters",
        "FederationStates",
        "Imported",
        "Namespaces",
        "Nodes",
        "Partitions",
        "PeeringTrustBundles",
        "Peerings",
        "PreparedQueries",
        "Services",
    ];
    assert_eq!(tables, names.map(|name| (name, 1)));
}

#[test]
#[ignore = "writes testdata/store/format-N.redb.gz once, when format N is new: \
            cargo test --lib make_the_file_of_the_newest_format -- --ignored"]
fn make_the_file_of_the_newest_format() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let changes = golden_rows().into_iter().map(|(key, value)| (key, Some(value))).collect();
    Embedded::open(directory.path()).unwrap().persist(&Batch { index: 7, changes, ..Batch::default() }).unwrap();

    let file = std::fs::read(directory.path().join(FILE)).unwrap();
    let root = env!("CARGO_MANIFEST_DIR");
    let path = File::create_new(format!("{root}/testdata/store/format-{}.redb.gz", FORMATS.newest())).unwrap();
    let mut packed = flate2::write::GzEncoder::new(path, flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &file).unwrap();
    packed.finish().unwrap();
}

#[test]
fn a_file_of_an_unknown_format_is_refused_and_left_alone() {
    let _undisturbed = undisturbed();
    for found in [0, FORMATS.newest() + 1] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        {
            let database = Database::create(&path).unwrap();
            let transaction = database.begin_write().unwrap();
            transaction.open_table(META).unwrap().insert("format", found).unwrap();
            transaction.commit().unwrap();
        }
        let before = std::fs::read(&path).unwrap();

        let error = Embedded::open(directory.path()).unwrap_err();

        let says =
            format!("has format {found}, and meshgate {} reads formats 1 to 2: start the", env!("CARGO_PKG_VERSION"));
        assert!(error.to_string().contains(&says), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_format_without_sums_gets_them_however_many_rows_there_are() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    // More than are held in memory at once, and not a multiple of that.
    let count = 2 * format::AT_ONCE + 7;
    let rows: Vec<_> = (0..count).map(|n| (format!("n{n:06}").into_bytes(), n.to_string().into_bytes())).collect();
    {
        let database = Database::create(directory.path().join(FILE)).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(ROWS).unwrap();
            rows.iter().for_each(|(key, value)| drop(table.insert(key.as_slice(), value.as_slice()).unwrap()));
            let mut meta = transaction.open_table(META).unwrap();
            [(format::FORMAT, 1), (INDEX, 9)].into_iter().for_each(|(name, to)| drop(meta.insert(name, to).unwrap()));
        }
        transaction.commit().unwrap();
    }

    let loaded = Embedded::open(directory.path()).unwrap().load().unwrap();

    assert_eq!(loaded, Loaded { index: 9, rows: rows.clone(), history: None });
    assert_eq!(examined(&directory.path().join(FILE)).loaded.rows, rows);
}

/// A made-up step: all keys get longer.
fn lengthen(transaction: &redb::WriteTransaction) -> Result<(), Failure> {
    let mut rows = transaction.open_table(ROWS)?;
    let mut meta = transaction.open_table(META)?;
    let mut total = Total::of_index(meta.get(INDEX)?.map_or(0, |index| index.value()));
    let mut all = Vec::new();
    while let Some((key, stored)) = rows.pop_first()? {
        let value = seal::opened(key.value(), stored.value()).ok_or("a damaged row")?;
        let key = [key.value(), b"+"].concat();
        all.push((key.clone(), sealed(&key, value)));
    }
    for (key, stored) in all {
        total = total.with(&stored);
        rows.insert(key.as_slice(), stored.as_slice())?;
    }
    meta.insert(SUM, total.0)?;
    Ok(())
}

/// A made-up step that does something and then fails.
fn fail(transaction: &redb::WriteTransaction) -> Result<(), Failure> {
    transaction.open_table(ROWS)?.pop_first()?;
    Err("made up".into())
}

#[test]
fn all_steps_from_an_older_format_are_taken_in_turn() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), unpacked(1)).unwrap();
    let formats = Formats { oldest: 1, steps: const { &[FORMATS.steps[0], lengthen as Step, lengthen] } };

    let loaded = Embedded::open_with(directory.path(), formats).unwrap().load().unwrap();

    let longer: Vec<_> = golden_rows().into_iter().map(|(key, value)| ([&key, &b"++"[..]].concat(), value)).collect();
    assert_eq!(loaded.rows, longer);
    let error = Embedded::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Format { found: 4, oldest: 1, newest: 2, .. }), "{error}");
    let reopened = Embedded::open_with(directory.path(), formats).unwrap().load().unwrap();
    assert_eq!(reopened.rows, longer);
}

#[test]
fn a_step_that_fails_leaves_the_file_as_it_was() {
    let _undisturbed = undisturbed();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    std::fs::write(&path, unpacked(1)).unwrap();
    let formats = Formats { oldest: 1, steps: const { &[FORMATS.steps[0], lengthen as Step, fail] } };

    Embedded::open_with(directory.path(), formats).unwrap_err();

    let contents = examined(&path);
    assert_eq!((contents.format, contents.loaded.rows), (1, golden_rows()));
}
