//! What a store must still give after harm, worked out beside the engine: which records each file needs, where their
//! copies lie byte for byte, which of those bytes are as they were, and which come out of a group's other members.

use super::library::Files;
use onefold::catalog::recipe::{Pieces, What};
use onefold::catalog::state::GroupMember;
use onefold::catalog::tree::{self, Found};
use onefold::format::entry::{Content, EntryKind};
use onefold::format::group::CODE_REED_SOLOMON_16;
use onefold::format::parity::{ParityTrailer, TRAILER_BYTES};
use onefold::format::{self, ChunkId, ChunkKind, PackId, SnapshotId};
use onefold::io::memory::MemFs;
use onefold::io::{Fs, Io};
use onefold::ops::snapshots;
use onefold::pack::{ReadChunks, read, sealed_path};
use onefold::pool::PackStore;
use onefold::pool::parity::parity_path;
use onefold::pool::parity::read::GroupReader;
use onefold::store::Store;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

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

/// The bytes of packs, of data and parity, as they were sealed: kept from when they were last seen so.
pub type Pristine = BTreeMap<PackId, Arc<Vec<u8>>>;

/// Bytes of which one code word of a group takes as many of each member: where they are wrong in one word, others may be right.
const WORD_BYTES: usize = 64;

/// One copy of a chunk.
struct Copy {
    pack: PackId,
    from: usize,
    to: usize,
    bases: Vec<ChunkId>,
    /// It stood in its own pack when the oracle looked.
    stood: bool,
}

/// A pack of a group.
struct Member {
    pack: PackId,
    /// Where it lies, if its disk is here.
    path: Option<PathBuf>,
    bytes: usize,
    /// Where what takes part in the code begins: behind a parity pack's header.
    payload: usize,
}

/// A group: so many of its members are enough for all.
struct Group {
    data: usize,
    members: Vec<Member>,
}

/// Files that cannot be had any more.
#[derive(Clone, Default)]
pub struct Losses {
    /// Whatever one tries.
    pub certain: BTreeSet<FileOf>,
    /// Those, and files that hang on bytes which only a search within damaged units could give.
    pub possible: BTreeSet<FileOf>,
}

pub struct Oracle {
    copies: HashMap<ChunkId, Vec<Copy>>,
    needs: BTreeMap<FileOf, BTreeSet<ChunkId>>,
    /// All packs of data as they were, by where they lie.
    before: BTreeMap<PackId, (PathBuf, Vec<u8>)>,
    groups: Vec<Group>,
    /// The group of each pack of data.
    group_of: BTreeMap<PackId, usize>,
    pristine: Pristine,
    /// There is a pack in a group that was never seen as it was sealed: who knows what comes out of it.
    unseen: bool,
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
    /// Looks at a store that is as it should be, but for the files in `lost`. `pristine` has packs that were seen before, and gets
    /// those that are seen now.
    pub fn new(
        store: &Store,
        io: &Io,
        root: &Path,
        acked: &[Acked],
        lost: &BTreeSet<FileOf>,
        pristine: &mut Pristine,
    ) -> Oracle {
        let mut oracle = Oracle {
            copies: HashMap::new(),
            needs: BTreeMap::new(),
            before: BTreeMap::new(),
            groups: Vec::new(),
            group_of: BTreeMap::new(),
            pristine: Pristine::new(),
            unseen: false,
        };
        oracle.look_at_groups(store);
        let sealed: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
        let standing = oracle.groups.iter().flat_map(|g| &g.members);
        let standing = standing.filter_map(|m| m.path.clone().map(|path| (m.pack, path)));
        let alone = sealed.iter().filter(|p| store.pool().holds(p)).map(|p| (p.pack, store.pool().place(p)));
        let all: BTreeMap<PackId, PathBuf> = standing.chain(alone).collect();
        for (pack, path) in all {
            let Ok(file) = io.fs.open(&path) else { continue };
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            if !pristine.contains_key(&pack) && is_as_sealed(store, io, pack, &path) {
                pristine.insert(pack, Arc::new(bytes.clone()));
            }
            oracle.before.insert(pack, (path, bytes));
        }
        let is_live = |pack: &PackId| store.with_state(|s| s.pack_by_id(pack).is_some() || s.group_of(pack).is_some());
        pristine.retain(|pack, _| is_live(pack));
        oracle.pristine = pristine.clone();
        oracle.unseen = sealed.iter().any(|p| !pristine.contains_key(&p.pack) && oracle.group_of.contains_key(&p.pack));
        for member in oracle.groups.iter_mut().flat_map(|g| &mut g.members) {
            let Some(bytes) = oracle.pristine.get(&member.pack) else { continue };
            let trailer = bytes.len().checked_sub(TRAILER_BYTES).map(|at| &bytes[at..]);
            if let Some(Ok(t)) = trailer.map(|t| ParityTrailer::decode(t, bytes.len() as u64)) {
                member.payload = t.header_bytes as usize;
            }
        }
        sealed.iter().for_each(|p| oracle.look_at_records(io, p.pack));
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

    fn look_at_groups(&mut self, store: &Store) {
        store.with_state(|s| {
            for p in s.packs() {
                let Some(group) = s.group_of(&p.sealed.pack) else { continue };
                if self.group_of.contains_key(&p.sealed.pack) {
                    continue;
                }
                let place = |m: &GroupMember| {
                    let disk = store.pool().disk(&m.disk)?;
                    Some(if m.parity { parity_path(&disk.path, m.pack) } else { sealed_path(&disk.path, m.pack) })
                };
                let of = |m: GroupMember| Member { pack: m.pack, path: place(&m), bytes: m.bytes as usize, payload: 0 };
                let all = s.members(group);
                for m in all.iter().filter(|m| s.group_of(&m.pack).is_some_and(|g| g.group.id == group.group.id)) {
                    self.group_of.insert(m.pack, self.groups.len());
                }
                let members = all.into_iter().map(of).collect();
                self.groups.push(Group { data: group.data(), members });
            }
        });
    }

    /// Notes which chunks a pack holds, and where.
    fn look_at_records(&mut self, io: &Io, pack: PackId) {
        let mut rows: Vec<(u64, u64, ChunkId, Vec<ChunkId>)> = Vec::new();
        let before = self.before.get(&pack);
        let (path, file) = match (self.pristine.get(&pack), before) {
            (Some(bytes), _) => {
                let fs = MemFs::new();
                fs.write("/pack", bytes).unwrap();
                (PathBuf::from("/pack"), fs.open(Path::new("/pack")).unwrap())
            }
            (None, Some((path, _))) => (path.clone(), io.fs.open(path).unwrap()),
            (None, None) => return,
        };
        match read::ends(&*file, &path, pack) {
            Ok(ends) => rows.extend(
                ends.footer
                    .rows
                    .iter()
                    .map(|r| (u64::from(r.offset), r.header.record_bytes(), r.header.id, r.header.bases.clone())),
            ),
            Err(_) => read::walk(&*file, &path, pack, |found| {
                if let read::Found::Record(r, at) = found {
                    rows.push((at, r.record_bytes(), r.id, r.bases.clone()));
                }
                Ok(())
            })
            .unwrap(),
        }
        for (at, bytes, id, bases) in rows {
            // What the log knows of damage is coarser than damage is: a record that is whole counts.
            let (from, to) = (at as usize, (at + bytes) as usize);
            let record = before.and_then(|(_, b)| b.get(from..to));
            let stood = record.is_some_and(|r| onefold::format::record::open(pack, at, r).is_ok());
            self.copies.entry(id).or_default().push(Copy { pack, from, to, bases, stood });
        }
    }

    /// Files that cannot be had any more, if these are the packs' bytes now.
    pub fn lost(&self, now: &BTreeMap<PathBuf, Vec<u8>>) -> Losses {
        let mut certain = self.without(|copy| self.stands(copy, now) || self.may_be_rebuilt(copy, now));
        if self.unseen {
            certain.clear();
        }
        let possible = self.without(|copy| self.stands(copy, now) || self.is_rebuilt(copy, now));
        Losses { certain, possible }
    }

    fn without(&self, is_had: impl Fn(&Copy) -> bool) -> BTreeSet<FileOf> {
        let plain = |id: &ChunkId| {
            self.copies.get(id).is_some_and(|copies| copies.iter().any(|c| c.bases.is_empty() && is_had(c)))
        };
        let had: BTreeMap<ChunkId, bool> = self
            .copies
            .iter()
            .map(|(id, copies)| (*id, copies.iter().any(|c| is_had(c) && c.bases.iter().all(plain))))
            .collect();
        let gone = |needs: &BTreeSet<ChunkId>| needs.iter().any(|id| !had.get(id).copied().unwrap_or(false));
        self.needs.iter().filter(|(_, needs)| gone(needs)).map(|(file, _)| file.clone()).collect()
    }

    /// What a file needs that cannot be had, and why, for whoever reads why a life failed.
    pub fn explain(&self, file: &FileOf, now: &BTreeMap<PathBuf, Vec<u8>>) -> String {
        let mut said = String::new();
        let needs = self.needs.get(file).cloned().unwrap_or_default();
        let copies = needs.iter().flat_map(|id| self.copies.get(id)).flatten();
        let bases: BTreeSet<ChunkId> = copies.flat_map(|c| c.bases.iter().copied()).collect();
        for id in needs.iter().chain(bases.difference(&needs)) {
            for c in self.copies.get(id).into_iter().flatten() {
                let stands = self.stands(c, now);
                let (rebuilt, may) = (self.is_rebuilt(c, now), self.may_be_rebuilt(c, now));
                let at = self.before.get(&c.pack).map(|(p, _)| p.display().to_string());
                said += &format!(
                    "\n    {id} in {} {:?} at {}..{}, bases {}: stands {stands}, rebuilt {rebuilt}, perhaps {may}",
                    c.pack,
                    at,
                    c.from,
                    c.to,
                    c.bases.len()
                );
                if let Some(g) = self.group_of.get(&c.pack) {
                    for m in &self.groups[*g].members {
                        let bytes = m.path.as_ref().and_then(|p| now.get(p)).map(Vec::len);
                        let known = self.pristine.contains_key(&m.pack);
                        said += &format!(
                            "\n        {:?} {:?} of {}, {} before, known {known}",
                            m.path, bytes, m.bytes, m.payload
                        );
                    }
                }
            }
            if !self.copies.contains_key(id) {
                said += &format!("\n    {id}: no copy");
            }
        }
        said
    }

    /// Whether a copy's own bytes are as they were.
    fn stands(&self, copy: &Copy, now: &BTreeMap<PathBuf, Vec<u8>>) -> bool {
        let Some((path, before)) = self.before.get(&copy.pack).filter(|_| copy.stood) else { return false };
        now.get(path).and_then(|b| b.get(copy.from..copy.to)) == before.get(copy.from..copy.to)
    }

    /// Whether a group gives a copy for sure: enough of its members are as they were sealed, as a whole.
    fn is_rebuilt(&self, copy: &Copy, now: &BTreeMap<PathBuf, Vec<u8>>) -> bool {
        let Some(group) = self.group_of.get(&copy.pack).map(|g| &self.groups[*g]) else { return false };
        let whole = group.members.iter().filter(|m| {
            let sealed = self.pristine.get(&m.pack);
            let bytes = m.path.as_ref().and_then(|p| now.get(p)).and_then(|b| b.get(..m.bytes));
            bytes.is_some_and(|b| sealed.is_some_and(|s| b == &s[..]))
        });
        whole.count() >= group.data
    }

    /// Whether a group can give a copy at all: in each code word enough of its members are as they were sealed.
    fn may_be_rebuilt(&self, copy: &Copy, now: &BTreeMap<PathBuf, Vec<u8>>) -> bool {
        let Some(group) = self.group_of.get(&copy.pack).map(|g| &self.groups[*g]) else { return false };
        (copy.from / WORD_BYTES..copy.to.div_ceil(WORD_BYTES)).all(|word| {
            let right = group.members.iter().filter(|m| {
                let Some(bytes) = m.path.as_ref().and_then(|p| now.get(p)) else { return false };
                let Some(sealed) = self.pristine.get(&m.pack) else { return true }; // who knows
                let from = (m.payload + word * WORD_BYTES).min(m.bytes);
                let to = (from + WORD_BYTES).min(m.bytes);
                bytes.get(from..to).is_some_and(|b| b == &sealed[from..to])
            });
            right.count() >= group.data
        })
    }
}

/// Whether a pack's file is what was sealed, which its root proves.
fn is_as_sealed(store: &Store, io: &Io, pack: PackId, path: &Path) -> bool {
    let known = store.with_state(|s| match s.group_of(&pack) {
        Some(g) => Some(g.group.clone()),
        None => s.pack_by_id(&pack).map(|p| {
            let member = format::group::Member { pack, parity: false, bytes: p.sealed.bytes, root: p.sealed.root };
            format::group::Group { id: [0; 16], code: CODE_REED_SOLOMON_16, members: vec![member] }
        }),
    });
    let group = known.expect("a live pack is in the log");
    let slot = group.members.iter().position(|m| m.pack == pack).expect("it is a member of its group");
    let places = group.members.iter().map(|m| (m.pack == pack).then(|| path.to_owned())).collect();
    GroupReader::new(io, group, places).unwrap().prove(slot).is_ok()
}
