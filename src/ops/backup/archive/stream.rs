//! A tar archive from a pipe: its members one after another, and the bytes of each.
//!
//! Reads old, ustar, GNU (long names, type `S` sparse files) and pax archives (POSIX.1-2017, "pax", with the sparse
//! formats 0.0, 0.1 and 1.0 of GNU tar's manual, "Storing Sparse Files").
//!
//! # Invariants
//!
//! 1. An archive ends with its end marker, a block of zeros: one that stops before it was cut off, wherever that is.
//! 2. Memory: all that stands before one member's data is at most [`HEADERS_BYTES`], and a map of holes
//!    [`EXTENTS_MAX`] ranges, whatever lengths the archive claims.

use crate::format::entry::Time;
use crate::format::limits;
use std::io::{Error, ErrorKind, Read, Result};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

const BLOCK: usize = 512;
/// Long names, pax records and maps of holes of one member, together.
const HEADERS_BYTES: u64 = 8 << 20;
/// Ranges of data in a sparse file.
const EXTENTS_MAX: usize = 1 << 19;

/// What pax records say of a member beyond its header. Of several records with one key the last counts.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub mtime: Option<Time>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: PaxSparse,
}

/// The records of sparse files.
#[derive(Debug, Default)]
struct PaxSparse {
    major: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Offsets and lengths in turn, of the formats 0.0 and 0.1.
    numbers: Option<Vec<u64>>,
    /// A record that is no number, or more ranges than are taken.
    bad: bool,
}

/// The ranges of a sparse file that are no holes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extents {
    /// Offset and length, ascending; their bytes follow each other in the archive.
    pub ranges: Vec<(u64, u64)>,
    /// The file's length.
    pub bytes: u64,
}

/// One member.
pub(super) struct Member {
    pub header: Header,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub pax: Pax,
    /// Of a sparse file; the inner error is a reason to leave it out.
    pub sparse: Option<std::result::Result<Extents, &'static str>>,
}

/// An archive that is read. As a [`Read`] it gives the bytes of the member at hand.
pub(super) struct Tar<'i> {
    input: &'i mut dyn Read,
    /// Bytes of the member's data that were not read yet, and what fills the last block.
    left: u64,
    padding: u64,
    /// What holds for all members behind it that say nothing else.
    global: Pax,
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

fn cut() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the archive ends before its end marker: it was cut off, or is none")
}

/// Decimal seconds, nanoseconds after the point.
pub(super) fn time_of(text: &str) -> Option<Time> {
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

/// The first record of these: its key, its value, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?; // a position in it
    let (record, rest) = bytes.split_at_checked(length)?;
    let (key, value) = record
        .get(space + 1..)?
        .strip_suffix(b"\n")?
        .split_at_checked(record.get(space + 1..)?.iter().position(|b| *b == b'=')?)?;
    Some((key, value.get(1..)?, rest))
}

impl Pax {
    fn decode(mut bytes: &[u8]) -> Result<Pax> {
        let mut pax = Pax::default();
        while !bytes.is_empty() {
            let Some((key, value, rest)) = record(bytes) else { return Err(bad("a pax record is malformed")) };
            bytes = rest;
            let text = std::str::from_utf8(value).ok();
            let number = || text.and_then(|t| t.parse::<u64>().ok());
            match key {
                b"mtime" => pax.mtime = text.and_then(time_of),
                b"uid" => pax.uid = text.and_then(|t| t.parse().ok()),
                b"gid" => pax.gid = text.and_then(|t| t.parse().ok()),
                b"uname" => pax.user = text.map(str::to_owned),
                b"gname" => pax.group = text.map(str::to_owned),
                b"path" => pax.path = Some(value.to_vec()),
                b"linkpath" => pax.link = Some(value.to_vec()),
                b"size" => pax.size = Some(number().ok_or_else(|| bad("a pax size is no number"))?),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        pax.attributes.push((name.to_vec(), value.to_vec()));
                    } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        pax.sparse.take(key, value);
                    }
                }
            }
        }
        Ok(pax)
    }
}

impl Pax {
    /// Takes what another header says in its stead, of what can hold for many members. `git archive` has a comment alone.
    fn replace(&mut self, by: Pax) {
        let before = std::mem::replace(self, by);
        self.default_to(&before);
    }

    /// Takes what another header says of what this one does not.
    fn default_to(&mut self, other: &Pax) {
        self.mtime = self.mtime.or(other.mtime);
        self.uid = self.uid.or(other.uid);
        self.gid = self.gid.or(other.gid);
        self.user = self.user.take().or_else(|| other.user.clone());
        self.group = self.group.take().or_else(|| other.group.clone());
    }
}

impl PaxSparse {
    fn take(&mut self, key: &[u8], value: &[u8]) {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let number = || text.parse::<u64>().ok();
        let numbers = match key {
            b"major" => {
                self.major = number();
                self.bad |= self.major.is_none();
                return;
            }
            b"name" => {
                self.name = Some(value.to_vec());
                return;
            }
            b"size" | b"realsize" => {
                self.size = number();
                return;
            }
            b"offset" | b"numbytes" | b"map" => text.split(',').filter(|t| !t.is_empty()),
            _ => return,
        };
        let list = self.numbers.get_or_insert_default();
        for text in numbers {
            match text.parse() {
                Ok(number) if list.len() < 2 * EXTENTS_MAX => list.push(number),
                _ => self.bad = true,
            }
        }
    }
}

impl Extents {
    /// Of offsets and lengths in turn, of a file of which `packed` bytes are in the archive.
    ///
    /// # Errors
    /// A reason why there is no such file.
    fn of(numbers: &[u64], bytes: u64, packed: u64) -> std::result::Result<Extents, &'static str> {
        let why = "its map of holes contradicts itself";
        let (pairs, odd) = numbers.as_chunks::<2>();
        let (mut end, mut sum) = (0u64, 0u64);
        let mut ranges: Vec<(u64, u64)> = Vec::with_capacity(pairs.len()); // at most EXTENTS_MAX
        for [offset, length] in pairs.iter().filter(|[_, length]| *length > 0) {
            // Each range fills its blocks: where one did not, writers differ in what follows it.
            if *offset < end || !sum.is_multiple_of(BLOCK as u64) {
                return Err(why);
            }
            end = offset.checked_add(*length).ok_or(why)?;
            sum = sum.checked_add(*length).ok_or(why)?;
            match ranges.last_mut() {
                Some((at, n)) if *at + *n == *offset => *n += length, // ends were added without overflow above
                _ => ranges.push((*offset, *length)),
            }
        }
        if !odd.is_empty() || end > bytes || bytes > limits::FILE_BYTES || sum != packed {
            return Err(why);
        }
        Ok(Extents { ranges, bytes })
    }
}

impl<'i> Tar<'i> {
    pub fn new(input: &'i mut dyn Read) -> Self {
        Tar { input, left: 0, padding: 0, global: Pax::default() }
    }

    /// The next member; `None` at the end marker. What was not read of the one before is passed over.
    ///
    /// # Errors
    /// Those of the input; [`ErrorKind::UnexpectedEof`] for an archive that ends early; [`ErrorKind::InvalidData`] for what
    /// is none.
    pub fn next(&mut self) -> Result<Option<Member>> {
        self.pass_over()?;
        let mut room = HEADERS_BYTES;
        let (mut name, mut link, mut pax) = (None, None, None);
        loop {
            let mut header = Header::new_old();
            self.fill(header.as_mut_bytes())?;
            let bytes = header.as_bytes();
            if bytes.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            // The sum of all bytes, those of the sum itself taken as blanks.
            let sum = bytes.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) });
            if sum.sum::<u32>() != header.cksum()? {
                return Err(bad("a header's checksum is wrong: the archive is damaged, or is none"));
            }
            let size = header.entry_size()?;
            if header.entry_type() == EntryType::XGlobalHeader {
                let records = self.long(size, &mut room)?;
                self.global.replace(Pax::decode(&records)?);
                continue;
            }
            let kept = match header.entry_type() {
                EntryType::GNULongName => &mut name,
                EntryType::GNULongLink => &mut link,
                EntryType::XHeader => &mut pax,
                _ => {
                    let mut pax = pax.map_or_else(|| Ok(Pax::default()), |bytes: Vec<u8>| Pax::decode(&bytes))?;
                    pax.default_to(&self.global);
                    return self.member(header, (name, link), pax, room).map(Some);
                }
            };
            *kept = Some(self.long(size, &mut room)?);
        }
    }

    /// The data of a header that stands before its member.
    fn long(&mut self, size: u64, room: &mut u64) -> Result<Vec<u8>> {
        *room = room.checked_sub(size).ok_or_else(|| bad("the names and records of a member are longer than 8 MiB"))?;
        let mut bytes = vec![0; size as usize]; // bounded above
        self.fill(&mut bytes)?;
        let mut filler = [0; BLOCK];
        self.fill(&mut filler[..bytes.len().next_multiple_of(BLOCK) - bytes.len()])?; // less than a block
        Ok(bytes)
    }

    fn member(
        &mut self,
        header: Header,
        (name, link): (Option<Vec<u8>>, Option<Vec<u8>>),
        mut pax: Pax,
        mut room: u64,
    ) -> Result<Member> {
        let unended = |mut name: Vec<u8>| {
            name.pop_if(|last| *last == 0);
            name
        };
        let path = pax.sparse.name.take().or(name.map(unended)).or(pax.path.take());
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = link.map(unended).or(pax.link.take());
        let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
        let size = pax.size.map_or_else(|| header.entry_size(), Ok)?;
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let mut member = Member { header, path, link, pax, sparse: None };
        member.sparse = match member.header.entry_type() {
            EntryType::GNUSparse => Some(self.gnu_map(&member.header, &mut room)?),
            EntryType::Regular | EntryType::Continuous => self.pax_map(&member.pax.sparse, room)?,
            _ => None,
        };
        Ok(member)
    }

    /// The map of a sparse file of type `S`: in its header and in blocks behind that.
    fn gnu_map(&mut self, header: &Header, room: &mut u64) -> Result<std::result::Result<Extents, &'static str>> {
        let Some(gnu) = header.as_gnu() else { return Err(bad("a sparse file has no GNU header")) };
        let mut numbers = Vec::new();
        let mut add = |blocks: &[GnuSparseHeader]| -> Result<()> {
            for block in blocks.iter().filter(|b| !b.is_empty()) {
                numbers.extend([block.offset()?, block.length()?]); // two of 24 bytes: bounded by the headers' bound
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut next = GnuExtSparseHeader::new();
            *room = room.checked_sub(BLOCK as u64).ok_or_else(|| bad("a map of holes is longer than 8 MiB"))?;
            self.fill(next.as_mut_bytes())?;
            add(next.sparse())?;
            more = next.is_extended();
        }
        Ok(Extents::of(&numbers, gnu.real_size()?, self.left))
    }

    /// The map of a sparse file by pax records, if it is one. That of format 1.0 stands before its data.
    fn pax_map(
        &mut self,
        records: &PaxSparse,
        mut room: u64,
    ) -> Result<Option<std::result::Result<Extents, &'static str>>> {
        let Some(bytes) = records.size else {
            let is_sparse = records.major.is_some() || records.numbers.is_some() || records.bad;
            return Ok(is_sparse.then_some(Err("it is sparse, and its length is not told")));
        };
        if records.bad || records.major.is_some_and(|major| major > 1) {
            return Ok(Some(Err("it is sparse in a form that is not known")));
        }
        if records.major != Some(1) {
            return Ok(Some(Extents::of(records.numbers.as_deref().unwrap_or_default(), bytes, self.left)));
        }
        // How many, then offsets and lengths: decimal lines, filled up to a block.
        let (mut numbers, mut number, mut wanted) = (Vec::new(), None::<u64>, 1);
        while numbers.len() < wanted {
            let mut block = [0; BLOCK];
            let enough = room.checked_sub(BLOCK as u64).zip(self.left.checked_sub(BLOCK as u64));
            let Some((less, left)) = enough else { return Ok(Some(Err("its map of holes is too long"))) };
            self.fill(&mut block)?;
            (room, self.left) = (less, left);
            for byte in block {
                match (byte, number) {
                    _ if numbers.len() == wanted => break,
                    (b'0'..=b'9', _) => {
                        let digit = u64::from(byte - b'0');
                        number = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit));
                        if number.is_none() {
                            return Ok(Some(Err("its map of holes has a number that is too large")));
                        }
                    }
                    (b'\n', Some(n)) => {
                        if numbers.is_empty() {
                            let Some(n) = usize::try_from(n).ok().filter(|n| *n <= EXTENTS_MAX) else {
                                return Ok(Some(Err("it has more holes than are taken")));
                            };
                            wanted = 1 + 2 * n;
                        }
                        numbers.push(n);
                        number = None;
                    }
                    _ => return Ok(Some(Err("its map of holes is malformed"))),
                }
            }
        }
        Ok(Some(Extents::of(&numbers[1..], bytes, self.left))) // it has one at least
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        self.input.read_exact(into).map_err(|e| if e.kind() == ErrorKind::UnexpectedEof { cut() } else { e })
    }

    fn pass_over(&mut self) -> Result<()> {
        let mut left = std::mem::take(&mut self.left).saturating_add(std::mem::take(&mut self.padding));
        let mut buffer = [0; 32 << 10];
        while left > 0 {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.fill(&mut buffer[..n])?;
            left -= n as u64; // at most `left`
        }
        Ok(())
    }
}

impl Read for Tar<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.input.read(&mut into[..most])?;
        if n == 0 {
            return Err(cut());
        }
        self.left -= n as u64; // at most `left`
        Ok(n)
    }
}
