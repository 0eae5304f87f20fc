//! Arguments that several commands share: sizes, ranges, paths of this system and of a snapshot.

use crate::error::{Error, Result};
use crate::ops::snapshots::{self, SnapshotInfo};
use crate::store::Store;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Parses a size in bytes: `256M`, `1.5GiB`, `1G`, `4096`. `K M G T` and `KiB MiB GiB TiB` are powers of 1024, `KB MB GB TB`
/// powers of 1000; capitals do not matter.
///
/// # Errors
/// A sentence for clap to print.
pub fn size(text: &str) -> std::result::Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let power = |base: u64, n: u32| base.pow(n); // at most 1024^4
    let unit = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kib" => power(1024, 1),
        "m" | "mib" => power(1024, 2),
        "g" | "gib" => power(1024, 3),
        "t" | "tib" => power(1024, 4),
        "kb" => power(1000, 1),
        "mb" => power(1000, 2),
        "gb" => power(1000, 3),
        "tb" => power(1000, 4),
        _ => return Err("a size is a number with K, M, G or T behind it, as in 256M or 1.5GiB".into()),
    };
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit),
        Err(_) => {
            let value = number.parse::<f64>().map_err(|_| format!("{number:?} is not a number"))? * unit as f64;
            (value < 1e18).then_some(value as u64) // checked just before; it is not negative, having no sign
        }
    };
    match bytes {
        Some(0) => Err("a size of nothing is of no use".into()),
        Some(bytes) => Ok(bytes),
        None => Err("that is more bytes than there can be".into()),
    }
}

/// Parses a span of time: `90s`, `30m`, `12h`, `7d`, `4w`, or several of them in a row.
///
/// # Errors
/// A sentence for clap to print.
pub fn span(text: &str) -> std::result::Result<Duration, String> {
    let bad = || "a span is numbers with s, m, h, d or w behind them, as in 90s, 12h or 7d".to_owned();
    let mut seconds = 0u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit = behind.chars().next().ok_or_else(bad)?;
        let each = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(bad()),
        };
        let more = number.checked_mul(each).ok_or_else(bad)?;
        seconds = seconds.checked_add(more).ok_or_else(bad)?;
        rest = behind.get(unit.len_utf8()..).unwrap_or_default(); // behind its first character
    }
    Ok(Duration::from_secs(seconds))
}

/// Parses `A-B`, the first and the last byte, both inclusive.
///
/// # Errors
/// A sentence for clap to print.
pub fn range(text: &str) -> std::result::Result<(u64, u64), String> {
    let (first, last) = text.split_once('-').ok_or("a range is FIRST-LAST in bytes, both inclusive, as in 0-1023")?;
    let number = |t: &str| t.parse::<u64>().map_err(|_| format!("{t:?} is not a number of bytes"));
    match (number(first)?, number(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        _ => Err("its first byte lies behind its last".into()),
    }
}

/// Parses the name of a new snapshot: no `:`, which parts name and path, and nothing that is taken already.
///
/// # Errors
/// A sentence for clap to print.
pub fn snapshot_name(text: &str) -> std::result::Result<String, String> {
    match text {
        "" => Err("a name is not empty".into()),
        "latest" => Err("`latest` always is the newest snapshot".into()),
        t if t.contains(':') => Err("a name holds no `:`, which stands between SNAPSHOT and PATH".into()),
        t => label(t),
    }
}

/// Parses a tag, host or label: one line of text.
///
/// # Errors
/// A sentence for clap to print.
pub fn label(text: &str) -> std::result::Result<String, String> {
    match text {
        "" => Err("it is empty".into()),
        t if t.chars().any(char::is_control) => Err("it holds a control character".into()),
        t => Ok(t.to_owned()),
    }
}

/// Makes a path absolute by its letters alone: `.` goes, `..` takes the name before with it, symlinks are not resolved.
///
/// # Errors
/// [`Error::Io`] if the path is relative and the current folder cannot be told; [`Error::Argument`] for an empty path.
pub fn absolute(path: &OsStr) -> Result<PathBuf> {
    if path.is_empty() {
        return Err(Error::Argument { what: "a path".into(), why: "it is empty".into() });
    }
    let path = Path::new(path);
    if path.is_absolute() {
        return Ok(clean(path));
    }
    let here = std::env::current_dir().map_err(Error::io("find", "the current folder"))?;
    Ok(clean(&here.join(path)))
}

fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop(); // at the root it stays there
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// A path inside a snapshot: absolute, cleaned, from the root if it has no leading slash.
pub fn inside(path: &[u8]) -> Vec<u8> {
    clean(&Path::new("/").join(OsStr::from_bytes(path))).into_os_string().into_vec()
}

/// Resolves `SNAPSHOT[:PATH]` and a path beside it to a snapshot and a path inside it.
///
/// # Errors
/// [`Error::NoSnapshot`], [`Error::AmbiguousSnapshot`]; [`Error::Argument`] for two paths.
pub fn snapshot(store: &Store, spec: &OsStr, path: Option<&OsString>) -> Result<(SnapshotInfo, Option<Vec<u8>>)> {
    let (name, within) = snapshots::split_spec(spec.as_bytes());
    let path = match (within, path) {
        (Some(_), Some(_)) => {
            return Err(Error::Argument {
                what: "the path inside the snapshot is given twice".into(),
                why: "give SNAPSHOT:PATH or SNAPSHOT PATH".into(),
            });
        }
        (Some(within), None) => Some(within),
        (None, path) => path.map(|p| p.as_bytes().to_vec()),
    };
    let info = snapshots::resolve(store, &name)?;
    Ok((info, path.filter(|p| !p.is_empty()).map(|p| inside(&p))))
}

/// Resolves `SNAPSHOT` where a path has no meaning.
///
/// # Errors
/// [`Error::NoSnapshot`], [`Error::AmbiguousSnapshot`], [`Error::Argument`].
pub fn whole_snapshot(store: &Store, spec: &OsStr) -> Result<SnapshotInfo> {
    match snapshot(store, spec, None)? {
        (info, None) => Ok(info),
        _ => Err(Error::Argument {
            what: "a path inside a snapshot".into(),
            why: "this command takes whole snapshots".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_every_usual_unit() {
        for (text, bytes) in [
            ("256M", 256 << 20),
            ("1G", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("1.5 GiB", 3 << 29),
            ("0.5k", 512),
            ("4096", 4096),
            ("10b", 10),
            ("2tib", 2 << 40),
            ("1MB", 1_000_000),
            (".5m", 1 << 19),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "M", "-1", "1.2.3M", "1X", "1 G B", "99999999999999T", "1e3", "0.0001", "nan", "inf"] {
            assert!(size(text).is_err(), "{text:?} is no size");
        }
    }

    #[test]
    fn a_range_names_its_first_and_its_last_byte() {
        assert_eq!(range("990-1019"), Ok((990, 1019)));
        assert_eq!(range("0-0"), Ok((0, 0)));
        for text in ["5", "5-", "-5", "6-5", "a-b", "1-2-3", "+1-2x", ""] {
            assert!(range(text).is_err(), "{text:?} is no range");
        }
    }

    #[test]
    fn names_of_snapshots_leave_room_for_a_path() {
        assert_eq!(snapshot_name("before the move"), Ok("before the move".into()));
        for text in ["", "latest", "a:b", "a\nb"] {
            assert!(snapshot_name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_become_absolute_by_their_letters() {
        let here = std::env::current_dir().unwrap();
        let of = |p: &str| absolute(OsStr::new(p)).unwrap();
        assert_eq!(of("a"), here.join("a"));
        assert_eq!(of("."), here);
        assert_eq!(of("/a/./b//c/"), Path::new("/a/b/c"));
        assert_eq!(of("/a/../../b"), Path::new("/b"));
        assert!(absolute(OsStr::new("")).is_err());
        assert_eq!(inside(b"pipe.bin"), b"/pipe.bin");
        assert_eq!(inside(b"/a/\xff/../b"), b"/a/b");
        assert_eq!(inside(b"/"), b"/");
    }

    proptest! {
        #[test]
        fn no_path_inside_a_snapshot_climbs(bytes in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..40)) {
            let path = inside(&bytes);
            prop_assert_eq!(path.first(), Some(&b'/'));
            let odd = |n: &[u8]| n == b".." || n == b".";
            prop_assert!(!path.split(|b| *b == b'/').any(odd));
            prop_assert_eq!(inside(&path), path);
        }

        #[test]
        fn sizes_never_panic(text: String) {
            let _ = (size(&text), range(&text));
        }
    }
}
