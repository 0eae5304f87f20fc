//! init: folders to disks, disks to a store.
//!
//! Everything is looked at before anything is made. On each disk the marker is written last, and the
//! store's list of disks after the log's first entry, so a run that was cut short leaves folders that the
//! next one may use.

use crate::catalog::state::{
    COPIES_MAX, GROUP_WIDTH, GROUP_WIDTH_MAX, PARITY_MAX, SETTING_COPIES, SETTING_GROUP, SETTING_PARITY,
};
use crate::chunk::Cutter;
use crate::error::{Error, Result};
use crate::format::event::Event;
use crate::format::superblock::{ChunkerParameters, Superblock};
use crate::format::text::{KnownDisk, Marker};
use crate::format::{DiskId, Keys, StoreId, limits};
use crate::io::{Io, Kind};
use crate::pool::disk::{self, BAD_DIR, FORMAT_FILE, KEY_SLOT_FILE, KEYS_DIR, LOG_DIR, PARITY_DIR, SUPERBLOCK_FILE};
use crate::pool::log::LogWriter;
use crate::pool::{Pool, bytes_of, is_of_the_filesystem, write_known};
use crate::store::{self, LOCK_FILE};
use std::path::{Path, PathBuf};

/// Bytes of a pack where the disks are large enough.
pub const PACK_BYTES: u64 = 256 << 20;
/// Bytes of the smallest pack.
pub const PACK_BYTES_MIN: u64 = 4 << 20;
/// A pack is at most this part of the smallest disk, so that the reserve of two packs stays small.
const PACK_PART_OF_DISK: u64 = 400;

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    pub store: PathBuf,
    /// Empty: the store folder is its own one disk.
    pub disks: Vec<PathBuf>,
    /// Labels in the order of the disks; the folder's name where there is none.
    pub labels: Vec<String>,
    /// A store whose chunker and keys to share, so that records can be copied untouched.
    pub like: Option<PathBuf>,
    pub pack_bytes: Option<u64>,
    /// How many disks may be lost at once; by the number of disks where it is not given.
    pub parity: Option<usize>,
    /// Data packs of a parity group at most.
    pub group: Option<usize>,
    /// How many times metadata is kept whole: 1 where it is not given.
    pub copies: Option<usize>,
}

/// One disk that was made.
#[derive(Clone, Debug)]
pub struct InitDisk {
    pub id: DiskId,
    pub label: String,
    pub path: PathBuf,
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct InitReport {
    pub store: StoreId,
    pub disks: Vec<InitDisk>,
    pub pack_bytes: u64,
    /// How many disks may be lost, and how many packs of data a group has now.
    pub parity: usize,
    pub width: usize,
    /// How many times metadata is kept whole.
    pub copies: usize,
    pub warnings: Vec<String>,
}

fn random<const N: usize>(io: &Io) -> [u8; N] {
    let mut bytes = [0; N];
    io.world.random(&mut bytes);
    bytes
}

/// Looks whether a folder may become `what`. Leftovers of an `init` that was cut short do not count.
pub(super) fn look(io: &Io, folder: &Path, what: &'static str) -> Result<()> {
    let not_empty = |why: String| Error::NotEmpty { path: folder.to_owned(), what, why };
    match io.fs.stat(folder).map_err(Error::io("look at", folder))? {
        None => return Ok(()),
        Some((Kind::Dir, _)) => {}
        Some(_) => return Err(not_empty("it is not a folder".into())),
    }
    match crate::pool::read_marker(io, folder) {
        Ok(None) => {}
        Ok(Some(marker)) => {
            return Err(not_empty(format!("it is disk {} ({}) of store {}", marker.label, marker.disk, marker.store)));
        }
        Err(e @ Error::Damaged { .. }) => return Err(not_empty(format!("it holds a damaged disk marker ({e})"))),
        Err(e) => return Err(e),
    }
    if store::is_taken(io, folder)? {
        return Err(not_empty("it is a store".into()));
    }
    let ours =
        [disk::LOG_DIR, KEYS_DIR, crate::pack::PACKS_DIR, PARITY_DIR, BAD_DIR, SUPERBLOCK_FILE, FORMAT_FILE, LOCK_FILE];
    for entry in io.fs.list(folder).map_err(Error::io("list", folder))? {
        let name = entry.name.to_string_lossy();
        let leftover = ours.contains(&name.as_ref()) || name.starts_with('.');
        if !is_of_the_filesystem(&entry.name) && !leftover {
            return Err(not_empty(format!("it holds other files, {name:?} among them")));
        }
    }
    // Our own folder names with files in them are another matter: they may be somebody's packs.
    for dir in [crate::pack::PACKS_DIR, PARITY_DIR] {
        let dir = folder.join(dir);
        if let Ok(names) = io.fs.list(&dir)
            && !names.is_empty()
        {
            return Err(not_empty(format!("it holds packs, in {}, but no disk marker", dir.display())));
        }
    }
    Ok(())
}

/// A pack's size for disks of which the smallest has `total` bytes: a power of two.
fn pack_bytes_for(total: u64) -> u64 {
    let fit = (total / PACK_PART_OF_DISK).clamp(PACK_BYTES_MIN, PACK_BYTES);
    1 << fit.ilog2()
}

/// How many disks may be lost where nothing else is asked for. Two or three disks get none: it would take a half or a
/// third of their room, which nobody should find out later.
fn parity_for(disks: usize) -> usize {
    match disks {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    }
}

/// How many disks may be lost, and how wide a group is at most.
fn protection(options: &InitOptions, disks: usize) -> Result<(usize, usize)> {
    let parity = options.parity.unwrap_or_else(|| parity_for(disks));
    let group = options.group.unwrap_or(GROUP_WIDTH);
    if parity > PARITY_MAX {
        let why = format!("a store can be made to lose at most {PARITY_MAX} disks at once");
        return Err(Error::Argument { what: format!("--parity {parity}"), why });
    }
    if !(1..=GROUP_WIDTH_MAX).contains(&group) {
        let why = format!("a group has 1 to {GROUP_WIDTH_MAX} packs of data");
        return Err(Error::Argument { what: format!("--group {group}"), why });
    }
    if disks <= parity {
        let can = match disks {
            1 => "one disk cannot stand in for itself: give --parity 0, or more disks".to_owned(),
            n => format!(
                "with {n} disks at most {} may be lost (--parity {}); losing any {parity} needs {} disks or more",
                n - 1,
                n - 1,
                parity + 1
            ),
        };
        return Err(Error::Argument { what: format!("--parity {parity}"), why: can });
    }
    let copies = options.copies.unwrap_or(1);
    let bad = |why: String| Err(Error::Argument { what: format!("--copies {copies}"), why });
    if !(1..=COPIES_MAX).contains(&copies) {
        return bad(format!("metadata is kept 1 to {COPIES_MAX} times"));
    }
    if disks < parity + copies && copies > 1 {
        return bad(format!("with parity {parity} it needs {} disks or more; there are {disks}", parity + copies));
    }
    Ok((parity, group))
}

/// Makes a store.
///
/// # Errors
/// [`Error::NotEmpty`] for a folder that holds something, [`Error::Argument`], [`Error::Io`].
pub fn run(io: &Io, options: &InitOptions) -> Result<InitReport> {
    let embedded = options.disks.is_empty();
    let folders: Vec<PathBuf> = if embedded { vec![options.store.clone()] } else { options.disks.clone() };
    for (i, folder) in folders.iter().enumerate() {
        if folders[..i].contains(folder) {
            return Err(Error::Argument {
                what: format!("--disk {}", folder.display()),
                why: "it is named twice".into(),
            });
        }
        if !embedded && (folder.starts_with(&options.store) || options.store.starts_with(folder)) {
            let why = "a disk and the store folder may not lie in each other; without --disk the store is its own disk"
                .to_owned();
            return Err(Error::Argument { what: format!("--disk {}", folder.display()), why });
        }
        look(io, folder, "disk")?;
    }
    if !embedded {
        look(io, &options.store, "store")?;
    }
    let (parity, group) = protection(options, folders.len())?;
    if options.labels.len() > folders.len() {
        return Err(Error::Argument { what: "--label".into(), why: "there are more labels than disks".into() });
    }
    let mut notices = Vec::new();
    let (chunker, keys) = match &options.like {
        Some(like) => {
            let mut from = vec![like.clone()];
            from.extend(store::known_disks(io, like)?.iter().map(|d| crate::pool::path_of(&d.path)));
            let (superblock, keys) = store::read_constants(io, &from, None, &mut notices)?;
            (superblock.chunker, keys)
        }
        None => (ChunkerParameters::default(), Keys::new(random(io), u64::from_le_bytes(random(io)))),
    };
    for folder in folders.iter().chain([&options.store]) {
        io.fs.create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
    }
    let mut warnings = notices;
    let mut spaces = Vec::new();
    for folder in &folders {
        let space = io.fs.space(folder).map_err(Error::io("ask for the room at", folder))?;
        if let Some(i) = spaces.iter().position(|s: &crate::io::Space| s.filesystem == space.filesystem) {
            // folders and spaces go side by side
            let (a, b) = (folders[i].display(), folder.display());
            warnings.push(format!("{a} and {b} lie on one filesystem: if it is lost, both are"));
        }
        spaces.push(space);
    }
    let smallest = spaces.iter().map(|s| s.total).min().unwrap_or(0);
    let pack_bytes = match options.pack_bytes {
        Some(n) if (1 << 20..=limits::PACK_BYTES / 2).contains(&n) => n,
        Some(n) => {
            let why = format!("{n} bytes; a pack has 1 MiB to {} MiB", limits::PACK_BYTES >> 21);
            return Err(Error::Argument { what: "--pack-size".into(), why });
        }
        None => pack_bytes_for(smallest),
    };
    let id = StoreId(random(io));
    let cutter = Cutter::new(chunker, &keys)?;
    let (now, check) = (io.world.now_ns(), cutter.table_check(&keys));
    let superblock = Superblock::new(id, now, chunker, check, keys.key_id(), pack_bytes);
    let (superblock, slot) = (superblock.encode(), keys.encode_plain_slot());
    let mut disks = Vec::new();
    let setting = |key: &str, value: usize| Event::Setting { key: key.into(), value: value.to_string() };
    let mut events = vec![setting(SETTING_PARITY, parity), setting(SETTING_GROUP, group)];
    let copies = options.copies.unwrap_or(1);
    if copies > 1 {
        events.push(setting(SETTING_COPIES, copies));
    }
    for (i, (folder, space)) in folders.iter().zip(&spaces).enumerate() {
        let by_name =
            || folder.file_name().map_or_else(|| format!("disk {}", i + 1), |n| n.to_string_lossy().into_owned());
        let label = options.labels.get(i).cloned().unwrap_or_else(by_name);
        if label.is_empty() || label.len() > 255 || disks.iter().any(|d: &InitDisk| d.label == label) {
            let why = "labels are not empty, at most 255 bytes long, and each stands for one disk: give --label for each disk".to_owned();
            return Err(Error::Argument { what: format!("the label {label:?}"), why });
        }
        let disk = DiskId(random(io));
        events.push(Event::DiskJoined { disk, label: label.clone(), serial: String::new(), domain: String::new() });
        disks.push(InitDisk {
            id: disk,
            label,
            path: folder.clone(),
            total_bytes: space.total,
            free_bytes: space.free,
        });
    }
    for d in &disks {
        disk::furnish(io, &d.path, &Marker { store: id, disk: d.id, label: d.label.clone() }, &superblock, &slot)?;
    }
    if !embedded {
        furnish_home(io, &options.store, &superblock, &slot)?;
    }
    let known: Vec<KnownDisk> = disks
        .iter()
        .map(|d| KnownDisk { disk: d.id, label: d.label.clone(), path: bytes_of(&d.path), serial: String::new() })
        .collect();
    let (pool, _) = Pool::join(io, id, &known)?;
    LogWriter::begin(io, &options.store, &pool, events)?;
    write_known(io, &options.store, &pool.known())?;
    let width = pool.shape(parity, group).width;
    Ok(InitReport { store: id, disks, pack_bytes, parity, width, copies, warnings })
}

/// What a store folder holds beside its disks: copies of what the disks hold.
///
/// # Errors
/// [`Error::Io`].
pub fn furnish_home(io: &Io, store: &Path, superblock: &[u8], slot: &[u8]) -> Result<()> {
    for dir in [KEYS_DIR, LOG_DIR] {
        let dir = store.join(dir);
        io.fs.create_dir_all(&dir).map_err(Error::io("create the folder", dir))?;
    }
    for (name, bytes) in [(SUPERBLOCK_FILE.to_owned(), superblock), (format!("{KEYS_DIR}/{KEY_SLOT_FILE}"), slot)] {
        let path = store.join(name);
        io.write_durable(&path, bytes, true).map_err(Error::io("write", path))?;
    }
    if let Some(parent) = store.parent() {
        let _ = io.fs.sync_dir(parent); // the folder itself may be a mount point: its name is not ours
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Fs;
    use crate::io::memory::{ManualWorld, MemFs};
    use std::sync::Arc;

    fn io() -> (Io, MemFs) {
        let fs = MemFs::new();
        (Io { fs: Arc::new(fs.clone()), world: Arc::new(ManualWorld::new(1, 1)) }, fs)
    }

    fn options(disks: &[&str]) -> InitOptions {
        InitOptions {
            store: "/s".into(),
            disks: disks.iter().map(PathBuf::from).collect(),
            pack_bytes: Some(4 << 20),
            ..Default::default()
        }
    }

    #[test]
    fn missing_folders_are_made_and_taken_ones_are_refused() {
        let (io, fs) = io();
        run(&io, &options(&["/a", "/b"])).unwrap();
        let refused = |o: &InitOptions| matches!(run(&io, o), Err(Error::NotEmpty { .. }));
        assert!(refused(&options(&["/c"])), "the store folder is taken");
        assert!(refused(&InitOptions { store: "/t".into(), ..options(&["/a"]) }), "a disk of another store");
        fs.write(Path::new("/d/film.mov"), b"mine").unwrap();
        assert!(refused(&InitOptions { store: "/t".into(), ..options(&["/d"]) }), "other files");
        fs.create_dir_all(Path::new("/e/lost+found")).unwrap();
        run(&io, &InitOptions { store: "/t".into(), ..options(&["/e"]) }).unwrap();
    }

    #[test]
    fn what_a_power_cut_leaves_of_an_init_can_be_used_by_the_next() {
        for seed in 0..40 {
            let (io, fs) = io();
            run(&io, &options(&["/a", "/b"])).unwrap();
            let fs = fs.crash(seed);
            // whatever survived, the store either opens or can be made anew once its markers are gone
            let io = Io { fs: Arc::new(fs), world: Arc::new(ManualWorld::new(1, 2)) };
            assert!(store::is_taken(&io, Path::new("/a")).unwrap(), "everything was durable when init returned");
        }
    }

    #[test]
    fn disks_in_the_store_folder_and_double_labels_are_refused() {
        let (io, _) = io();
        assert!(matches!(run(&io, &options(&["/s/disk"])), Err(Error::Argument { .. })));
        assert!(matches!(run(&io, &options(&["/a", "/a"])), Err(Error::Argument { .. })));
        assert!(matches!(run(&io, &options(&["/x/one", "/y/one"])), Err(Error::Argument { .. })));
    }

    #[test]
    fn parity_needs_more_disks_than_may_be_lost() {
        let (io, _) = io();
        let of = |disks: &[&str], parity| InitOptions { parity: Some(parity), ..options(disks) };
        for (disks, parity) in [(&["/a", "/b"][..], 2), (&["/a"], 1), (&["/a", "/b", "/c", "/d", "/e", "/f"], 5)] {
            assert!(matches!(run(&io, &of(disks, parity)), Err(Error::Argument { .. })), "{disks:?} {parity}");
        }
        let made = run(&io, &of(&["/a", "/b", "/c"], 2)).unwrap();
        assert_eq!((made.parity, made.width), (2, 1));
        let many: Vec<String> = (0..12).map(|i| format!("/m{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let made = run(&io, &InitOptions { store: "/t".into(), ..options(&many) }).unwrap();
        assert_eq!((made.parity, made.width), (2, GROUP_WIDTH));
    }

    #[test]
    fn packs_fit_the_smallest_disk() {
        assert_eq!(pack_bytes_for(20 << 40), PACK_BYTES);
        assert_eq!(pack_bytes_for(10 << 30), 16 << 20);
        assert_eq!(pack_bytes_for(64 << 20), PACK_BYTES_MIN);
    }
}
