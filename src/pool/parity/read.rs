//! The bytes of any pack of a group: its own where they prove, rebuilt ones where not.
//!
//! Everything goes by units of 1 MiB. A unit of a member counts only if it fits the check that the member's
//! root stands for; where too few do, the damage within the unit is looked for (`solve`). A data
//! pack whose table of checks is damaged or away gets that rebuilt first, and proven by its root.

use super::code::{Coder, PIECE_BYTES};
use super::solve;
use crate::error::{Error, Result};
use crate::format::check::{Check128, UNIT_BYTES, blake3, check128};
use crate::format::footer::{TRAILER_BYTES, Trailer};
use crate::format::group::{CODE_REED_SOLOMON_16, Group, Member};
use crate::format::limits;
use crate::format::parity::{self, ParityTrailer, payload_bytes};
use crate::io::threads::Mutex;
use crate::io::{File, Io};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

/// Units of a member that are on their way from its disk while all members are read.
const UNITS_AHEAD: u64 = 4;
/// Rebuilt units that are kept.
const UNITS_KEPT: usize = 4;

/// What proves a member's bytes.
pub(super) struct End {
    /// Its own file, if there is one.
    file: Option<Arc<dyn File>>,
    /// Where the coded bytes begin in the file.
    base: u64,
    /// Coded bytes that the table covers.
    covered: u64,
    /// 16 bytes a unit.
    table: Vec<u8>,
    /// The coded bytes behind `covered`, proven.
    tail: Vec<u8>,
}

/// A rebuilt unit: slot, unit, bytes.
type Kept = (usize, u64, Arc<Vec<u8>>);

/// A group whose packs can be read.
pub struct GroupReader {
    io: Io,
    group: Group,
    data: usize,
    payload: u64,
    places: Vec<Option<PathBuf>>,
    ends: Vec<Mutex<Option<Arc<End>>>>,
    /// Working memory of threads that are not at work.
    coders: Mutex<Vec<Coder>>,
    kept: Mutex<VecDeque<Kept>>,
    rebuilt_bytes: AtomicU64,
}

/// A unit that was rebuilt, or a member's own.
pub struct Unit {
    pub bytes: Arc<Vec<u8>>,
    /// The member's own bytes did not do.
    pub rebuilt: bool,
}

impl GroupReader {
    /// `places` has each member's file, in order of slot, where its disk is here.
    ///
    /// # Errors
    /// [`Error::FromTheFuture`] for another code.
    pub fn new(io: &Io, group: Group, places: Vec<Option<PathBuf>>) -> Result<Self> {
        if group.code != CODE_REED_SOLOMON_16 {
            return Err(Error::FromTheFuture {
                what: "a parity group",
                path: PathBuf::new(),
                needs: format!("code {}", group.code),
                ours: CODE_REED_SOLOMON_16.to_string(),
            });
        }
        let data = group.members.iter().filter(|m| !m.parity).count();
        let longest = group.members.iter().filter(|m| !m.parity).map(|m| m.bytes).max().unwrap_or(0);
        let ends = group.members.iter().map(|_| Mutex::default()).collect();
        Ok(GroupReader {
            io: io.clone(),
            data,
            payload: payload_bytes(longest),
            places,
            ends,
            group,
            coders: Mutex::default(),
            kept: Mutex::default(),
            rebuilt_bytes: AtomicU64::new(0),
        })
    }

    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Forgets a member's file: another one has its name now.
    pub fn forget(&self, slot: usize) {
        if let Some(held) = self.ends.get(slot) {
            held.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// How many members hold data.
    pub fn data(&self) -> usize {
        self.data
    }

    /// Units of the longest member.
    pub fn units(&self) -> u64 {
        self.payload.div_ceil(UNIT_BYTES)
    }

    /// Bytes that were rebuilt so far.
    pub fn rebuilt_bytes(&self) -> u64 {
        self.rebuilt_bytes.load(Ordering::Relaxed)
    }

    fn member(&self, slot: usize) -> Result<&Member> {
        self.group.members.get(slot).ok_or(Error::Malformed { what: "a group", offset: 0, why: "it has no such slot" })
    }

    fn path(&self, slot: usize) -> &Path {
        self.places.get(slot).and_then(Option::as_deref).unwrap_or(Path::new("?"))
    }

    fn damaged(&self, slot: usize, offset: u64, why: impl Into<String>) -> Error {
        let path = match self.places.get(slot).and_then(Option::as_ref) {
            Some(path) => path.clone(),
            None => PathBuf::from(self.group.members.get(slot).map(|m| m.pack.to_string()).unwrap_or_default()),
        };
        Error::Damaged { what: "a pack", path, offset, why: why.into() }
    }

    fn open(&self, slot: usize) -> Result<Arc<dyn File>> {
        let path = self.places.get(slot).and_then(Option::as_ref);
        let path = path.ok_or_else(|| self.damaged(slot, 0, "its disk is missing"))?;
        self.io.fs.open(path).map_err(Error::io("open the pack", path))
    }

    // ---- what proves a member -------------------------------------------------------------------

    /// A member's ends as its own file has them.
    pub(super) fn own_end(&self, slot: usize) -> Result<Arc<End>> {
        let held = self.ends.get(slot).ok_or_else(|| self.damaged(slot, 0, "its group has no such slot"))?;
        if let Some(end) = &*held.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(end));
        }
        let member = self.member(slot)?;
        let file = self.open(slot)?;
        let end = if member.parity { self.parity_end(slot, member, file)? } else { self.data_end(slot, member, file)? };
        let end = Arc::new(end);
        *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&end));
        Ok(end)
    }

    fn read(&self, slot: usize, file: &dyn File, at: u64, bytes: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; bytes]; // the callers bound it
        file.read_exact_at(&mut out, at).map_err(Error::io("read", self.path(slot)))?;
        Ok(out)
    }

    fn data_end(&self, slot: usize, member: &Member, file: Arc<dyn File>) -> Result<End> {
        let bytes = member.bytes;
        let at = bytes.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| self.damaged(slot, 0, "it is too short"))?;
        let trailer = self.read(slot, &*file, at, TRAILER_BYTES)?;
        let offset = self.units_offset(slot, member, &trailer)?;
        let tail = self.read(slot, &*file, offset, (bytes - offset) as usize)?; // 16 bytes a unit, and a trailer
        self.proven_end(slot, member, offset, tail, Some(file))
    }

    fn units_offset(&self, slot: usize, member: &Member, trailer: &[u8]) -> Result<u64> {
        let t = Trailer::decode(trailer, member.bytes).map_err(|e| self.damaged(slot, member.bytes, e.to_string()))?;
        if t.pack != member.pack || t.root != member.root {
            return Err(self.damaged(slot, member.bytes, "it is not the pack that the log knows"));
        }
        Ok(t.units_offset) // the decoder holds it below the file's length
    }

    /// `tail` is everything from the table on.
    fn proven_end(
        &self,
        slot: usize,
        member: &Member,
        covered: u64,
        tail: Vec<u8>,
        file: Option<Arc<dyn File>>,
    ) -> Result<End> {
        let (table, trailer) = tail.split_at(tail.len().saturating_sub(TRAILER_BYTES));
        if blake3(&[table]) != member.root || self.units_offset(slot, member, trailer)? != covered {
            return Err(self.damaged(slot, covered, "its table of units does not hash to the pack's root"));
        }
        Ok(End { file, base: 0, covered, table: table.to_vec(), tail })
    }

    fn parity_end(&self, slot: usize, member: &Member, file: Arc<dyn File>) -> Result<End> {
        let too_short = || self.damaged(slot, 0, "it is too short");
        let at = member.bytes.checked_sub(parity::TRAILER_BYTES as u64).ok_or_else(too_short)?;
        let trailer = self.read(slot, &*file, at, parity::TRAILER_BYTES)?;
        let t = ParityTrailer::decode(&trailer, member.bytes).map_err(|e| self.damaged(slot, at, e.to_string()))?;
        if t.pack != member.pack || t.root != member.root || t.payload_bytes != self.payload {
            return Err(self.damaged(slot, at, "it is not the parity pack that the log knows"));
        }
        let table = self.read(slot, &*file, t.table_offset(), t.table_bytes() as usize)?; // 16 bytes a unit
        if blake3(&[&table]) != member.root {
            return Err(self.damaged(slot, t.table_offset(), "its table of units does not hash to its root"));
        }
        let units = table.get(16..).unwrap_or_default().to_vec();
        Ok(End {
            file: Some(file),
            base: u64::from(t.header_bytes),
            covered: t.payload_bytes,
            table: units,
            tail: vec![],
        })
    }

    /// A member's ends, rebuilt from the others where its own do not prove.
    fn end(&self, slot: usize) -> Result<Arc<End>> {
        let own = match self.own_end(slot) {
            Ok(end) => return Ok(end),
            Err(e) => e,
        };
        let member = self.member(slot)?;
        if member.parity || self.data == self.group.members.len() {
            return Err(own);
        }
        let bytes = member.bytes;
        let Some(at) = bytes.checked_sub(TRAILER_BYTES as u64) else { return Err(own) };
        let trailer = self.raw(slot, at, bytes)?;
        let offset = self.units_offset(slot, member, &trailer)?;
        let tail = self.raw(slot, offset, bytes)?;
        // Its own bytes may still be good, and prove by the table that was rebuilt.
        let end = Arc::new(self.proven_end(slot, member, offset, tail, self.open(slot).ok())?);
        if let Some(held) = self.ends.get(slot) {
            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&end));
        }
        Ok(end)
    }

    /// Bytes of a member as the others give them, not proven; only from members that prove by their own ends.
    fn raw(&self, slot: usize, from: u64, to: u64) -> Result<Vec<u8>> {
        if to - from > limits::RECORD_BYTES as u64 {
            return Err(self.damaged(slot, from, "its end is longer than it can be"));
        }
        let mut out = Vec::with_capacity((to - from) as usize); // bounded above
        let mut at = from;
        while at < to {
            let unit = at / UNIT_BYTES;
            let mut there = Vec::new();
            for other in (0..self.group.members.len()).filter(|s| *s != slot) {
                if there.len() == self.data {
                    break;
                }
                let member = self.member(other)?;
                if !member.parity && unit * UNIT_BYTES >= member.bytes {
                    there.push((other, vec![0; self.column_bytes(unit)])); // nothing of it is coded there
                } else if let Ok(column) = self.own_end(other).and_then(|end| self.column_of(other, unit, &end)) {
                    there.push((other, column));
                }
            }
            let column = self.rebuild_from(slot, unit, &there)?;
            let start = (at - unit * UNIT_BYTES) as usize; // within a unit
            let end = column.len().min(start + (to - at) as usize);
            out.extend_from_slice(column.get(start..end).unwrap_or_default());
            at = unit * UNIT_BYTES + end as u64;
            if end <= start {
                return Err(self.damaged(slot, at, "it reaches beyond its group"));
            }
        }
        Ok(out)
    }

    // ---- units ----------------------------------------------------------------------------------

    fn column_bytes(&self, unit: u64) -> usize {
        UNIT_BYTES.min(self.payload.saturating_sub(unit * UNIT_BYTES)) as usize // at most a unit
    }

    /// A member's own bytes in a unit, as they stand, and how many of them its table covers. What lies behind its end
    /// is zeros.
    fn own_bytes(&self, slot: usize, unit: u64, end: &End) -> Result<(Vec<u8>, usize)> {
        let mut out = vec![0; self.column_bytes(unit)];
        let body = self.own_bytes_into(slot, unit * UNIT_BYTES, &mut out, end)?;
        Ok((out, body))
    }

    /// As [`GroupReader::own_bytes`], of any range.
    fn own_bytes_into(&self, slot: usize, from: u64, out: &mut [u8], end: &End) -> Result<usize> {
        let body = out.len().min(end.covered.saturating_sub(from) as usize); // in memory: `out` is
        let (head, rest) = out.split_at_mut(body);
        if body > 0 {
            let file = end.file.as_ref().ok_or_else(|| self.damaged(slot, from, "its disk is missing"))?;
            file.read_exact_at(head, end.base + from).map_err(Error::io("read", self.path(slot)))?;
        }
        let behind = (from + body as u64).saturating_sub(end.covered) as usize; // in memory: the tail is
        let tail = end.tail.get(behind..).unwrap_or_default();
        let (ended, zeros) = rest.split_at_mut(tail.len().min(rest.len()));
        ended.copy_from_slice(tail.get(..ended.len()).unwrap_or_default()); // of one length
        zeros.fill(0);
        Ok(body)
    }

    /// Reads a unit of each of the first `members` members, its own bytes, in pieces: `each` gets the same piece of all of them.
    /// A unit's check is made on the way, so what came of the pieces counts only if this ends well.
    ///
    /// Pieces of [`PIECE_BYTES`] are read, checked and coded while they lie in a core's second cache: that takes half the time of
    /// whole units, which go out to memory and come back twice. Disks do not wait for one another: each is told before what
    /// is needed of it.
    ///
    /// # Errors
    /// Whose unit could not be had, and why; what `each` returns, as the first member's.
    pub(super) fn in_pieces(
        &self,
        members: usize,
        unit: u64,
        buffers: &mut Vec<Vec<u8>>,
        each: &mut dyn FnMut(&[&[u8]]) -> Result<()>,
    ) -> std::result::Result<(), (usize, Error)> {
        let start = unit * UNIT_BYTES;
        let mut ends = Vec::with_capacity(members);
        for slot in 0..members {
            let end = self.end(slot).map_err(|e| (slot, e))?;
            // At the first unit all that is to be ahead, then a unit more each time.
            let ahead = if unit == 0 { 0..UNITS_AHEAD } else { unit + UNITS_AHEAD - 1..unit + UNITS_AHEAD };
            let wanted = ahead.start * UNIT_BYTES..end.covered.min(ahead.end * UNIT_BYTES);
            if let Some(file) = &end.file
                && !wanted.is_empty()
            {
                let _ = file.will_need(end.base + wanted.start, wanted.end - wanted.start); // a hint
            }
            ends.push((end, Check128::default(), 0));
        }
        let unit_bytes = self.column_bytes(unit);
        buffers.resize_with(members, Vec::new);
        for at in (0..unit_bytes).step_by(PIECE_BYTES) {
            let bytes = PIECE_BYTES.min(unit_bytes - at);
            for (slot, ((end, check, covered), buffer)) in ends.iter_mut().zip(&mut *buffers).enumerate() {
                buffer.resize(bytes, 0);
                let body = self.own_bytes_into(slot, start + at as u64, buffer, end).map_err(|e| (slot, e))?;
                check.update(buffer.get(..body).unwrap_or_default());
                *covered += body;
            }
            let pieces: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
            each(&pieces).map_err(|e| (0, e))?;
        }
        for (slot, (end, check, covered)) in ends.iter().enumerate() {
            let stated = end.table.chunks_exact(16).nth(unit as usize); // below a pack's units
            if *covered > 0 && stated != Some(&check.finish()[..]) {
                return Err((slot, self.damaged(slot, start, "a unit of 1 MiB does not fit its check")));
            }
        }
        Ok(())
    }

    fn fits(&self, unit: u64, end: &End, bytes: &[u8]) -> bool {
        let body = bytes.len().min(end.covered.saturating_sub(unit * UNIT_BYTES) as usize); // at most a unit
        let check = end.table.chunks_exact(16).nth(unit as usize);
        body == 0 || bytes.get(..body).is_some_and(|b| check == Some(&check128(b)[..]))
    }

    fn column_of(&self, slot: usize, unit: u64, end: &End) -> Result<Vec<u8>> {
        let (out, _) = self.own_bytes(slot, unit, end)?;
        if self.fits(unit, end, &out) {
            Ok(out)
        } else {
            Err(self.damaged(slot, unit * UNIT_BYTES, "a unit of 1 MiB does not fit its check"))
        }
    }

    /// A member's own bytes in a unit, proven; zeros behind its end.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn column(&self, slot: usize, unit: u64) -> Result<Vec<u8>> {
        let member = self.member(slot)?;
        if !member.parity && unit * UNIT_BYTES >= member.bytes {
            return Ok(vec![0; self.column_bytes(unit)]); // nothing of it is coded there
        }
        self.column_of(slot, unit, &*self.end(slot)?)
    }

    /// A member's bytes in a unit, proven, its own or rebuilt.
    ///
    /// # Errors
    /// [`Error::Damaged`] where too little of the group can be had.
    pub fn unit(&self, slot: usize, unit: u64) -> Result<Unit> {
        match self.column(slot, unit) {
            Ok(bytes) => Ok(Unit { bytes: Arc::new(bytes), rebuilt: false }),
            Err(e) if self.data == self.group.members.len() => Err(e), // nothing to rebuild it from
            Err(_) => Ok(Unit { bytes: self.rebuilt(slot, unit)?, rebuilt: true }),
        }
    }

    fn rebuilt(&self, slot: usize, unit: u64) -> Result<Arc<Vec<u8>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., bytes)) = kept.iter().find(|(s, u, _)| (*s, *u) == (slot, unit)) {
            return Ok(Arc::clone(bytes));
        }
        drop(kept);
        let there = self.proven_columns(unit, Some(slot));
        let bytes = match there.iter().find(|(s, _)| *s == slot) {
            Some((_, solved)) => solved.clone(),
            None => self.rebuild_from(slot, unit, &there)?,
        };
        if !self.fits(unit, &*self.end(slot)?, &bytes) {
            return Err(self.damaged(slot, unit * UNIT_BYTES, "what was rebuilt does not fit its check"));
        }
        let bytes = Arc::new(bytes);
        self.rebuilt_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= UNITS_KEPT {
            kept.pop_front();
        }
        kept.push_back((slot, unit, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// Whether bytes are what this member has in a unit; they are counted as rebuilt then.
    pub(super) fn is_own_unit(&self, slot: usize, unit: u64, bytes: &[u8]) -> bool {
        let is = self.end(slot).is_ok_and(|end| self.fits(unit, &end, bytes));
        if is {
            self.rebuilt_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        is
    }

    /// What a parity pack has in a unit, from the data alone, proven; the result is not.
    ///
    /// # Errors
    /// [`Error::Damaged`] where too little of the group can be had.
    pub fn recomputed(&self, slot: usize, unit: u64) -> Result<Vec<u8>> {
        let there = self.proven_columns(unit, Some(slot));
        self.rebuild_from(slot, unit, &there)
    }

    /// Enough proven columns to rebuild the others from, as far as there are; `but` is left out unless it was solved.
    fn proven_columns(&self, unit: u64, but: Option<usize>) -> Vec<(usize, Vec<u8>)> {
        let mut there: Vec<(usize, Vec<u8>)> = Vec::with_capacity(self.data);
        let mut suspects = Vec::new();
        for slot in (0..self.group.members.len()).filter(|s| Some(*s) != but).chain(but) {
            if there.len() == self.data {
                return there;
            }
            if Some(slot) != but
                && let Ok(column) = self.column(slot, unit)
            {
                there.push((slot, column));
            } else if let Ok(end) = self.end(slot)
                && let Ok((bytes, _)) = self.own_bytes(slot, unit, &end)
            {
                suspects.push((slot, bytes, end));
            }
        }
        let fits = |slot: usize, bytes: &[u8]| {
            suspects.iter().find(|(s, ..)| *s == slot).is_some_and(|(_, _, end)| self.fits(unit, end, bytes))
        };
        let shape = (self.data, self.group.members.len() - self.data);
        let given: Vec<(usize, &[u8])> = there.iter().map(|(s, b)| (*s, b.as_slice())).collect();
        let doubted: Vec<(usize, &[u8])> = suspects.iter().map(|(s, b, _)| (*s, b.as_slice())).collect();
        let solved = solve::solve(shape, &given, &doubted, &fits);
        there.extend(solved);
        there
    }

    pub(super) fn rebuild_from(&self, slot: usize, unit: u64, there: &[(usize, Vec<u8>)]) -> Result<Vec<u8>> {
        let shards: Vec<(usize, &[u8])> =
            there.iter().filter(|(s, _)| *s != slot).take(self.data).map(|(s, b)| (*s, b.as_slice())).collect();
        if shards.len() < self.data {
            let why = format!("{} of the {} packs that would rebuild it can be had", shards.len(), self.data);
            return Err(self.damaged(slot, unit * UNIT_BYTES, why));
        }
        let taken = self.coders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut coder = taken.unwrap_or_else(|| Coder::new(self.data, self.group.members.len() - self.data));
        let made = coder.rebuild(&shards, &[slot])?;
        self.coders.lock().unwrap_or_else(PoisonError::into_inner).push(coder);
        let made = made.into_iter().find(|(s, _)| *s == slot).map(|(_, b)| b);
        made.ok_or_else(|| self.damaged(slot, unit * UNIT_BYTES, "the code did not give it back"))
    }

    /// Whether the pack's own file proves from end to end.
    ///
    /// # Errors
    /// The first damage that is found.
    pub fn prove(&self, slot: usize) -> Result<()> {
        self.scrub(slot, &mut |unit, _, good| match good {
            true => Ok(()),
            false => Err(self.damaged(slot, unit * UNIT_BYTES, "a unit of 1 MiB does not fit its check")),
        })
    }

    /// Reads a pack's own file from end to end, past the page cache. `each` is told every unit: its number, its bytes,
    /// and whether it fits its check.
    ///
    /// # Errors
    /// What `each` returns; damage of the pack's ends, and a length that is not the log's.
    pub fn scrub(&self, slot: usize, each: &mut dyn FnMut(u64, u64, bool) -> Result<()>) -> Result<()> {
        let member = *self.member(slot)?;
        let file = self.open(slot)?;
        let _ = file.drop_cache(0, 0); // a hint: what memory holds says nothing of the disk
        self.forget(slot);
        let end = self.own_end(slot)?;
        if file.len().map_err(Error::io("read", self.path(slot)))? != member.bytes {
            return Err(self.damaged(slot, member.bytes, "it has another length than the log says"));
        }
        if member.parity {
            self.prove_header(slot)?;
        }
        for unit in 0..end.covered.div_ceil(UNIT_BYTES) {
            let bytes = UNIT_BYTES.min(end.covered - unit * UNIT_BYTES);
            let good = self.column_of(slot, unit, &end).is_ok();
            each(unit, bytes, good)?;
        }
        Ok(())
    }

    /// Whether a parity pack's header is the one that its table covers.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn prove_header(&self, slot: usize) -> Result<()> {
        let member = *self.member(slot)?;
        let end = self.own_end(slot)?;
        let file = self.open(slot)?;
        let header = self.read(slot, &*file, 0, end.base as usize)?; // at most HEADER_BYTES_MAX by the trailer
        let first = self.read(slot, &*file, end.base + end.covered, 16)?;
        if check128(&header)[..] != first[..] {
            return Err(self.damaged(slot, 0, "its header does not fit its check"));
        }
        let header = parity::ParityHeader::decode(&header).map_err(|e| self.damaged(slot, 0, e.to_string()))?;
        let same = header.pack == member.pack && usize::from(header.slot) == slot && header.group.id == self.group.id;
        if same { Ok(()) } else { Err(self.damaged(slot, 0, "it belongs to another group or place")) }
    }
}

/// A data pack of a group as a file: every byte that is read was proven, and rebuilt where it had to be.
pub struct ProvenFile {
    reader: Arc<GroupReader>,
    slot: usize,
    bytes: u64,
}

impl ProvenFile {
    /// # Errors
    /// [`Error::Malformed`] for a slot that the group does not have.
    pub fn new(reader: Arc<GroupReader>, slot: usize) -> Result<Self> {
        let bytes = reader.member(slot)?.bytes;
        Ok(ProvenFile { reader, slot, bytes })
    }
}

impl File for ProvenFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let left = self.bytes.saturating_sub(offset);
        let unit = offset / UNIT_BYTES;
        let start = (offset % UNIT_BYTES) as usize; // below a unit
        let want = into.len().min(left.min(UNIT_BYTES) as usize).min(UNIT_BYTES as usize - start);
        if want == 0 {
            return Ok(0);
        }
        let got = self.reader.unit(self.slot, unit).map_err(std::io::Error::other)?;
        let part = got.bytes.get(start..start + want).unwrap_or_default();
        into.iter_mut().zip(part).for_each(|(to, byte)| *to = *byte);
        Ok(part.len())
    }

    fn write_all_at(&self, _: &[std::io::IoSlice<'_>], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes)
    }

    fn drop_cache(&self, _: u64, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}
