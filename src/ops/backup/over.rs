//! A backup that begins anew when a disk dies in its middle.
//!
//! Bytes leave memory once they are synced, and a pack has no parity before its group is made: a disk that dies in between takes them
//! along, and the run ends. Nothing of it was acknowledged, so reading the sources again loses nothing; what is logged, or stands
//! sealed on other disks, is not stored once more.
//!
//! # Invariants
//!
//! 1. Before each further attempt another disk has died, which takes no more data: there are no more attempts than disks.

use super::{BackupOptions, BackupReport, Source};
use crate::error::{Error, Result};
use crate::format::DiskId;
use crate::ops::{Control, Notice};
use crate::pool::disk::LOG_DIR;
use crate::store::Store;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

impl BackupOptions {
    /// The same once more; `None` where the source is used up by reading it.
    fn again(&self) -> Option<BackupOptions> {
        let Source::Paths(paths) = &self.source else { return None };
        Some(BackupOptions {
            source: Source::Paths(paths.clone()),
            name: self.name.clone(),
            tags: self.tags.clone(),
            excludes: self.excludes.clone(),
            one_file_system: self.one_file_system,
            force: self.force,
            dry_run: self.dry_run,
            coding: self.coding,
            max_fragments_per_gib: self.max_fragments_per_gib,
            survey: self.survey.clone(),
            host: self.host.clone(),
            program: self.program.clone(),
            user: self.user.clone(),
            filters_as_typed: self.filters_as_typed.clone(),
        })
    }
}

/// Whether an entry could not be logged: it may be there all the same, so the run is not begun anew in silence.
fn is_of_the_log(store: &Store, e: &Error) -> bool {
    let in_log = |path: &Path| {
        let mut folders = store.pool().disks().map(|d| d.path.as_path()).chain([store.path()]);
        folders.any(|folder| path.starts_with(folder.join(LOG_DIR)))
    };
    match e {
        Error::Io { path, .. } | Error::Damaged { path, .. } => in_log(path),
        e => matches!(e, Error::LogDamaged { .. } | Error::LogFork { .. }),
    }
}

/// As [`super::run`], over disks that die meanwhile. `open` opens the store for writing, at first and again after such a death: what
/// is here then counts.
///
/// # Errors
/// As [`super::run`], and what `open` returns.
pub fn run(
    open: &mut dyn FnMut() -> Result<Store>,
    mut options: BackupOptions,
    control: &Control,
) -> Result<BackupReport> {
    let mut dead: BTreeSet<DiskId> = BTreeSet::new();
    loop {
        let store = open()?;
        for disk in store.pool().disks().filter(|d| dead.contains(&d.id)) {
            disk.suspect();
        }
        let again = options.again();
        let failed = match super::run(&store, options, control) {
            Err(e) if (e.is_damage() || matches!(e, Error::Io { .. })) && !is_of_the_log(&store, &e) => e,
            outcome => return outcome,
        };
        let died: Vec<_> = store.pool().disks().filter(|d| d.is_suspect() && !dead.contains(&d.id)).collect();
        let is_any_left = store.pool().disks().any(|d| d.takes_data());
        let Some(next) = again.filter(|_| is_any_left && !died.is_empty()) else { return Err(failed) };
        let labels: Vec<String> = died.iter().map(|d| d.name()).collect();
        control.notice(Notice::Note(format!(
            "disk {} failed, and with it what had no parity yet ({failed}): the backup begins anew without it, and stores again \
             only what is lacking",
            labels.join(", ")
        )));
        dead.extend(died.iter().map(|d| d.id));
        let progress = &control.progress;
        let all = [
            &progress.files_done,
            &progress.bytes_done,
            &progress.bytes_new,
            &progress.files_total,
            &progress.bytes_total,
        ];
        for counter in all {
            counter.store(0, Ordering::Relaxed);
        }
        progress.totals_known.store(false, Ordering::Relaxed);
        options = next;
    }
}
