//! One page of an Ogg file (RFC 3533, section 6).
//!
//! ```text
//!  offset  size  field
//!       0     4  capture pattern  "OggS"
//!       4     1  version          0
//!       5     1  flags            1 goes on with a packet, 2 first page of its stream, 4 last one; the rest 0
//!       6     8  granule          position behind the last packet that ends here; -1 if none does
//!      14     4  serial           of the logical stream
//!      18     4  sequence         of the page in its stream
//!      22     4  CRC              of the page with this field zero, see `crc`
//!      26     1  laces            how many
//!      27     n  laces            each says how many bytes of the body; below 255 it ends a packet
//!    27+n        body
//! ```

use super::crc;

pub const CAPTURE: &[u8; 4] = b"OggS";
/// Bytes in front of the laces.
pub const HEADER: usize = 27;
/// Where the CRC's four bytes stand.
pub const CRC_AT: usize = 22;
/// Bytes of the longest page.
pub const PAGE_MAX: usize = HEADER + 255 + 255 * 255;

/// A page starts with a packet that the page before began.
pub const CONTINUED: u8 = 1;
/// A logical stream's first page.
pub const FIRST: u8 = 2;
/// A logical stream's last page.
pub const LAST: u8 = 4;

/// A page where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub flags: u8,
    pub granule: i64,
    pub serial: u32,
    pub sequence: u32,
    pub crc: u32,
    pub laces: &'a [u8],
    pub body: &'a [u8],
    /// The whole page.
    pub bytes: &'a [u8],
}

/// What stands at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub enum Front<'a> {
    Page(Page<'a>),
    /// What is there is, or could be, the start of a page.
    Short,
    Other,
}

/// Looks at the front of `bytes`. The CRC is not looked at.
pub fn front(bytes: &[u8]) -> Front<'_> {
    match read(bytes) {
        Some(page) => Front::Page(page),
        None if bytes.iter().zip(b"OggS\0").all(|(a, b)| a == b) => Front::Short,
        None => Front::Other,
    }
}

fn read(bytes: &[u8]) -> Option<Page<'_>> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let (fixed, [flags, numbers @ .., laces]) = header.split_first_chunk::<5>()? else { return None };
    let (flags, laces) = (*flags, *laces);
    if fixed != b"OggS\0" {
        return None;
    }
    let (granule, numbers) = numbers.split_first_chunk()?;
    let (serial, numbers) = numbers.split_first_chunk()?;
    let (sequence, crc) = numbers.split_first_chunk()?;
    let (laces, rest) = rest.split_at_checked(usize::from(laces))?;
    let body = rest.get(..body_bytes(laces))?;
    Some(Page {
        flags,
        granule: i64::from_le_bytes(*granule),
        serial: u32::from_le_bytes(*serial),
        sequence: u32::from_le_bytes(*sequence),
        crc: u32::from_le_bytes(*crc.first_chunk()?),
        laces,
        body,
        bytes: bytes.get(..HEADER + laces.len() + body.len())?,
    })
}

/// Bytes of the body that these laces stand for.
pub fn body_bytes(laces: &[u8]) -> usize {
    laces.iter().map(|&l| usize::from(l)).sum()
}

impl Page<'_> {
    /// The CRC that the page should have.
    pub fn computed_crc(&self) -> u32 {
        let (head, tail) = self.bytes.split_at(CRC_AT); // a page has 27 bytes at least
        let tail = tail.get(4..).unwrap_or_default();
        crc::update(crc::update(crc::update(0, head), &[0; 4]), tail)
    }
}
