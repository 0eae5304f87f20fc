//! The index on disk keeps its promises over damage, readers beside writers, and its memory.

use tempfile::TempDir;

use super::*;
use crate::index::tests::{content, id, place, reflected};
use crate::index::{BulkLoad, MemoryIndex};
use crate::io::Io;

pub(in crate::index) const STORE: StoreId = StoreId([0x5a; 16]);
pub(in crate::index) const WRITE: Options = Options { memory_bytes: 0, mode: Mode::ReadWrite };
pub(in crate::index) const READ: Options = Options { memory_bytes: 0, mode: Mode::ReadOnly };

pub(in crate::index) fn fresh(path: &Path) -> RocksIndex {
    RocksIndex::create(path, STORE, WRITE).unwrap()
}

fn ready(path: &Path, options: Options) -> RocksIndex {
    match RocksIndex::open(path, STORE, options).unwrap() {
        Opened::Ready(index) => index,
        Opened::Missing => panic!("missing"),
        Opened::Unusable { why } => panic!("unusable: {why}"),
    }
}

fn unusable(path: &Path, store: StoreId, options: Options) -> String {
    match RocksIndex::open(path, store, options).unwrap() {
        Opened::Unusable { why } => why,
        Opened::Ready(_) => panic!("ready"),
        Opened::Missing => panic!("missing"),
    }
}

fn numbered(range: std::ops::Range<u64>) -> Vec<(ChunkId, Place)> {
    range.map(|n| (id(n), place(n as u32))).collect()
}

/// Every file below a folder: its name, length and the time of its last change.
fn files(path: &Path) -> Vec<(OsString, u64, std::time::SystemTime)> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        (entry.file_name(), meta.len(), meta.modified().unwrap())
    });
    let mut all: Vec<_> = entries.collect();
    all.sort();
    all
}

#[test]
fn what_was_put_is_there_after_reopening() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    let index = fresh(&path);
    index.apply(&numbered(0..1000), Some(reflected(3))).unwrap();
    index.flush().unwrap();
    index.apply(&numbered(1000..1500), Some(reflected(4))).unwrap();
    let before = content(&index);
    drop(index);
    for options in [READ, WRITE, READ] {
        let index = ready(&path, options);
        assert_eq!(content(&index), before);
        assert_eq!(index.reflected().unwrap(), Some(reflected(4)));
    }
}

#[test]
fn no_folder_and_an_empty_one_are_missing_and_stay_as_they_are() {
    let folder = TempDir::new().unwrap();
    for options in [READ, WRITE] {
        let absent = folder.path().join("absent");
        assert!(matches!(RocksIndex::open(&absent, STORE, options).unwrap(), Opened::Missing));
        assert!(!absent.exists());
        let empty = TempDir::new().unwrap();
        assert!(matches!(RocksIndex::open(empty.path(), STORE, options).unwrap(), Opened::Missing));
        assert_eq!(files(empty.path()), []);
    }
}

#[test]
fn an_index_of_another_store_or_schema_is_unusable_and_can_be_made_anew() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    drop(fresh(&path));
    for options in [READ, WRITE] {
        assert!(unusable(&path, StoreId([1; 16]), options).contains("another store"));
    }
    let index = ready(&path, WRITE);
    index.db.put_cf(index.family(META).unwrap(), KEY_SCHEMA, (SCHEMA + 1).to_le_bytes()).unwrap();
    drop(index);
    for options in [READ, WRITE] {
        assert!(unusable(&path, STORE, options).contains("schema"));
    }
    std::fs::write(path.join(".bulk-3.sst"), b"left by a killed process").unwrap();
    RocksIndex::destroy(&path).unwrap();
    assert_eq!(files(&path), []);
    assert!(content(&fresh(&path)).is_empty());
}

#[test]
fn what_is_no_index_is_unusable() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    assert!(unusable(&file, STORE, WRITE).contains("no folder"));
    assert!(unusable(folder.path(), STORE, READ).contains("CURRENT"));
    RocksIndex::destroy(&folder.path().join("absent")).unwrap();
    assert!(RocksIndex::destroy(&file).is_err());
}

#[test]
fn a_second_writer_is_an_error_and_cannot_destroy() {
    let folder = TempDir::new().unwrap();
    let index = fresh(folder.path());
    index.apply(&numbered(0..10), None).unwrap();
    assert!(matches!(RocksIndex::open(folder.path(), STORE, WRITE), Err(Error::Index { .. })));
    assert!(matches!(RocksIndex::create(folder.path(), STORE, WRITE), Err(Error::Index { .. })));
    assert!(matches!(RocksIndex::destroy(folder.path()), Err(Error::Index { .. })));
    assert_eq!(content(&index).len(), 10);
}

#[test]
fn an_index_that_exists_is_not_created_over() {
    let folder = TempDir::new().unwrap();
    fresh(folder.path()).apply(&numbered(0..10), None).unwrap();
    assert!(matches!(RocksIndex::create(folder.path(), STORE, WRITE), Err(Error::Index { .. })));
    assert_eq!(content(&ready(folder.path(), READ)).len(), 10);
}

#[test]
fn a_reader_changes_no_file_and_refuses_to_write() {
    let folder = TempDir::new().unwrap();
    let index = fresh(folder.path());
    index.apply(&numbered(0..1000), Some(reflected(1))).unwrap();
    index.flush().unwrap();
    index.apply(&numbered(1000..1200), Some(reflected(2))).unwrap();
    let before = files(folder.path());
    let reader = ready(folder.path(), READ);
    // Beside the live writer it sees what only the writer's log holds.
    assert_eq!(content(&reader).len(), 1200);
    assert_eq!(reader.reflected().unwrap(), Some(reflected(2)));
    for refused in [
        reader.apply(&numbered(0..1), None),
        reader.remove(&[id(1)]),
        reader.flush(),
        reader.load_sorted(&mut || Ok(None), reflected(3)).map(drop),
        RocksIndex::create(&folder.path().join("new"), STORE, READ).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Index { .. })));
    }
    drop(reader);
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_reader_keeps_its_moment_while_the_writer_compacts_its_files_away() {
    let folder = TempDir::new().unwrap();
    let index = fresh(folder.path());
    for batch in 0..3 {
        index.apply(&numbered(batch * 2000..(batch + 1) * 2000), Some(reflected(batch))).unwrap();
        index.flush().unwrap();
    }
    let tables = || {
        let all = index.db.live_files().unwrap().into_iter().filter(|table| table.column_family_name == CHUNK);
        all.map(|table| folder.path().join(table.name.trim_start_matches('/'))).collect::<Vec<_>>()
    };
    let old_tables = tables();
    assert!(old_tables.len() == 3 && old_tables.iter().all(|table| table.exists()));
    let reader = ready(folder.path(), READ);
    index.remove(&(0..6000).map(id).collect::<Vec<_>>()).unwrap();
    index.apply(&numbered(9000..9500), Some(reflected(10))).unwrap();
    index.flush().unwrap();
    index.db.compact_range_cf(index.family(CHUNK).unwrap(), None::<&[u8]>, None::<&[u8]>);
    index.db.compact_range_cf(index.family(META).unwrap(), None::<&[u8]>, None::<&[u8]>);
    assert!(!old_tables.iter().any(|table| table.exists()), "the writer needs them no more");
    let ids: Vec<_> = (0..6000).map(id).collect();
    assert!(reader.get_many(&ids).unwrap().iter().enumerate().all(|(n, found)| *found == Some(place(n as u32))));
    assert_eq!(content(&reader).len(), 6000);
    assert_eq!(reader.reflected().unwrap(), Some(reflected(2)));
    drop(index);
    let index = ready(folder.path(), WRITE);
    assert_eq!((content(&index).len(), index.reflected().unwrap()), (500, Some(reflected(10))));
}

#[test]
fn readers_that_open_beside_a_busy_writer_see_whole_moments() {
    let folder = TempDir::new().unwrap();
    let index = fresh(folder.path());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // Entry n puts exactly one chunk, so that entry and number of chunks tell of each other.
            for n in 1..=400u64 {
                index.apply(&numbered(n..n + 1), Some(reflected(n))).unwrap();
                if n % 8 == 0 {
                    index.flush().unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let mut opened = 0;
        while !done.load(std::sync::atomic::Ordering::SeqCst) || opened == 0 {
            match RocksIndex::open(folder.path(), STORE, READ).unwrap() {
                Opened::Ready(reader) => {
                    let entry = reader.reflected().unwrap().map_or(0, |r| r.number);
                    assert_eq!(content(&reader).len() as u64, entry);
                    opened += 1;
                }
                Opened::Unusable { why } => assert!(why.contains("changed"), "{why}"),
                Opened::Missing => panic!("missing"),
            }
        }
    });
}

#[test]
fn memory_keeps_to_the_budget_while_more_is_put_and_read() {
    let folder = TempDir::new().unwrap();
    let index = fresh(folder.path());
    let mut most = 0;
    for batch in 0..300u64 {
        index.apply(&numbered(batch * 1000..(batch + 1) * 1000), None).unwrap();
        index.get_many(&(0..500).map(|n| id(n * 613 % (batch * 1000 + 1))).collect::<Vec<_>>()).unwrap();
        most = most.max(index.statistics().unwrap().memory_bytes);
    }
    let statistics = index.statistics().unwrap();
    assert!(most <= MEMORY_BYTES_MIN, "{most} bytes");
    assert!(statistics.bytes_on_disk > 300_000 * 48 && statistics.bytes_on_disk < 60 << 20, "{statistics:?}");
    assert!(statistics.chunks_estimate.abs_diff(300_000) < 30_000, "{statistics:?}");
    assert!(statistics.tables > 0, "{statistics:?}");
}

#[test]
fn a_bulk_load_makes_several_last_level_tables_with_filters_and_leaves_nothing_else() {
    let folder = TempDir::new().unwrap();
    let index = fresh(folder.path());
    let expected = MemoryIndex::new();
    expected.apply(&numbered(0..20_000), None).unwrap();
    let mut all = content(&expected).into_iter();
    assert_eq!(load::load(&index, &mut || Ok(all.next()), reflected(5), 1 << 18).unwrap(), 20_000);
    assert_eq!(content(&index), content(&expected));
    let tables: Vec<_> = index.db.live_files().unwrap().into_iter().filter(|f| f.column_family_name == CHUNK).collect();
    assert!(tables.len() >= 3, "{} tables", tables.len());
    assert!(tables.iter().all(|table| table.level == 6));
    let chunk = index.family(CHUNK).unwrap();
    let told = index.db.property_value_cf(chunk, properties::AGGREGATED_TABLE_PROPERTIES).unwrap().unwrap();
    let filter_bytes: u64 = told
        .split(';')
        .find_map(|field| field.trim().strip_prefix("filter block size="))
        .unwrap_or_else(|| panic!("{told}"))
        .parse()
        .unwrap();
    // A ribbon filter: at least six bits a chunk, and fewer than the ten of a Bloom filter.
    assert!((15_000..25_000).contains(&filter_bytes), "{told}");
    assert!(names(folder.path()).unwrap().unwrap().iter().all(|n| !n.to_string_lossy().starts_with('.')));
    drop(index);
    let reader = ready(folder.path(), READ);
    assert_eq!(content(&reader), content(&expected));
    assert_eq!(reader.reflected().unwrap(), Some(reflected(5)));
}

#[test]
fn an_index_that_was_loaded_is_brought_forward_by_batches() {
    let folder = TempDir::new().unwrap();
    let temporary = TempDir::new().unwrap();
    let index = fresh(folder.path());
    let mut load = BulkLoad::new(&Io::real(), temporary.path(), 0).unwrap();
    load.feed(&numbered(0..5000)).unwrap();
    load.finish(&index, reflected(1)).unwrap();
    assert_eq!(files(temporary.path()), []);
    index.apply(&[(id(17), place(99_999)), (id(9_999), place(1))], Some(reflected(2))).unwrap();
    index.remove(&[id(18)]).unwrap();
    index.flush().unwrap();
    drop(index);
    let index = ready(folder.path(), WRITE);
    let found = index.get_many(&[id(16), id(17), id(18), id(9_999)]).unwrap();
    assert_eq!(found, [Some(place(16)), Some(place(99_999)), None, Some(place(1))]);
    assert_eq!(index.reflected().unwrap(), Some(reflected(2)));
}

#[test]
fn a_value_of_another_length_is_an_error() {
    let folder = TempDir::new().unwrap();
    let index = fresh(folder.path());
    index.db.put_cf(index.family(CHUNK).unwrap(), id(1).0, [1; 15]).unwrap();
    assert!(matches!(index.get(&id(1)), Err(Error::Index { .. })));
    assert!(matches!(index.get_many(&[id(1)]), Err(Error::Index { .. })));
    assert!(matches!(index.for_each(None, &mut |_, _| Ok(true)), Err(Error::Index { .. })));
    index.remove(&[id(1)]).unwrap();
    index.db.put_cf(index.family(CHUNK).unwrap(), [1; 31], place(1).encode()).unwrap();
    assert!(matches!(index.for_each(None, &mut |_, _| Ok(true)), Err(Error::Index { .. })));
    index.db.put_cf(index.family(META).unwrap(), KEY_REFLECTED, [1; 39]).unwrap();
    assert!(matches!(index.reflected(), Err(Error::Index { .. })));
    drop(index);
    assert!(unusable(folder.path(), STORE, WRITE).contains("39"));
}
