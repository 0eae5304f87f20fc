//! The header of a packetized elementary stream's packet (ISO/IEC 13818-1, section 2.4.3.6), apart from its payload.
//!
//! ```text
//! record := control:u8 (id:u8 | head:4)? length:varint? dts:zigzag? offset:zigzag? rest
//!             128 no such header: alone     1 head follows: stream id, two bytes of flags, bytes behind them
//!             2 a length that is not 0      4 PTS, and DTS where the flags say so, as differences
//!             8 a stream without flags: only its id follows
//! ```
//! DTS (PTS where there is none) is the difference to the one before in the same PID; `offset` is PTS - DTS. `rest` is
//! what else the header holds. The head is that of the packet before where it does not follow.
//!
//! # Invariants
//!
//! [`read`] gives what [`write`] took, from the same state.

use super::super::signed::{minus, plus};
use crate::error::Result;
use crate::format::wire::{Put, Reader};

const NONE: u8 = 128;
const HEAD: u8 = 1;
const LENGTH: u8 = 2;
const TIMES: u8 = 4;
const SHORT: u8 = 8;

/// Bytes of the header of a stream with flags, before its variable part.
const FIXED: usize = 9;
/// Bytes of one time.
const TIME: usize = 5;

/// What stays from one header to the next in a PID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Stream id, two bytes of flags, bytes behind them.
    pub head: [u8; 4],
    /// 33 bits.
    pub dts: u64,
}

/// Ids of streams whose packets have no flags (table 2-21: maps, padding, private 2, ECM, EMM, DSM-CC, directory).
fn is_short(id: u8) -> bool {
    matches!(id, 0xbc | 0xbe | 0xbf | 0xf0 | 0xf1 | 0xf2 | 0xf8 | 0xff)
}

/// A time with its marker bits and the four bits in front.
fn time(front: u8, time: u64) -> [u8; TIME] {
    // Each shift keeps 8 bits or fewer, by intent.
    [
        front << 4 | (time >> 29) as u8 & 0x0e | 1,
        (time >> 22) as u8,
        (time >> 14) as u8 | 1,
        (time >> 7) as u8,
        (time << 1) as u8 | 1,
    ]
}

/// Reads a time that [`time`] would write like this.
fn read_time(front: u8, bytes: &[u8]) -> Option<u64> {
    let five @ &[a, b, c, d, e] = bytes.first_chunk()?;
    let [a, b, c, d, e] = [a, b, c, d, e].map(u64::from);
    let value = (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1;
    (time(front, value) == *five).then_some(value)
}

/// PTS and DTS of a header's variable part, as its flags say, and how many bytes they take.
fn times(flags: u8, variable: &[u8]) -> Option<(u64, u64, usize)> {
    match flags >> 6 {
        2 => {
            let pts = read_time(2, variable)?;
            Some((pts, pts, TIME))
        }
        3 => Some((read_time(3, variable)?, read_time(1, variable.get(TIME..)?)?, 2 * TIME)),
        _ => None,
    }
}

/// Takes the header off the front of `payload`, into `out`. Returns its bytes: 0 if there is none, or not a whole one.
pub fn write(before: &mut Before, payload: &[u8], out: &mut Vec<u8>) -> usize {
    let none = |out: &mut Vec<u8>| {
        out.put_u8(NONE);
        0
    };
    let &[0, 0, 1, id, l0, l1, ref behind @ ..] = payload else { return none(out) };
    let length = u16::from_be_bytes([l0, l1]);
    let has_length = if length == 0 { 0 } else { LENGTH };
    if is_short(id) {
        out.put_u8(SHORT | has_length);
        out.put_u8(id);
        if length != 0 {
            out.put_varint(u64::from(length));
        }
        return 6;
    }
    let &[a, b, bytes, ref behind @ ..] = behind else { return none(out) };
    let Some(variable) = behind.get(..usize::from(bytes)) else { return none(out) };
    if a >> 6 != 2 {
        return none(out);
    }
    let head = [id, a, b, bytes];
    let times = times(b, variable);
    let has_head = if head == before.head { 0 } else { HEAD };
    out.put_u8(has_head | has_length | if times.is_some() { TIMES } else { 0 });
    if has_head != 0 {
        out.put(&head);
        before.head = head;
    }
    if length != 0 {
        out.put_varint(u64::from(length));
    }
    let mut rest = variable;
    if let Some((pts, dts, n)) = times {
        out.put_varint(minus(dts, before.dts));
        if n > TIME {
            out.put_varint(minus(pts, dts));
        }
        before.dts = dts;
        rest = variable.get(n..).unwrap_or_default();
    }
    out.put(rest);
    FIXED + variable.len()
}

/// The way back of [`write`]: appends the header to `out`, which is at most 264 bytes.
///
/// # Errors
/// [`crate::Error::Malformed`].
pub fn read(before: &mut Before, r: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
    let control = r.u8()?;
    if control == NONE {
        return Ok(());
    }
    if control & !(HEAD | LENGTH | TIMES | SHORT) != 0 {
        return Err(r.bad("a header of an unknown kind"));
    }
    let short = if control & SHORT != 0 { Some(r.u8()?) } else { None };
    if control & HEAD != 0 {
        before.head = r.array()?;
    }
    let [id, a, b, bytes] = before.head;
    let length = if control & LENGTH != 0 { r.varint()? } else { 0 };
    let length = u16::try_from(length).map_err(|_| r.bad("a length beyond 16 bits"))?;
    out.put(&[0, 0, 1, short.unwrap_or(id)]);
    out.put(&length.to_be_bytes());
    if short.is_some() {
        return Ok(());
    }
    out.put(&[a, b, bytes]);
    let mut rest = usize::from(bytes);
    if control & TIMES != 0 {
        let dts = plus(before.dts, r.varint()?);
        before.dts = dts;
        let both = b >> 6 == 3;
        let pts = if both { plus(dts, r.varint()?) } else { dts };
        out.put(&time(if both { 3 } else { 2 }, pts));
        if both {
            out.put(&time(1, dts));
        }
        let n = if both { 2 * TIME } else { TIME };
        rest = rest.checked_sub(n).ok_or_else(|| r.bad("times that the header has no room for"))?;
    }
    out.put(r.take(rest)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(records: &[u8]) -> Result<Vec<u8>> {
        let (mut before, mut out, mut r) = (Before::default(), Vec::new(), Reader::new("t", records));
        while r.left() > 0 {
            read(&mut before, &mut r, &mut out)?;
        }
        Ok(out)
    }

    #[test]
    fn a_header_takes_few_bytes_once_one_like_it_came() {
        let (mut before, mut records, mut all) = (Before::default(), Vec::new(), Vec::new());
        for i in 0..10_u64 {
            let dts = (1 << 33) - 9000 + 1800 * i; // below 33 bits, all the time
            let mut header = vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 12];
            header.extend(time(3, dts + 3600));
            header.extend(time(1, dts));
            header.extend([0xff, 0xff]);
            let at = records.len();
            let payload = [&header[..], b"sound"].concat();
            if dts + 3600 < 1 << 33 {
                assert_eq!(write(&mut before, &payload, &mut records), header.len());
                assert!(i == 0 || records.len() - at == 7, "{}", records.len() - at);
                all.extend(header);
            }
        }
        assert_eq!(back(&records).unwrap(), all);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_header_comes_back(headers in prop::collection::vec(
            (any::<u8>(), any::<u16>(), 0..0x40_u8, any::<u8>(), 0..20_u8, prop::collection::vec(any::<u8>(), 20), any::<bool>()), 1..5,
        )) {
            let (mut before, mut records, mut all) = (Before::default(), Vec::new(), Vec::new());
            for (id, length, a, b, bytes, variable, marked) in headers {
                let mut header = [&[0, 0, 1, id][..], &length.to_be_bytes(), &[a | 0x80, b, bytes], &variable].concat();
                if marked {
                    header[9..14].copy_from_slice(&time(b >> 6, u64::from(length) << 17));
                    header[14..19].copy_from_slice(&time(1, u64::from(length) << 7));
                }
                let n = write(&mut before, &header, &mut records);
                all.extend_from_slice(&header[..n]);
            }
            prop_assert_eq!(back(&records).unwrap(), all);
        }

        #[test]
        fn arbitrary_records_never_panic(records: Vec<u8>) {
            let _ = back(&records);
        }
    }
}
