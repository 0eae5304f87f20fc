//! One packet of a transport stream (ISO/IEC 13818-1, section 2.4.3).
//!
//! ```text
//!  offset  size  field
//!       0     1  sync      0x47
//!       1     2  1 bit error, 1 bit start of a payload unit, 1 bit priority, 13 bits PID
//!       3     1  2 bits scrambling, 2 bits what follows (1 payload, 2 adaptation field, 3 both), 4 bits counter
//!       4     1  bytes of the adaptation field, where there is one; then so many
//!             n  payload
//! ```

pub const SYNC: u8 = 0x47;
/// Bytes of a packet, without what some files put before or behind each.
pub const PACKET: usize = 188;
/// Bytes of a packet's header.
pub const HEADER: usize = 4;
/// Bytes behind the header.
pub const BODY: usize = PACKET - HEADER;
/// What fills the time.
pub const NULL_PID: u16 = 0x1fff;
/// PIDs below hold tables only.
pub const FIRST_FREE_PID: u16 = 0x20;

/// Header bits that seldom change in a PID: error, priority (as they stand), scrambling (in the lowest two).
pub const LASTING: u8 = 0xa3;
/// The start of a payload unit, among the bits of the header's second byte.
pub const START: u8 = 0x40;

/// How the files put packets in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// One behind the other.
    Plain,
    /// M2TS: four bytes before each, two bits of copy permission and 30 bits of arrival time at 27 MHz.
    Stamped,
    /// Sixteen bytes of a code behind each.
    Coded,
}

impl Row {
    /// Bytes from one packet to the next.
    pub fn stride(self) -> usize {
        match self {
            Row::Plain => PACKET,
            Row::Stamped => PACKET + 4,
            Row::Coded => PACKET + 16,
        }
    }

    /// Where in them the packet begins.
    pub fn at(self) -> usize {
        if self == Row::Stamped { 4 } else { 0 }
    }
}

/// A packet's header, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub pid: u16,
    pub starts: bool,
    /// See [`LASTING`].
    pub lasting: u8,
    pub has_field: bool,
    pub has_payload: bool,
    /// 4 bits.
    pub counter: u8,
}

impl Header {
    pub fn read(packet: &[u8; PACKET]) -> Header {
        let &[_, a, b, c, ..] = packet;
        Header {
            pid: u16::from_be_bytes([a & 0x1f, b]),
            starts: a & START != 0,
            lasting: a & 0xa0 | c >> 6,
            has_field: c & 0x20 != 0,
            has_payload: c & 0x10 != 0,
            counter: c & 15,
        }
    }

    pub fn bytes(self) -> [u8; HEADER] {
        let [high, low] = self.pid.to_be_bytes();
        let starts = if self.starts { START } else { 0 };
        let follows = u8::from(self.has_field) << 5 | u8::from(self.has_payload) << 4;
        [SYNC, self.lasting & 0xa0 | starts | high & 0x1f, low, self.lasting << 6 | follows | self.counter & 15]
    }

    /// The counter that a packet should have whose PID's one before had `counter`.
    pub fn next_counter(pid: u16, counter: u8, has_payload: bool) -> u8 {
        if has_payload && pid != NULL_PID { (counter + 1) & 15 } else { counter } // at most 16 before
    }
}

/// PCR of an adaptation field: 33 bits at 90 kHz, 6 set bits, 9 bits below 300 at 27 MHz; in units of 27 MHz.
pub fn pcr(six: &[u8]) -> Option<u64> {
    let &[a, b, c, d, e, f] = six.first_chunk()?;
    let base = u64::from(u32::from_be_bytes([a, b, c, d])) << 1 | u64::from(e >> 7);
    let pcr = base * 300 + (u64::from(e & 1) << 8 | u64::from(f));
    (pcr_bytes(pcr) == [a, b, c, d, e, f]).then_some(pcr)
}

/// The bytes of a PCR.
pub fn pcr_bytes(pcr: u64) -> [u8; 6] {
    let (base, rest) = (pcr / 300, pcr % 300);
    // Each keeps its own bits, by intent: base has 33 where it was read from a field.
    let [a, b, c, d] = ((base >> 1) as u32).to_be_bytes();
    [a, b, c, d, (base << 7) as u8 | 0x7e | (rest >> 8) as u8, rest as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_comes_back(a: u8, b: u8, c: u8) {
            let mut packet = [0; PACKET];
            packet[..4].copy_from_slice(&[SYNC, a, b, c]);
            prop_assert_eq!(&Header::read(&packet).bytes()[..], &packet[..4]);
        }

        #[test]
        fn a_pcr_comes_back_or_is_none(six: [u8; 6]) {
            let mut six = six;
            six[4] |= 0x7e;
            prop_assert_eq!(pcr(&six).map(pcr_bytes), (u16::from_be_bytes([six[4], six[5]]) & 511 < 300).then_some(six));
        }
    }
}
