//! What manifests list beside what is there: one merge over records that are sorted by a hash of their path.

use super::{Manifest, OWN, is_payload};
use crate::error::Result;
use crate::format::check;
use crate::format::digest::Algorithm;
use crate::index::{Order, Sorter};
use crate::io::Io;
use crate::ops::Control;
use std::path::Path;

pub(super) type Hash = [u8; HASH_BYTES];

const HASH_BYTES: usize = 32;
/// The longest digest: that of SHA-512.
const DIGEST_BYTES: usize = 64;
/// Hash of the path, kind, which one, digest.
const RECORD_BYTES: usize = HASH_BYTES + 2 + DIGEST_BYTES;

/// What a record tells, in the order in which they come for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    /// The file is there. Its "digest" is 1 for a file of the payload.
    Here = 0,
    /// Its digest by the algorithm of that number.
    Digest = 1,
    /// What it was when it was read as a tag file.
    Own = 2,
    /// A payload manifest lists it.
    Payload = 3,
    /// A tag manifest lists it.
    Tag = 4,
    /// It is to be fetched.
    Fetch = 5,
}

/// What is wrong with a file. Numbers are those of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Missing(u8),
    ToFetch,
    FetchOnly,
    Unlisted,
    NotIn(u8),
    Twice(u8),
    Differs(u8),
    Changed,
}

impl Why {
    pub fn told(self, manifests: &[Manifest]) -> String {
        let name = |i: u8| manifests.get(usize::from(i)).map_or("a manifest", |m| &m.file);
        match self {
            Why::Missing(i) => format!("it is not there; {} lists it", name(i)),
            Why::ToFetch => "it is not there: it is still to be fetched".into(),
            Why::FetchOnly => "fetch.txt lists it, no payload manifest does".into(),
            Why::Unlisted => "no payload manifest lists it".into(),
            Why::NotIn(i) => format!("{} does not list it", name(i)),
            Why::Twice(i) => format!("{} lists it twice", name(i)),
            Why::Differs(i) => format!("its digest is not the one in {}", name(i)),
            Why::Changed => "it changed while the bag was read".into(),
        }
    }
}

/// The hash by which paths are told apart.
pub(super) fn hash(path: &[u8]) -> Hash {
    check::blake3(&[path])
}

type Digest = [u8; DIGEST_BYTES];

/// A digest in its field; longer ones, of algorithms that are not computed here, are cut.
fn field(digest: &[u8]) -> Digest {
    let mut out = [0; DIGEST_BYTES];
    out.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    out
}

/// Both sides of the comparison.
pub(super) struct Compare(Sorter<RECORD_BYTES>);

/// One path's records so far.
struct Group {
    hash: Hash,
    here: bool,
    is_payload: bool,
    digests: Vec<(u8, Digest)>,
    /// By manifest.
    listed: Vec<bool>,
    /// The last listing.
    last: Option<(u8, Digest)>,
    fetch: bool,
    why: Option<Why>,
}

impl Compare {
    pub fn new(io: &Io, folder: &Path, memory_bytes: usize) -> Result<Compare> {
        Ok(Compare(Sorter::new(io, folder, memory_bytes, Order::All)?))
    }

    fn push(&mut self, path: &[u8], kind: Kind, which: u8, digest: &[u8]) -> Result<()> {
        let mut record = [0; RECORD_BYTES];
        record[..HASH_BYTES].copy_from_slice(&hash(path));
        record[HASH_BYTES] = kind as u8; // `repr(u8)`: the discriminant itself
        record[HASH_BYTES + 1] = which;
        record[HASH_BYTES + 2..].copy_from_slice(&field(digest));
        self.0.push(&record)
    }

    /// Takes in what a manifest, or this program, says of a path. `which` is the number of the manifest.
    pub fn expect(&mut self, path: &[u8], kind: Kind, which: usize, digest: &[u8]) -> Result<()> {
        self.push(path, kind, u8::try_from(which).unwrap_or(u8::MAX), digest) // they are at most 64
    }

    /// Takes in a file that is there.
    pub fn here(&mut self, path: &[u8], digests: &[(Algorithm, Vec<u8>)]) -> Result<()> {
        self.push(path, Kind::Here, 0, &[u8::from(is_payload(path))])?;
        for (algorithm, digest) in digests {
            self.push(path, Kind::Digest, *algorithm as u8, digest)?; // `repr(u8)`
        }
        Ok(())
    }

    /// Compares, and hands out a fault for each path that has one. Without `with_digests` names alone count.
    ///
    /// # Errors
    /// Those of the sorter's files; [`crate::Error::Interrupted`].
    pub fn judge(
        self,
        manifests: &[Manifest],
        is_strict: bool,
        with_digests: bool,
        control: &Control,
        fault: &mut dyn FnMut(Hash, Why),
    ) -> Result<()> {
        let mut sorted = self.0.finish()?;
        let mut group: Option<Group> = None;
        while let Some(record) = sorted.next()? {
            control.proceed()?;
            let (path, rest) = record.split_at(HASH_BYTES);
            let digest = field(&rest[2..]);
            let (kind, which) = (rest[0], rest[1]); // a record is longer than a hash
            if group.as_ref().is_none_or(|g| g.hash != path) {
                let mut hash = [0; HASH_BYTES];
                hash.copy_from_slice(path);
                if let Some(done) = group.replace(Group::new(hash, manifests.len())) {
                    done.end(manifests, is_strict, fault);
                }
            }
            if let Some(g) = &mut group {
                g.take(kind, which, digest, manifests, is_strict, with_digests);
            }
        }
        if let Some(done) = group {
            done.end(manifests, is_strict, fault);
        }
        Ok(())
    }
}

impl Group {
    fn new(hash: Hash, manifests: usize) -> Group {
        Group {
            hash,
            here: false,
            is_payload: false,
            digests: Vec::new(),
            listed: vec![false; manifests],
            last: None,
            fetch: false,
            why: None,
        }
    }

    fn differs(&self, algorithm: Algorithm, digest: &Digest) -> bool {
        !self.digests.contains(&(algorithm as u8, *digest)) // `repr(u8)`
    }

    fn take(&mut self, kind: u8, i: u8, digest: Digest, manifests: &[Manifest], is_strict: bool, with_digests: bool) {
        const HERE: u8 = Kind::Here as u8;
        const DIGEST: u8 = Kind::Digest as u8;
        const OF_OWN: u8 = Kind::Own as u8;
        const FETCH: u8 = Kind::Fetch as u8;
        match kind {
            HERE => {
                self.here = true;
                self.is_payload = digest[0] == 1;
            }
            DIGEST => self.digests.push((i, digest)), // one for each algorithm
            OF_OWN => {
                if self.here && with_digests && self.differs(OWN, &digest) {
                    self.why.get_or_insert(Why::Changed);
                }
                // One that is gone is a manifest that was there before.
                if !self.here {
                    self.why.get_or_insert(Why::Changed);
                }
            }
            FETCH => self.fetch = true,
            _ => {
                let seen = self.listed.get_mut(usize::from(i)).is_some_and(|seen| std::mem::replace(seen, true));
                // Of one manifest those with one digest follow each other. Before 1.0 to repeat a line was no fault.
                if seen && (is_strict || self.last != Some((i, digest))) {
                    self.why.get_or_insert(Why::Twice(i));
                }
                self.last = Some((i, digest));
                let algorithm = manifests.get(usize::from(i)).and_then(|m| m.algorithm);
                if let Some(algorithm) = algorithm.filter(|_| self.here && with_digests)
                    && self.differs(algorithm, &digest)
                {
                    self.why.get_or_insert(Why::Differs(i));
                }
            }
        }
    }

    fn end(self, manifests: &[Manifest], is_strict: bool, fault: &mut dyn FnMut(Hash, Why)) {
        let number = |i: usize| u8::try_from(i).unwrap_or(u8::MAX); // they are at most 64
        let listed = self.listed.iter().position(|l| *l);
        let of_payload = || manifests.iter().zip(&self.listed).enumerate().filter(|(_, (m, _))| m.is_payload);
        let in_payload = of_payload().any(|(_, (_, listed))| *listed);
        let lacking = of_payload().find(|(_, (_, listed))| !**listed).map(|(i, _)| number(i));
        let why = match (self.here, listed) {
            (false, Some(_)) if self.fetch => Some(Why::ToFetch),
            (false, Some(i)) => Some(Why::Missing(number(i))),
            (_, _) if self.fetch && !in_payload => Some(Why::FetchOnly),
            (false, None) => self.why,
            (true, _) if self.why.is_some() => self.why,
            (true, _) if self.is_payload && !in_payload => Some(Why::Unlisted),
            (true, _) if self.is_payload && is_strict => lacking.map(Why::NotIn),
            (true, _) => None,
        };
        if let Some(why) = why {
            fault(self.hash, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{HOME, Shelf};
    use std::collections::BTreeMap;

    #[test]
    fn more_lines_than_memory_holds_are_compared_as_few_are() {
        let shelf = Shelf::new(1);
        let manifest =
            |file: &str, algorithm| Manifest { file: file.into(), algorithm: Some(algorithm), is_payload: true };
        let manifests = [manifest("a", Algorithm::Md5), manifest("b", Algorithm::Sha256)];
        let mut compare = Compare::new(&shelf.io, Path::new(HOME), 0).unwrap();
        let n = 4000u64;
        for i in 0..n {
            let path = format!("data/{i}").into_bytes();
            let digest = i.to_le_bytes();
            if i != 17 {
                compare.expect(&path, Kind::Payload, 0, &digest).unwrap();
            }
            compare.expect(&path, Kind::Payload, 1, &digest).unwrap();
            if i == 2000 {
                compare.expect(&path, Kind::Payload, 1, &digest).unwrap();
            }
        }
        let files = shelf.io.fs.list(Path::new(HOME)).unwrap();
        let runs = files.iter().filter(|f| f.name.to_string_lossy().starts_with(".sort-")).count();
        assert!(runs > 10, "{runs} runs were written");
        for i in (0..n).rev().filter(|i| *i != 5) {
            let path = format!("data/{i}").into_bytes();
            let digest = if i == 3000 { vec![1] } else { i.to_le_bytes().to_vec() };
            compare.here(&path, &[(Algorithm::Md5, digest.clone()), (Algorithm::Sha256, digest)]).unwrap();
        }
        let mut faults = BTreeMap::new();
        let mut fault = |hash, why| assert!(faults.insert(hash, why).is_none());
        compare.judge(&manifests, true, true, &Control::default(), &mut fault).unwrap();
        let want = [(5, Why::Missing(0)), (17, Why::NotIn(0)), (2000, Why::Twice(1)), (3000, Why::Differs(0))];
        assert_eq!(faults, want.map(|(i, why)| (hash(format!("data/{i}").as_bytes()), why)).into());
        let left = shelf.io.fs.list(Path::new(HOME)).unwrap();
        assert!(!left.iter().any(|f| f.name.to_string_lossy().starts_with(".sort-")), "runs go");
    }
}
