//! From streams back to pages: version 1.
//!
//! ```text
//! parameters := streams:varint stream{streams} headers?
//! stream     := flags:u8 index:varint serial:u32 sequence:varint granule:zigzag header_laces:varint
//!                 1 its first page is the logical stream's first   2 that page goes on with a packet
//!                 4 has laces   8 has essence
//! headers    := pages_bytes:varint blobs:varint (plain:varint front:varint){blobs}     if any header_laces > 0
//!
//! parts      := main blob{blobs}         if there are headers
//!             | pages                    else
//!               then laces? essence? of each stream
//! main       := text, header laces of each stream, pages
//!
//! pages      := page*
//! page       := head:u8 index:u8? laces:u8 odd:u8? flags:u8? sequence:u32? crc:u32? granule:zigzag?
//!                 head: 15 index in the link (15: it follows)   16 flag "last"   32 granule is -1, else it follows
//!                       64 odd follows
//!                 odd:  1 flags follow   2 sequence follows   4 CRC xor the computed one follows
//! ```
//! A granule is the difference to that of the stream's page before. The text, with each blob put in after so many plain
//! bytes, is the header packets of each stream in turn. A blob is put in as it is where `front` is 0, else as Base64 of
//! `front - 1` bytes of text and the blob. `zigzag` is a varint of a signed number with its sign in the lowest bit.
//!
//! Expected flags: 1 where the stream's lace before was 255, 2 on its first page. Expected sequence: one more than before.
//!
//! # Invariants
//!
//! 1. Nothing is written beyond the asked length, whatever parts and parameters say.
//! 2. Work is linear in that length, the parts and the parameters.

use super::super::signed::unzigzag;
use super::page::{CAPTURE, CONTINUED, CRC_AT, FIRST, HEADER, LAST, body_bytes};
use super::{STREAMS_MAX, base64, crc};
use crate::error::Result;
use crate::format::wire::{Put, Reader};

pub const HEAD_FIRST: u8 = 1;
pub const HEAD_CONTINUES: u8 = 2;
pub const HEAD_HAS_LACES: u8 = 4;
pub const HEAD_HAS_ESSENCE: u8 = 8;

pub const INDEX_LONG: u8 = 15;
pub const PAGE_LAST: u8 = 16;
pub const PAGE_NO_GRANULE: u8 = 32;
pub const PAGE_ODD: u8 = 64;

pub const ODD_FLAGS: u8 = 1;
pub const ODD_SEQUENCE: u8 = 2;
pub const ODD_CRC: u8 = 4;

/// A logical stream: numbers of its next page, and what is left of its parts.
#[derive(Default)]
struct Logical<'a> {
    flags: u8,
    index: usize,
    serial: u32,
    sequence: u32,
    granule: i64,
    first: bool,
    open: bool,
    header_laces_count: usize,
    header_laces: &'a [u8],
    header: &'a [u8],
    laces: &'a [u8],
    essence: &'a [u8],
}

/// Rebuilds pages.
///
/// # Errors
/// [`crate::Error::Malformed`] for what the splitter never left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("an Ogg segment", parameters);
    let mut parts = parts.iter().copied();
    let count = r.count(9, STREAMS_MAX)?;
    let mut streams = (0..count).map(|_| stream(&mut r)).collect::<Result<Vec<_>>>()?;
    let mut places = [None; STREAMS_MAX];
    for (i, stream) in streams.iter().enumerate() {
        match places.get_mut(stream.index) {
            Some(place @ None) => *place = Some(i),
            _ => return Err(r.bad("a logical stream that comes twice, or one too many")),
        }
    }
    let mut next = |r: &Reader<'_>| parts.next().ok_or_else(|| r.bad("a part is missing"));
    let text;
    let pages;
    if streams.iter().any(|s| s.header_laces_count > 0) {
        let main = next(&r)?;
        let pages_bytes = r.varint()?;
        let laces_bytes = streams.iter().fold(0_usize, |sum, s| sum.saturating_add(s.header_laces_count));
        let split = |from: &'_ [u8], n: Option<usize>| n.and_then(|n| from.len().checked_sub(n));
        let at = split(main, usize::try_from(pages_bytes).ok()).ok_or_else(|| r.bad("more pages than there are"))?;
        let (main, records) = main.split_at(at); // at <= len
        let at = split(main, Some(laces_bytes)).ok_or_else(|| r.bad("more laces than there are"))?;
        let (main, mut laces) = main.split_at(at); // at <= len
        text = put_blobs_in(&mut r, main, &mut next, bytes)?;
        let mut text = &text[..];
        for stream in &mut streams {
            // The sum is what was split off.
            (stream.header_laces, laces) = laces.split_at(stream.header_laces_count);
            stream.header = take(&mut text, body_bytes(stream.header_laces)).ok_or_else(|| r.bad("too little text"))?;
        }
        if !text.is_empty() {
            return Err(r.bad("text is left over"));
        }
        pages = records;
    } else {
        pages = next(&r)?;
    }
    r.end()?;
    for stream in &mut streams {
        if stream.flags & HEAD_HAS_LACES != 0 {
            stream.laces = next(&r)?;
        }
        if stream.flags & HEAD_HAS_ESSENCE != 0 {
            stream.essence = next(&r)?;
        }
    }
    let rest_of_parts = next(&r).is_ok();
    // At most what the parts hold and pages need, whatever the recipe says.
    let mut out = Vec::with_capacity(bytes.min(super::WINDOW_MIN));
    let mut r = Reader::new("the pages of an Ogg segment", pages);
    while r.left() > 0 {
        page(&mut r, &mut streams, &places, &mut out, bytes)?;
    }
    let left = |s: &Logical<'_>| s.laces.len() + s.essence.len() + s.header.len() + s.header_laces.len() > 0;
    if rest_of_parts || streams.iter().any(left) {
        return Err(r.bad("bytes of a part are left over"));
    }
    Ok(out)
}

fn stream<'a>(r: &mut Reader<'_>) -> Result<Logical<'a>> {
    let flags = r.u8()?;
    let index = usize::try_from(r.varint()?).unwrap_or(usize::MAX);
    let serial = r.u32()?;
    let sequence = u32::try_from(r.varint()?).map_err(|_| r.bad("a sequence number beyond 32 bits"))?;
    let granule = unzigzag(r.varint()?);
    let header_laces_count = usize::try_from(r.varint()?).unwrap_or(usize::MAX);
    Ok(Logical {
        flags,
        index,
        serial,
        sequence,
        granule,
        first: flags & HEAD_FIRST != 0,
        open: flags & HEAD_CONTINUES != 0,
        header_laces_count,
        ..Logical::default()
    })
}

/// The header packets: `main` with its blobs. At most `max` bytes.
fn put_blobs_in<'a>(
    r: &mut Reader<'_>,
    main: &[u8],
    next: &mut impl FnMut(&Reader<'_>) -> Result<&'a [u8]>,
    max: usize,
) -> Result<Vec<u8>> {
    let blobs = r.count(2, super::BLOBS_MAX)?;
    let mut text = Vec::new();
    let mut main = main;
    for _ in 0..blobs {
        let (plain, front) = (r.varint()?, r.varint()?);
        let blob = next(r)?;
        let short = || r.bad("more text than there is");
        let plain = usize::try_from(plain).ok().and_then(|n| take(&mut main, n)).ok_or_else(short)?;
        text.extend_from_slice(plain);
        if front == 0 {
            text.extend_from_slice(blob);
        } else {
            let front = usize::try_from(front - 1).ok().and_then(|n| take(&mut main, n)).ok_or_else(short)?;
            if text.len().saturating_add(base64::encoded_bytes(front.len() + blob.len())) > max {
                return Err(r.bad("more text than the segment has bytes"));
            }
            base64::encode(&[front, blob].concat(), &mut text);
        }
        if text.len() > max {
            return Err(r.bad("more text than the segment has bytes"));
        }
    }
    text.extend_from_slice(main);
    Ok(text)
}

/// Takes the first `n` bytes off.
fn take<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(n)?;
    *from = rest;
    Some(taken)
}

fn page(
    r: &mut Reader<'_>,
    streams: &mut [Logical<'_>],
    places: &[Option<usize>; STREAMS_MAX],
    out: &mut Vec<u8>,
    max: usize,
) -> Result<()> {
    let head = r.u8()?;
    let index = match head & INDEX_LONG {
        INDEX_LONG => r.u8()?,
        index => index,
    };
    let stream = places.get(usize::from(index)).copied().flatten().and_then(|i| streams.get_mut(i));
    let stream = stream.ok_or_else(|| r.bad("a page of no stream"))?;
    let count = usize::from(r.u8()?);
    let odd = if head & PAGE_ODD != 0 { r.u8()? } else { 0 };
    let mut flags = if stream.open { CONTINUED } else { 0 } | if stream.first { FIRST } else { 0 };
    flags |= if head & PAGE_LAST != 0 { LAST } else { 0 };
    if odd & ODD_FLAGS != 0 {
        flags = r.u8()?;
    }
    if odd & ODD_SEQUENCE != 0 {
        stream.sequence = r.u32()?;
    }
    let wrong = if odd & ODD_CRC != 0 { r.u32()? } else { 0 };
    let granule = if head & PAGE_NO_GRANULE != 0 {
        -1
    } else {
        stream.granule = stream.granule.wrapping_add(unzigzag(r.varint()?));
        stream.granule
    };

    let short = || r.bad("a page needs more of a part than there is");
    let in_headers = count.min(stream.header_laces.len());
    let header_laces = take(&mut stream.header_laces, in_headers).ok_or_else(short)?;
    let laces = take(&mut stream.laces, count - header_laces.len()).ok_or_else(short)?; // at most `count`
    let header = take(&mut stream.header, body_bytes(header_laces)).ok_or_else(short)?;
    let essence = take(&mut stream.essence, body_bytes(laces)).ok_or_else(short)?;

    let begin = out.len();
    if begin + HEADER + count + header.len() + essence.len() > max {
        return Err(r.bad("more pages than the segment has bytes"));
    }
    out.put(CAPTURE);
    out.put(&[0, flags]);
    out.put_i64(granule);
    out.put_u32(stream.serial);
    out.put_u32(stream.sequence);
    out.put_u32(0);
    out.put_u8(count as u8); // it was one
    for part in [header_laces, laces, header, essence] {
        out.put(part);
    }
    let crc = crc::update(0, out.get(begin..).unwrap_or_default()) ^ wrong;
    if let Some(place) = out.get_mut(begin + CRC_AT..begin + CRC_AT + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    if let Some(&lace) = laces.last().or(header_laces.last()) {
        stream.open = lace == 255;
    }
    stream.first = false;
    stream.sequence = stream.sequence.wrapping_add(1);
    Ok(())
}
