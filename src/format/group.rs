//! The record of a parity group: in the log and in each parity pack's header.
//!
//! ```text
//! group  := id:16 code:u16 k:u8 m:u8 member{k+m}
//! member := slot:u8 role:u8 pack:12 length:u64 root:32
//! ```
//! Slots count from 0: data members first, then parity. Code 1 is Reed-Solomon over GF(2^16) as
//! `reed-solomon-simd` 3 computes it, over slices of at most 1 MiB a member; short members count as
//! zero-padded. Laid out in format 1, written as soon as a pool has parity.

use super::id::PackId;
use super::limits;
use super::wire::{Put, Reader};
use crate::error::Result;

/// Reed-Solomon over GF(2^16).
pub const CODE_REED_SOLOMON_16: u16 = 1;

/// One pack of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub pack: PackId,
    pub parity: bool,
    pub bytes: u64,
    pub root: [u8; 32],
}

/// A group of packs on distinct disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: [u8; 16],
    pub code: u16,
    /// Data members first, then parity; the place is the slot.
    pub members: Vec<Member>,
}

impl Group {
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let parity = self.members.iter().filter(|m| m.parity).count();
        debug_assert!(self.members.len() <= limits::GROUP_MEMBERS);
        out.put(&self.id);
        out.put_u16(self.code);
        out.put_u8((self.members.len() - parity) as u8); // at most GROUP_MEMBERS
        out.put_u8(parity as u8);
        for (slot, m) in self.members.iter().enumerate() {
            out.put_u8(slot as u8);
            out.put_u8(u8::from(m.parity));
            out.put(&m.pack.0);
            out.put_u64(m.bytes);
            out.put(&m.root);
        }
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (id, code, k, m) = (r.array()?, r.u16()?, usize::from(r.u8()?), usize::from(r.u8()?));
        if k == 0 || k + m > limits::GROUP_MEMBERS {
            return Err(r.bad("a group of no or too many members"));
        }
        let mut members = Vec::with_capacity(k + m);
        for slot in 0..k + m {
            let (at, parity) = (r.u8()?, r.flag()?);
            if usize::from(at) != slot || parity != (slot >= k) {
                return Err(r.bad("a group's members are out of order"));
            }
            let (pack, bytes, root) = (PackId(r.array()?), r.u64()?, r.array()?);
            if bytes > limits::PACK_BYTES {
                return Err(r.bad("a member is longer than a pack can be"));
            }
            members.push(Member { pack, parity, bytes, root });
        }
        Ok(Group { id, code, members })
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Group {
    use super::WriterId;
    let member = |n: u32, parity| Member {
        pack: PackId::new(WriterId([1; 8]), n),
        parity,
        bytes: u64::from(n) << 20,
        root: [n as u8; 32],
    };
    Group {
        id: [9; 16],
        code: CODE_REED_SOLOMON_16,
        members: vec![member(1, false), member(2, false), member(3, true)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_comes_back_and_disorder_is_refused() {
        let mut b = Vec::new();
        sample().encode_into(&mut b);
        let mut r = Reader::new("t", &b);
        assert_eq!(Group::decode(&mut r).unwrap(), sample());
        r.end().unwrap();
        for (at, value) in [(18, 0), (18, 255), (20, 1), (21, 1)] {
            let mut bad = b.clone();
            bad[at] = value;
            assert!(Group::decode(&mut Reader::new("t", &bad)).is_err(), "byte {at} = {value}");
        }
        for n in 0..b.len() {
            assert!(Group::decode(&mut Reader::new("t", &b[..n])).is_err());
        }
    }
}
