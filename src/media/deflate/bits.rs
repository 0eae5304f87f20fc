//! Writing bits, the lowest first.
//!
//! # Invariants
//!
//! What was put stands in this order, without gaps.

/// Collects bits to bytes.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    buffer: u64,
    count: u32,
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { out: Vec::with_capacity(bytes), ..Writer::default() }
    }

    /// Appends the lowest `n` bits of `bits`, at most 32; the rest of it is 0.
    #[inline]
    pub fn put(&mut self, bits: u32, n: u32) {
        self.buffer |= u64::from(bits) << self.count;
        self.count += n; // below 64
        if self.count >= 32 {
            self.out.extend_from_slice(&(self.buffer as u32).to_le_bytes()); // the lower half
            self.buffer >>= 32;
            self.count -= 32;
        }
    }

    /// Bits so far; a segment has less than 2^32.
    pub fn bits(&self) -> u32 {
        self.out.len() as u32 * 8 + self.count
    }

    /// Bytes so far, an open one included.
    pub fn bytes(&self) -> usize {
        self.out.len() + self.count.div_ceil(8) as usize
    }

    /// Appends `rest` in front of which bits up to a byte border were put.
    pub fn put_bytes(&mut self, rest: &[u8]) {
        self.flush();
        self.out.extend_from_slice(rest);
    }

    fn flush(&mut self) {
        while self.count > 0 {
            self.out.push(self.buffer as u8); // the lowest byte
            self.buffer >>= 8;
            self.count = self.count.saturating_sub(8);
        }
    }

    /// Fills the last byte up with `tail` and ends.
    pub fn finish(mut self, tail: u8) -> Vec<u8> {
        let free = (8 - self.count % 8) % 8;
        if free > 0 {
            self.put(u32::from(tail) & ((1 << free) - 1), free);
        }
        self.flush();
        self.out
    }
}
