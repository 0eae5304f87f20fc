//! What several tests need: a library of awkward files, a store of folders, and a comparison that leaves
//! nothing out.

use onefold::io::Io;
use onefold::ops::backup::{BackupOptions, BackupReport, Source};
use onefold::ops::init::InitOptions;
use onefold::ops::restore::{RestoreOptions, RestoreReport};
use onefold::ops::{Control, Notice, snapshots};
use onefold::store::{Mode, OpenOptions, Store};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Bytes that depend on the seed alone (splitmix64).
pub fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1);
    let mut out = Vec::with_capacity(n + 8);
    while out.len() < n {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(n);
    out
}

/// Sets a file's or folder's mtime.
pub fn touch(path: &Path, seconds: i64, nanos: i64) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)
        .unwrap();
}

/// Awkward but ordinary content: sizes, names, links, holes, attributes.
pub fn library(root: &Path, seed: u64) {
    fs::create_dir_all(root.join("Artist/Album [1979] – ünïcode")).unwrap();
    fs::create_dir_all(root.join("no files here")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).unwrap();
    write("empty", b"");
    write("one", b"x");
    for n in [511, 512, 513, 65_535, 65_536, 262_144, 1 << 20, (1 << 20) + 1] {
        write(&format!("{n} bytes"), &noise(seed + n as u64, n));
    }
    for i in 0..4 {
        write(
            &format!("Artist/Album [1979] – ünïcode/{i:02} track.bin"),
            &noise(seed + 100 + i, 3_000_000 + i as usize * 7919),
        );
    }
    let mut edited = fs::read(root.join("Artist/Album [1979] – ünïcode/01 track.bin")).unwrap();
    edited.splice(1000..1000, *b"inserted tag");
    write("edited 01.bin", &edited);
    let text: Vec<u8> = (0..60_000).flat_map(|i| format!("line {} of a log\n", i % 997).into_bytes()).collect();
    write("text.log", &text);
    fs::hard_link(root.join("65536 bytes"), root.join("hard link")).unwrap();
    symlink("Artist/../one", root.join("symlink")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"latin1-\xe9\xff")), b"not utf-8").unwrap();
    let mut holes = fs::File::create(root.join("holes")).unwrap();
    holes.write_all(b"start").unwrap();
    holes.seek(SeekFrom::Start(24 << 20)).unwrap();
    holes.write_all(b"end").unwrap();
    holes.set_len(40 << 20).unwrap();
    drop(holes);
    let many = root.join("many");
    fs::create_dir(&many).unwrap();
    for i in 0..700 {
        fs::write(many.join(format!("{i}.txt")), format!("{i}\n").repeat(i % 90)).unwrap();
    }
    fs::set_permissions(root.join("one"), fs::Permissions::from_mode(0o640)).unwrap();
    let mut paths = vec![root.to_owned()];
    let mut i = 0;
    while let Some(path) = paths.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        i += 1;
        touch(&path, 1_400_000_000 + i, 111_222_333 + i);
    }
}

/// Copies a folder of plain files and folders.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

/// Relative path -> facts; and hard links as groups of paths.
type Facts = (BTreeMap<Vec<u8>, String>, Vec<Vec<Vec<u8>>>);

/// What a faithful restore brings back.
pub fn facts(root: &Path) -> Facts {
    let mut out = BTreeMap::new();
    let mut links: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let m = fs::symlink_metadata(&path).unwrap();
            let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let times = format!("{:o} {}.{}", m.mode(), m.mtime(), m.mtime_nsec());
            let fact = if m.is_symlink() {
                format!("symlink {:?} {}.{}", fs::read_link(&path).unwrap(), m.mtime(), m.mtime_nsec())
            } else if m.is_dir() {
                todo.push(path);
                format!("dir {times}")
            } else {
                if m.nlink() > 1 {
                    links.entry(m.ino()).or_default().push(relative.clone());
                }
                let bytes = fs::read(&path).unwrap();
                format!("file {times} {} {:?}", bytes.len(), onefold::format::check::blake3(&[&bytes]))
            };
            out.insert(relative, fact);
        }
    }
    let mut groups: Vec<_> = links
        .into_values()
        .map(|mut g| {
            g.sort();
            g
        })
        .collect();
    groups.sort();
    (out, groups)
}

/// Fails naming the first differences.
pub fn assert_same(a: &Path, b: &Path) {
    let ((fa, la), (fb, lb)) = (facts(a), facts(b));
    let all: std::collections::BTreeSet<_> = fa.keys().chain(fb.keys()).collect();
    let differ: Vec<_> = all.into_iter().filter(|p| fa.get(*p) != fb.get(*p)).collect();
    let show = |p: &&Vec<u8>| format!("{}: {:?} / {:?}", String::from_utf8_lossy(p), fa.get(*p), fb.get(*p));
    assert!(
        differ.is_empty(),
        "{} differences: {:#?}",
        differ.len(),
        differ.iter().take(3).map(show).collect::<Vec<_>>()
    );
    assert_eq!(la, lb, "hard links");
}

/// A store on folders of a temporary place.
pub struct Shelf {
    pub dir: tempfile::TempDir,
    pub io: Io,
}

impl Shelf {
    pub fn new(disks: usize) -> Shelf {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf { dir, io: Io::real() };
        let disks = (0..disks).map(|i| shelf.disk(i)).collect();
        let options = InitOptions { store: shelf.store(), disks, pack_bytes: Some(4 << 20), ..Default::default() };
        onefold::ops::init::run(&shelf.io, &options).unwrap();
        shelf
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub fn disk(&self, i: usize) -> PathBuf {
        self.path(&format!("disk{i}"))
    }

    pub fn open(&self, mode: Mode) -> (Store, Vec<String>) {
        let opened = Store::open(&self.io, &self.store(), &OpenOptions::new(mode, 256 << 20)).unwrap();
        (opened.store, opened.notices)
    }

    pub fn backup_with(&self, path: &Path, force: bool) -> (BackupReport, Vec<Notice>) {
        let (store, _) = self.open(Mode::Write { verb: "backup" });
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        let control = Control::with_sink(move |n| sink.lock().unwrap().push(n));
        let report =
            onefold::ops::backup::run(&store, options(Source::Paths(vec![path.to_owned()]), force), &control).unwrap();
        let notices = notices.lock().unwrap().clone();
        (report, notices)
    }

    pub fn backup(&self, path: &Path) -> BackupReport {
        self.backup_with(path, false).0
    }

    /// Restores what lies below `path` of a snapshot.
    pub fn restore(&self, name: &str, path: &Path, target: &str) -> (RestoreReport, Vec<Notice>) {
        let (store, _) = self.open(Mode::Read);
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        let control = Control::with_sink(move |n| sink.lock().unwrap().push(n));
        let options = RestoreOptions {
            snapshot: snapshots::resolve(&store, name).unwrap(),
            path: Some(path.as_os_str().to_owned().into_vec()),
            target: self.path(target),
            includes: vec![],
            overwrite: false,
            owner: false,
            partial: false,
        };
        let report = onefold::ops::restore::run(&store, &options, &control).unwrap();
        let notices = notices.lock().unwrap().clone();
        (report, notices)
    }
}

pub fn options(source: Source, force: bool) -> BackupOptions {
    BackupOptions { force, host: Some("testhost".into()), user: "tester".into(), ..BackupOptions::of(source, "test") }
}

/// Numbers from a seed that is not 0.
pub struct Rng(pub u64);

impl Rng {
    /// A number below `below`.
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below.max(1)
    }
}

/// Contents of files by name.
pub type Files = std::collections::BTreeMap<String, Vec<u8>>;
