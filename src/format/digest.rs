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
            assert!(hex(&hasher.finish()).starts_with(begins), "{algorithm:?}");
            assert_eq!(Algorithm::of_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::of_name("sha1"), None);
    }
}
