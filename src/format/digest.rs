//! Digests of whole files, for people and programs outside: fixity lists, and the digests that an entry may carry.
//!
//! They prove nothing inside a store, where ids and checks do. The numbers are those of an entry's field 29.

use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

/// How a file is digested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Algorithm {
    Sha256 = 1,
    Md5 = 2,
    Blake3 = 3,
    Sha512 = 4,
}

impl Algorithm {
    pub const ALL: [Algorithm; 4] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5, Algorithm::Blake3];

    /// The name as it is typed, and as BagIt (RFC 8493) has it in the names of manifests.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Md5 => "md5",
            Algorithm::Blake3 => "blake3",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The name in lines of the form `NAME (path) = digest`.
    pub fn tag(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "SHA256",
            Algorithm::Md5 => "MD5",
            Algorithm::Blake3 => "BLAKE3",
            Algorithm::Sha512 => "SHA512",
        }
    }

    /// Bytes of a digest.
    pub fn bytes(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => 32,
            Algorithm::Md5 => 16,
            Algorithm::Sha512 => 64,
        }
    }

    /// The algorithm of this name.
    pub fn of_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|a| a.name() == name)
    }
}

/// A digest on its way.
pub struct Hasher(State);

enum State {
    Sha256(Sha256),
    Sha512(Sha512),
    Md5(Md5),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        Hasher(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
            Algorithm::Md5 => State::Md5(Md5::new()),
            Algorithm::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
        })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(h) => h.update(bytes),
            State::Sha512(h) => h.update(bytes),
            State::Md5(h) => h.update(bytes),
            State::Blake3(h) => {
                h.update(bytes);
            }
        }
    }

    /// The digest of everything so far: 32 bytes, 64 of SHA-512, 16 of MD5.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            State::Sha256(h) => h.finalize().to_vec(),
            State::Sha512(h) => h.finalize().to_vec(),
            State::Md5(h) => h.finalize().to_vec(),
            State::Blake3(h) => h.finalize().as_bytes().to_vec(),
        }
    }
}

/// Several digests of the same bytes at once.
#[derive(Default)]
pub struct Several(Vec<(Algorithm, Hasher)>);

impl Several {
    pub fn new(algorithms: &[Algorithm]) -> Self {
        Several(algorithms.iter().map(|&a| (a, Hasher::new(a))).collect())
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|(_, hasher)| hasher.update(bytes));
    }

    /// As many zero bytes: a hole.
    pub fn zeros(&mut self, mut bytes: u64) {
        const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
        while bytes > 0 && !self.0.is_empty() {
            let n = bytes.min(ZEROS.len() as u64);
            self.update(&ZEROS[..n as usize]); // n is at most their length
            bytes -= n;
        }
    }

    /// The digests, in the order in which they were asked for.
    pub fn finish(self) -> Vec<(Algorithm, Vec<u8>)> {
        self.0.into_iter().map(|(a, hasher)| (a, hasher.finish())).collect()
    }
}

impl std::io::Write for Several {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::id::hex;

    /// Digests of "abc": FIPS 180-4 appendix, RFC 1321 A.5, and `b3sum`.
    #[test]
    fn digests_are_those_of_the_standards() {
        for (algorithm, begins) in [
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223"),
            (Algorithm::Sha512, "ddaf35a193617abacc417349ae204131"),
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Blake3, "6437b3ac38465133ffb63b75273a8db5"),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            let digest = hasher.finish();
            assert!(hex(&digest).starts_with(begins), "{algorithm:?}");
            assert_eq!(digest.len(), algorithm.bytes());
            assert_eq!(Algorithm::of_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::of_name("sha1"), None);
    }

    #[test]
    fn a_hole_is_digested_as_its_zeros() {
        let mut holes = Several::new(&Algorithm::ALL);
        holes.update(b"a");
        holes.zeros((16 << 10) + 5);
        holes.zeros(0);
        let mut plain = Several::new(&Algorithm::ALL);
        plain.update(b"a");
        plain.update(&[0; (16 << 10) + 5]);
        assert_eq!(holes.finish(), plain.finish());
    }
}
