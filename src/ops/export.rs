//! export: a snapshot as a tar archive (POSIX.1-2001, "pax"), in one pass and in the tree's order.
//!
//! Headers are ustar; what they cannot say (long names, nanoseconds, sizes from 8 GiB on, attributes) stands in pax
//! records before them. Holes are written as zeros. A name that was seen before under the same link id is a hard link.
//! Extended attributes have the key `SCHILY.xattr.NAME`, as star, GNU tar and bsdtar write them.
//!
//! Memory: that of a `cat`, and a path for each hard-linked file.

use super::ls::{self, Listed};
use super::manifest::below;
use super::snapshots::SnapshotInfo;
use super::{Control, FileLost, Notice, cat};
use crate::catalog::tree;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind};
use crate::store::Store;
use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::Ordering;
use tar::{EntryType, Header};

/// Data and headers begin at multiples of this.
const RECORD: usize = 512;
/// An archive is padded to a multiple of this: twenty records, as tapes had them and `tar` still reads.
const ARCHIVE: u64 = 20 * RECORD as u64;
/// Longest name in a ustar header.
const NAME: usize = 100;
/// Longest user or group name in a ustar header, with its zero byte.
const OWNER: usize = 32;
/// A ustar header has eleven octal digits for a file's size.
const SIZE_MAX: u64 = (1 << 33) - 1;
/// And seven for ids.
const ID_MAX: u32 = (1 << 21) - 1;

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    pub files: u64,
    pub dirs: u64,
    pub symlinks: u64,
    pub hard_links: u64,
    /// Plain bytes of files.
    pub bytes: u64,
    /// Attributes that a tar cannot hold or that are damaged.
    pub metadata_failures: u64,
}

/// Writes what lies below `path` to `out` as a tar archive.
///
/// # Errors
/// [`Error::NoPath`]; damage: an archive cannot say that a file ends early, so it ends there, and the file is told as
/// lost; [`Error::Io`] of `out`; [`Error::Interrupted`].
pub fn run(
    store: &Store,
    snapshot: &SnapshotInfo,
    path: Option<&[u8]>,
    out: &mut dyn Write,
    control: &Control,
) -> Result<ExportReport> {
    if path.is_none() {
        let counts = &snapshot.snapshot.counts;
        control.progress.bytes_total.store(counts.bytes, Ordering::Relaxed);
        control.progress.totals_known.store(true, Ordering::Relaxed);
    }
    let mut export = Export { store, control, out, written: 0, links: HashMap::new(), report: ExportReport::default() };
    let mut each = |listed: Listed| {
        let name = below(&listed.path, path).to_vec();
        export.entry(&listed, name).inspect_err(|e| {
            if e.is_damage() {
                let bytes_lost = if let EntryKind::File { bytes, .. } = listed.entry.kind { bytes } else { 0 };
                control.notice(Notice::FileLost(FileLost {
                    snapshot: snapshot.id.to_string(),
                    path: listed.path.clone(),
                    bytes_lost,
                    reason: format!("the archive ends here: {e}"),
                }));
            }
        })
    };
    let listed = ls::run(store, snapshot, path, &mut each, control)?;
    if let Some((path, why)) = listed.unreadable.into_iter().next() {
        // What is not listed would be missing in silence.
        let reason = format!("what lies below it cannot be read: {why}");
        control.notice(Notice::FileLost(FileLost { snapshot: snapshot.id.to_string(), path, bytes_lost: 0, reason }));
        return Err(Error::Malformed { what: "a part of the tree", offset: 0, why: "it cannot be read" });
    }
    export.end()?;
    Ok(export.report)
}

struct Export<'a> {
    store: &'a Store,
    control: &'a Control,
    out: &'a mut dyn Write,
    written: u64,
    /// The first name of each link id.
    links: HashMap<u64, Vec<u8>>,
    report: ExportReport,
}

/// One pax record: its own length in decimal, a space, `key=value`, a line feed.
fn pax(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3; // the space, the sign, the line feed
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

impl Export<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(Error::io("write to", "the output"))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, to: u64) -> Result<()> {
        const ZEROS: [u8; ARCHIVE as usize] = [0; ARCHIVE as usize];
        let n = (to - self.written % to) % to; // below `to`, which is at most the length of the zeros
        self.put(&ZEROS[..n as usize])
    }

    fn end(&mut self) -> Result<()> {
        self.put(&[0; 2 * RECORD])?;
        self.pad(ARCHIVE)?;
        self.out.flush().map_err(Error::io("write to", "the output"))
    }

    fn entry(&mut self, listed: &Listed, mut name: Vec<u8>) -> Result<()> {
        let entry = &listed.entry;
        match &entry.kind {
            EntryKind::Dir(_) => {
                name.push(b'/');
                self.header(&listed.path, entry, EntryType::Directory, &name, &[], 0)?;
                self.report.dirs += 1;
            }
            EntryKind::Symlink(to) => {
                self.header(&listed.path, entry, EntryType::Symlink, &name, to, 0)?;
                self.report.symlinks += 1;
            }
            EntryKind::File { bytes, content } => {
                if let Some(link) = entry.link {
                    if let Some(first) = self.links.get(&link).cloned() {
                        self.header(&listed.path, entry, EntryType::Link, &name, &first, 0)?;
                        self.report.hard_links += 1;
                        return Ok(());
                    }
                    self.links.insert(link, name.clone());
                }
                self.header(&listed.path, entry, EntryType::Regular, &name, &[], *bytes)?;
                cat::whole(self.store, content, *bytes, &mut *self.out, self.control)?;
                self.written += bytes;
                self.pad(RECORD as u64)?;
                self.report.files += 1;
                self.report.bytes += bytes;
            }
        }
        Ok(())
    }

    /// Writes an entry's header, after the pax records for what does not fit it.
    fn header(
        &mut self,
        shown: &[u8],
        entry: &Entry,
        kind: EntryType,
        name: &[u8],
        target: &[u8],
        bytes: u64,
    ) -> Result<()> {
        let mut records = Vec::new();
        if name.len() > NAME {
            pax(&mut records, b"path", name);
        }
        if target.len() > NAME {
            pax(&mut records, b"linkpath", target);
        }
        if bytes > SIZE_MAX {
            pax(&mut records, b"size", bytes.to_string().as_bytes());
        }
        let (seconds, nanos) = (entry.mtime.seconds, entry.mtime.nanos);
        let plain_time = u64::try_from(seconds).ok().filter(|s| nanos == 0 && *s <= SIZE_MAX);
        if plain_time.is_none() {
            pax(&mut records, b"mtime", decimal(seconds, nanos).as_bytes());
        }
        for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if id > ID_MAX {
                pax(&mut records, key, id.to_string().as_bytes());
            }
        }
        for (key, owner) in [(&b"uname"[..], &entry.user), (b"gname", &entry.group)] {
            if let Some(owner) = owner.as_ref().filter(|o| o.len() >= OWNER || !o.is_ascii()) {
                pax(&mut records, key, owner.as_bytes());
            }
        }
        if kind != EntryType::Link {
            self.attributes(shown, entry, &mut records);
        }
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.as_mut_bytes()[..12].copy_from_slice(b"PaxHeaders/x"); // a name that nobody reads; headers have 512 bytes
            header.set_size(records.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_cksum();
            self.put(header.as_bytes())?;
            self.put(&records)?;
            self.pad(RECORD as u64)?;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        let old = header.as_old_mut();
        // A name that is cut here stands whole in the record above.
        old.name.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        old.linkname.iter_mut().zip(target).for_each(|(to, from)| *to = *from);
        header.set_size(bytes.min(SIZE_MAX));
        header.set_mode(entry.mode & 0o7777);
        header.set_mtime(plain_time.unwrap_or(seconds.clamp(0, SIZE_MAX as i64) as u64)); // not negative
        header.set_uid(u64::from(entry.uid.min(ID_MAX)));
        header.set_gid(u64::from(entry.gid.min(ID_MAX)));
        if let Some(ustar) = header.as_ustar_mut() {
            let fit = |o: &&String| o.len() < OWNER && o.is_ascii();
            let user = entry.user.as_ref().filter(fit).map_or(&b""[..], |o| o.as_bytes());
            let group = entry.group.as_ref().filter(fit).map_or(&b""[..], |o| o.as_bytes());
            ustar.uname.iter_mut().zip(user).for_each(|(to, from)| *to = *from);
            ustar.gname.iter_mut().zip(group).for_each(|(to, from)| *to = *from);
        }
        header.set_cksum();
        self.put(header.as_bytes())
    }

    fn attributes(&mut self, shown: &[u8], entry: &Entry, records: &mut Vec<u8>) {
        let mut failed = |reason: String| {
            self.report.metadata_failures += 1;
            self.control.notice(Notice::Metadata { path: shown.to_vec(), reason });
        };
        match tree::attributes(self.store, entry) {
            Ok(list) => {
                for (name, value) in list {
                    if name.contains(&b'=') {
                        failed("a tar archive cannot hold an attribute with = in its name".into());
                    } else {
                        pax(records, &[b"SCHILY.xattr.", name.as_slice()].concat(), &value);
                    }
                }
            }
            Err(e) => failed(format!("its extended attributes are lost: {e}")),
        }
    }
}

/// Seconds with nine decimals. Before 1970 seconds are counted down while nanoseconds count up: -2 s and 0.75 s are
/// -1.25.
fn decimal(seconds: i64, nanos: u32) -> String {
    if nanos == 0 {
        seconds.to_string()
    } else if seconds < 0 {
        let whole = seconds + 1; // below zero before, so this does not overflow
        format!("-{}.{:09}", whole.unsigned_abs(), 1_000_000_000 - nanos)
    } else {
        format!("{seconds}.{nanos:09}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, noise};
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn export(shelf: &Shelf, path: &str) -> (Vec<u8>, Result<ExportReport>) {
        let (store, mut out) = (shelf.read(), Vec::new());
        let report = run(&store, &shelf.latest(&store), Some(path.as_bytes()), &mut out, &Control::default());
        (out, report)
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for (value, whole) in [("1", "7 k=1\n".len()), (&"x".repeat(93), 99), (&"x".repeat(94), 101)] {
            let mut out = Vec::new();
            pax(&mut out, b"k", value.as_bytes());
            let said: usize = std::str::from_utf8(&out).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!((said, out.len()), (out.len(), whole));
        }
    }

    #[test]
    fn times_before_1970_are_decimals_too() {
        let told = [(0, 5), (-2, 750_000_000), (-1, 1), (-7, 0), (3, 0)].map(|(s, n)| decimal(s, n));
        assert_eq!(told, ["0.000000005", "-1.250000000", "-0.999999999", "-7", "3"]);
    }

    #[test]
    fn an_archive_holds_what_the_snapshot_holds() {
        let shelf = Shelf::new(2);
        let library = tempfile::tempdir().unwrap();
        let (long, deep) = (noise(4, 700_001), format!("{}/{}", "d".repeat(80), "n".repeat(120)));
        shelf.library(library.path(), &[("a", &long), (&deep, b"deep"), ("empty", b"")]);
        std::fs::hard_link(library.path().join("a"), library.path().join("b")).unwrap();
        std::os::unix::fs::symlink("x".repeat(150), library.path().join("link")).unwrap();
        shelf.back_up(library.path());
        let (archive, report) = export(&shelf, &library.path().to_string_lossy());
        let report = report.unwrap();
        assert_eq!((report.files, report.dirs, report.symlinks, report.hard_links), (3, 1, 1, 1));
        assert_eq!(archive.len() as u64 % ARCHIVE, 0);
        let mut got = BTreeMap::new();
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let link = entry.link_name_bytes().map(|l| l.into_owned());
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            got.insert(name, (entry.header().entry_type(), link, bytes));
        }
        assert_eq!(got.len(), 6);
        assert!(got["a"].2 == long && got[&deep].2 == b"deep" && got["empty"].2.is_empty());
        assert_eq!((got["b"].0, got["b"].1.as_deref()), (EntryType::Link, Some(&b"a"[..])));
        assert_eq!(got["link"].1.as_deref(), Some("x".repeat(150).as_bytes()));
        assert_eq!(got[&format!("{}/", "d".repeat(80))].0, EntryType::Directory);
    }

    #[test]
    fn an_archive_ends_at_damage_and_says_so() {
        let shelf = Shelf::new(1);
        let bytes = noise(5, 500_000);
        shelf.stream("f", &bytes);
        let whole = export(&shelf, "").0;
        let store = shelf.read();
        let is_data = |p: &&crate::catalog::state::PackState| p.sealed.kind == crate::format::footer::PackKind::Data;
        let sealed = store.with_state(|s| s.packs().find(is_data).map(|p| p.sealed)).unwrap();
        let place = crate::pool::PackStore::place(store.pool(), &sealed);
        drop(store);
        shelf.fs.flip(place, 100_000 * 8).unwrap();
        let (archive, report) = export(&shelf, "");
        assert!(report.is_err_and(|e| e.is_damage()));
        assert!(archive.len() < whole.len() && whole.starts_with(&archive), "what came before is right");
    }
}
