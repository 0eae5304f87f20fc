//! Text for people: sizes, counts, durations, times, modes, and names that cannot harm a terminal.
//!
//! Owns how a value looks; not where it goes.

use crate::format::entry::{Entry, EntryKind, Time};
use crate::ops::FileLost;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Bytes with a binary unit and three digits: `1.23 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0; // three digits are shown: what a float drops is not seen
    let mut unit = UNITS[0];
    for next in UNITS.iter().skip(1) {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match value {
        v if v < 9.995 => format!("{v:.2} {unit}"),
        v if v < 99.95 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

/// A number with its thousands apart: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// A count and its noun: `1 file`, `2 files`. Nouns that do not end in `s` are given whole by the caller.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A span of time, coarser the longer it is.
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 => format!("{} ms", d.as_millis()),
        1..10 => format!("{:.1} s", d.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        3600..86400 => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {:02} h", s / 86400, s % 86400 / 3600),
    }
}

/// Bytes a second over a span; nothing, and spans below a millisecond, have no rate.
pub fn rate(bytes: u64, over: Duration) -> Option<String> {
    let seconds = over.as_secs_f64();
    (bytes > 0 && seconds >= 0.001).then(|| format!("{}/s", size((bytes as f64 / seconds) as u64))) // saturating, and for the eye
}

/// A share in per cent, finer when it is small.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let p = part as f64 * 100.0 / whole as f64; // for the eye
    if p < 10.0 { format!("{p:.1} %") } else { format!("{p:.0} %") }
}

/// A point in time on the wall clock of this machine's zone: `2026-11-22 14:54:03`.
pub fn time(t: Time) -> String {
    match zoned(t) {
        Some(z) => z.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", t.seconds),
    }
}

/// The same for nanoseconds since 1970.
pub fn time_of_ns(ns: i64) -> String {
    time(split_ns(ns))
}

/// RFC 3339 with nanoseconds and the zone's offset, for programs. Years beyond 9999 are seconds since 1970, after `@`.
pub fn rfc3339(t: Time) -> String {
    match zoned(t) {
        Some(z) => z.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
        None => format!("@{}.{:09}", t.seconds, t.nanos),
    }
}

/// Nanoseconds since 1970 as seconds and the rest.
pub fn split_ns(ns: i64) -> Time {
    const SECOND: i64 = 1_000_000_000;
    let nanos = u32::try_from(ns.rem_euclid(SECOND)).unwrap_or(0); // a remainder of 10^9 fits
    Time { seconds: ns.div_euclid(SECOND), nanos }
}

/// `None` where the calendar ends: a file's time may be anything.
fn zoned(t: Time) -> Option<jiff::Zoned> {
    let ns = i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos);
    Timestamp::from_nanosecond(ns).ok().map(|t| t.to_zoned(TimeZone::system()))
}

/// `-rw-r--r--`, as `ls -l` has it.
pub fn mode(entry: &Entry) -> String {
    let kind = match entry.kind {
        EntryKind::File { .. } => '-',
        EntryKind::Dir(_) => 'd',
        EntryKind::Symlink(_) => 'l',
    };
    let m = entry.mode;
    let mut out = String::from(kind);
    for (shift, special, set, alone) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = m >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (bits & 1 != 0, m & special != 0) {
            (true, true) => set,
            (false, true) => alone,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    out
}

/// The user's or group's name, else its number.
pub fn owner(name: &Option<String>, id: u32) -> String {
    name.as_deref().map_or_else(|| id.to_string(), printable)
}

/// A name from a filesystem, any bytes, for people: control characters, what redirects text and bytes that are no
/// UTF-8 are escaped, and so is the backslash, so that two names never look alike for being escaped.
pub fn name(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' { out.push_str("\\\\") } else { push_printable(&mut out, c) }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}

/// A text that may hold such names: only what could harm is escaped.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        push_printable(&mut out, c);
        out
    })
}

fn push_printable(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        // C1 controls steer terminals too; the others break or turn lines, or cannot be seen.
        c if c.is_control() || is_hidden(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        c => out.push(c),
    }
}

/// Line breaks of Unicode, marks of direction, and characters without a width that hide in names.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A line on a file that is lost, in whole or in part.
pub fn lost(lost: &FileLost) -> String {
    format!(
        "lost: {}:{}: {} ({})",
        printable(lost.snapshot.get(..8).unwrap_or(&lost.snapshot)),
        name(&lost.path),
        size(lost.bytes_lost),
        printable(&lost.reason)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::{Attributes, Content};
    use proptest::prelude::*;

    #[test]
    fn sizes_have_three_digits_and_a_binary_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1 << 20, "1.00 MiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (10 << 20, "10.0 MiB"),
            (123 << 30, "123 GiB"),
            (1000 << 30, "0.98 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn counts_and_spans_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "file"), counted(2, "file")], ["1 file", "2 files"]);
        let spans = [0.25, 12.9, 65.0, 3_725.0, 266_400.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(spans, ["250 ms", "12 s", "1 min 05 s", "1 h 02 min", "3 d 02 h"]);
        assert_eq!(rate(10 << 20, Duration::from_secs(2)).as_deref(), Some("5.00 MiB/s"));
        assert_eq!((rate(1, Duration::ZERO), rate(0, Duration::from_secs(1))), (None, None));
        assert_eq!([percent(1, 8), percent(1, 40), percent(0, 0)], ["12 %", "2.5 %", "-"]);
    }

    #[test]
    fn a_time_for_programs_keeps_its_nanoseconds_and_comes_back() {
        let t = split_ns(1_700_000_000_123_456_789);
        let text = rfc3339(t);
        assert!(text.contains(".123456789"), "{text}");
        let back: Timestamp = text.parse().unwrap();
        assert_eq!(back.as_nanosecond(), 1_700_000_000_123_456_789);
        let before = split_ns(-1);
        assert_eq!(before, Time { seconds: -1, nanos: 999_999_999 });
    }

    #[test]
    fn times_that_no_calendar_holds_are_printed_all_the_same() {
        for seconds in [i64::MIN, i64::MAX] {
            let t = Time { seconds, nanos: 5 };
            assert_eq!(time(t), format!("@{seconds}"));
            assert_eq!(rfc3339(t), format!("@{seconds}.000000005"));
        }
    }

    #[test]
    fn names_are_escaped_so_that_a_terminal_is_not_steered() {
        assert_eq!(name(b"evil\x1b[31m\nname"), "evil\\x1b[31m\\nname");
        assert_eq!(name(b"latin1-\xe9\xff"), "latin1-\\xe9\\xff");
        assert_eq!(name("Künstler – 1979".as_bytes()), "Künstler – 1979");
        assert_eq!(name(b"a\\x1b"), "a\\\\x1b", "a name that looks escaped is told apart");
        assert_eq!(name("\u{202e}txt.exe\u{9b}31m".as_bytes()), "\\u{202e}txt.exe\\u{9b}31m");
        assert_eq!(printable("a\\b\x07"), "a\\b\\x07");
    }

    proptest! {
        #[test]
        fn no_control_character_survives_and_names_stay_apart(a: Vec<u8>, b: Vec<u8>) {
            prop_assert!(!name(&a).chars().any(|c| c.is_control() || is_hidden(c)));
            prop_assert_eq!(a == b, name(&a) == name(&b));
        }
    }

    #[test]
    fn modes_look_as_ls_has_them() {
        let mut e = Entry {
            kind: EntryKind::File { bytes: 0, content: Content::Inline(vec![]) },
            mode: 0o4755,
            mtime: Time::default(),
            uid: 7,
            gid: 0,
            user: None,
            group: Some("staff".into()),
            attributes: Attributes::None,
            link: None,
            digests: vec![],
        };
        assert_eq!(mode(&e), "-rwsr-xr-x");
        e.mode = 0o1640;
        assert_eq!(mode(&e), "-rw-r----T");
        e.kind = EntryKind::Symlink(b"x".to_vec());
        e.mode = 0o777;
        assert_eq!(mode(&e), "lrwxrwxrwx");
        assert_eq!((owner(&e.user, e.uid), owner(&e.group, e.gid)), ("7".into(), "staff".into()));
    }
}
