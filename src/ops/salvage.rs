//! salvage: files from the disks that are at hand, without `STORE` and without its index.
//!
//! A folder in the target stands in for `STORE` while it runs: superblock and keys from the disks, an index in
//! memory made of their packs' tables. The disks are only read. What lies wholly on them, or can be rebuilt
//! from their groups, comes back; the rest is named.

use super::restore::{self, RestoreOptions, RestoreReport};
use super::snapshots::{self, SnapshotInfo};
use super::{Control, Notice, init};
use crate::error::{Error, Result};
use crate::format::text::{DiskList, KnownDisk};
use crate::format::{StoreId, limits};
use crate::io::{Io, Kind};
use crate::pool::disk::{KEY_SLOT_FILE, KEYS_DIR, SUPERBLOCK_FILE};
use crate::pool::{bytes_of, is_of_the_filesystem, read_marker, write_known};
use crate::store::{self, IndexKind, Mode, OpenOptions, Store};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders within each other in what stands in for `STORE`, at most.
const FLOORS_MAX: usize = 3;

/// What to take from where.
#[derive(Clone, Debug, Default)]
pub struct SalvageOptions {
    pub disks: Vec<PathBuf>,
    /// Where files go, a folder for each snapshot; must be empty or new.
    pub target: PathBuf,
    /// The newest snapshot of each host and its sources where none is named.
    pub snapshots: Vec<String>,
    pub memory_bytes: u64,
}

/// One snapshot's files.
#[derive(Debug)]
pub struct Salvaged {
    pub snapshot: SnapshotInfo,
    pub folder: PathBuf,
    pub report: RestoreReport,
}

fn stand_in(io: &Io, home: &Path, disks: &[PathBuf]) -> Result<()> {
    let mut store: Option<StoreId> = None;
    let mut known = Vec::new();
    for path in disks {
        let none = || Error::Argument {
            what: format!("the disk {}", path.display()),
            why: "there is no disk of a store (no file `onefold-disk`); is it mounted?".into(),
        };
        let marker = read_marker(io, path)?.ok_or_else(none)?;
        if *store.get_or_insert(marker.store) != marker.store {
            return Err(Error::DiskForeign {
                path: path.clone(),
                id: marker.disk.to_string(),
                store: marker.store.to_string(),
                why: "the disks named before it belong to another store",
            });
        }
        known.push(KnownDisk { disk: marker.disk, label: marker.label, path: bytes_of(path), serial: String::new() });
    }
    let store = store.ok_or(Error::NoDisks { known: 0 })?;
    let slot = Path::new(KEYS_DIR).join(KEY_SLOT_FILE);
    store::read_constants(io, disks, Some(store), &mut Vec::new())?;
    let mut copies = disks.iter().filter_map(|d| {
        let read = |name: &Path| io.read_small(&d.join(name), limits::SMALL_FILE_BYTES).ok();
        let (superblock, keys) = (read(Path::new(SUPERBLOCK_FILE))?, read(&slot)?);
        crate::format::superblock::Superblock::decode(&d.join(SUPERBLOCK_FILE), &superblock).ok()?;
        crate::format::Keys::decode_slot(&d.join(&slot), &keys).ok()?;
        Some((superblock, keys))
    });
    let (superblock, keys) = copies.next().ok_or(Error::NoDisks { known: disks.len() })?;
    io.fs.create_dir_all(home).map_err(Error::io("create the folder", home))?;
    init::furnish_home(io, home, &superblock, &keys)?;
    known.sort_by_key(|d| d.disk);
    write_known(io, home, &DiskList { store, disks: known })
}

/// Takes what can be had.
///
/// # Errors
/// [`Error::NotEmpty`] for a target that holds something; [`Error::DiskForeign`], [`Error::Argument`], [`Error::LogDamaged`],
/// what a restore meets.
pub fn run(io: &Io, options: &SalvageOptions, control: &Control) -> Result<Vec<Salvaged>> {
    control.progress.set_phase("reading the packs' tables");
    let mut random = [0; 8];
    io.world.random(&mut random);
    let target = &options.target;
    let not_empty =
        |why: &str| Err(Error::NotEmpty { path: target.clone(), what: "target of a salvage", why: why.to_owned() });
    match io.fs.stat(target).map_err(Error::io("look at", target))? {
        None => {}
        Some((Kind::Dir, _)) => {
            let held = io.fs.list(target).map_err(Error::io("list", target))?;
            if held.iter().any(|e| !is_of_the_filesystem(&e.name)) {
                return not_empty("it holds other files");
            }
        }
        Some(_) => return not_empty("it is no folder"),
    }
    io.fs.create_dir_all(target).map_err(Error::io("create the folder", target))?;
    let home = options.target.join(format!(".onefold-{:016x}", u64::from_le_bytes(random)));
    let outcome = with_stand_in(io, &home, options, control);
    if let Err(e) = remove(io, &home, FLOORS_MAX) {
        control.notice(Notice::Note(format!("{} could not be removed: {e}", home.display())));
    }
    outcome
}

/// Removes a folder with what is in it.
fn remove(io: &Io, folder: &Path, floors: usize) -> std::io::Result<()> {
    for entry in io.fs.list(folder)? {
        let path = folder.join(&entry.name);
        match entry.kind {
            Kind::Dir if floors > 0 => remove(io, &path, floors - 1)?,
            _ => io.fs.remove_file(&path)?,
        }
    }
    io.fs.remove_dir(folder)
}

fn with_stand_in(io: &Io, home: &Path, options: &SalvageOptions, control: &Control) -> Result<Vec<Salvaged>> {
    stand_in(io, home, &options.disks)?;
    let open =
        OpenOptions { memory_bytes: options.memory_bytes, mode: Mode::Read, index: IndexKind::Memory(Arc::default()) };
    let opened = Store::open(io, home, &open)?;
    opened.notices.into_iter().for_each(|n| control.notice(Notice::Note(n)));
    let store = opened.store;
    let mut out = Vec::new();
    for snapshot in chosen(&store, &options.snapshots)? {
        control.proceed()?;
        let folder = options.target.join(snapshot.id.short());
        let restore = RestoreOptions {
            snapshot: snapshot.clone(),
            path: None,
            target: folder.clone(),
            includes: Vec::new(),
            overwrite: false,
            owner: false,
            partial: false,
        };
        let report = restore::run(&store, &restore, control)?;
        out.push(Salvaged { snapshot, folder, report });
    }
    Ok(out)
}

fn chosen(store: &Store, named: &[String]) -> Result<Vec<SnapshotInfo>> {
    if !named.is_empty() {
        return named.iter().map(|n| snapshots::resolve(store, n)).collect();
    }
    let mut seen = BTreeSet::new();
    let mut all = snapshots::list(store, &[]);
    all.reverse();
    all.retain(|s| seen.insert((s.snapshot.host.clone(), s.snapshot.roots.clone())));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Fs;
    use crate::ops::testing::{Shelf, disk_path, noise};

    fn salvage(shelf: &Shelf, target: &Path) -> Result<Vec<Salvaged>> {
        // The disks lie in memory, and what is restored in real files.
        shelf.fs.create_dir_all(target).unwrap();
        let options = SalvageOptions {
            disks: vec![disk_path(0), disk_path(1)],
            target: target.to_owned(),
            snapshots: Vec::new(),
            memory_bytes: 1 << 28,
        };
        run(&shelf.io, &options, &Control::default())
    }

    #[test]
    fn what_the_disks_hold_comes_back_and_nothing_of_ours_is_left_in_the_target() {
        let shelf = Shelf::with_parity(3, 1);
        shelf.stream("f", &noise(1, 300_000));
        shelf.take_away(2);
        let dir = tempfile::tempdir().unwrap();
        let salvaged = salvage(&shelf, dir.path()).unwrap();
        assert_eq!(salvaged.len(), 1);
        assert!(std::fs::read(salvaged[0].folder.join("f")).unwrap() == noise(1, 300_000));
        assert_eq!(shelf.fs.paths().into_iter().filter(|p| p.starts_with(dir.path())).count(), 0);
        assert_eq!(shelf.io.fs.list(dir.path()).unwrap().len(), 0, "folders that are left");
    }

    #[test]
    fn a_target_that_holds_something_is_refused_and_left_as_it_is() {
        let shelf = Shelf::new(2);
        shelf.stream("f", b"bytes");
        let dir = tempfile::tempdir().unwrap();
        shelf.fs.write(dir.path().join("mine"), b"mine").unwrap();
        assert!(matches!(salvage(&shelf, dir.path()), Err(Error::NotEmpty { .. })));
        assert_eq!(shelf.fs.paths().into_iter().filter(|p| p.starts_with(dir.path())).count(), 1);
    }
}
