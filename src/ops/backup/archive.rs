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
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Bound;
use stream::{Member, Tar};
use tar::EntryType;

mod stream;

/// Bytes of members that lie together.
const RUN_BYTES: u64 = 64 << 20;
/// What an entry takes in memory beside its path and its own bytes.
const ENTRY_OVERHEAD: u64 = 160;
/// What a link's id takes, about.
const LINK_BYTES: u64 = 32;

type Path = Vec<Vec<u8>>;

/// The names of a member's path; `None` where it leads out of the archive's root or names nothing.
fn path_of(bytes: &[u8]) -> Option<Path> {
    let names = crate::catalog::tree::names(bytes);
    let fits = |n: &&[u8]| *n != b".." && n.len() <= limits::NAME_BYTES && !n.contains(&0);
    (!names.is_empty() && names.len() <= limits::DEPTH && names.iter().all(fits))
        .then(|| names.into_iter().map(<[u8]>::to_vec).collect())
}

/// Members, by path: a folder before what is in it, names in order.
pub(super) struct Members {
    entries: BTreeMap<Path, Entry>,
    /// Ids of files with several names. A name may have been another file's before.
    links: BTreeSet<u64>,
    bytes: u64,
    most: u64,
}

impl Members {
    pub(super) fn new(memory_bytes: u64) -> Self {
        Members { entries: BTreeMap::new(), links: BTreeSet::new(), bytes: 0, most: memory_bytes / 4 }
    }

    /// Keeps an entry; the inner error is a reason why it cannot be.
    fn put(&mut self, path: Path, entry: Entry) -> Result<std::result::Result<(), String>> {
        let is_dir = |entry: &Entry| matches!(entry.kind, EntryKind::Dir(_));
        let above = (1..path.len()).filter_map(|n| self.entries.get(&path[..n])); // n < its length
        if above.into_iter().any(|entry| !is_dir(entry)) {
            return Ok(Err("it lies in what is no folder".into()));
        }
        let below = self.entries.range::<[Vec<u8>], _>((Bound::Excluded(path.as_slice()), Bound::Unbounded)).next();
        if !is_dir(&entry) && below.is_some_and(|(below, _)| below.starts_with(&path)) {
            return Ok(Err("it has the name of a folder in which something lies".into()));
        }
        let encoded = entry.encode();
        if encoded.len() > limits::ENTRY_BYTES {
            return Ok(Err("what is told of it, or where it leads, is longer than 64 KiB".into()));
        }
        if let Err(e) = Entry::decode(&encoded) {
            return Ok(Err(e.to_string()));
        }
        let names: u64 = path.iter().map(|n| n.len() as u64 + 24).sum();
        self.bytes += names + encoded.len() as u64 + ENTRY_OVERHEAD;
        if self.bytes > self.most {
            let what = "the memory that an archive's entries take, a quarter of --memory";
            return Err(Error::Limit { what, got: self.bytes, max: self.most });
        }
        self.entries.insert(path, entry);
        Ok(Ok(()))
    }

    /// What a hard link to `first` is: the same entry, under an id that no other file has.
    fn link(&mut self, first: &Path, mut id: u64) -> Option<Entry> {
        let entry = self.entries.get_mut(first).filter(|e| !matches!(e.kind, EntryKind::Dir(_)))?;
        if entry.link.is_none() {
            while !self.links.insert(id) {
                id = id.wrapping_add(1);
            }
            self.bytes += LINK_BYTES;
            entry.link = Some(id);
        }
        Some(entry.clone())
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
        let mut archive = Tar::new(input);
        let (mut run, mut run_bytes) = (0, 0);
        while let Some(mut member) = archive.next().map_err(failed())? {
            ingest.proceed()?;
            let shown = std::mem::take(&mut member.path);
            let Some(path) = path_of(&shown) else {
                if crate::catalog::tree::names(&shown).is_empty() {
                    continue; // the root itself
                }
                builder.unreadable(shown, "its name leads out of the archive, or is longer than names can be".into());
                continue;
            };
            let content = match member.header.entry_type() {
                EntryType::Directory => EntryKind::Dir(MapRoot::empty()),
                EntryType::Symlink => EntryKind::Symlink(std::mem::take(&mut member.link)),
                EntryType::Link => {
                    let id = ingest.store().keys().name_hash(&member.link);
                    let first = path_of(&member.link).and_then(|first| self.link(&first, id));
                    let put = match first {
                        Some(first) => self.put(path, first)?,
                        None => Err("it is a hard link to what the archive did not hold before it".into()),
                    };
                    if let Err(reason) = put {
                        builder.unreadable(shown, reason);
                    }
                    continue;
                }
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    if run_bytes >= RUN_BYTES {
                        (run, run_bytes) = (run + 1, 0);
                    }
                    let lane = ingest.lane_of_file(run);
                    let (content, bytes) = match &member.sparse {
                        None => readers.stream(&mut archive, lane)?,
                        Some(Ok(map)) => {
                            (readers.sparse_stream(&mut archive, &map.ranges, map.bytes, lane)?, map.bytes)
                        }
                        Some(Err(reason)) => {
                            builder.unreadable(shown, (*reason).into());
                            continue;
                        }
                    };
                    run_bytes = run_bytes.saturating_add(bytes);
                    EntryKind::File { bytes, content }
                }
                _ => {
                    builder.counts.skipped_special += 1;
                    ingest.notice(Notice::Special { path: shown, kind: "neither file, folder nor link" });
                    continue;
                }
            };
            let mut attributes = std::mem::take(&mut member.pax.attributes);
            attributes.sort();
            attributes.dedup_by(|a, b| a.0 == b.0);
            let mut entry = entry_of(member, content);
            entry.attributes = readers.attributes(attributes, &shown, ingest.lane_of_file(run))?;
            if let Err(reason) = self.put(path, entry)? {
                builder.unreadable(shown, reason);
            }
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

fn entry_of(member: Member, kind: EntryKind) -> Entry {
    let Member { header, pax, .. } = member;
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
mod tests;
