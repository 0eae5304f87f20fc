//! Pictures with much in front of them: what describes a picture apart from the picture.
//!
//! ```text
//!  JPEG   SOI, APPn, COM            wrapper   if these are 16 KiB at least (a thumbnail, a colour profile, XMP)
//!         tables, frame, scans ...  essence
//!  PNG    signature, IHDR, iCCP ... wrapper   likewise
//!         IDAT ...                  essence
//! ```
//! Smaller fronts stay where they are: their chunk would cost about as much as the delta that it spares.
//!
//! Owns the way to the picture. The picture itself is not parsed.
//!
//! # Invariants
//!
//! The front is looked for in the first [`WINDOW_MIN`] bytes; State is one flag.

use super::demux::ALONE_BYTES;
use super::runs::{Last, Walk};
use super::{ESSENCE, Form, Hints, JPEG, PNG, Part, Splitter, SplitterId, WINDOW_MIN, WRAPPER};

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Opens a JPEG file: the marker of its start, and another one.
pub fn open_jpeg(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let &[0xff, 0xd8, 0xff, 0xc0..=0xfe, ..] = hints.head else { return None };
    Some(Box::new(Picture::new(JPEG, jpeg, Form::Jpeg)))
}

/// Opens a PNG file.
pub fn open_png(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let known = hints.head.starts_with(PNG_SIGNATURE) && hints.head.get(12..16) == Some(b"IHDR");
    known.then(|| Box::new(Picture::new(PNG, png, Form::Bytes)) as Box<dyn Splitter>)
}

/// Bytes before the first marker that describes the picture's samples.
fn jpeg(file: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        match file.get(at..)? {
            [0xff, 0xff, ..] => at += 1, // a byte that fills
            [0xff, 0xe0..=0xef | 0xfe, a, b, ..] => {
                at += 2 + usize::from(u16::from_be_bytes([*a, *b])).max(2);
            }
            [0xff, 0xc0..=0xdf, ..] => return Some(at),
            _ => return None,
        }
    }
}

/// Bytes before the first IDAT.
fn png(file: &[u8]) -> Option<usize> {
    let mut at = PNG_SIGNATURE.len();
    loop {
        let &[a, b, c, d, ref kind @ ..] = file.get(at..)? else { return None };
        if kind.starts_with(b"IDAT") {
            return Some(at);
        }
        kind.get(..4).filter(|k| k.iter().all(u8::is_ascii_alphabetic))?;
        at = at.checked_add(12)?.checked_add(usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?)?;
    }
}

/// The splitter of one picture.
#[derive(Debug)]
struct Picture {
    id: SplitterId,
    front: fn(&[u8]) -> Option<usize>,
    begun: bool,
    /// Of the picture.
    form: Form,
    before: Last,
    doubt: Option<&'static str>,
}

impl Picture {
    fn new(id: SplitterId, front: fn(&[u8]) -> Option<usize>, form: Form) -> Picture {
        Picture { id, front, begun: false, form, before: Last::default(), doubt: None }
    }
}

impl Splitter for Picture {
    fn id(&self) -> SplitterId {
        self.id
    }

    fn split(&mut self, window: &[u8], _last: bool, runs: &mut Vec<Part>) {
        let mut walk = Walk::new(window, runs, &mut self.before);
        if !self.begun && !window.is_empty() {
            self.begun = true;
            let front = (self.front)(window.get(..WINDOW_MIN).unwrap_or(window));
            match front {
                Some(n) if n as u64 >= ALONE_BYTES => walk.give(WRAPPER, n),
                Some(_) => {}
                None => (self.doubt, self.form) = (Some("picture: not found"), Form::Bytes),
            }
        }
        walk.give_as(ESSENCE, self.form, walk.rest().len());
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{collect_counting, head, noise, real};
    use super::*;
    use proptest::prelude::*;

    fn a_jpeg(apps: &[usize]) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8];
        for n in apps {
            file.extend([0xff, 0xe1]);
            file.extend((*n as u16 + 2).to_be_bytes());
            file.extend(noise(*n));
        }
        file.extend([0xff, 0xdb, 0, 67]);
        file.extend(noise(3 << 20));
        file
    }

    fn a_png(profile: usize) -> Vec<u8> {
        let chunk = |kind: &[u8], bytes: usize| [&(bytes as u32).to_be_bytes()[..], kind, &noise(bytes + 4)].concat();
        [PNG_SIGNATURE, &chunk(b"IHDR", 13), &chunk(b"iCCP", profile), &chunk(b"IDAT", 90_000)].concat()
    }

    fn fronts(file: &[u8]) -> Vec<(u8, u64)> {
        let open = |h| open_jpeg(h).or_else(|| open_png(h)).unwrap();
        let (runs, doubt) = collect_counting(open(head(file)), file, &[0]);
        assert_eq!((&runs, doubt), (&collect_counting(open(head(file)), file, &[]).0, None));
        runs.iter().map(|r| (r.stream, r.bytes)).collect()
    }

    #[test]
    fn a_large_front_stands_apart() {
        let jpeg = a_jpeg(&[60_000, 60_000, 5]);
        let front = 2 + 2 * 60_004 + 9;
        assert_eq!(fronts(&jpeg), [(WRAPPER, front), (ESSENCE, jpeg.len() as u64 - front)]);
        let png = a_png(70_000);
        let front = 8 + 12 + 13 + 12 + 70_000;
        assert_eq!(fronts(&png), [(WRAPPER, front), (ESSENCE, png.len() as u64 - front)]);
    }

    #[test]
    fn a_real_photo_has_its_thumbnail_and_profile_apart() {
        let file = real("Photos/2008/Wood.jpg");
        assert_eq!(fronts(&file), [(WRAPPER, 64_949), (ESSENCE, file.len() as u64 - 64_949)]);
        assert_eq!(file[64_949..64_951], [0xff, 0xdb]);
    }

    #[test]
    fn a_small_front_stays() {
        for file in [a_jpeg(&[9000, 300]), a_png(3000), real("kaligari/Hums/cover.png")] {
            assert_eq!(fronts(&file), [(ESSENCE, file.len() as u64)]);
        }
    }

    #[test]
    fn what_is_no_picture_is_doubted() {
        for file in [[&[0xff, 0xd8, 0xff, 0xe1, 0, 9][..], &[7; 5000]].concat(), a_png(70_000)[..40].to_vec()] {
            let splitter = open_jpeg(head(&file)).or_else(|| open_png(head(&file))).unwrap();
            let (runs, doubt) = collect_counting(splitter, &file, &[]);
            assert_eq!((runs.len(), doubt), (1, Some("picture: not found")));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_fronts_are_covered(
            bytes in prop::collection::vec(prop_oneof![Just(0xff_u8), Just(0xe1), Just(0), any::<u8>()], 0..500),
        ) {
            for start in [&[0xff, 0xd8, 0xff, 0xe0][..], &a_png(5)[..33]] {
                let file = [start, &bytes].concat();
                let splitter = open_jpeg(head(&file)).or_else(|| open_png(head(&file))).unwrap();
                let (runs, _) = collect_counting(splitter, &file, &[1]);
                prop_assert_eq!(runs.iter().map(|r| r.bytes).sum::<u64>(), file.len() as u64);
            }
        }
    }
}
