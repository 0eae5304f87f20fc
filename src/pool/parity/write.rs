//! Making parity: members in, parity packs out, a MiB of each at a time.

use super::code::Coder;
use super::{open_parity_path, parity_path};
use crate::error::{Error, Result};
use crate::format::check::{UNIT_BYTES, blake3, check128};
use crate::format::group::{CODE_REED_SOLOMON_16, Group, Member};
use crate::format::parity::{HEADER_STEP, ParityHeader, ParityTrailer, payload_bytes};
use crate::format::{PackId, StoreId};
use crate::io::threads::{self, Mutex, Receiver, ScopedJoinHandle, Sender};
use crate::io::{File, Io};
use crate::pool::parity::ahead::Wanted;
use crate::pool::parity::read::GroupReader;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// Written bytes are synced when so many have gathered, as those of packs.
const SYNC_BYTES: u64 = 16 << 20;
/// Units that wait for one target at most.
const UNITS_AHEAD: usize = 4;

/// Where a parity pack goes, and under which name.
#[derive(Clone, Debug)]
pub struct Target {
    pub pack: PackId,
    /// The disk's folder.
    pub disk: PathBuf,
}

/// Who was to blame.
#[derive(Debug)]
pub enum Failed {
    /// This member, by its place among the data, could not be read and proven.
    Member(usize, Error),
    /// This target could not be written. Nothing of it is left if its disk let us.
    Target(usize, Error),
}

impl Failed {
    /// What happened.
    pub fn into_error(self) -> Error {
        match self {
            Failed::Member(_, e) | Failed::Target(_, e) => e,
        }
    }
}

/// A parity pack's length and root.
type End = (u64, [u8; 32]);

struct Writing<'a> {
    io: &'a Io,
    target: &'a Target,
    file: Arc<dyn File>,
    header: Vec<u8>,
    table: Vec<u8>,
    at: u64,
    unsynced: u64,
    named: bool,
}

impl<'a> Writing<'a> {
    fn begin(io: &'a Io, target: &'a Target, header: Vec<u8>) -> Result<Self> {
        let path = open_parity_path(&target.disk, target.pack);
        if let Some(dir) = path.parent() {
            io.fs.create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
        }
        let file = io.fs.create_new(&path).map_err(Error::io("create the parity pack", &path))?;
        let mut new = Writing { io, target, file, header, table: Vec::new(), at: 0, unsynced: 0, named: false };
        let header = std::mem::take(&mut new.header);
        new.put(&header)?;
        new.table.extend_from_slice(&check128(&header));
        Ok(new)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let path = || open_parity_path(&self.target.disk, self.target.pack);
        self.file.write_all_at(&[IoSlice::new(bytes)], self.at).map_err(|e| Error::io("write to", path())(e))?;
        let _ = self.file.begin_to_write(self.at, bytes.len() as u64); // a hint: the disk does not wait for the sync
        self.at += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync().map_err(|e| Error::io("sync", path())(e))?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn unit(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(bytes)?;
        self.table.extend_from_slice(&check128(bytes));
        Ok(())
    }

    /// Writes the end, syncs, gives the pack its name, and reads a sample back past the page cache. Returns its length and
    /// root.
    fn finish(&mut self, header_bytes: u32, payload: u64) -> Result<End> {
        let root = blake3(&[&self.table]);
        let trailer = ParityTrailer { pack: self.target.pack, header_bytes, payload_bytes: payload, root };
        let mut end = std::mem::take(&mut self.table);
        end.extend_from_slice(&trailer.encode());
        self.put(&end)?;
        let (from, to) =
            (open_parity_path(&self.target.disk, self.target.pack), parity_path(&self.target.disk, self.target.pack));
        self.file.sync().map_err(Error::io("sync", &from))?;
        self.io.fs.rename_new(&from, &to).map_err(Error::io("name the parity pack", &to))?;
        self.named = true;
        for dir in to.ancestors().skip(1).take(3) {
            self.io.fs.sync_dir(dir).map_err(Error::io("sync the folder", dir))?;
        }
        self.prove_sample(&to, &trailer, &end)?;
        Ok((trailer.file_bytes(), root))
    }

    /// Whether the table and trailer, the header and one unit are on the disk as they were written.
    fn prove_sample(&self, path: &Path, trailer: &ParityTrailer, end: &[u8]) -> Result<()> {
        let damaged = |offset: u64| {
            let why = "what was read back is not what was written".to_owned();
            Error::Damaged { what: "a parity pack", path: path.to_owned(), offset, why }
        };
        let read = |at: u64, bytes: usize| {
            let mut into = vec![0; bytes]; // the table in memory, a header, or a unit
            self.file.read_exact_at(&mut into, at).map_err(Error::io("read back", path)).map(|()| into)
        };
        let _ = self.file.drop_cache(0, 0); // a hint: in memory filesystems there is nothing to drop
        let header = u64::from(trailer.header_bytes);
        if read(header + trailer.payload_bytes, end.len())? != end {
            return Err(damaged(header + trailer.payload_bytes));
        }
        let fits = |check: usize, bytes: &[u8]| end.chunks_exact(16).nth(check) == Some(&check128(bytes)[..]);
        if !fits(0, &read(0, trailer.header_bytes as usize)?) {
            return Err(damaged(0));
        }
        // The choice needs no secret, only to differ from pack to pack: the root's first bytes.
        let pick = trailer.root.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        let unit = pick % trailer.payload_bytes.div_ceil(UNIT_BYTES).max(1);
        let bytes = UNIT_BYTES.min(trailer.payload_bytes.saturating_sub(unit * UNIT_BYTES)) as usize; // at most a unit
        if bytes > 0 && !fits(unit as usize + 1, &read(header + unit * UNIT_BYTES, bytes)?) {
            return Err(damaged(header + unit * UNIT_BYTES));
        }
        Ok(())
    }

    fn remove(&self) {
        let disk = &self.target.disk;
        let path = if self.named { parity_path } else { open_parity_path }(disk, self.target.pack);
        let _ = self.io.fs.remove_file(&path); // a leftover of a writer that is known is removed by the next one
    }
}

/// Makes the parity packs of a group that holds `members`, durable when this returns. `source` gives the members'
/// bytes: a group without parity, of the same packs in the same order.
///
/// # Errors
/// Who failed; no target has its name then.
pub fn make(
    io: &Io,
    store: StoreId,
    id: [u8; 16],
    source: &GroupReader,
    members: &[Member],
    targets: &[Target],
) -> std::result::Result<Group, Failed> {
    let payload = payload_bytes(members.iter().map(|m| m.bytes).max().unwrap_or(0));
    let parity = |t: &Target| Member { pack: t.pack, parity: true, bytes: 0, root: [0; 32] };
    let mut group = Group { id, code: CODE_REED_SOLOMON_16, members: members.to_vec() };
    group.members.extend(targets.iter().map(parity));
    // The length of all parity packs is known before: all headers have one.
    let probe = ParityHeader { store, pack: PackId([0; 12]), slot: 0, group: group.clone() }.encode();
    let header_bytes = probe.len() as u32; // at most HEADER_BYTES_MAX
    debug_assert!(probe.len().is_multiple_of(HEADER_STEP));
    let trailer = ParityTrailer { pack: PackId([0; 12]), header_bytes, payload_bytes: payload, root: [0; 32] };
    for m in group.members.iter_mut().filter(|m| m.parity) {
        m.bytes = trailer.file_bytes();
    }
    let mut writing: Vec<Mutex<Writing<'_>>> = Vec::with_capacity(targets.len());
    let outcome = (|| {
        for (i, target) in targets.iter().enumerate() {
            let slot = (members.len() + i) as u8; // at most GROUP_MEMBERS
            let header = ParityHeader { store, pack: target.pack, slot, group: group.clone() }.encode();
            writing.push(Mutex::new(Writing::begin(io, target, header).map_err(|e| Failed::Target(i, e))?));
        }
        code(source, members.len(), payload, header_bytes, &writing)
    })();
    match outcome {
        Ok(made) => {
            for (m, made) in group.members.iter_mut().filter(|m| m.parity).zip(made) {
                (m.bytes, m.root) = made;
            }
            Ok(group)
        }
        Err(failed) => {
            writing.iter().for_each(|w| w.lock().unwrap_or_else(PoisonError::into_inner).remove());
            Err(failed)
        }
    }
}

/// Codes the members and writes every target to its end, each from a thread of its own: no disk waits for another one's
/// sync, and the members' disks for neither. Returns each target's length and root.
fn code(
    source: &GroupReader,
    members: usize,
    payload: u64,
    header_bytes: u32,
    writing: &[Mutex<Writing<'_>>],
) -> std::result::Result<Vec<End>, Failed> {
    let units = payload.div_ceil(UNIT_BYTES);
    let lock = |w: &'_ Mutex<Writing<'_>>, unit: &[u8]| w.lock().unwrap_or_else(PoisonError::into_inner).unit(unit);
    let finish =
        |w: &Mutex<Writing<'_>>| w.lock().unwrap_or_else(PoisonError::into_inner).finish(header_bytes, payload);
    threads::scope(|scope| {
        // `None` where the system has no thread to give: then it is written here.
        let ways: Vec<Option<Way<'_>>> = writing
            .iter()
            .map(|w| {
                let (to, from) = threads::bounded::<Vec<u8>>(UNITS_AHEAD);
                let (back, spare) = threads::unbounded();
                let write = move || {
                    for _ in 0..units {
                        let Ok(unit) = from.recv() else { return Ok(None) }; // it is given up
                        lock(w, &unit)?;
                        let _ = back.send(unit); // of no use to who has ended
                    }
                    finish(w).map(Some)
                };
                let writer = scope.spawn_named("onefold-parity", write).ok()?;
                Some(Way { to, spare, writer })
            })
            .collect();
        let mut coder = Coder::new(members, writing.len());
        let (mut made, mut buffers) = (vec![Vec::new(); writing.len()], Vec::new());
        // `None` where a thread has ended, and tells why.
        let mut one = |unit: u64| -> std::result::Result<(), Option<Failed>> {
            made.iter_mut().for_each(|unit: &mut Vec<u8>| unit.clear());
            source
                .in_pieces(members, unit, &mut buffers, &mut |pieces| coder.encode_onto(pieces, &mut made))
                .map_err(|(slot, e)| Some(Failed::Member(slot, e)))?;
            for (i, ((w, way), unit)) in writing.iter().zip(&ways).zip(&mut made).enumerate() {
                match way {
                    Some(way) => {
                        let next = way.spare.try_recv().unwrap_or_default();
                        way.to.send(std::mem::replace(unit, next)).map_err(|_| None)?;
                    }
                    None => lock(w, unit).map_err(|e| Some(Failed::Target(i, e)))?,
                }
            }
            Ok(())
        };
        let coded = (0..units).try_for_each(&mut one);
        let mut ends = Vec::with_capacity(writing.len());
        for (i, (w, way)) in writing.iter().zip(ways).enumerate() {
            let end = match way {
                Some(Way { to, writer, .. }) => {
                    drop(to);
                    writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }
                None if coded.is_ok() => finish(w).map(Some),
                None => Ok(None),
            };
            ends.push(end.map_err(|e| Failed::Target(i, e)));
        }
        if let Err(Some(failed)) = coded {
            return Err(failed);
        }
        let ends = ends.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        let ends: Vec<End> = ends.into_iter().flatten().collect();
        // Each thread has either ended well or told why not.
        debug_assert_eq!(ends.len(), writing.len());
        Ok(ends)
    })
}

/// The way of a target's units to the thread that writes them, and of their memory back.
struct Way<'scope> {
    to: Sender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    /// Gives nothing if it was given up.
    writer: ScopedJoinHandle<'scope, Result<Option<End>>>,
}

/// Reads the parity packs that [`make`] made from end to end, past the page cache: what old parity may be given up for.
///
/// # Errors
/// Which target does not prove; none has its name then.
pub fn prove(io: &Io, group: Group, targets: &[Target]) -> std::result::Result<Group, Failed> {
    let data = group.members.len().saturating_sub(targets.len());
    let mut places: Vec<Option<PathBuf>> = vec![None; data];
    places.extend(targets.iter().map(|t| Some(parity_path(&t.disk, t.pack))));
    let reader = GroupReader::new(io, group, places).map_err(|e| Failed::Target(0, e))?;
    for i in 0..targets.len() {
        if let Err(e) = reader.prove(data + i) {
            targets.iter().for_each(|t| {
                let _ = io.fs.remove_file(&parity_path(&t.disk, t.pack)); // as in `Writing::remove`
            });
            return Err(Failed::Target(i, e));
        }
    }
    Ok(reader.group().clone())
}

/// Makes one parity pack of a group anew, into `into`, which must not exist, durable when this returns; named by the
/// caller. Its bytes are the ones that the group's root stands for.
///
/// # Errors
/// [`Error::Damaged`] where too little of the group can be had, [`Error::Io`].
pub fn again(io: &Io, store: StoreId, source: &GroupReader, slot: usize, into: &Path) -> Result<()> {
    let group = source.group();
    let damaged =
        |why: &str| Error::Damaged { what: "a parity pack", path: into.to_owned(), offset: 0, why: why.to_owned() };
    let member = *group.members.get(slot).ok_or_else(|| damaged("its group has no such member"))?;
    let data = group.members.iter().filter(|m| !m.parity);
    let payload = payload_bytes(data.map(|m| m.bytes).max().unwrap_or(0));
    let mut bare = group.clone();
    bare.members.iter_mut().filter(|m| m.parity).for_each(|m| m.root = [0; 32]);
    let header = ParityHeader { store, pack: member.pack, slot: slot as u8, group: bare }.encode(); // below GROUP_MEMBERS
    let header_bytes = header.len() as u32; // at most HEADER_BYTES_MAX
    let target = Target { pack: member.pack, disk: PathBuf::new() };
    let file = io.fs.create_new(into).map_err(Error::io("create the parity pack", into))?;
    let mut w =
        Writing { io, target: &target, file, header: Vec::new(), table: Vec::new(), at: 0, unsynced: 0, named: false };
    let written = (|| {
        w.put(&header)?;
        w.table.extend_from_slice(&check128(&header));
        let units = payload.div_ceil(UNIT_BYTES);
        source.ahead(slot, units, Wanted::Recomputed, |ahead| {
            (0..units).try_for_each(|unit| match ahead.take() {
                Ok(column) => w.unit(&column),
                // A disk that is emptied may hold what others cannot give now.
                Err(e) => w.unit(&source.column(slot, unit).map_err(|_| e)?),
            })
        })?;
        let root = blake3(&[&w.table]);
        if root != member.root {
            return Err(damaged("what was computed is not what the log's root stands for"));
        }
        let trailer = ParityTrailer { pack: member.pack, header_bytes, payload_bytes: payload, root };
        let mut end = std::mem::take(&mut w.table);
        end.extend_from_slice(&trailer.encode());
        w.put(&end)?;
        w.file.sync().map_err(Error::io("sync", into))
    })();
    if written.is_err() {
        let _ = io.fs.remove_file(into); // a name that begins with a dot is ignored anyway
    }
    written
}
