//! Numbers of the payload's header.

/// Reads bytes from the front.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at.checked_add(n).ok_or("it ends early")?;
        let part = self.bytes.get(self.at..end).ok_or("it ends early")?;
        self.at = end;
        Ok(part)
    }

    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Result<u8, &'static str> {
        Ok(self.array::<1>()?[0]) // an array of one
    }

    /// Seven bits a byte, the lowest first; at most nine bytes.
    pub fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        for i in 0..9 {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too long")
    }

    /// Zigzag in a varint.
    pub fn signed(&mut self) -> Result<i64, &'static str> {
        let n = self.varint()?; // below 2^63
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }
}

/// At most 2^63 - 1.
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    debug_assert!(value >> 63 == 0);
    while value >= 0x80 {
        out.push(value as u8 | 0x80); // the low seven bits
        value >>= 7;
    }
    out.push(value as u8); // below 2^7
}

/// Of magnitude below 2^62.
pub fn put_signed(value: i64, out: &mut Vec<u8>) {
    put_varint(((value << 1) ^ (value >> 63)) as u64, out);
}
