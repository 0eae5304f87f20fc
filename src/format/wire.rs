//! Reading and writing bytes with bounds.

use crate::error::{Error, Result};

/// Reads a slice from its front. Every error names what was read and at which byte.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Reader { what, bytes, at: 0 }
    }

    /// The next byte's place.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn left(&self) -> usize {
        self.bytes.len() - self.at // `at` never passes the end: only `take` moves it
    }

    pub fn bad(&self, why: &'static str) -> Error {
        Error::Malformed { what: self.what, offset: self.at as u64, why }
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end =
            self.at.checked_add(n).filter(|&end| end <= self.bytes.len()).ok_or_else(|| self.bad("it ends early"))?;
        let part = &self.bytes[self.at..end]; // at <= end <= len
        self.at = end;
        Ok(part)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A `varint` in its shortest form.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for i in 0..10 {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if i == 9 && bits > 1 {
                return Err(self.bad("a varint is longer than 64 bits"));
            }
            value |= bits << (7 * i);
            if byte & 0x80 == 0 {
                if byte == 0 && i > 0 {
                    return Err(self.bad("a varint is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(self.bad("a varint is longer than 64 bits"))
    }

    /// A `varint` that counts things of at least `size` bytes each, so at most what is left can hold.
    pub fn count(&mut self, size: usize, max: usize) -> Result<usize> {
        let n = self.varint()?;
        let fit = self.left() / size.max(1);
        match usize::try_from(n) {
            Ok(n) if n <= max && n <= fit => Ok(n),
            _ => Err(self.bad("a count is beyond what is there or allowed")),
        }
    }

    /// Length as `varint`, then so many bytes.
    pub fn var_bytes(&mut self, max: usize) -> Result<&'a [u8]> {
        let n = self.count(1, max)?;
        self.take(n)
    }

    /// As [`Reader::var_bytes`], and they are UTF-8.
    pub fn text(&mut self, max: usize) -> Result<String> {
        let at = self.at;
        let bytes = self.var_bytes(max)?;
        match std::str::from_utf8(bytes) {
            Ok(s) => Ok(s.to_owned()),
            Err(_) => Err(Error::Malformed { what: self.what, offset: at as u64, why: "a text is not UTF-8" }),
        }
    }

    pub fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad("a flag is neither 0 nor 1")),
        }
    }

    /// Fails where bytes are left over.
    pub fn end(&self) -> Result<()> {
        if self.left() == 0 { Ok(()) } else { Err(self.bad("bytes are left over")) }
    }
}

/// Fields `tag:varint value:var` with another value in the field `tag`; all others byte for byte, those of later versions
/// included.
///
/// # Errors
/// [`Error::Malformed`]: there is no such field, or these are no fields.
pub fn replace_field(what: &'static str, bytes: &[u8], tag: u64, value: &[u8]) -> Result<Vec<u8>> {
    let mut r = Reader::new(what, bytes);
    let (mut out, mut found) = (Vec::with_capacity(bytes.len() + value.len()), false);
    while r.left() > 0 {
        let (this, old) = (r.varint()?, r.var_bytes(usize::MAX)?);
        out.put_varint(this); // varints have one form: this is what was read
        out.put_var(if this == tag { value } else { old });
        found |= this == tag;
    }
    if found { Ok(out) } else { Err(r.bad("a field is missing")) }
}

/// Appends the wire forms to a byte vector.
pub trait Put {
    fn put(&mut self, bytes: &[u8]);
    fn put_u8(&mut self, v: u8) {
        self.put(&[v]);
    }
    fn put_u16(&mut self, v: u16) {
        self.put(&v.to_le_bytes());
    }
    fn put_u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }
    fn put_u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }
    fn put_i64(&mut self, v: i64) {
        self.put(&v.to_le_bytes());
    }
    fn put_varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.put(&[(v as u8) | 0x80]); // the low seven bits, by intent
            v >>= 7;
        }
        self.put(&[v as u8]); // below 0x80
    }
    fn put_var(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put(bytes);
    }
    fn put_flag(&mut self, v: bool) {
        self.put_u8(u8::from(v));
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_varint_comes_back_and_is_shortest(v: u64) {
            let mut b = Vec::new();
            b.put_varint(v);
            prop_assert_eq!(b.len(), (64 - v.leading_zeros() as usize).div_ceil(7).max(1));
            let mut r = Reader::new("t", &b);
            prop_assert_eq!(r.varint().unwrap(), v);
            r.end().unwrap();
        }

        #[test]
        fn arbitrary_bytes_never_panic(b: Vec<u8>) {
            let mut r = Reader::new("t", &b);
            while r.varint().is_ok() {}
            let _ = r.text(10);
            let _ = r.count(3, 100);
        }
    }

    #[test]
    fn a_varint_with_a_superfluous_byte_is_refused() {
        for bytes in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00], &[0xff; 10], &[0x80; 11]] {
            assert!(Reader::new("t", bytes).varint().is_err());
        }
        assert_eq!(
            Reader::new("t", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).varint().unwrap(),
            u64::MAX
        );
    }

    #[test]
    fn a_count_beyond_the_bytes_left_is_refused_before_anything_is_allocated() {
        let mut b = Vec::new();
        b.put_varint(1 << 40);
        b.put(&[0; 16]);
        assert!(Reader::new("t", &b).count(1, usize::MAX).is_err());
        assert!(Reader::new("t", &b).var_bytes(usize::MAX).is_err());
    }
}
