//! Reading packs: one record, a table, a whole pack; and what can be salvaged of one.

use super::write::NewRecord;
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::check::{UNIT_BYTES, blake3, check128};
use crate::format::footer::{Footer, PACK_HEADER_BYTES, PackHeader, Row, TRAILER_BYTES, Trailer};
use crate::format::limits;
use crate::format::record::{self, Codec, HEADER_BYTES_MAX, Header};
use crate::format::{ChunkId, ChunkKind, Keys, PackId};
use crate::io::File;
use std::path::Path;
use std::sync::Arc;

/// A sealed pack's ends, proven against each other.
#[derive(Debug)]
pub struct Ends {
    pub header: PackHeader,
    pub trailer: Trailer,
    pub footer: Footer,
    /// 16 bytes a unit.
    pub units: Vec<u8>,
}

fn io_or_damage(path: &Path, offset: u64, what: &'static str, e: std::io::Error) -> Error {
    if e.kind() == std::io::ErrorKind::UnexpectedEof {
        Error::Damaged { what, path: path.to_owned(), offset, why: "it ends early".into() }
    } else {
        Error::Io { action: "read", path: path.to_owned(), source: e }
    }
}

/// Places an error from a decoder that knew only its slice.
fn placed(what: &'static str, path: &Path, base: u64) -> impl Fn(Error) -> Error {
    move |e| match e {
        Error::Malformed { offset, why, .. } => {
            Error::Damaged { what, path: path.to_owned(), offset: base + offset, why: why.to_owned() }
        }
        other => other,
    }
}

/// Reads and proves a sealed pack's trailer: two hundred bytes, no table.
///
/// # Errors
/// [`Error::Damaged`] with the place, [`Error::Io`].
pub fn trailer(file: &dyn File, path: &Path, pack: PackId) -> Result<Trailer> {
    let len = file.len().map_err(Error::io("read", path))?;
    let damaged =
        |offset, why: &str| Error::Damaged { what: "a pack", path: path.to_owned(), offset, why: why.to_owned() };
    let at =
        len.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| damaged(len, "it is too short to be a sealed pack"))?;
    let mut bytes = [0; TRAILER_BYTES];
    file.read_exact_at(&mut bytes, at).map_err(|e| io_or_damage(path, at, "a pack's trailer", e))?;
    let trailer = Trailer::decode(&bytes, len).map_err(placed("a pack's trailer", path, at))?;
    if trailer.pack != pack {
        return Err(damaged(at, "it is another pack than its name says"));
    }
    Ok(trailer)
}

/// Reads and proves header, footer, units and trailer of a sealed pack.
///
/// # Errors
/// [`Error::Damaged`] with the place, [`Error::Io`].
pub fn ends(file: &dyn File, path: &Path, pack: PackId) -> Result<Ends> {
    let trailer = trailer(file, path, pack)?;
    let damaged = |what, offset, why: &str| Error::Damaged { what, path: path.to_owned(), offset, why: why.to_owned() };
    let mut header = [0; PACK_HEADER_BYTES];
    file.read_exact_at(&mut header, 0).map_err(|e| io_or_damage(path, 0, "a pack's header", e))?;
    let header = PackHeader::decode(&header).map_err(placed("a pack's header", path, 0))?;
    if header.pack != pack {
        return Err(damaged("a pack's header", 0, "it is another pack than its name says"));
    }
    // The offsets were proven to be in order and inside the file, which a pack's limit bounds.
    let mut bytes = vec![0; (trailer.file_bytes - trailer.footer_offset) as usize - TRAILER_BYTES];
    let at = trailer.footer_offset;
    file.read_exact_at(&mut bytes, at).map_err(|e| io_or_damage(path, at, "a pack's footer", e))?;
    let units = bytes.split_off((trailer.units_offset - trailer.footer_offset) as usize);
    if blake3(&[&units]) != trailer.root {
        return Err(damaged("a pack's table of units", trailer.units_offset, "it does not hash to the pack's root"));
    }
    let footer = Footer::decode(pack, at, &bytes).map_err(placed("a pack's footer", path, at))?;
    if footer.rows.len() != trailer.records as usize {
        return Err(damaged("a pack's footer", at, "it has another number of records than the trailer says"));
    }
    Ok(Ends { header, trailer, footer, units })
}

/// Reads the end of a freshly sealed pack and two of its units from the disk and proves them.
pub(super) fn prove_sample(file: &dyn File, path: &Path, expected: &Trailer) -> Result<()> {
    // What is sampled alone is dropped from the page cache: all else is read once more for its parity, and should not come
    // from the disk then. Hints: in memory filesystems there is nothing to drop.
    let _ = file.drop_cache(0, PACK_HEADER_BYTES as u64);
    let _ = file.drop_cache(expected.footer_offset, 0);
    let ends = ends(file, path, expected.pack)?;
    if ends.trailer != *expected {
        let why = "what was read back is not what was written".to_owned();
        return Err(Error::Damaged { what: "a pack", path: path.to_owned(), offset: 0, why });
    }
    let count = ends.units.len() as u64 / 16;
    // The choice needs no secret, only to differ from pack to pack: the root's first bytes.
    let mut pick = [0; 8];
    pick.copy_from_slice(&expected.root[..8]);
    for unit in [count.saturating_sub(1), u64::from_le_bytes(pick) % count.max(1)] {
        let _ = file.drop_cache(unit * UNIT_BYTES, UNIT_BYTES);
        prove_unit(file, path, &ends, unit)?;
    }
    Ok(())
}

/// Reads one unit and proves it.
///
/// # Errors
/// [`Error::Damaged`] with the unit's place, [`Error::Io`].
pub fn prove_unit(file: &dyn File, path: &Path, ends: &Ends, unit: u64) -> Result<()> {
    let at = unit * UNIT_BYTES;
    let len = UNIT_BYTES.min(ends.trailer.units_offset.saturating_sub(at)) as usize; // at most a unit
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).map_err(|e| io_or_damage(path, at, "a pack", e))?;
    let check = ends.units.chunks_exact(16).nth(unit as usize);
    if check != Some(&check128(&bytes)[..]) {
        return Err(Error::Damaged {
            what: "a pack",
            path: path.to_owned(),
            offset: at,
            why: "a unit of 1 MiB does not fit its check".into(),
        });
    }
    Ok(())
}

/// Gives the plain bytes of a base by its id, from a copy that is no delta itself.
pub type Bases<'a> = &'a mut dyn FnMut(&ChunkId) -> Result<Arc<Vec<u8>>>;

/// For where no base can be had: a base of a base, or a record by itself.
///
/// # Errors
/// Always.
pub fn no_bases(id: &ChunkId) -> Result<Arc<Vec<u8>>> {
    Err(Error::ChunkDamaged {
        chunk: id.to_string(),
        pack: String::new(),
        offset: 0,
        why: "it is coded against a base where none may be".into(),
    })
}

/// Turns a record's payload back.
fn plain_of(
    header: &Header,
    payload: &[u8],
    unsqueezer: &mut Unsqueezer,
    bases: Bases<'_>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let held = header.bases.iter().map(bases).collect::<Result<Vec<_>>>()?;
    let held: Vec<&[u8]> = held.iter().map(|b| b.as_slice()).collect();
    unsqueezer.open(header.codec, &header.parameters, payload, header.plain_bytes, &held, out)
}

/// Splits a record's bytes and turns its payload back; proves checks, id and kind. `bases` is asked for what the record
/// is coded against.
///
/// `id` is what the reader asked for, not what the record says of itself.
///
/// # Errors
/// [`Error::ChunkDamaged`].
pub fn open_record(
    keys: &Keys,
    unsqueezer: &mut Unsqueezer,
    pack: PackId,
    offset: u64,
    record: &[u8],
    (kind, id): (ChunkKind, &ChunkId),
    bases: Bases<'_>,
) -> Result<Vec<u8>> {
    let damaged = |why: String| Error::ChunkDamaged { chunk: id.to_string(), pack: pack.to_string(), offset, why };
    let (header, payload) = record::open(pack, offset, record).map_err(|e| damaged(e.to_string()))?;
    if header.id != *id || header.kind != kind {
        return Err(damaged("another chunk lies there".into()));
    }
    let mut plain = Vec::with_capacity(header.plain_bytes as usize); // bounded by the header's decoder
    plain_of(&header, payload, unsqueezer, bases, &mut plain).map_err(|e| match e {
        e @ (Error::Index { .. } | Error::Interrupted) => e,
        e if header.bases.is_empty() => damaged(e.to_string()),
        e => damaged(format!("it cannot be rebuilt from its base: {e}")),
    })?;
    if keys.chunk_id(kind, &plain) != *id {
        return Err(damaged("its bytes do not hash to its name".into()));
    }
    Ok(plain)
}

/// Proves that a record's bytes are what its row in the table says, down to the chunk's name, without
/// handing the chunk out: what lies raw is hashed where it stands. `scratch` is for what does not.
///
/// # Errors
/// [`Error::Malformed`] with what does not fit.
pub fn prove_record(
    keys: &Keys,
    unsqueezer: &mut Unsqueezer,
    scratch: &mut Vec<u8>,
    pack: PackId,
    row: &Row,
    record: &[u8],
    bases: Bases<'_>,
) -> Result<()> {
    let bad = |why| Error::Malformed { what: "a record", offset: 0, why };
    let (header, payload) = record::open(pack, u64::from(row.offset), record)?;
    if header != row.header {
        return Err(bad("another record lies there"));
    }
    let plain = if header.codec == Codec::RAW && header.parameters.is_empty() {
        if payload.len() != header.plain_bytes as usize {
            return Err(bad("it is not as long as its header says"));
        }
        payload
    } else {
        scratch.clear();
        plain_of(&header, payload, unsqueezer, bases, scratch)?;
        scratch
    };
    if keys.chunk_id(header.kind, plain) == header.id { Ok(()) } else { Err(bad("its bytes do not hash to its name")) }
}

/// Reads one record as it stands, checks proven, id not: for copying it elsewhere.
///
/// # Errors
/// [`Error::Io`], [`Error::Malformed`].
pub fn record_at(file: &dyn File, pack: PackId, row: &Row) -> Result<NewRecord> {
    let mut bytes = vec![0; row.header.record_bytes() as usize]; // both lengths are bounded by the decoder
    file.read_exact_at(&mut bytes, u64::from(row.offset)).map_err(Error::io("read", format!("{pack}")))?;
    let (header, payload) = record::open(pack, u64::from(row.offset), &bytes)?;
    if header != row.header {
        return Err(Error::Malformed { what: "a record", offset: 0, why: "another record lies there" });
    }
    Ok(NewRecord {
        kind: header.kind,
        id: header.id,
        codec: header.codec,
        parameters: header.parameters,
        bases: header.bases,
        plain_bytes: header.plain_bytes,
        features: Vec::new(),
        payload: payload.to_vec().into(),
    })
}

/// One thing found by [`walk`].
pub enum Found {
    /// A record whose checks fit its place.
    Record(NewRecord, u64),
    /// Bytes that are no record: from, to.
    Gap(u64, u64),
}

/// Goes through a pack's records by their own headers, without its footer: an open pack after a crash,
/// or one whose end is damaged. After bytes that are no record the next header is searched for.
/// Memory: one record and a window of 64 KiB.
///
/// # Errors
/// [`Error::Io`], and whatever `each` returns.
pub fn walk(file: &dyn File, path: &Path, pack: PackId, mut each: impl FnMut(Found) -> Result<()>) -> Result<()> {
    let len = file.len().map_err(Error::io("read", path))?.min(limits::PACK_BYTES);
    let mut at = PACK_HEADER_BYTES as u64;
    let mut gap = None;
    while at < len {
        match try_record(file, path, pack, at, len)? {
            Some((record, bytes)) => {
                if let Some(from) = gap.take() {
                    each(Found::Gap(from, at))?;
                }
                each(Found::Record(record, at))?;
                at += bytes;
            }
            None => {
                gap.get_or_insert(at);
                at = next_magic(file, path, at + 1, len)?;
            }
        }
    }
    if let Some(from) = gap {
        each(Found::Gap(from, len))?;
    }
    Ok(())
}

fn try_record(file: &dyn File, path: &Path, pack: PackId, at: u64, len: u64) -> Result<Option<(NewRecord, u64)>> {
    let mut head = vec![0; HEADER_BYTES_MAX.min((len - at) as usize)]; // at < len
    if read_lenient(file, path, &mut head, at)? < head.len() {
        return Ok(None);
    }
    let Ok(header) = Header::decode(pack, at, &head) else { return Ok(None) };
    if header.record_bytes() > len - at {
        return Ok(None);
    }
    let bytes = header.record_bytes();
    // `at` is below PACK_BYTES = 2^32
    match record_at(file, pack, &Row { offset: at as u32, header }) {
        Ok(record) => Ok(Some((record, bytes))),
        Err(Error::Io { source, .. }) if source.kind() != std::io::ErrorKind::UnexpectedEof => Ok(None), // an unreadable sector is a gap
        Err(_) => Ok(None),
    }
}

/// Reads what can be read; an unreadable sector counts as the end.
fn read_lenient(file: &dyn File, _path: &Path, into: &mut [u8], at: u64) -> Result<usize> {
    match file.read_exact_at(into, at) {
        Ok(()) => Ok(into.len()),
        Err(_) => Ok(0),
    }
}

/// The next place at or after `from` where a record may begin, or `len`.
fn next_magic(file: &dyn File, path: &Path, from: u64, len: u64) -> Result<u64> {
    const WINDOW: usize = 64 << 10;
    let mut at = from;
    while at < len {
        let mut window = vec![0; WINDOW.min((len - at) as usize)];
        if read_lenient(file, path, &mut window, at)? == 0 {
            at += window.len() as u64; // pass over an unreadable window
            continue;
        }
        if let Some(i) = window.windows(4).position(|w| w == b"OFr1") {
            return Ok(at + i as u64);
        }
        if window.len() < WINDOW {
            return Ok(len);
        }
        at += (WINDOW - 3) as u64;
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::super::write::PackWriter;
    use super::super::{open_path, sealed_path};
    use super::*;
    use crate::format::footer::PackKind;
    use crate::format::{DiskId, StoreId, WriterId};
    use crate::io::memory::{ManualWorld, MemFs};
    use crate::io::{Fs, Io};
    use std::sync::Arc;

    fn pack_id() -> PackId {
        PackId::new(WriterId([4; 8]), 9)
    }

    fn setup() -> (Io, MemFs) {
        let fs = MemFs::new();
        fs.create_dir_all(Path::new("/d/packs")).unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        (Io { fs: Arc::new(fs.clone()), world: Arc::new(ManualWorld::new(1, 1)) }, fs)
    }

    fn records(keys: &Keys, n: usize) -> Vec<NewRecord> {
        (0..n)
            .map(|i| {
                let payload = format!("payload {i} ").repeat(1 + i * 37 % 1000).into_bytes();
                NewRecord::raw(keys.chunk_id(ChunkKind::Data, &payload), payload)
            })
            .collect()
    }

    fn writer(io: &Io) -> PackWriter {
        PackWriter::create(io, StoreId([1; 16]), Path::new("/d"), DiskId([2; 16]), pack_id(), PackKind::Data).unwrap()
    }

    /// A file that keeps what was dropped of it and what was read.
    struct Watched {
        inner: Arc<dyn File>,
        dropped: std::sync::Mutex<Vec<std::ops::Range<u64>>>,
        read_undropped: std::sync::Mutex<Vec<std::ops::Range<u64>>>,
    }

    impl File for Watched {
        fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
            let n = self.inner.read_at(into, offset)?;
            let range = offset..offset + n as u64;
            let dropped = self.dropped.lock().unwrap();
            if !dropped.iter().any(|d| d.start <= range.start && range.end <= d.end) {
                self.read_undropped.lock().unwrap().push(range);
            }
            Ok(n)
        }

        fn write_all_at(&self, _: &[std::io::IoSlice<'_>], _: u64) -> std::io::Result<()> {
            panic!("a sample is only read")
        }

        fn sync(&self) -> std::io::Result<()> {
            Ok(())
        }

        fn len(&self) -> std::io::Result<u64> {
            self.inner.len()
        }

        fn drop_cache(&self, offset: u64, len: u64) -> std::io::Result<()> {
            let end = if len == 0 { self.len()? } else { offset + len };
            self.dropped.lock().unwrap().push(offset..end);
            Ok(())
        }
    }

    #[test]
    fn a_sample_comes_from_the_disk_and_the_rest_stays_in_memory() {
        let (io, fs) = setup();
        let mut w = writer(&io);
        for n in 0..24u8 {
            let plain = vec![n; 700_000];
            w.append(vec![NewRecord::raw(ChunkId([n; 32]), plain)]).unwrap();
        }
        w.seal().map_err(|(_, e)| e).unwrap();
        let path = sealed_path(Path::new("/d"), pack_id());
        let inner = fs.open(&path).unwrap();
        let trailer = trailer(&*inner, &path, pack_id()).unwrap();
        let file = Watched { inner, dropped: Default::default(), read_undropped: Default::default() };
        prove_sample(&file, &path, &trailer).unwrap();
        assert_eq!(file.read_undropped.into_inner().unwrap(), []);
        let dropped: u64 = file.dropped.into_inner().unwrap().iter().map(|d| d.end - d.start).sum();
        assert!(dropped < 3 << 20, "{dropped} of {} bytes are dropped", trailer.file_bytes);
    }

    #[test]
    fn what_was_sealed_is_read_and_proven() {
        let (io, fs) = setup();
        let keys = Keys::new([1; 32], 0);
        let mut w = writer(&io);
        let all = records(&keys, 500);
        for part in all.chunks(7) {
            w.append(part.to_vec()).unwrap();
        }
        let sealed = w.seal().map_err(|(_, e)| e).unwrap();
        let fs = fs.crash_strict();
        let path = sealed_path(Path::new("/d"), pack_id());
        let file = fs.open(&path).unwrap();
        let ends = ends(&*file, &path, pack_id()).unwrap();
        assert_eq!(
            (ends.footer.rows.len(), ends.trailer.root, ends.trailer.file_bytes),
            (500, sealed.root, sealed.bytes)
        );
        assert_eq!(ends.footer, sealed.footer);
        let mut unsqueezer = Unsqueezer::default();
        for (row, record) in ends.footer.rows.iter().zip(&all) {
            let mut bytes = vec![0; row.header.record_bytes() as usize];
            file.read_exact_at(&mut bytes, u64::from(row.offset)).unwrap();
            let open = |id| {
                open_record(
                    &keys,
                    &mut Unsqueezer::default(),
                    pack_id(),
                    u64::from(row.offset),
                    &bytes,
                    (ChunkKind::Data, id),
                    &mut no_bases,
                )
            };
            assert_eq!(open(&record.id).unwrap(), *record.payload);
            assert!(matches!(open(&ChunkId([0; 32])), Err(Error::ChunkDamaged { .. })));
            let tree = open_record(
                &keys,
                &mut unsqueezer,
                pack_id(),
                u64::from(row.offset),
                &bytes,
                (ChunkKind::Tree, &record.id),
                &mut no_bases,
            );
            assert!(tree.is_err(), "a chunk of another kind is another chunk");
        }
        for unit in 0..ends.units.len() as u64 / 16 {
            prove_unit(&*file, &path, &ends, unit).unwrap();
        }
    }

    #[test]
    fn a_payload_that_fits_its_checks_but_not_its_name_is_refused() {
        let (io, fs) = setup();
        let keys = Keys::new([1; 32], 0);
        let mut w = writer(&io);
        let mut lie = records(&keys, 1);
        let mut bytes = lie[0].payload.to_vec();
        bytes[0] ^= 1;
        lie[0].payload = bytes.into();
        let id = lie[0].id;
        w.append(lie).unwrap();
        let sealed = w.seal().map_err(|(_, e)| e).unwrap();
        let path = sealed_path(Path::new("/d"), pack_id());
        let file = fs.open(&path).unwrap();
        let row = &sealed.footer.rows[0];
        let mut bytes = vec![0; row.header.record_bytes() as usize];
        file.read_exact_at(&mut bytes, u64::from(row.offset)).unwrap();
        let got = open_record(
            &keys,
            &mut Unsqueezer::default(),
            pack_id(),
            u64::from(row.offset),
            &bytes,
            (ChunkKind::Data, &id),
            &mut no_bases,
        );
        assert!(matches!(got, Err(Error::ChunkDamaged { .. })));
    }

    #[test]
    fn every_flipped_byte_of_a_sealed_pack_is_found() {
        let (io, fs) = setup();
        let keys = Keys::new([1; 32], 0);
        let mut w = writer(&io);
        w.append(records(&keys, 3)).unwrap();
        w.seal().map_err(|(_, e)| e).unwrap();
        let path = sealed_path(Path::new("/d"), pack_id());
        let good = fs.read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs.write(&path, &bad).unwrap();
            let file = fs.open(&path).unwrap();
            let found = match ends(&*file, &path, pack_id()) {
                Err(_) => true,
                Ok(e) => (0..e.units.len() as u64 / 16).any(|u| prove_unit(&*file, &path, &e, u).is_err()),
            };
            assert!(found, "byte {at} went unnoticed");
        }
        for n in 0..good.len() {
            fs.write(&path, &good[..n]).unwrap();
            assert!(ends(&*fs.open(&path).unwrap(), &path, pack_id()).is_err(), "{n} bytes passed for the pack");
        }
    }

    #[test]
    fn a_walk_finds_every_whole_record_around_damage() {
        let (io, fs) = setup();
        let keys = Keys::new([1; 32], 0);
        let mut w = writer(&io);
        let all = records(&keys, 50);
        w.append(all.clone()).unwrap();
        let path = open_path(Path::new("/d"), pack_id());
        let mut bytes = fs.read(&path).unwrap_or_default();
        if bytes.is_empty() {
            bytes = {
                let f = fs.open(&path).unwrap();
                let mut b = vec![0; f.len().unwrap() as usize];
                f.read_exact_at(&mut b, 0).unwrap();
                b
            };
        }
        let target = bytes.len() / 2;
        bytes[target] ^= 1;
        bytes.truncate(bytes.len() - 3);
        fs.write(&path, &bytes).unwrap();
        let (mut found, mut gaps) = (Vec::new(), Vec::new());
        walk(&*fs.open(&path).unwrap(), &path, pack_id(), |f| {
            match f {
                Found::Record(r, _) => found.push(r.id),
                Found::Gap(a, b) => gaps.push((a, b)),
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(found.len(), 48, "one record was hit, the last one cut off");
        assert!(found.iter().all(|id| all.iter().any(|r| r.id == *id)));
        assert_eq!(gaps.len(), 2);
    }
}
