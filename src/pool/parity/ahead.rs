//! A member's units in order, read ahead from every disk that has a part in them.
//!
//! Whoever rebuilds a pack needs a unit of each of k members before it has one, and those lie on k disks: asked one after the
//! other, k - 1 of them would stand still at any time. Here each has a thread that reads and proves its units, one more adds them
//! up, and the caller, who writes, is a third stage. A unit that is not had this way is looked for as [`GroupReader::unit`] does.

use super::read::GroupReader;
use crate::error::Result;
use crate::format::check::UNIT_BYTES;
use crate::io::threads::{self, Receiver, Scope};
use std::sync::Arc;

/// What the queues of one pack may hold: columns of the members that are read, and units that are made of them.
const AHEAD_BYTES: u64 = 32 << 20;
/// Units that one member's queue holds at most.
const UNITS_MAX: u64 = 8;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A member's bytes, proven: its own, or rebuilt ones.
    Proven,
    /// What a parity pack has, from the other members alone; not proven.
    Recomputed,
}

/// Units of a member, one after the other.
pub struct Ahead<'a> {
    reader: &'a GroupReader,
    slot: usize,
    wanted: Wanted,
    next: u64,
    /// `None` where no thread could be started: then nothing is read ahead.
    made: Option<Receiver<Result<Arc<Vec<u8>>>>>,
}

/// Columns of one member, as they are read.
type Queue = (usize, Receiver<Result<Vec<u8>>>);

impl Ahead<'_> {
    /// The next unit: as long as the group's coded bytes there.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::error::Error::Damaged) where too little of the group can be had.
    pub fn take(&mut self) -> Result<Arc<Vec<u8>>> {
        let unit = self.next;
        self.next += 1;
        match self.made.as_ref().map(Receiver::recv) {
            Some(Ok(made)) => made,
            _ => self.reader.wanted(self.slot, unit, self.wanted),
        }
    }
}

impl GroupReader {
    /// The members whose own bytes a unit of this one is made from.
    fn sources(&self, slot: usize, wanted: Wanted) -> Vec<usize> {
        if wanted == Wanted::Proven && self.own_end(slot).is_ok() {
            return vec![slot];
        }
        // Beginning behind its own slot, so that not always the same disks are spared.
        let members = self.group().members.len();
        let others = (slot + 1..members).chain(0..slot);
        let there: Vec<usize> = others.filter(|s| self.own_end(*s).is_ok()).take(self.data()).collect();
        if there.len() == self.data() { there } else { Vec::new() }
    }

    fn wanted(&self, slot: usize, unit: u64, wanted: Wanted) -> Result<Arc<Vec<u8>>> {
        match wanted {
            Wanted::Proven => self.unit(slot, unit).map(|u| u.bytes),
            Wanted::Recomputed => self.recomputed(slot, unit).map(Arc::new),
        }
    }

    /// A unit from columns of its sources, or else as if nothing had been read ahead.
    fn add_up(&self, slot: usize, unit: u64, wanted: Wanted, columns: Vec<(usize, Vec<u8>)>) -> Result<Arc<Vec<u8>>> {
        if let Some((s, _)) = columns.first()
            && *s == slot
        {
            let own = columns.into_iter().next().map(|(_, bytes)| Arc::new(bytes));
            return own.map_or_else(|| self.wanted(slot, unit, wanted), Ok);
        }
        let made = (columns.len() == self.data()).then(|| self.rebuild_from(slot, unit, &columns));
        match made {
            Some(Ok(bytes)) if wanted == Wanted::Recomputed || self.is_own_unit(slot, unit, &bytes) => {
                Ok(Arc::new(bytes))
            }
            _ => self.wanted(slot, unit, wanted),
        }
    }

    /// Reads `units` units of a member ahead of `work`, which takes them.
    pub fn ahead<T>(&self, slot: usize, units: u64, wanted: Wanted, work: impl FnOnce(&mut Ahead<'_>) -> T) -> T {
        let sources = self.sources(slot, wanted);
        let depth = depth(sources.len());
        threads::scope(|scope| {
            let mut made = None;
            if !sources.is_empty()
                && let Some(columns) = self.read_ahead(scope, &sources, units)
            {
                let (to, from) = threads::bounded(depth);
                let add = move || {
                    for unit in 0..units {
                        let mut there = Vec::with_capacity(columns.len());
                        for (source, column) in &columns {
                            if let Ok(Ok(bytes)) = column.recv() {
                                there.push((*source, bytes));
                            }
                        }
                        if to.send(self.add_up(slot, unit, wanted, there)).is_err() {
                            return; // nobody wants more
                        }
                    }
                };
                made = scope.spawn_named("onefold-sum", add).is_ok().then_some(from);
            }
            let mut ahead = Ahead { reader: self, slot, wanted, next: 0, made };
            let out = work(&mut ahead);
            drop(ahead); // the threads end: nobody takes what they have
            out
        })
    }

    /// Begins a thread for each of these members; `None` where the system has none to give.
    fn read_ahead<'scope>(
        &'scope self,
        scope: &Scope<'scope, '_>,
        sources: &[usize],
        units: u64,
    ) -> Option<Vec<Queue>> {
        let mut columns = Vec::with_capacity(sources.len());
        for source in sources.iter().copied() {
            let (to, from) = threads::bounded(depth(sources.len()));
            let read = move || {
                for unit in 0..units {
                    if to.send(self.column(source, unit)).is_err() {
                        return; // nobody wants more
                    }
                }
            };
            scope.spawn_named("onefold-column", read).ok()?;
            columns.push((source, from));
        }
        Some(columns)
    }
}

/// Units that a queue holds where so many members are read.
fn depth(sources: usize) -> usize {
    (AHEAD_BYTES / UNIT_BYTES / (sources as u64 + 1)).clamp(1, UNITS_MAX) as usize // a small number
}

#[cfg(test)]
mod tests {
    use super::super::parity_path;
    use super::super::write::{self, Target};
    use super::*;
    use crate::error::Error;
    use crate::format::footer::PackKind;
    use crate::format::group::{CODE_REED_SOLOMON_16, Group, Member};
    use crate::format::{ChunkKind, DiskId, Keys, PackId, StoreId, WriterId};
    use crate::io::memory::{ManualWorld, MemFs};
    use crate::io::{Fs, Io};
    use crate::pack::sealed_path;
    use crate::pack::write::{NewRecord, PackWriter};
    use std::path::{Path, PathBuf};

    const STORE: StoreId = StoreId([1; 16]);

    fn disk(i: usize) -> PathBuf {
        PathBuf::from(format!("/d{i}"))
    }

    fn pack(keys: &Keys, io: &Io, at: u32, mib: usize) -> Member {
        let (id, path) = (PackId::new(WriterId([4; 8]), at), disk(at as usize));
        let mut w = PackWriter::create(io, STORE, &path, DiskId([2; 16]), id, PackKind::Data).unwrap();
        let records = (0..mib as u32).map(|n| {
            let payload: Vec<u8> =
                (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761 + at + n) >> 13) as u8).collect();
            NewRecord::raw(keys.chunk_id(ChunkKind::Data, &payload), payload)
        });
        w.append(records.collect()).unwrap();
        let Ok(sealed) = w.seal() else { panic!("it was not sealed") };
        let sealed = sealed.event(1);
        Member { pack: id, parity: false, bytes: sealed.bytes, root: sealed.root }
    }

    /// A group of 3 + 2 packs of unequal lengths, each on a disk of its own.
    fn group() -> (MemFs, Io, Group, Vec<Option<PathBuf>>) {
        let fs = MemFs::new();
        let io = Io { fs: Arc::new(fs.clone()), world: Arc::new(ManualWorld::new(1, 1)) };
        let keys = Keys::new([1; 32], 0);
        (0..5).for_each(|i| fs.create_dir_all(&disk(i)).unwrap());
        let members = [pack(&keys, &io, 0, 9), pack(&keys, &io, 1, 12), pack(&keys, &io, 2, 2)];
        let mut places: Vec<Option<PathBuf>> =
            members.iter().enumerate().map(|(i, m)| Some(sealed_path(&disk(i), m.pack))).collect();
        let bare = Group { id: [0; 16], code: CODE_REED_SOLOMON_16, members: members.to_vec() };
        let source = GroupReader::new(&io, bare, places.clone()).unwrap();
        let targets: Vec<Target> =
            (3..5).map(|i| Target { pack: PackId::new(WriterId([4; 8]), i), disk: disk(i as usize) }).collect();
        let group = write::make(&io, STORE, [7; 16], &source, &members, &targets).unwrap();
        places.extend(targets.iter().map(|t| Some(parity_path(&t.disk, t.pack))));
        (fs, io, group, places)
    }

    fn flip(fs: &MemFs, path: &Path, at: usize) {
        let mut bytes = fs.read(path).unwrap();
        bytes[at] ^= 1;
        fs.remove(path).unwrap();
        fs.write(path, &bytes).unwrap();
    }

    #[test]
    fn units_that_are_read_ahead_are_those_that_are_asked_for_one_by_one() {
        let (fs, io, group, places) = group();
        let whole: Vec<Vec<u8>> = places.iter().flatten().map(|p| fs.read(p).unwrap()).collect();
        let units = GroupReader::new(&io, group.clone(), places.clone()).unwrap().units();
        // Damage at two places, so that some units are not had from those that are read ahead.
        flip(&fs, places[1].as_ref().unwrap(), 5 << 20);
        flip(&fs, places[0].as_ref().unwrap(), 2 << 20);
        for away in [vec![], vec![0], vec![1], vec![2], vec![0, 3], vec![3, 4]] {
            let here: Vec<_> =
                places.iter().enumerate().map(|(i, p)| p.clone().filter(|_| !away.contains(&i))).collect();
            let reader = GroupReader::new(&io, group.clone(), here).unwrap();
            for (slot, whole) in whole.iter().enumerate().take(3) {
                let got = reader.ahead(slot, units, Wanted::Proven, |ahead| {
                    (0..units).map(|_| ahead.take().ok().map(|u| u.to_vec())).collect::<Vec<_>>()
                });
                let one_by_one: Vec<_> =
                    (0..units).map(|u| reader.unit(slot, u).ok().map(|u| u.bytes.to_vec())).collect();
                assert!(got == one_by_one, "pack {slot} with {away:?} away");
                if away.len() < 2 {
                    // and one that is damaged there
                    let bytes: Vec<u8> = got.into_iter().flatten().flatten().take(whole.len()).collect();
                    assert!(bytes == *whole, "pack {slot} with {away:?} away");
                }
            }
            for slot in 3..5 {
                let one_by_one: Vec<_> = (0..units).map(|u| reader.recomputed(slot, u).ok()).collect();
                let got = reader.ahead(slot, units, Wanted::Recomputed, |ahead| {
                    (0..units).map(|_| ahead.take().ok().map(|u| u.to_vec())).collect::<Vec<_>>()
                });
                assert!(got == one_by_one, "parity {slot} with {away:?} away");
            }
        }
    }

    #[test]
    fn a_member_that_does_not_prove_gets_no_parity_and_is_named() {
        let (fs, io, group, places) = group();
        let bare = Group { members: group.members[..3].to_vec(), ..group.clone() };
        let targets: Vec<Target> =
            (3..5).map(|i| Target { pack: PackId::new(WriterId([5; 8]), i), disk: disk(i as usize) }).collect();
        // In a unit's middle, in its last byte, in the table of units.
        let bytes = bare.members[1].bytes as usize;
        for at in [(5 << 20) + 77, (6 << 20) - 1, bytes - 100] {
            flip(&fs, places[1].as_ref().unwrap(), at);
            let source = GroupReader::new(&io, bare.clone(), places[..3].to_vec()).unwrap();
            let made = write::make(&io, STORE, [8; 16], &source, &bare.members, &targets);
            assert!(matches!(made, Err(write::Failed::Member(1, Error::Damaged { .. }))), "{at}: {made:?}");
            for target in &targets {
                let folder = parity_path(&target.disk, target.pack).parent().unwrap().to_owned();
                let names = fs.list(&folder).unwrap_or_default();
                assert!(
                    !names.iter().any(|n| n.name.to_string_lossy().contains(&target.pack.to_string())),
                    "{names:?}"
                );
            }
            flip(&fs, places[1].as_ref().unwrap(), at);
        }
        let source = GroupReader::new(&io, bare.clone(), places[..3].to_vec()).unwrap();
        let made = write::make(&io, STORE, [8; 16], &source, &bare.members, &targets).unwrap();
        assert_eq!(made.members.len(), 5);
    }

    #[test]
    fn who_takes_a_part_only_or_what_cannot_be_had_waits_for_nothing() {
        let (_, io, group, mut places) = group();
        let reader = GroupReader::new(&io, group.clone(), places.clone()).unwrap();
        let first = reader.ahead(0, reader.units(), Wanted::Proven, |ahead| ahead.take().is_ok());
        assert!(first);
        places[0] = None;
        places[1] = None;
        places[4] = None;
        let reader = GroupReader::new(&io, group, places).unwrap();
        assert!(reader.ahead(0, reader.units(), Wanted::Proven, |ahead| ahead.take().is_err()));
    }
}
