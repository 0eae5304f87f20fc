//! What a store must still give after harm, worked out beside the engine: which records each file needs, where their
//! copies lie byte for byte, and which of those bytes are as they were.

use super::library::Files;
use onefold::catalog::recipe::{Pieces, What};
use onefold::catalog::tree::{self, Found};
use onefold::format::entry::{Content, EntryKind};
use onefold::format::{ChunkId, ChunkKind, SnapshotId};
use onefold::io::Io;
use onefold::ops::snapshots;
use onefold::pack::{ReadChunks, read};
use onefold::pool::PackStore;
use onefold::store::Store;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A file of a snapshot, by its path below the library.
pub type FileOf = (SnapshotId, String);

/// A snapshot that was acknowledged, and what it must give.
#[derive(Clone)]
pub struct Acked {
    pub id: SnapshotId,
    pub files: Files,
}

/// Where a library's file lies in a snapshot.
pub fn path_in(root: &Path, name: &str) -> Vec<u8> {
    root.join(name).into_os_string().into_encoded_bytes()
}

/// One copy of a chunk.
struct Copy {
    path: PathBuf,
    from: usize,
    to: usize,
    bases: Vec<ChunkId>,
}

pub struct Oracle {
    copies: HashMap<ChunkId, Vec<Copy>>,
    needs: BTreeMap<FileOf, BTreeSet<ChunkId>>,
    /// All packs as they were.
    before: BTreeMap<PathBuf, Vec<u8>>,
}

/// Reads as the store does, and notes what.
struct Noting<'s> {
    store: &'s Store,
    seen: Mutex<BTreeSet<ChunkId>>,
}

impl ReadChunks for Noting<'_> {
    fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> onefold::Result<Vec<u8>> {
        self.seen.lock().unwrap().insert(*id);
        self.store.chunk(kind, id)
    }
}

fn needs_of(store: &Store, root: &onefold::format::node::MapRoot, path: &[u8]) -> onefold::Result<BTreeSet<ChunkId>> {
    let noting = Noting { store, seen: Mutex::default() };
    let Some(Found::Entry(entry)) = tree::lookup(&noting, root, path)? else {
        panic!("{} is in the snapshot", String::from_utf8_lossy(path));
    };
    let mut needs = BTreeSet::new();
    if let EntryKind::File { bytes, content: Content::Recipe(recipe) } = &entry.kind {
        for piece in Pieces::new(&noting, recipe, 0, *bytes) {
            match piece?.what {
                What::Chunk { id, .. } => drop(needs.insert(id)),
                What::Mapped(segment) => needs.extend(segment.parts.iter().flatten().map(|p| p.id)),
                What::Hole | What::Fill(_) => {}
            }
        }
    }
    needs.extend(noting.seen.into_inner().unwrap());
    Ok(needs)
}

impl Oracle {
    /// Looks at a store that is as it should be, but for the files in `lost`.
    pub fn new(store: &Store, io: &Io, root: &Path, acked: &[Acked], lost: &BTreeSet<FileOf>) -> Oracle {
        let mut oracle = Oracle { copies: HashMap::new(), needs: BTreeMap::new(), before: BTreeMap::new() };
        let sealed: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
        for pack in sealed.iter().filter(|p| store.pool().holds(p)) {
            let path = store.pool().place(pack);
            let Ok(file) = io.fs.open(&path) else { continue };
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            oracle.before.insert(path.clone(), bytes);
            let mut rows: Vec<(u64, u64, ChunkId, Vec<ChunkId>)> = Vec::new();
            match read::ends(&*file, &path, pack.pack) {
                Ok(ends) => rows.extend(
                    ends.footer
                        .rows
                        .iter()
                        .map(|r| (u64::from(r.offset), r.header.record_bytes(), r.header.id, r.header.bases.clone())),
                ),
                Err(_) => read::walk(&*file, &path, pack.pack, |found| {
                    if let read::Found::Record(r, at) = found {
                        rows.push((at, r.record_bytes(), r.id, r.bases.clone()));
                    }
                    Ok(())
                })
                .unwrap(),
            }
            for (at, bytes, id, bases) in rows {
                // What the log knows of damage is coarser than damage is: a record that is whole counts.
                let record = oracle.before.get(&path).and_then(|b| b.get(at as usize..(at + bytes) as usize));
                let is_whole = record.is_some_and(|r| onefold::format::record::open(pack.pack, at, r).is_ok());
                if store.with_state(|s| s.is_damaged(&pack.pack, at, bytes)) && !is_whole {
                    continue;
                }
                let copy = Copy { path: path.clone(), from: at as usize, to: (at + bytes) as usize, bases };
                oracle.copies.entry(id).or_default().push(copy);
            }
        }
        let infos = snapshots::list(store, &[]);
        for snapshot in acked {
            let info = infos.iter().find(|i| i.id == snapshot.id).expect("an acknowledged snapshot is listed");
            for name in snapshot.files.keys() {
                let file = (snapshot.id, name.clone());
                if lost.contains(&file) {
                    continue;
                }
                let needs = needs_of(store, &info.snapshot.tree, &path_in(root, name));
                oracle.needs.insert(file, needs.unwrap_or_else(|e| panic!("{name} is whole: {e}")));
            }
        }
        oracle
    }

    /// Files that cannot be had any more, if these are the packs' bytes now.
    pub fn lost(&self, now: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeSet<FileOf> {
        let intact = |copy: &Copy| {
            let of = |all: &BTreeMap<PathBuf, Vec<u8>>| {
                all.get(&copy.path).and_then(|b| b.get(copy.from..copy.to)).map(<[u8]>::to_vec)
            };
            of(now).is_some() && of(now) == of(&self.before)
        };
        let plain = |id: &ChunkId| {
            self.copies.get(id).is_some_and(|copies| copies.iter().any(|c| c.bases.is_empty() && intact(c)))
        };
        let had: BTreeMap<ChunkId, bool> = self
            .copies
            .iter()
            .map(|(id, copies)| (*id, copies.iter().any(|c| intact(c) && c.bases.iter().all(plain))))
            .collect();
        let gone = |needs: &BTreeSet<ChunkId>| needs.iter().any(|id| !had.get(id).copied().unwrap_or(false));
        self.needs.iter().filter(|(_, needs)| gone(needs)).map(|(file, _)| file.clone()).collect()
    }
}
