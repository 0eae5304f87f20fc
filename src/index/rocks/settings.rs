//! How RocksDB is set up, and how a memory budget is split.
//!
//! Owns every number that RocksDB is given. Nothing here changes what the index answers; the format
//! version and the names of the column families are all that an older index depends on.
//!
//! What always holds: cache, write buffers and the rest add up to the budget.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ChecksumType, DBCompressionType, DBRecoveryMode, LogLevel, Options,
};

use super::Mode;

/// Budgets below this are taken as this: with less, write buffers and the fixed costs of an open
/// database leave no cache.
pub const MEMORY_BYTES_MIN: u64 = 16 << 20;

/// One write buffer is no larger than this: a larger one makes the index no faster, but a reader in
/// another process replays up to two of them into its own memory.
const WRITE_BUFFER_BYTES_MAX: u64 = 64 << 20;
/// Kept for open files, iterators and compactions, at most.
const OTHER_BYTES_MAX: u64 = 128 << 20;
/// With 58 bytes a chunk (measured with 1 M random keys) this is 4.6 M chunks a file, and 1.1 G chunks
/// are some 250 files: few enough to have all of them open.
pub(super) const TABLE_BYTES: u64 = 256 << 20;
/// Files that a writer keeps open. A reader keeps all of them, see [`database`].
const OPEN_FILES_MAX: i32 = 512;
/// One in a hundred absent chunks costs a read, as with a Bloom filter of ten bits a key.
const FILTER_BITS_AS_BLOOM: f64 = 10.0;
/// Of the levels 0..=6 the last two hold 99 % of the chunks. A ribbon filter takes 7 bits instead of 10
/// and four times as long to build, which pays only where files live long (RocksDB blog, 2021-12-29).
const BLOOM_BEFORE_LEVEL: i32 = 5;
/// The newest that the pinned RocksDB writes. Since 6 a block's check depends on where it lies.
const FORMAT_VERSION: i32 = 7;

/// How a budget is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Blocks, filters, indexes.
    pub cache: usize,
    /// One write buffer, of two.
    pub write_buffer: usize,
    /// Both of them.
    pub write_buffers: usize,
    /// One buffer for reading or writing a file in the background.
    pub transfer: usize,
}

impl Budget {
    pub fn of(memory_bytes: u64) -> Budget {
        let memory = memory_bytes.max(MEMORY_BYTES_MIN);
        let write_buffer = (memory / 8).min(WRITE_BUFFER_BYTES_MAX);
        let other = (memory / 4).min(OTHER_BYTES_MAX);
        let cache = memory - 2 * write_buffer - other;
        let fits = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Budget {
            cache: fits(cache),
            write_buffer: fits(write_buffer),
            write_buffers: fits(2 * write_buffer),
            transfer: fits((memory / 64).min(1 << 20)),
        }
    }
}

/// The cache of one index.
pub(super) fn cache(budget: &Budget) -> Cache {
    Cache::new_hyper_clock_cache(budget.cache, 0) // 0: it finds the size of its entries by itself
}

/// The settings of the whole database.
///
/// # Errors
/// RocksDB's, if it does not know a setting that is given by name.
pub(super) fn database(budget: &Budget, mode: Mode) -> Result<Options, rocksdb::Error> {
    // Every log names the one before it. Without that, a manifest that lost its end would pass: the chunks of
    // a log that was removed since would be missing, and a younger log would say that they are there. The
    // crate has no function for this setting.
    let mut o = Options::default().get_options_from_string("track_and_verify_wals=true")?;
    o.set_paranoid_checks(true);
    // Both column families are written by one batch and must not come back from different moments.
    o.set_atomic_flush(true);
    // What a torn log says before the tear is a whole earlier moment; nothing behind it is used.
    o.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    o.set_max_total_wal_size(budget.write_buffers as u64);
    o.set_db_write_buffer_size(budget.write_buffers);
    o.set_max_open_files(match mode {
        Mode::ReadWrite => OPEN_FILES_MAX,
        // All, from the start on: the writer removes files that it has compacted, and an open one stays.
        Mode::ReadOnly => -1,
    });
    o.set_max_file_opening_threads(2);
    o.set_max_background_jobs(2);
    o.set_skip_stats_update_on_db_open(true);
    o.set_bytes_per_sync(1 << 20);
    o.set_wal_bytes_per_sync(1 << 20);
    o.set_compaction_readahead_size(budget.transfer);
    o.set_writable_file_max_buffer_size(budget.transfer as u64);
    o.set_max_manifest_file_size(16 << 20);
    o.set_manifest_preallocation_size(64 << 10);
    o.set_log_level(LogLevel::Warn);
    o.set_keep_log_file_num(2);
    o.set_max_log_file_size(1 << 20);
    o.set_stats_dump_period_sec(0);
    o.set_stats_persist_period_sec(0);
    Ok(o)
}

/// The settings of the column family of chunks, and of the sorted files made for it.
pub(super) fn chunks(budget: &Budget, cache: &Cache) -> Options {
    let mut t = BlockBasedOptions::default();
    t.set_block_cache(cache);
    t.set_block_size(16 << 10);
    t.set_format_version(FORMAT_VERSION);
    t.set_checksum_type(ChecksumType::XXH3);
    t.set_hybrid_ribbon_filter(FILTER_BITS_AS_BLOOM, BLOOM_BEFORE_LEVEL);
    t.set_optimize_filters_for_memory(true);
    t.set_whole_key_filtering(true);
    t.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    t.set_partition_filters(true);
    t.set_metadata_block_size(4 << 10);
    t.set_cache_index_and_filter_blocks(true);
    t.set_cache_index_and_filter_blocks_with_high_priority(true);
    t.set_pin_top_level_index_and_filter(true);
    t.set_pin_l0_filter_and_index_blocks_in_cache(true);

    let mut o = common();
    o.set_block_based_table_factory(&t);
    o.set_write_buffer_size(budget.write_buffer);
    o.set_max_write_buffer_number(2); // a third one waits: this is what keeps write buffers to the budget
    o.set_target_file_size_base(TABLE_BYTES);
    o.set_max_bytes_for_level_base(4 * TABLE_BYTES);
    // Not set_optimize_filters_for_hits: it drops the last level's filter, and most look-ups of an
    // ingest are for chunks that are new.
    o.set_optimize_filters_for_hits(false);
    o
}

/// The settings of the column family of a few named values.
pub(super) fn meta(cache: &Cache) -> Options {
    let mut t = BlockBasedOptions::default();
    t.set_block_cache(cache);
    t.set_format_version(FORMAT_VERSION);
    t.set_checksum_type(ChecksumType::XXH3);
    t.set_cache_index_and_filter_blocks(true);
    let mut o = common();
    o.set_block_based_table_factory(&t);
    o.set_write_buffer_size(256 << 10);
    o
}

fn common() -> Options {
    let mut o = Options::default();
    o.set_compression_type(DBCompressionType::None); // ids do not compress
    o.set_level_compaction_dynamic_level_bytes(true);
    // Nothing is rewritten for its age alone.
    o.set_ttl(0);
    o.set_periodic_compaction_seconds(0);
    o
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_budget_add_up_to_it() {
        for memory in [0, 1 << 20, 16 << 20, 100_000_001, 256 << 20, 8 << 30, 1 << 40] {
            let b = Budget::of(memory);
            let budget = memory.max(MEMORY_BYTES_MIN);
            let used = (b.cache + b.write_buffers) as u64;
            assert!(used <= budget && used >= budget / 2, "{memory}: {b:?}");
            assert!(b.cache as u64 >= budget / 2, "{memory}: {b:?}");
            assert_eq!(b.write_buffers, 2 * b.write_buffer);
        }
    }
}
