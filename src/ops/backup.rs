//! backup: sources to a snapshot.
//!
//! One thread walks (`walk`), as many as there are cores read, cut, name and code (`read`), the lanes of
//! [`super::ingest`] write, and the calling thread builds the tree in the order of the walk (`tree`). The
//! walk may run ahead by a bounded number of entries.

use super::bag::{Bag, Verdict};
use super::compact::tried;
use super::ingest::{self, Counters, Purpose};
use super::{Control, Notice, gc};
use crate::chunk::{Coding, Tier};
use crate::error::{Error, Result};
use crate::format::SnapshotId;
use crate::format::event::Event;
use crate::format::snapshot::{Counts, Snapshot};
use crate::store::Store;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

mod anew;
mod archive;
mod cut;
pub mod over;
pub(crate) mod read;
mod survey;
mod tree;
mod walk;

pub(in crate::ops) use anew::{Anew, are_the_same, content_key, copy_anew, split_anew, with_helpers};
pub(in crate::ops) use read::Readers;
pub use survey::{Cost, Survey};
pub use walk::is_excluded;

/// Entries by which the walk may be ahead of the tree.
const AHEAD: usize = 4096;

/// What to back up.
pub enum Source {
    /// Absolute paths.
    Paths(Vec<PathBuf>),
    /// One file's bytes, which will lie at `/name`.
    Stream { name: Vec<u8>, input: Box<dyn std::io::Read + Send> },
    /// The members of a tar archive.
    Archive { input: Box<dyn std::io::Read + Send> },
    /// A bag's whole folder, as the root: proven on the way, and no snapshot is made unless all of it is valid.
    Bag(Box<Bag>),
}

/// How to back up.
pub struct BackupOptions {
    pub source: Source,
    pub name: Option<String>,
    pub tags: Vec<String>,
    /// Globs: without a slash for a name anywhere, with one for a path.
    pub excludes: Vec<String>,
    pub one_file_system: bool,
    /// Read every file, unchanged or not.
    pub force: bool,
    /// Store nothing and add no snapshot.
    pub dry_run: bool,
    /// How new chunks are coded.
    pub coding: Coding,
    /// A file may come to lie in so many places for each GiB of it, one for each pack that it fills, and
    /// [`FREE`](super::ingest::locality::FREE) more;
    /// duplicates that lie elsewhere are stored again. `None`: no duplicate is.
    pub max_fragments_per_gib: Option<u64>,
    /// Read no more than the beginnings of files, and tell what each costs. Of no use for a snapshot that is to stay.
    pub survey: Option<Arc<Survey>>,
    /// Instead of the machine's own name.
    pub host: Option<String>,
    pub program: String,
    pub user: String,
    /// For the snapshot's record.
    pub filters_as_typed: Vec<String>,
}

impl BackupOptions {
    /// All that is not said otherwise: no name, nothing left out, the fast tier, this machine's name, no user.
    pub fn of(source: Source, program: &str) -> BackupOptions {
        BackupOptions {
            source,
            name: None,
            tags: Vec::new(),
            excludes: Vec::new(),
            one_file_system: false,
            force: false,
            dry_run: false,
            coding: Coding::default(),
            max_fragments_per_gib: None,
            survey: None,
            host: None,
            program: program.to_owned(),
            user: String::new(),
            filters_as_typed: Vec::new(),
        }
    }
}

/// What a backup did.
#[derive(Debug, Default)]
pub struct BackupReport {
    /// `None` for a dry run.
    pub snapshot: Option<SnapshotId>,
    pub parent: Option<SnapshotId>,
    pub counts: Counts,
    /// Files and folders that could not be read.
    pub unreadable: u64,
    pub complete: bool,
    /// Why the snapshot is less redundant than it should be.
    pub degraded: Vec<String>,
    pub chunks_new: u64,
    pub chunks_seen: u64,
    /// Chunks that were stored already and were stored again to keep files together, and their records' bytes.
    pub chunks_again: u64,
    pub bytes_again: u64,
    /// Bytes written beside `data_added_packed`: parity and extra copies.
    pub data_added_redundancy: u64,
    pub packs_sealed: u64,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Why splitters gave up, and how often.
    pub doubts: Vec<(String, u64)>,
    /// What a bag was proven by.
    pub bag: Option<Verdict>,
}

/// Backs up and returns when the snapshot is durable.
///
/// # Errors
/// [`Error::NoSource`], [`Error::BadBag`], [`Error::NoSpace`], [`Error::Interrupted`], and whatever keeps chunks or the log
/// from being durable. Everything acknowledged before stays as it was.
pub fn run(store: &Store, mut options: BackupOptions, control: &Control) -> Result<BackupReport> {
    control.progress.set_phase("backing up");
    if let Some(name) = &options.name
        && (name.is_empty() || name.contains(':') || name == "latest")
    {
        let why = "a snapshot's name is not empty, holds no colon and is not `latest`".to_owned();
        return Err(Error::Argument { what: format!("the name {name:?}"), why });
    }
    let host = options.host.clone().unwrap_or_else(crate::io::source::hostname);
    let roots: Vec<Vec<u8>> = match &options.source {
        Source::Paths(paths) => paths.iter().map(|p| crate::pool::bytes_of(p)).collect(),
        Source::Stream { name, .. } => vec![[b"/", name.as_slice()].concat()],
        Source::Archive { .. } | Source::Bag(_) => vec![b"/".to_vec()],
    };
    let source = std::mem::replace(&mut options.source, Source::Paths(Vec::new())); // a stream or a bag is used up
    let parent = find_parent(store, &host, &roots);
    let purpose = Purpose {
        parent: parent.as_ref().map(|(id, _)| *id),
        program: options.program.clone(),
        dry_run: options.dry_run,
        coding: options.coding,
        moves: false,
        frees: false,
        max_fragments_per_gib: options.max_fragments_per_gib,
        bases_from: 0,
        verb: None,
        safer: false,
    };
    let parent_id = purpose.parent;
    let dry_run = purpose.dry_run;
    let began_ns = store.io().world.now_ns();
    // What other writers left may be coded otherwise.
    let first_new = store.with_state(|s| s.writers.is_empty().then(|| s.next_serial()));
    let mut superseded = gc::Superseded::new();
    let ended = ingest::run(store, control, purpose, |ingest| {
        // Unchanged files of a bag are read too: they have to be proven.
        let reads_all = options.force || matches!(source, Source::Bag(_));
        let parent_snapshot = parent.as_ref().map(|(_, s)| s).filter(|_| !reads_all);
        let built = tree::build(ingest, &options, source, parent_snapshot, control);
        superseded = ingest.take_superseded();
        let built = built?;
        let mut report = BackupReport {
            parent: parent_id,
            unreadable: built.unreadable,
            bytes_read: built.bytes_read,
            ..Default::default()
        };
        report.doubts = built.doubts;
        report.bag = built.bag;
        report.complete = built.unreadable == 0;
        let mut snapshot = Snapshot {
            time_ns: began_ns,
            host,
            user: options.user.clone(),
            roots,
            filters: options.filters_as_typed.clone(),
            program: options.program.clone(),
            parent: parent_id,
            name: options.name.clone(),
            tags: options.tags.clone(),
            tree: built.tree,
            witness: Some(built.witness),
            counts: built.counts,
            complete: report.complete,
        };
        let dry_run = options.dry_run;
        let finish = move |report: &mut BackupReport, counters: &Counters| {
            snapshot.counts.data_added = counters.data_added.load(Ordering::Relaxed);
            snapshot.counts.data_added_packed = counters.bytes_written.load(Ordering::Relaxed);
            report.chunks_new = counters.chunks_new.load(Ordering::Relaxed);
            report.chunks_seen = counters.chunks_seen.load(Ordering::Relaxed);
            report.chunks_again = counters.chunks_again.load(Ordering::Relaxed);
            report.bytes_again = counters.bytes_again.load(Ordering::Relaxed);
            report.packs_sealed = counters.packs_sealed.load(Ordering::Relaxed);
            report.data_added_redundancy = counters.redundancy_written.load(Ordering::Relaxed);
            report.counts = snapshot.counts.clone();
            if dry_run {
                return Vec::new();
            }
            let record = snapshot.encode();
            report.snapshot = Some(Snapshot::id_of(&record));
            vec![Event::SnapshotAdded { record }]
        };
        Ok((report, finish))
    });
    // Of a backup that failed too: tallies only choose what a gc looks at.
    let told = match superseded.is_empty() || dry_run {
        true => Ok(()),
        false => gc::supersede(store, &superseded, false),
    };
    let mut report = ended?;
    if !dry_run {
        let settled = told.and_then(|()| match first_new {
            Some(first) if options.coding == Coding::from(Tier::Dense) => {
                tried::add(store, &tried::made_since(store, first))
            }
            _ => Ok(()),
        });
        if let Err(e) = settled {
            control.notice(Notice::Note(format!("{e}; the snapshot is saved, and a full gc makes it good")));
        }
        report.degraded = degraded(store);
    }
    Ok(report)
}

/// The newest snapshot of the same host and sources; else the newest of the host that shares one.
fn find_parent(store: &Store, host: &str, roots: &[Vec<u8>]) -> Option<(SnapshotId, Snapshot)> {
    store.with_state(|state| {
        let live = state.live_snapshots();
        let of_host = || live.iter().rev().filter(|(_, s)| s.snapshot.host == host);
        let same = of_host().find(|(_, s)| s.snapshot.roots == roots);
        let found = same.or_else(|| of_host().find(|(_, s)| s.snapshot.roots.iter().any(|r| roots.contains(r))))?;
        Some((found.0, found.1.snapshot.clone()))
    })
}

/// What keeps a snapshot made now from being as redundant as the store promises.
fn degraded(store: &Store) -> Vec<String> {
    let mut why = Vec::new();
    for disk in store.pool().disks().filter(|d| d.is_suspect()) {
        why.push(format!("disk {} failed during this run", disk.name()));
    }
    let is_set = store.with_state(|s| s.promises_redundancy());
    let r = store.redundancy(|_, _| {});
    if is_set && !r.is_full() {
        let away: Vec<&str> = store.missing_disks().iter().map(|d| d.label.as_str()).collect();
        let away = if away.is_empty() { String::new() } else { format!(" (missing: {})", away.join(", ")) };
        why.push(format!(
            "{} packs may lose fewer of the disks that are here than the store is set to{away}: `onefold disk list` tells more, \
             `onefold disk replace` and `onefold rebalance` make it good",
            r.degraded + r.at_risk + r.lost
        ));
    }
    why
}

/// Says what became of one entry, for people.
fn tell(control: &Control, notice: Notice) {
    control.notice(notice);
}
