//! The two files that people read: the marker of a disk and the list of disks.
//!
//! Both are lines of UTF-8, ending in a `check` line: the first 16 digits of the BLAKE3 of all lines
//! before it. Names and paths are percent-escaped, so any bytes fit a line.

use super::check;
use super::id::{DiskId, StoreId, hex};
use super::limits;
use crate::error::{Error, Result};
use std::path::Path;

/// The marker's name on a disk.
pub const MARKER_FILE: &str = "onefold-disk";
/// The list's name in `STORE`.
pub const DISKS_FILE: &str = "disks";

/// Who a disk is. Written once, when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub store: StoreId,
    pub disk: DiskId,
    pub label: String,
}

/// One line of `STORE/disks`: where a disk was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDisk {
    pub disk: DiskId,
    pub label: String,
    /// Raw bytes of the path.
    pub path: Vec<u8>,
    /// Serial number of the drive that it was seen on last; empty where that is not known.
    pub serial: String,
}

/// The list of disks that a store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskList {
    pub store: StoreId,
    pub disks: Vec<KnownDisk>,
}

/// Percent-escapes everything but plain, printable, unspaced ASCII.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &b in bytes {
        if b.is_ascii_graphic() && b != b'%' {
            out.push(char::from(b));
        } else {
            out.push('%');
            out.push_str(&hex(&[b]));
        }
    }
    out
}

/// Undoes [`escape`]; `None` where the text is not such.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        if b == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            out.push(super::id::unhex::<1>(digits)?[0]);
            rest = &tail[2..]; // `get(..2)` was there
        } else {
            out.push(b);
            rest = tail;
        }
    }
    Some(out)
}

fn seal(mut lines: String) -> Vec<u8> {
    let check = hex(&check::blake3(&[lines.as_bytes()])[..8]);
    lines.push_str(&format!("check {check}\n"));
    lines.into_bytes()
}

/// Proves the `check` line and gives the lines before it, each split at spaces.
fn open<'a>(what: &'static str, path: &Path, bytes: &'a [u8]) -> Result<Vec<Vec<&'a str>>> {
    let damaged = |offset: usize, why: &str| Error::Damaged {
        what,
        path: path.to_owned(),
        offset: offset as u64,
        why: why.to_owned(),
    };
    let text = std::str::from_utf8(bytes).map_err(|e| damaged(e.valid_up_to(), "it is not text"))?;
    let body_end = text.rfind("check ").filter(|&at| at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n'));
    let at = body_end.ok_or_else(|| damaged(bytes.len(), "its check line is missing"))?;
    let (body, check) = text.split_at(at);
    if check != format!("check {}\n", hex(&check::blake3(&[body.as_bytes()])[..8])) {
        return Err(damaged(at, "its check line does not fit"));
    }
    Ok(body.lines().map(|line| line.split(' ').collect()).collect())
}

fn version_line(what: &'static str, path: &Path, word: &str, line: Option<&Vec<&str>>) -> Result<()> {
    match line.map(Vec::as_slice) {
        Some([w, "1"]) if *w == word => Ok(()),
        Some([w, later]) if *w == word => {
            Err(Error::FromTheFuture { what, path: path.to_owned(), needs: (*later).to_owned(), ours: "1".to_owned() })
        }
        _ => Err(Error::Damaged {
            what,
            path: path.to_owned(),
            offset: 0,
            why: "its first line is not as expected".to_owned(),
        }),
    }
}

impl Marker {
    pub fn encode(&self) -> Vec<u8> {
        seal(format!(
            "onefold-disk 1\nstore {}\ndisk {}\nlabel {}\n",
            self.store,
            self.disk,
            escape(self.label.as_bytes())
        ))
    }

    /// # Errors
    /// [`Error::Damaged`], [`Error::FromTheFuture`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "the disk marker";
        let lines = open(WHAT, path, bytes)?;
        version_line(WHAT, path, "onefold-disk", lines.first())?;
        let damaged = || Error::Damaged {
            what: WHAT,
            path: path.to_owned(),
            offset: 0,
            why: "a line is missing or malformed".to_owned(),
        };
        let [_, store, disk, label] = lines.as_slice() else { return Err(damaged()) };
        let ["store", store] = store.as_slice() else { return Err(damaged()) };
        let ["disk", disk] = disk.as_slice() else { return Err(damaged()) };
        let ["label", label] = label.as_slice() else { return Err(damaged()) };
        let label = unescape(label).and_then(|b| String::from_utf8(b).ok()).ok_or_else(damaged)?;
        Ok(Marker { store: store.parse()?, disk: disk.parse()?, label })
    }
}

impl DiskList {
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = format!("onefold-disks 1\nstore {}\n", self.store);
        for d in &self.disks {
            let serial = if d.serial.is_empty() { String::new() } else { format!(" {}", escape(d.serial.as_bytes())) };
            let (label, path) = (escape(d.label.as_bytes()), escape(&d.path));
            lines.push_str(&format!("disk {} {label} {path}{serial}\n", d.disk));
        }
        seal(lines)
    }

    /// # Errors
    /// [`Error::Damaged`], [`Error::FromTheFuture`], [`Error::Limit`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "the list of disks";
        let lines = open(WHAT, path, bytes)?;
        version_line(WHAT, path, "onefold-disks", lines.first())?;
        let damaged = || Error::Damaged {
            what: WHAT,
            path: path.to_owned(),
            offset: 0,
            why: "a line is missing or malformed".to_owned(),
        };
        let Some(["store", store]) = lines.get(1).map(Vec::as_slice) else { return Err(damaged()) };
        if lines.len() > limits::DISKS + 2 {
            return Err(Error::Limit {
                what: "the number of disks",
                got: lines.len() as u64 - 2,
                max: limits::DISKS as u64,
            });
        }
        let mut disks = Vec::with_capacity(lines.len());
        for line in lines.iter().skip(2) {
            let (disk, label, path, serial) = match line.as_slice() {
                ["disk", disk, label, path] => (disk, label, path, ""),
                ["disk", disk, label, path, serial] if !serial.is_empty() => (disk, label, path, *serial),
                _ => return Err(damaged()),
            };
            let text = |t: &str| unescape(t).and_then(|b| String::from_utf8(b).ok()).ok_or_else(damaged);
            let (label, serial, path) = (text(label)?, text(serial)?, unescape(path).ok_or_else(damaged)?);
            disks.push(KnownDisk { disk: disk.parse()?, label, path, serial });
        }
        Ok(DiskList { store: store.parse()?, disks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list() -> DiskList {
        let disk = |n: u8, path: &[u8]| KnownDisk {
            disk: DiskId([n; 16]),
            label: format!("shelf {n} é"),
            path: path.to_vec(),
            serial: if n == 2 { "WD-WX 1".into() } else { String::new() },
        };
        DiskList { store: StoreId([1; 16]), disks: vec![disk(2, b"/mnt/a b"), disk(3, b"/mnt/\xff\n%")] }
    }

    #[test]
    fn marker_and_list_come_back_and_any_changed_byte_is_refused() {
        let marker = Marker { store: StoreId([1; 16]), disk: DiskId([2; 16]), label: "bay 7".into() };
        assert_eq!(Marker::decode(Path::new("m"), &marker.encode()).unwrap(), marker);
        assert_eq!(DiskList::decode(Path::new("d"), &list().encode()).unwrap(), list());
        for bytes in [marker.encode(), list().encode()] {
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    Marker::decode(Path::new("m"), &bad).is_err() && DiskList::decode(Path::new("d"), &bad).is_err(),
                    "bit {bit}"
                );
            }
            for n in 0..bytes.len() {
                assert!(Marker::decode(Path::new("m"), &bytes[..n]).is_err());
                assert!(DiskList::decode(Path::new("d"), &bytes[..n]).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_fit_a_line(bytes: Vec<u8>) {
            let line = escape(&bytes);
            prop_assert!(line.chars().all(|c| c.is_ascii_graphic()));
            prop_assert_eq!(unescape(&line).unwrap(), bytes);
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = unescape(&text);
            let _ = Marker::decode(Path::new("m"), text.as_bytes());
            let _ = DiskList::decode(Path::new("d"), text.as_bytes());
        }
    }
}
