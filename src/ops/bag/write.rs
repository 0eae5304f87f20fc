//! A snapshot, or a part of it, as a bag in a new folder.
//!
//! Files are read as `cat` reads them and digested on the way; manifests grow beside them under temporary names. When all of
//! the payload is durable they get their names, and `bagit.txt` comes last.
//!
//! Memory: that of a `cat`, and the folders above the file that is written.

use super::{DECLARATION, INFO, encoded};
use crate::error::{Error, Result};
use crate::format::digest::{Algorithm, Several};
use crate::format::entry::{Attributes, EntryKind};
use crate::format::id::hex;
use crate::io::target::{OutFile, SetMetadata, Target};
use crate::ops::ls::{self, Listed};
use crate::ops::manifest::below;
use crate::ops::snapshots::SnapshotInfo;
use crate::ops::{Control, FileLost, Notice, cat};
use crate::store::Store;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// RFC 8493, 2.1.1.
const DECLARED: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
const BUFFER_BYTES: usize = 64 << 10;
/// Mode of folders and files: a bag keeps none.
const DIR_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// Labels that are written here, and have one value.
pub const OWN_LABELS: [&str; 2] = ["Payload-Oxum", "Bagging-Date"];

/// What to write, and where to.
#[derive(Clone, Debug)]
pub struct BagOptions {
    pub snapshot: SnapshotInfo,
    /// What lies below this path goes straight into the payload.
    pub path: Option<Vec<u8>>,
    /// Empty or new.
    pub target: PathBuf,
    /// At least one, none twice.
    pub algorithms: Vec<Algorithm>,
    /// Further labels and values for `bag-info.txt`.
    pub info: Vec<(String, String)>,
    /// Today: `YYYY-MM-DD`.
    pub date: String,
    /// Who writes it.
    pub program: String,
}

/// What was written, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BagReport {
    /// Whether the folder is a bag now. It is none when a file is lost.
    pub finished: bool,
    pub files: u64,
    pub bytes: u64,
    pub files_lost: u64,
    pub bytes_lost: u64,
    /// Files whose names the bag, or the filesystem below it, cannot hold. The bag is valid without them.
    pub left_out: u64,
    /// Symlinks, folders without a file, names of hard-linked files, and entries with extended attributes: not kept.
    pub symlinks: u64,
    pub empty_dirs: u64,
    pub hard_links: u64,
    pub with_attributes: u64,
}

/// Checks a label and its value for `bag-info.txt`.
///
/// # Errors
/// [`Error::Argument`] for what would be read as something else.
fn checked(label: &str, value: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::Argument { what: format!("{label:?} in bag-info.txt"), why: why.into() });
    let one_line = |text: &str| !text.contains(['\r', '\n']);
    if label.trim() != label || label.is_empty() || label.contains(':') || !one_line(label) {
        return bad("a label is not empty, has no colon and no white space around it");
    }
    if !one_line(value) {
        return bad("a value is one line");
    }
    if OWN_LABELS.iter().any(|own| own.eq_ignore_ascii_case(label)) {
        return bad("it is written by itself");
    }
    Ok(())
}

/// Writes a bag.
///
/// # Errors
/// [`Error::NotEmpty`], [`Error::Argument`], [`Error::NoPath`], [`Error::Io`] of the target, [`Error::Index`],
/// [`Error::Interrupted`]. Files that are lost are no error: they are told and in the report, and the bag is not finished.
pub fn run(store: &Store, options: &BagOptions, control: &Control) -> Result<BagReport> {
    for (label, value) in &options.info {
        checked(label, value)?;
    }
    let at = &options.target;
    let target = Target::open_or_create(at).map_err(Error::io("open the target", at))?;
    if !target.is_empty().map_err(Error::io("list", at))? {
        return Err(Error::NotEmpty { path: at.clone(), what: "bag", why: "it holds files".into() });
    }
    if options.path.is_none() {
        let counts = &options.snapshot.snapshot.counts;
        control.progress.bytes_total.store(counts.bytes, Ordering::Relaxed);
        control.progress.files_total.store(counts.files, Ordering::Relaxed);
        control.progress.totals_known.store(true, Ordering::Relaxed);
    }
    let mut bag = Writer {
        store,
        options,
        control,
        target: &target,
        folders: Vec::new(),
        manifests: Vec::new(),
        report: BagReport::default(),
    };
    for algorithm in &options.algorithms {
        let manifest = TagFile::begin(&bag, format!("manifest-{}.txt", algorithm.name()))?;
        bag.manifests.push(manifest);
    }
    bag.target.create_dir(&[b"data"]).map_err(Error::io("create a folder in", at))?;
    let path = options.path.as_deref();
    let listed = ls::run(store, &options.snapshot, path, &mut |listed| bag.entry(&listed), control)?;
    bag.leave(0)?;
    bag.target
        .set_dir_metadata(&[b"data"], &metadata(DIR_MODE, (options.snapshot.snapshot.time_ns / 1_000_000_000, 0)))
        .map_err(Error::io("finish a folder in", at))?;
    for (path, why) in listed.unreadable {
        bag.lose(path, 0, format!("what lies below it cannot be read: {why}"));
    }
    bag.tell_what_is_not_kept();
    if bag.report.files_lost > 0 {
        return Ok(bag.report); // what was begun of the manifests is removed
    }
    control.proceed()?;
    bag.finish()
}

fn metadata(mode: u32, mtime: (i64, u32)) -> SetMetadata<'static> {
    SetMetadata { mode, mtime, owner: None, attributes: &[] }
}

/// A tag file that is being written.
struct TagFile {
    name: String,
    out: OutFile,
    at: u64,
    buffer: Vec<u8>,
    digests: Several,
}

/// Digests of a finished tag file, and its name.
type Written = (String, Vec<(Algorithm, Vec<u8>)>);

impl TagFile {
    fn begin(bag: &Writer<'_>, name: String) -> Result<TagFile> {
        let out =
            bag.target.create_file(&[name.as_bytes()]).map_err(Error::io("write", bag.options.target.join(&name)))?;
        let digests = Several::new(&bag.options.algorithms);
        Ok(TagFile { name, out, at: 0, buffer: Vec::new(), digests })
    }

    fn flush(&mut self, root: &Path) -> Result<()> {
        self.out.write_at(&self.buffer, self.at).map_err(Error::io("write", root.join(&self.name)))?;
        self.digests.update(&self.buffer);
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn put(&mut self, root: &Path, text: &str) -> Result<()> {
        self.buffer.extend_from_slice(text.as_bytes());
        if self.buffer.len() >= BUFFER_BYTES { self.flush(root) } else { Ok(()) }
    }

    /// A line of a manifest.
    fn list(&mut self, root: &Path, digest: &[u8], path: &str) -> Result<()> {
        self.put(root, &format!("{}  {}\n", hex(digest), encoded(path)))
    }

    fn finish(mut self, bag: &Writer<'_>, time: (i64, u32)) -> Result<Written> {
        self.flush(&bag.options.target)?;
        let failed = Error::io("write", bag.options.target.join(&self.name));
        bag.target.finish(self.out, &metadata(FILE_MODE, time), false).map_err(failed)?;
        Ok((self.name, self.digests.finish()))
    }
}

/// A payload file that is being written and digested.
struct Sink<'o> {
    out: &'o OutFile,
    at: u64,
    digests: Several,
    failed: Option<std::io::Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Err(e) = self.out.write_at(bytes, self.at) {
            let kind = e.kind();
            self.failed = Some(e);
            return Err(kind.into());
        }
        self.digests.update(bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A folder above what comes.
struct Folder {
    names: Vec<Vec<u8>>,
    mtime: (i64, u32),
    made: bool,
}

struct Writer<'a> {
    store: &'a Store,
    options: &'a BagOptions,
    control: &'a Control,
    target: &'a Target,
    folders: Vec<Folder>,
    manifests: Vec<TagFile>,
    report: BagReport,
}

/// A path below the target.
fn refs(names: &[Vec<u8>]) -> Vec<&[u8]> {
    std::iter::once(&b"data"[..]).chain(names.iter().map(Vec::as_slice)).collect()
}

/// Whether the filesystem of the target cannot hold a name, or holds it already since it does not tell upper from lower
/// case: that costs the one file.
fn is_of_the_name(e: &std::io::Error) -> bool {
    // EINVAL, ENAMETOOLONG, EILSEQ: what Linux's filesystems say of names.
    matches!(e.raw_os_error(), Some(22 | 36 | 84)) || e.kind() == std::io::ErrorKind::AlreadyExists
}

impl Writer<'_> {
    fn lose(&mut self, path: Vec<u8>, bytes_lost: u64, reason: String) {
        self.report.files_lost += 1;
        self.report.bytes_lost += bytes_lost;
        let snapshot = self.options.snapshot.id.to_string();
        self.control.notice(Notice::FileLost(FileLost { snapshot, path, bytes_lost, reason }));
    }

    fn leave_out(&mut self, path: &[u8], reason: String) {
        self.report.left_out += 1;
        self.control.notice(Notice::BagFault { path: path.to_vec(), reason: format!("left out: {reason}") });
    }

    /// Ends the folders below the first `depth`.
    fn leave(&mut self, depth: usize) -> Result<()> {
        for folder in self.folders.split_off(depth.min(self.folders.len())).into_iter().rev() {
            if !folder.made {
                self.report.empty_dirs += 1;
                continue;
            }
            let set = self.target.set_dir_metadata(&refs(&folder.names), &metadata(DIR_MODE, folder.mtime));
            set.map_err(Error::io("finish a folder in", &self.options.target))?;
        }
        Ok(())
    }

    fn entry(&mut self, listed: &Listed) -> Result<()> {
        let path = below(&listed.path, self.options.path.as_deref());
        let names: Vec<Vec<u8>> = crate::catalog::tree::names(path).into_iter().map(<[u8]>::to_vec).collect();
        let above = self.folders.iter().take_while(|f| names.starts_with(&f.names)).count();
        self.leave(above)?;
        let entry = &listed.entry;
        self.report.with_attributes += u64::from(!matches!(entry.attributes, Attributes::None));
        let mtime = (entry.mtime.seconds, entry.mtime.nanos);
        match &entry.kind {
            EntryKind::Dir(_) => self.folders.push(Folder { names, mtime, made: false }),
            EntryKind::Symlink(_) => self.report.symlinks += 1,
            EntryKind::File { bytes, content } => {
                self.report.hard_links += u64::from(entry.link.is_some());
                let Ok(text) = std::str::from_utf8(path) else {
                    self.leave_out(&listed.path, "its path is not UTF-8, as paths in a bag are".into());
                    return Ok(());
                };
                let shown = self.options.target.join("data").join(text);
                let out = match self.begin(&names) {
                    Ok(out) => out,
                    Err(e) if is_of_the_name(&e) => {
                        self.leave_out(&listed.path, format!("its name cannot be had here: {e}"));
                        return Ok(());
                    }
                    Err(e) => return Err(Error::io("write", shown)(e)),
                };
                let digests = Several::new(&self.options.algorithms);
                let mut sink = Sink { out: &out, at: 0, digests, failed: None };
                let read = cat::whole(self.store, content, *bytes, &mut sink, self.control);
                let Sink { digests, failed, .. } = sink;
                match (read, failed) {
                    (_, Some(e)) => return Err(Error::io("write", shown)(e)),
                    (Err(e @ (Error::Index { .. } | Error::Interrupted)), _) => return Err(e),
                    (Err(e), _) => {
                        self.lose(listed.path.clone(), *bytes, e.to_string());
                        return Ok(());
                    }
                    (Ok(()), None) => {}
                }
                match self.target.finish(out, &metadata(FILE_MODE, mtime), false) {
                    Ok(_) => {}
                    Err(e) if is_of_the_name(&e) => {
                        self.leave_out(&listed.path, format!("its name cannot be had here: {e}"));
                        return Ok(());
                    }
                    Err(e) => return Err(Error::io("write", shown)(e)),
                }
                let (root, path) = (&self.options.target, format!("data/{text}"));
                for (manifest, (_, digest)) in self.manifests.iter_mut().zip(digests.finish()) {
                    manifest.list(root, &digest, &path)?;
                }
                self.report.files += 1;
                self.report.bytes += bytes;
            }
        }
        Ok(())
    }

    /// Makes the folders above a file, and begins it.
    fn begin(&mut self, names: &[Vec<u8>]) -> std::io::Result<OutFile> {
        for folder in self.folders.iter_mut().filter(|f| !f.made) {
            self.target.create_dir(&refs(&folder.names))?;
            folder.made = true;
        }
        self.target.create_file(&refs(names))
    }

    fn tell_what_is_not_kept(&self) {
        let r = &self.report;
        let mut what = Vec::new();
        let mut of = |n: u64, one: &str, many: &str| {
            if n > 0 {
                what.push(format!("{n} {}", if n == 1 { one } else { many }));
            }
        };
        of(r.files, "file's mode and owner", "files' modes and owners");
        of(r.with_attributes, "entry's extended attributes", "entries' extended attributes");
        of(r.symlinks, "symlink", "symlinks");
        of(r.empty_dirs, "folder without a file", "folders without a file");
        if !what.is_empty() {
            self.control.notice(Notice::Note(format!("a bag keeps names and bytes; not kept: {}", what.join(", "))));
        }
        if r.hard_links > 0 {
            let note = format!("{} names of hard-linked files are files of their own in the bag", r.hard_links);
            self.control.notice(Notice::Note(note));
        }
    }

    /// Makes the payload durable, then the manifests, then the bag.
    fn finish(mut self) -> Result<BagReport> {
        let root = &self.options.target;
        let time = (self.store.io().world.now_ns().div_euclid(1_000_000_000), 0);
        let sync = || self.target.sync_all().map_err(Error::io("sync", root));
        sync()?;
        let mut written: Vec<Written> = Vec::new();
        for manifest in std::mem::take(&mut self.manifests) {
            written.push(manifest.finish(&self, time)?);
        }
        let mut info = TagFile::begin(&self, INFO.into())?;
        let oxum = format!("{}.{}", self.report.bytes, self.report.files);
        let id = self.options.snapshot.id.to_string();
        let own = [
            ("Bagging-Date", self.options.date.as_str()),
            ("Payload-Oxum", &oxum),
            ("External-Identifier", &id),
            ("Bag-Software-Agent", &self.options.program),
        ];
        let given = self.options.info.iter().map(|(label, value)| (label.as_str(), value.as_str()));
        for (label, value) in given.chain(own) {
            info.put(root, &format!("{label}: {value}\n"))?;
        }
        written.push(info.finish(&self, time)?);
        let mut declaration = TagFile::begin(&self, DECLARATION.into())?;
        declaration.put(root, DECLARED)?;
        let mut digests = Several::new(&self.options.algorithms);
        digests.update(DECLARED.as_bytes());
        written.push((DECLARATION.into(), digests.finish()));
        written.sort();
        for (i, algorithm) in self.options.algorithms.iter().enumerate() {
            let mut manifest = TagFile::begin(&self, format!("tagmanifest-{}.txt", algorithm.name()))?;
            for (name, digests) in &written {
                if let Some((_, digest)) = digests.get(i) {
                    manifest.list(root, digest, name)?;
                }
            }
            manifest.finish(&self, time)?;
        }
        sync()?;
        declaration.finish(&self, time)?;
        sync()?;
        self.report.finished = true;
        Ok(self.report)
    }
}
