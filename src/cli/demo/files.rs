//! The demo's own file work: what a library holds, its second generation, and the comparison of every byte.
//!
//! # Invariants
//!
//! 1. A library is only read, and symlinks are never followed.
//! 2. Equal means: the same names, of the same kinds, with the same bytes and targets, and nothing else.

use super::retag::retag;
use crate::error::{Error, Result};
use crate::ops::Control;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Files up to this long are re-tagged, in memory; longer ones are copied as they are.
pub const RETAG_BYTES_MAX: u64 = 64 << 20;
/// What most filesystems allow for a name.
const NAME_BYTES_MAX: usize = 255;

/// What something in a library is, of what the demo cares for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Dir,
    File { bytes: u64 },
    Symlink,
}

/// One file, folder or symlink, by its path below the library's root. Folders come before what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub path: PathBuf,
    pub kind: Kind,
}

/// Lists what lies below `root`, sorted within each folder. Devices, sockets and FIFOs are left out, as a backup leaves
/// them out.
///
/// # Errors
/// [`Error::Io`]; [`Error::Interrupted`].
pub fn walk(root: &Path, control: &Control) -> Result<Vec<Item>> {
    let (mut items, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        control.proceed()?;
        let whole = root.join(&folder);
        let names = fs::read_dir(&whole).and_then(|d| d.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>());
        let mut names = names.map_err(Error::io("list", whole))?;
        names.sort();
        let first = folders.len();
        for name in names {
            let path = folder.join(name);
            let whole = root.join(&path);
            let m = fs::symlink_metadata(&whole).map_err(Error::io("look at", whole))?;
            let kind = match m.file_type() {
                t if t.is_dir() => Kind::Dir,
                t if t.is_symlink() => Kind::Symlink,
                t if t.is_file() => Kind::File { bytes: m.len() },
                _ => continue,
            };
            if kind == Kind::Dir {
                folders.push(path.clone());
            }
            items.push(Item { path, kind });
        }
        folders[first..].reverse(); // the stack gives back the last first
    }
    Ok(items)
}

/// Bytes of all files.
pub fn bytes(items: &[Item]) -> u64 {
    items.iter().map(|i| if let Kind::File { bytes } = i.kind { bytes } else { 0 }).sum()
}

/// What became of the files of a second generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    pub files: u64,
    pub retagged: u64,
}

/// Makes the second generation of a library: every file under another name, those of known formats with other tags.
///
/// # Errors
/// [`Error::Io`]; [`Error::Interrupted`].
pub fn second_generation(from: &Path, items: &[Item], to: &Path, control: &Control) -> Result<Generation> {
    fs::create_dir_all(to).map_err(Error::io("make", to))?;
    let mut made = Generation::default();
    let names = Names::new(items);
    for item in items {
        control.proceed()?;
        let source = from.join(&item.path);
        match item.kind {
            Kind::Dir => {
                let path = to.join(&item.path);
                fs::create_dir_all(&path).map_err(Error::io("make", path))?;
            }
            Kind::Symlink => {
                let target = fs::read_link(&source).map_err(Error::io("read the symlink", &source))?;
                let path = to.join(&item.path);
                std::os::unix::fs::symlink(target, &path).map_err(Error::io("make the symlink", path))?;
            }
            Kind::File { bytes } => {
                let path = to.join(names.of(&item.path));
                made.files += 1;
                if bytes <= RETAG_BYTES_MAX {
                    let before = fs::read(&source).map_err(Error::io("read", &source))?;
                    let after = retag(&before, 2);
                    made.retagged += u64::from(after != before);
                    fs::write(&path, after).map_err(Error::io("write", &path))?;
                } else {
                    fs::copy(&source, &path).map_err(Error::io("copy", &source))?;
                }
            }
        }
    }
    Ok(made)
}

/// The names that a library has already: a new one never meets another file's.
struct Names<'a>(BTreeSet<&'a Path>);

impl<'a> Names<'a> {
    fn new(items: &'a [Item]) -> Self {
        Names(items.iter().map(|i| i.path.as_path()).collect())
    }

    /// The new path of a file, or the old one where the new one is taken.
    fn of(&self, path: &Path) -> PathBuf {
        let new = path.file_name().map(|name| path.with_file_name(renamed(name)));
        new.filter(|new| !self.0.contains(new.as_path())).unwrap_or_else(|| path.to_owned())
    }
}

/// `01 Title.flac` becomes `01 Title (second edition).flac`; a name that would be too long stays.
fn renamed(name: &OsStr) -> OsString {
    const MARK: &[u8] = b" (second edition)";
    let bytes = name.as_bytes();
    if bytes.len() + MARK.len() > NAME_BYTES_MAX {
        return name.to_owned();
    }
    let at = bytes.iter().rposition(|b| *b == b'.').filter(|at| *at > 0).unwrap_or(bytes.len());
    let (stem, extension) = bytes.split_at(at);
    OsString::from_vec([stem, MARK, extension].concat())
}

/// What a comparison of two trees found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub files: u64,
    pub bytes: u64,
    /// Paths that differ, and how. At most [`DIFFERENCES_MAX`] are kept.
    pub differences: Vec<(PathBuf, &'static str)>,
}

/// More differences than this are not listed: one is enough to fail.
pub const DIFFERENCES_MAX: usize = 20;

/// Compares every name, target and byte of two trees.
///
/// # Errors
/// [`Error::Io`]; [`Error::Interrupted`].
pub fn compare(one: &Path, other: &Path, control: &Control) -> Result<Comparison> {
    let mut found = Comparison::default();
    let (items, others) = (walk(one, control)?, walk(other, control)?);
    let expected: BTreeSet<&Path> = items.iter().map(|i| i.path.as_path()).collect();
    let there: std::collections::BTreeMap<&Path, Kind> = others.iter().map(|i| (i.path.as_path(), i.kind)).collect();
    let mut differs = |path: &Path, how| {
        if found.differences.len() < DIFFERENCES_MAX {
            found.differences.push((path.to_owned(), how));
        }
    };
    let (mut files, mut bytes) = (0, 0);
    for item in &items {
        control.proceed()?;
        let (a, b) = (one.join(&item.path), other.join(&item.path));
        match (item.kind, there.get(item.path.as_path())) {
            (_, None) => differs(&item.path, "is missing"),
            (Kind::Dir, Some(Kind::Dir)) => {}
            (Kind::Symlink, Some(Kind::Symlink)) => {
                let target = |p: PathBuf| fs::read_link(&p).map_err(Error::io("read the symlink", p));
                if target(a)? != target(b)? {
                    differs(&item.path, "points elsewhere");
                }
            }
            (Kind::File { .. }, Some(Kind::File { .. })) => {
                files += 1;
                match same_bytes(&a, &b, control)? {
                    Some(n) => bytes += n,
                    None => differs(&item.path, "has other bytes"),
                }
            }
            _ => differs(&item.path, "is of another kind"),
        }
    }
    for item in others.iter().filter(|i| !expected.contains(i.path.as_path())) {
        differs(&item.path, "should not be there");
    }
    (found.files, found.bytes) = (files, bytes);
    Ok(found)
}

/// The number of bytes of two files, if they are the same.
fn same_bytes(one: &Path, other: &Path, control: &Control) -> Result<Option<u64>> {
    const PIECE_BYTES: u64 = 1 << 20;
    let open = |p: &Path| File::open(p).map_err(Error::io("open", p));
    let (mut a, mut b, mut total) = (open(one)?, open(other)?, 0);
    let piece = |f: &mut File, path: &Path| {
        let mut bytes = Vec::with_capacity(PIECE_BYTES as usize);
        f.take(PIECE_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        Ok::<_, Error>(bytes)
    };
    loop {
        control.proceed()?;
        let (x, y) = (piece(&mut a, one)?, piece(&mut b, other)?);
        if x != y {
            return Ok(None);
        }
        if x.is_empty() {
            return Ok(Some(total));
        }
        total += x.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn library(root: &Path) {
        fs::create_dir_all(root.join("b/empty")).unwrap();
        fs::write(root.join("a.bin"), b"aaa").unwrap();
        fs::write(root.join("b/c"), vec![7; 3 << 20]).unwrap();
        symlink("../a.bin", root.join("b/link")).unwrap();
    }

    #[test]
    fn folders_come_before_what_they_hold() {
        let dir = tempfile::tempdir().unwrap();
        library(dir.path());
        let items = walk(dir.path(), &Control::default()).unwrap();
        let paths: Vec<_> = items.iter().map(|i| i.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["a.bin", "b", "b/c", "b/empty", "b/link"]);
        assert_eq!(bytes(&items), 3 + (3 << 20));
    }

    #[test]
    fn a_copy_is_equal_and_every_kind_of_change_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        type Change = fn(&Path);
        let changes: [(&str, Change); 7] = [
            ("", |_| {}),
            ("has other bytes", |p| {
                let mut bytes = fs::read(p.join("b/c")).unwrap();
                bytes[(2 << 20) + 5] ^= 1;
                fs::write(p.join("b/c"), bytes).unwrap();
            }),
            ("has other bytes", |p| fs::write(p.join("a.bin"), b"aaaa").unwrap()),
            ("is missing", |p| fs::remove_dir(p.join("b/empty")).unwrap()),
            ("should not be there", |p| fs::write(p.join("b/more"), b"").unwrap()),
            ("points elsewhere", |p| {
                fs::remove_file(p.join("b/link")).unwrap();
                symlink("../b", p.join("b/link")).unwrap();
            }),
            ("is of another kind", |p| {
                fs::remove_file(p.join("a.bin")).unwrap();
                fs::create_dir(p.join("a.bin")).unwrap();
            }),
        ];
        library(&one);
        for (how, change) in changes {
            let _ = fs::remove_dir_all(&two);
            library(&two);
            change(&two);
            let found = compare(&one, &two, &Control::default()).unwrap();
            let hows: Vec<_> = found.differences.iter().map(|(_, how)| *how).collect();
            assert_eq!(hows, if how.is_empty() { vec![] } else { vec![how] });
        }
    }

    #[test]
    fn the_second_generation_keeps_the_structure_and_renames_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        library(&one);
        let control = Control::default();
        let items = walk(&one, &control).unwrap();
        let made = second_generation(&one, &items, &two, &control).unwrap();
        assert_eq!(made, Generation { files: 2, retagged: 0 });
        let paths: Vec<_> = walk(&two, &control).unwrap().into_iter().map(|i| i.path).collect();
        let names = ["a (second edition).bin", "b", "b/c (second edition)", "b/empty", "b/link"];
        assert_eq!(paths, names.map(PathBuf::from));
    }

    #[test]
    fn a_rename_never_meets_another_file_or_the_limit_of_names() {
        assert_eq!(renamed(OsStr::new(".hidden")), ".hidden (second edition)");
        let long = OsString::from("x".repeat(250));
        assert_eq!(renamed(&long), long);
        let item = |p: &str| Item { path: p.into(), kind: Kind::File { bytes: 0 } };
        let items = [item("a.b"), item("a (second edition).b")];
        let names = Names::new(&items);
        assert_eq!(names.of(Path::new("a.b")), Path::new("a.b"));
        assert_eq!(names.of(&items[1].path), Path::new("a (second edition) (second edition).b"));
    }
}
