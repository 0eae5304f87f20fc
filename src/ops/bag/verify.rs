//! A bag is proven while it is backed up: complete and valid by RFC 8493, 3.
//!
//! [`Bag::open`] reads the tag files and compares the names that they list with those that lie there, so that a bag which
//! lacks something is refused before anything of it is read. The backup then hands over the digests of what it stores
//! ([`Bag::see`]), and [`Bag::judge`] compares these with the manifests, names once more. Tag files that were read here have
//! a digest too, so that those that are stored are those by which was judged.

use super::lines::{Line, Lines};
use super::{DECLARATION, FETCH, INFO, PAYLOAD, decoded, is_payload};
use crate::error::{Error, Result};
use crate::format::digest::Algorithm;
use crate::format::limits;
use crate::io::source::{self, FileKind, Metadata};
use crate::ops::{Control, Notice};
use crate::store::Store;
use compare::{Compare, Hash, Kind, Why, hash};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod compare;

/// What tag files that are read here are digested with.
pub(super) const OWN: Algorithm = Algorithm::Blake3;
/// Manifests of a bag at most. Eight algorithms are registered.
const MANIFESTS_MAX: usize = 64;
/// Faults that are named; more are counted.
const FAULTS_NAMED: usize = 1000;
/// Each of the two sorters gets this part of the memory budget.
const MEMORY_PART: u64 = 32;

/// What a line says; nothing, if it is empty; or why it can say nothing.
type Told<T> = std::result::Result<Option<T>, String>;
/// Called with each name below a bag that is no folder, and with what it is.
type EachFile<'e> = dyn FnMut(&[u8], std::io::Result<Metadata>) -> Result<()> + 'e;

/// A manifest by its name.
#[derive(Clone, Debug)]
struct Manifest {
    file: String,
    /// `None`: one that is not computed here; its names count, its digests do not.
    algorithm: Option<Algorithm>,
    is_payload: bool,
}

impl Manifest {
    fn of(file: &[u8]) -> Option<Manifest> {
        let file = std::str::from_utf8(file).ok()?;
        let stem = file.strip_suffix(".txt")?;
        let (is_payload, name) = match stem.strip_prefix("tagmanifest-") {
            Some(name) => (false, name),
            None => (true, stem.strip_prefix("manifest-")?),
        };
        // Names are lower-case in RFC 8493, 2.4; older bags have others.
        Some(Manifest { file: file.into(), algorithm: Algorithm::of_name(&name.to_ascii_lowercase()), is_payload })
    }
}

/// What a valid bag was proven by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Of the payload.
    pub files: u64,
    pub bytes: u64,
    /// Of the payload manifests, those that were computed.
    pub algorithms: Vec<Algorithm>,
    /// Manifests whose algorithm is not known here: their names agree, their digests were not looked at.
    pub not_computed: Vec<String>,
}

/// What is wrong with a bag.
#[derive(Default)]
struct Faults {
    named: Vec<(Vec<u8>, String)>,
    count: u64,
}

impl Faults {
    fn add(&mut self, path: &[u8], reason: impl Into<String>) {
        self.count += 1;
        if self.named.len() < FAULTS_NAMED {
            self.named.push((path.to_vec(), reason.into()));
        }
    }

    /// Tells all of them.
    ///
    /// # Errors
    /// [`Error::BadBag`] if there are any.
    fn tell(mut self, root: &Path, control: &Control) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        self.named.sort();
        let (n, named) = (self.count, self.named.len() as u64);
        for (path, reason) in self.named {
            control.notice(Notice::BagFault { path, reason });
        }
        let why = match n {
            1 => "one fault, named above".to_owned(),
            n if n == named => format!("{n} faults, named above"),
            n => format!("{n} faults, of which {named} are named above"),
        };
        Err(Error::BadBag { path: root.to_owned(), why })
    }
}

/// A bag that is on its way into a store.
pub struct Bag {
    root: PathBuf,
    /// From BagIt 1.0 on each payload manifest lists all, none twice, and `%` is encoded.
    is_strict: bool,
    manifests: Vec<Manifest>,
    /// Bytes and files of the payload, as `bag-info.txt` has them.
    oxum: Vec<(u64, u64)>,
    compare: Compare,
    faults: Faults,
    files: u64,
    bytes: u64,
}

impl Bag {
    /// Reads a bag's tag files and compares the names in them with those in its folder.
    ///
    /// # Errors
    /// [`Error::BadBag`], after a notice for each fault; [`Error::Io`] of the sorter's files; [`Error::Interrupted`].
    pub fn open(store: &Store, root: &Path, control: &Control) -> Result<Bag> {
        control.progress.set_phase("comparing names");
        let bad = |why: String| Error::BadBag { path: root.to_owned(), why };
        let memory = usize::try_from(store.memory_bytes() / MEMORY_PART).unwrap_or(usize::MAX);
        let compare = || Compare::new(store.io(), store.path(), memory);
        let (mut early, late) = (compare()?, compare()?);
        let names = source::list(root).map_err(Error::io("list", root))?;
        let is_dir =
            |name: &[u8]| source::lstat(&root.join(OsStr::from_bytes(name))).is_ok_and(|m| m.kind == FileKind::Dir);
        let mut manifests: Vec<Manifest> = names.iter().filter_map(|name| Manifest::of(name)).collect();
        manifests.sort_by_key(|m| !m.is_payload);
        if manifests.len() > MANIFESTS_MAX {
            return Err(bad(format!("it has {} manifests, {MANIFESTS_MAX} are taken", manifests.len())));
        }
        let mut bag = Bag {
            root: root.to_owned(),
            is_strict: true,
            manifests,
            oxum: Vec::new(),
            compare: late,
            faults: Faults::default(),
            files: 0,
            bytes: 0,
        };
        bag.declaration(&mut early)?;
        if !is_dir(PAYLOAD) {
            return Err(bad("it has no folder data".into()));
        }
        if !bag.manifests.iter().any(|m| m.is_payload) {
            return Err(bad("it has no payload manifest".into()));
        }
        if bag.algorithms(true).is_empty() {
            let known = Algorithm::ALL.map(Algorithm::name).join(", ");
            return Err(bad(format!("none of its payload manifests is of an algorithm that is known here: {known}")));
        }
        for i in 0..bag.manifests.len() {
            bag.manifest(i, &mut early, control)?;
        }
        if names.iter().any(|n| n == FETCH.as_bytes()) {
            bag.fetch(&mut early, control)?;
        }
        if names.iter().any(|n| n == INFO.as_bytes()) {
            bag.info(&mut early)?;
        }
        let mut counts = (0, 0);
        let mut faults = std::mem::take(&mut bag.faults);
        each_file(root, control, &mut |path, found| match found {
            Ok(Metadata { kind: FileKind::File, size, .. }) => {
                if is_payload(path) {
                    counts = (counts.0 + size, counts.1 + 1);
                }
                early.here(path, &[])
            }
            Ok(_) => {
                faults.add(path, "neither file nor folder, which a bag cannot hold");
                Ok(())
            }
            Err(e) => {
                faults.add(path, format!("it cannot be read: {e}"));
                Ok(())
            }
        })?;
        bag.settle(early, false, counts, faults, control)?;
        Ok(bag)
    }

    /// The bag's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What files of the payload, or all others, are to be digested with.
    pub fn algorithms(&self, payload: bool) -> Arc<[Algorithm]> {
        let of = self.manifests.iter().filter(|m| m.is_payload == payload).filter_map(|m| m.algorithm);
        let mut all: Vec<Algorithm> = of.chain((!payload).then_some(OWN)).collect();
        all.sort();
        all.dedup();
        all.into()
    }

    /// A path below the bag.
    pub fn relative<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let rest = path.strip_prefix(self.root.as_os_str().as_bytes()).unwrap_or(path);
        rest.strip_prefix(b"/").unwrap_or(rest)
    }

    /// Takes a file in that was stored: its path below the bag, and its digests by the algorithms that were asked for.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Damaged`] of the sorter's files.
    pub fn see(&mut self, path: &[u8], bytes: u64, digests: &[(Algorithm, Vec<u8>)]) -> Result<()> {
        if is_payload(path) {
            self.files += 1;
            self.bytes += bytes;
        }
        self.compare.here(path, digests)
    }

    /// Notes what cannot be part of a bag: a symlink, say, or what could not be read.
    pub fn fault(&mut self, path: &[u8], reason: impl Into<String>) {
        self.faults.add(path, reason);
    }

    /// Compares what was stored with the manifests.
    ///
    /// # Errors
    /// [`Error::BadBag`], after a notice for each fault; [`Error::Io`] and [`Error::Damaged`] of the sorter's files;
    /// [`Error::Interrupted`].
    pub fn judge(mut self, store: &Store, control: &Control) -> Result<Verdict> {
        let of_payload = || self.manifests.iter().filter(|m| m.is_payload);
        let not_computed = self.manifests.iter().filter(|m| m.algorithm.is_none()).map(|m| m.file.clone()).collect();
        let mut algorithms: Vec<Algorithm> = of_payload().filter_map(|m| m.algorithm).collect();
        algorithms.sort();
        algorithms.dedup();
        let verdict = Verdict { files: self.files, bytes: self.bytes, algorithms, not_computed };
        let none = Compare::new(store.io(), store.path(), 0)?;
        let compare = std::mem::replace(&mut self.compare, none);
        let faults = std::mem::take(&mut self.faults);
        self.settle(compare, true, (verdict.bytes, verdict.files), faults, control)?;
        Ok(verdict)
    }

    /// Compares, and tells what is wrong.
    fn settle(
        &self,
        compare: Compare,
        with_digests: bool,
        (bytes, files): (u64, u64),
        mut faults: Faults,
        control: &Control,
    ) -> Result<()> {
        let mut wanted: HashMap<Hash, Why> = HashMap::new();
        compare.judge(&self.manifests, self.is_strict, with_digests, control, &mut |hash, why| {
            if wanted.len() + faults.named.len() < FAULTS_NAMED {
                wanted.insert(hash, why);
            } else {
                faults.count += 1;
            }
        })?;
        if !wanted.is_empty() {
            self.name(wanted, &mut faults, control)?;
        }
        for (said_bytes, said_files) in &self.oxum {
            if (*said_bytes, *said_files) != (bytes, files) {
                let reason = format!("Payload-Oxum says {said_bytes}.{said_files}, the payload is {bytes}.{files}");
                faults.add(INFO.as_bytes(), reason);
            }
        }
        faults.tell(&self.root, control)
    }

    /// Finds the paths of these hashes: in the manifests, else in the folder.
    fn name(&self, mut wanted: HashMap<Hash, Why>, faults: &mut Faults, control: &Control) -> Result<()> {
        let mut tell = |path: &[u8]| {
            if let Some(why) = wanted.remove(&hash(path)) {
                faults.add(path, why.told(&self.manifests));
            }
        };
        for manifest in &self.manifests {
            let lines = self.lines(&manifest.file).and_then(|lines| {
                each_line(lines, control, &mut |_, line| {
                    if let Line::Text(text) = line
                        && let Ok(Some((_, path))) = self.listed(&text, manifest.is_payload)
                    {
                        tell(&path);
                    }
                    Ok(())
                })
            });
            if let Err(e @ Error::Interrupted) = lines {
                return Err(e);
            } // else it was read before, and what it alone names stays without a name
        }
        if let Ok(lines) = self.lines(FETCH) {
            each_line(lines, control, &mut |_, line| {
                if let Line::Text(text) = line
                    && let Ok(Some(path)) = self.fetched(&text)
                {
                    tell(&path);
                }
                Ok(())
            })?;
        }
        each_file(&self.root, control, &mut |path, _| {
            tell(path);
            Ok(())
        })?;
        for why in wanted.into_values() {
            faults.add(b"(a name that is gone)", why.told(&self.manifests));
        }
        Ok(())
    }

    fn lines(&self, name: &str) -> Result<Lines> {
        let path = self.root.join(name);
        Lines::open(&path).map_err(Error::io("open", path))
    }

    /// Notes that a tag file was read, so that it is stored as it was.
    fn own(&mut self, name: &str, digest: &[u8], early: &mut Compare) -> Result<()> {
        early.expect(name.as_bytes(), Kind::Own, 0, digest)?;
        self.compare.expect(name.as_bytes(), Kind::Own, 0, digest)
    }

    /// Reads `bagit.txt`.
    fn declaration(&mut self, early: &mut Compare) -> Result<()> {
        let bad = |why: String| Error::BadBag { path: self.root.clone(), why };
        let mut lines = match Lines::open(&self.root.join(DECLARATION)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(bad("it has no bagit.txt: no bag, or one that was cut short".into()));
            }
            answer => answer.map_err(Error::io("open", self.root.join(DECLARATION)))?,
        };
        let mut text = Vec::new();
        while let Some(line) = lines.next().map_err(Error::io("read", self.root.join(DECLARATION)))? {
            match line {
                Line::Text(line) if text.len() < 2 || line.is_empty() => text.push(line),
                _ => return Err(bad("its bagit.txt is more than two short lines".into())),
            }
        }
        let digest = lines.digest();
        let said = |n: usize, label: &str| text.get(n).and_then(|line: &String| line.strip_prefix(label));
        let Some(version) = said(0, "BagIt-Version: ") else {
            return Err(bad("its bagit.txt does not begin with \"BagIt-Version: \"".into()));
        };
        self.is_strict = match version {
            "1.0" => true,
            "0.93" | "0.94" | "0.95" | "0.96" | "0.97" => false,
            other => return Err(bad(format!("its version is {other:?}; known are 1.0 and 0.93 to 0.97"))),
        };
        let Some(encoding) = said(1, "Tag-File-Character-Encoding: ") else {
            return Err(bad("its bagit.txt does not name the encoding of tag files in its second line".into()));
        };
        if !["UTF-8", "US-ASCII"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
            return Err(bad(format!("its tag files are encoded in {encoding:?}; UTF-8 is known here")));
        }
        self.own(DECLARATION, &digest, early)
    }

    /// The digest and the path of a manifest's line; `None` for an empty one.
    fn listed(&self, line: &str, is_payload_manifest: bool) -> Told<(Vec<u8>, Vec<u8>)> {
        let white = [' ', '\t'];
        if line.trim_matches(white).is_empty() {
            return Ok(None);
        }
        let (digits, rest) = line.split_once(white).ok_or("a line without a path")?;
        // md5sum and its kin put an asterisk before the name of a file that was read as bytes.
        let path = rest.trim_start_matches(white);
        let path = decoded(path.strip_prefix('*').unwrap_or(path), self.is_strict)?;
        if is_payload(&path) != is_payload_manifest {
            return Err(match is_payload_manifest {
                true => "a path that is not below data/".into(),
                false => "a path of the payload".into(),
            });
        }
        let digest = unhex(digits).ok_or("its digest is no hexadecimal number")?;
        Ok(Some((digest, path)))
    }

    /// Reads a manifest.
    fn manifest(&mut self, i: usize, early: &mut Compare, control: &Control) -> Result<()> {
        let Manifest { file, algorithm, is_payload } = self.manifests[i].clone(); // the caller counts them
        let lines = match self.lines(&file) {
            Ok(lines) => lines,
            Err(e) => {
                self.faults.add(file.as_bytes(), e.line());
                return Ok(());
            }
        };
        let kind = if is_payload { Kind::Payload } else { Kind::Tag };
        let digest = each_line(lines, control, &mut |number, line| {
            let told = match line {
                Line::Text(text) => self.listed(&text, is_payload),
                Line::TooLong => Err("it is longer than a path can be".into()),
                Line::NotUtf8 => Err("it is not UTF-8".into()),
            };
            match told {
                Ok(None) => {}
                Ok(Some((digest, path))) if algorithm.is_none_or(|a| a.bytes() == digest.len()) => {
                    early.expect(&path, kind, i, &digest)?;
                    self.compare.expect(&path, kind, i, &digest)?;
                }
                Ok(Some(_)) => {
                    self.faults.add(file.as_bytes(), format!("line {number}: its digest is too short or long"))
                }
                Err(why) => self.faults.add(file.as_bytes(), format!("line {number}: {why}")),
            }
            Ok(())
        })?;
        self.own(&file, &digest, early)
    }

    /// The path of a line of `fetch.txt`: address, length, path.
    fn fetched(&self, line: &str) -> Told<Vec<u8>> {
        let white = [' ', '\t'];
        if line.trim_matches(white).is_empty() {
            return Ok(None);
        }
        let behind = |text: &'_ str| Some(text.split_once(white)?.1.trim_start_matches(white).to_owned());
        let path = behind(line).as_deref().and_then(behind).ok_or("a line without address, length and path")?;
        let path = decoded(&path, self.is_strict)?;
        if !is_payload(&path) {
            return Err("a path that is not below data/".into());
        }
        Ok(Some(path))
    }

    fn fetch(&mut self, early: &mut Compare, control: &Control) -> Result<()> {
        let lines = self.lines(FETCH)?;
        let digest = each_line(lines, control, &mut |number, line| {
            let told = match line {
                Line::Text(text) => self.fetched(&text),
                Line::TooLong => Err("it is longer than is taken".into()),
                Line::NotUtf8 => Err("it is not UTF-8".into()),
            };
            match told {
                Ok(None) => {}
                Ok(Some(path)) => {
                    early.expect(&path, Kind::Fetch, 0, &[])?;
                    self.compare.expect(&path, Kind::Fetch, 0, &[])?;
                }
                Err(why) => self.faults.add(FETCH.as_bytes(), format!("line {number}: {why}")),
            }
            Ok(())
        })?;
        self.own(FETCH, &digest, early)
    }

    /// Reads what `bag-info.txt` says of the payload.
    fn info(&mut self, early: &mut Compare) -> Result<()> {
        let lines = self.lines(INFO)?;
        let digest = each_line(lines, &Control::default(), &mut |number, line| {
            match line {
                Line::Text(text) => {
                    if let Some((label, value)) = text.split_once(':')
                        && label.trim().eq_ignore_ascii_case("Payload-Oxum")
                    {
                        let number_of = |part: Option<&str>| part.and_then(|p| p.parse::<u64>().ok());
                        let mut parts = value.trim().splitn(2, '.');
                        match (number_of(parts.next()), number_of(parts.next())) {
                            (Some(bytes), Some(files)) => self.oxum.push((bytes, files)),
                            _ => self.faults.add(INFO.as_bytes(), "Payload-Oxum is not BYTES.FILES"),
                        }
                        self.oxum.truncate(FAULTS_NAMED); // who says it so often is told of those
                    }
                }
                Line::TooLong => {} // a value of any length; Payload-Oxum has none such
                Line::NotUtf8 => self.faults.add(INFO.as_bytes(), format!("line {number}: it is not UTF-8")),
            }
            Ok(())
        })?;
        self.own(INFO, &digest, early)
    }
}

/// The bytes that hexadecimal digits of either case spell.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?) as u8)).collect() // below 256
}

/// Hands out a file's lines with their numbers, from 1, and returns the digest of the whole file.
fn each_line(mut lines: Lines, control: &Control, each: &mut dyn FnMut(u64, Line) -> Result<()>) -> Result<Vec<u8>> {
    while let Some(line) = lines.next().map_err(Error::io("read", "a tag file of the bag"))? {
        control.proceed()?;
        each(lines.number, line)?;
    }
    Ok(lines.digest())
}

/// Hands out what lies below the bag and is no folder, and folders that cannot be listed, with paths below the bag.
fn each_file(root: &Path, control: &Control, each: &mut EachFile<'_>) -> Result<()> {
    let mut open = vec![(Vec::new(), source::list(root).map_err(Error::io("list", root))?.into_iter())];
    while let Some((folder, names)) = open.last_mut() {
        let Some(name) = names.next() else {
            open.pop();
            continue;
        };
        control.proceed()?;
        let path = if folder.is_empty() { name } else { [folder.as_slice(), &name].join(&b'/') };
        let full = root.join(OsStr::from_bytes(&path));
        match source::lstat(&full) {
            Ok(m) if m.kind == FileKind::Dir => match source::list(&full) {
                Ok(names) if open.len() < limits::DEPTH => open.push((path, names.into_iter())),
                Ok(_) => each(&path, Err(std::io::Error::other("more folders inside folders than are taken")))?,
                Err(e) => each(&path, Err(e))?,
            },
            found => each(&path, found)?,
        }
    }
    Ok(())
}
