//! import: the members of a tar archive become a tree, in one pass over the archive.
//!
//! Bytes are stored as they come by. Entries are kept until the end, since an archive has them in any order and a tree in
//! one: about 300 bytes each, within a quarter of the memory budget. Of several members with one name the last counts, as
//! `tar -x` has it. A member whose name leads out of the archive's root is named and left out.

use super::read::Readers;
use super::tree::Builder;
use super::walk::Step;
use crate::error::{Error, Result};
use crate::format::entry::{Attributes, Entry, EntryKind, Time, Witness};
use crate::format::limits;
use crate::format::node::MapRoot;
use crate::ops::Notice;
use std::collections::BTreeMap;
use std::io::Read;
use tar::{Archive, EntryType};

/// Bytes of members that lie together.
const RUN_BYTES: u64 = 64 << 20;
/// What an entry takes in memory beside its path and its own bytes.
const ENTRY_OVERHEAD: u64 = 160;

type Path = Vec<Vec<u8>>;

/// The names of a member's path; `None` where it leads out of the archive's root or names nothing.
fn path_of(bytes: &[u8]) -> Option<Path> {
    let names = crate::catalog::tree::names(bytes);
    let fits = |n: &&[u8]| *n != b".." && n.len() <= limits::NAME_BYTES && !n.contains(&0);
    (!names.is_empty() && names.len() <= limits::DEPTH && names.iter().all(fits))
        .then(|| names.into_iter().map(<[u8]>::to_vec).collect())
}

/// What pax records say of a member beyond its header.
#[derive(Default)]
struct Pax {
    mtime: Option<Time>,
    uid: Option<u32>,
    gid: Option<u32>,
    user: Option<String>,
    group: Option<String>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Decimal seconds, nanoseconds after the point.
fn time_of(text: &str) -> Option<Time> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = part.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    let seconds: i64 = whole.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        Some(Time { seconds: seconds.checked_sub(1)?, nanos: 1_000_000_000 - nanos })
    } else {
        Some(Time { seconds, nanos })
    }
}

fn pax_of(member: &mut tar::Entry<'_, impl Read>) -> std::io::Result<Pax> {
    let mut pax = Pax::default();
    let Some(extensions) = member.pax_extensions()? else { return Ok(pax) };
    for extension in extensions {
        let extension = extension?;
        let (key, value) = (extension.key_bytes(), extension.value_bytes());
        let text = std::str::from_utf8(value).ok();
        match key {
            b"mtime" => pax.mtime = text.and_then(time_of),
            b"uid" => pax.uid = text.and_then(|t| t.parse().ok()),
            b"gid" => pax.gid = text.and_then(|t| t.parse().ok()),
            b"uname" => pax.user = text.map(str::to_owned),
            b"gname" => pax.group = text.map(str::to_owned),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    pax.attributes.push((name.to_vec(), value.to_vec()));
                }
            }
        }
    }
    Ok(pax)
}

/// Members, by path: a folder before what is in it, names in order.
pub(super) struct Members {
    entries: BTreeMap<Path, Entry>,
    bytes: u64,
    most: u64,
}

impl Members {
    pub(super) fn new(memory_bytes: u64) -> Self {
        Members { entries: BTreeMap::new(), bytes: 0, most: memory_bytes / 4 }
    }

    fn put(&mut self, path: Path, entry: Entry) -> Result<()> {
        let names: u64 = path.iter().map(|n| n.len() as u64 + 24).sum();
        self.bytes += names + entry.encode().len() as u64 + ENTRY_OVERHEAD;
        if self.bytes > self.most {
            let what = "the memory that an archive's entries take, a quarter of --memory";
            return Err(Error::Limit { what, got: self.bytes, max: self.most });
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Reads all members and stores their bytes.
    ///
    /// # Errors
    /// [`Error::Io`] for an archive that ends early or is none; [`Error::Limit`]; whatever storing returns.
    pub(super) fn read(
        &mut self,
        builder: &mut Builder<'_, '_>,
        readers: &Readers<'_, '_>,
        input: &mut dyn Read,
    ) -> Result<()> {
        let ingest = builder.ingest;
        let failed = || Error::io("read the archive from", "standard input");
        let mut archive = Archive::new(input);
        let (mut run, mut run_bytes) = (0, 0);
        for member in archive.entries().map_err(failed())? {
            ingest.proceed()?;
            let mut member = member.map_err(failed())?;
            let shown = member.path_bytes().into_owned();
            let kind = member.header().entry_type();
            let Some(path) = path_of(&shown) else {
                if crate::catalog::tree::names(&shown).is_empty() {
                    continue; // the root itself
                }
                builder.unreadable(shown, "its name leads out of the archive, or is longer than names can be".into());
                continue;
            };
            let mut pax = pax_of(&mut member).map_err(failed())?;
            let link = member.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
            let content = match kind {
                EntryType::Directory => EntryKind::Dir(MapRoot::empty()),
                EntryType::Symlink => EntryKind::Symlink(link),
                EntryType::Link => {
                    let Some(first) = path_of(&link).and_then(|first| self.entries.get_mut(&first)) else {
                        let reason = "it is a hard link to what the archive did not hold before it";
                        builder.unreadable(shown, reason.into());
                        continue;
                    };
                    let id = ingest.store().keys().name_hash(&link);
                    first.link.get_or_insert(id);
                    let first = first.clone();
                    self.put(path, first)?;
                    continue;
                }
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    if run_bytes >= RUN_BYTES {
                        (run, run_bytes) = (run + 1, 0);
                    }
                    let (content, bytes) = readers.stream(&mut member, ingest.lane_of(run))?;
                    run_bytes += bytes;
                    ingest.progress(bytes);
                    EntryKind::File { bytes, content }
                }
                _ => {
                    builder.counts.skipped_special += 1;
                    ingest.notice(Notice::Special { path: shown, kind: "neither file, folder nor link" });
                    continue;
                }
            };
            pax.attributes.sort();
            pax.attributes.dedup_by(|a, b| a.0 == b.0);
            let attributes = std::mem::take(&mut pax.attributes);
            let mut entry = entry_of(&member, content, pax);
            entry.attributes = readers.attributes(attributes, &shown, ingest.lane_of(run))?;
            self.put(path, entry)?;
        }
        Ok(())
    }

    /// Hands the tree to a builder. Folders that the archive has no member for are made.
    ///
    /// # Errors
    /// Whatever the builder returns.
    pub(super) fn build(self, builder: &mut Builder<'_, '_>) -> Result<()> {
        let mut inside: Path = Vec::new();
        for (mut path, entry) in self.entries {
            let Some(name) = path.pop() else { continue }; // `path_of` gives no empty path
            let shared = inside.iter().zip(&path).take_while(|(a, b)| a == b).count();
            for _ in shared..inside.len() {
                builder.step(Step::Leave)?;
            }
            inside.truncate(shared);
            for parent in &path[shared..] {
                // `shared` is at most the path's length
                let made = Entry { mode: 0o755, ..bare(&entry) };
                builder.enter(parent, made)?;
                inside.push(parent.clone());
            }
            if let EntryKind::Dir(_) = entry.kind {
                builder.enter(&name, entry)?;
                inside.push(name);
            } else {
                builder.member(&name, &entry)?;
            }
        }
        for _ in &inside {
            builder.step(Step::Leave)?;
        }
        Ok(())
    }
}

/// A folder that nothing is known of but what lies in it.
fn bare(of: &Entry) -> Entry {
    Entry {
        kind: EntryKind::Dir(MapRoot::empty()),
        mode: 0,
        mtime: of.mtime,
        uid: of.uid,
        gid: of.gid,
        user: of.user.clone(),
        group: of.group.clone(),
        attributes: Attributes::None,
        link: None,
        digests: Vec::new(),
    }
}

fn entry_of(member: &tar::Entry<'_, impl Read>, kind: EntryKind, pax: Pax) -> Entry {
    let header = member.header();
    let id = |n: std::io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let name = |n: std::result::Result<Option<&str>, std::str::Utf8Error>| {
        n.ok().flatten().filter(|n| !n.is_empty()).map(str::to_owned)
    };
    let seconds = header.mtime().ok().and_then(|s| i64::try_from(s).ok()).unwrap_or(0);
    Entry {
        kind,
        mode: header.mode().unwrap_or(0o644) & 0o7777,
        mtime: pax.mtime.unwrap_or(Time { seconds, nanos: 0 }),
        uid: pax.uid.unwrap_or_else(|| id(header.uid())),
        gid: pax.gid.unwrap_or_else(|| id(header.gid())),
        user: pax.user.or_else(|| name(header.username())),
        group: pax.group.or_else(|| name(header.groupname())),
        attributes: Attributes::None,
        link: None,
        digests: Vec::new(),
    }
}

impl Builder<'_, '_> {
    /// Begins a folder.
    fn enter(&mut self, name: &[u8], entry: Entry) -> Result<()> {
        self.step(Step::Enter { name: name.to_vec(), entry: Box::new(entry), witness: Witness::default() })
    }

    /// Adds a file or symlink that is stored.
    pub(super) fn member(&mut self, name: &[u8], entry: &Entry) -> Result<()> {
        match &entry.kind {
            EntryKind::File { bytes, .. } => {
                self.counts.files += 1;
                self.counts.files_new += 1;
                self.counts.bytes += bytes;
            }
            _ => self.counts.symlinks += 1,
        }
        self.push(name, &entry.encode(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Shelf, noise};
    use crate::ops::{Control, export};

    #[test]
    fn paths_that_lead_out_are_none() {
        let names =
            |p: &str| path_of(p.as_bytes()).map(|p| p.into_iter().map(|n| String::from_utf8(n).unwrap()).collect());
        assert_eq!(names("./a//b/"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(names("/etc/x"), Some(vec!["etc".to_owned(), "x".to_owned()]));
        for bad in ["../x", "a/../../x", "", ".", "/", "a\0b", &"n".repeat(limits::NAME_BYTES + 1)] {
            assert_eq!(names(bad), None::<Vec<String>>, "{bad:?}");
        }
    }

    fn header(kind: EntryType, bytes: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes as u64);
        header.set_mode(0o640);
        header.set_mtime(77);
        header.set_uid(1000);
        header.set_gid(7);
        header
    }

    #[test]
    fn an_archive_in_any_order_becomes_a_tree_and_an_archive_again() {
        let mut made = tar::Builder::new(Vec::new());
        let long = noise(6, 600_000);
        let deep = format!("z/{}/{}", "d".repeat(90), "n".repeat(90));
        made.append_data(&mut header(EntryType::Regular, 3), "z/b", &b"old"[..]).unwrap();
        made.append_data(&mut header(EntryType::Regular, 4), &deep, &b"deep"[..]).unwrap();
        made.append_data(&mut header(EntryType::Directory, 0), "z/", &b""[..]).unwrap();
        made.append_pax_extensions([("mtime", &b"5.25"[..]), ("SCHILY.xattr.user.x", b"y")]).unwrap();
        made.append_data(&mut header(EntryType::Regular, long.len()), "a.bin", &long[..]).unwrap();
        made.append_data(&mut header(EntryType::Regular, 3), "z/b", &b"new"[..]).unwrap();
        made.append_link(&mut header(EntryType::Link, 0), "m/link", "a.bin").unwrap();
        made.append_link(&mut header(EntryType::Link, 0), "m/lost", "nothing").unwrap();
        made.append_link(&mut header(EntryType::Symlink, 0), "s", "../elsewhere").unwrap();
        let mut out = header(EntryType::Regular, 1);
        out.as_old_mut().name[..4].copy_from_slice(b"../x");
        out.set_cksum();
        made.append(&out, &b"x"[..]).unwrap();
        made.append_data(&mut header(EntryType::Fifo, 0), "pipe", &b""[..]).unwrap();
        let archive = made.into_inner().unwrap();

        let shelf = Shelf::new(2);
        let report = shelf.import(&archive);
        let counts = &report.counts;
        assert_eq!((counts.files, counts.symlinks, counts.skipped_special, report.unreadable), (4, 1, 1, 2));
        assert!(!report.complete, "members were left out");
        let store = shelf.read();
        let mut back = Vec::new();
        export::run(&store, &shelf.latest(&store), None, &mut back, &Control::default()).unwrap();
        let mut got = Vec::new();
        for member in Archive::new(&back[..]).entries().unwrap() {
            let mut member = member.unwrap();
            let (mut bytes, pax) = (Vec::new(), pax_of(&mut member).unwrap());
            let name = String::from_utf8(member.path_bytes().into_owned()).unwrap();
            let head = member.header();
            got.push((name, head.entry_type(), head.mode().unwrap(), pax.mtime, pax.attributes));
            member.read_to_end(&mut bytes).unwrap();
            match got.last().unwrap().0.as_str() {
                "a.bin" => assert!(bytes == long),
                "z/b" => assert_eq!(bytes, b"new", "the last of a name counts"),
                _ => {}
            }
        }
        let names: Vec<&str> = got.iter().map(|g| g.0.as_str()).collect();
        let folder = format!("z/{}/", "d".repeat(90));
        assert_eq!(names, ["a.bin", "m/", "m/link", "s", "z/", "z/b", &folder, &deep]);
        assert_eq!(got[0].3, Some(Time { seconds: 5, nanos: 250_000_000 }));
        assert_eq!(got[0].4, [(b"user.x".to_vec(), b"y".to_vec())]);
        assert_eq!((got[1].2, got[4].2, got[2].1), (0o755, 0o640, EntryType::Link));
        for cut in [archive.len() / 2, 700, 100] {
            let input = Box::new(std::io::Cursor::new(archive[..cut].to_vec()));
            assert!(shelf.try_import(input).is_err(), "an archive cut at {cut} makes no snapshot");
        }
    }

    #[test]
    fn decimals_are_times() {
        let told = ["3", "3.5", "-1.25", "-0.999999999", "7.1234567891", "x", "1.x"].map(time_of);
        let time = |seconds, nanos| Some(Time { seconds, nanos });
        let want =
            [time(3, 0), time(3, 500_000_000), time(-2, 750_000_000), time(-1, 1), time(7, 123_456_789), None, None];
        assert_eq!(told, want);
    }
}
