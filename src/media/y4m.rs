//! YUV4MPEG2: raw planar video behind a line of text, each frame behind another one.
//!
//! ```text
//!  YUV4MPEG2 W720 H576 ... \n     wrapper
//!  FRAME ... \n                   wrapper
//!  plane Y                        essence 1
//!  planes Cb, Cr                  essence 2, 3
//!  plane of alpha                 essence 4
//!  FRAME ... \n                   ...
//! ```
//!
//! Large frames are runs, plane by plane. Small ones would make many short chunks: up to `SEGMENT` bytes of them are
//! one mapped segment, in which the planes of all frames follow each other. Owns the way along the frames.
//!
//! # Invariants
//!
//! 1. A plane holds whole frames: its samples are the same under any headers.
//! 2. Which frames are one segment hangs on their sizes alone.

use super::runs::{Last, Walk};
use super::{Hints, Mapped, MappedPart, PERMUTE, Part, Splitter, SplitterId, StreamNumber, WRAPPER, Y4M, permute};
use crate::chunk::{Form, Packing, Raster};

const MAGIC: &[u8] = b"YUV4MPEG2 ";
const FRAME: &[u8] = b"FRAME";
/// Bytes of a header line at most.
const LINE_MAX: usize = 1024;
/// Bytes of a mapped segment at most, and of frames that are mapped.
const SEGMENT: usize = 1 << 20;
const SMALL_FRAME: u64 = 512 << 10;
/// Smaller frames are not told apart: what the recipe says of each would cost more than it gains.
const TINY_FRAME: u64 = 4 << 10;
const SIDE_MAX: u64 = 1 << 20;

/// A plane of each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plane {
    stream: StreamNumber,
    form: Form,
    bytes: u64,
}

/// The line at the front of `bytes`, with its end.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let end = bytes.iter().position(|&b| b == b'\n')?;
    bytes.get(..=end)
}

/// A frame's planes, from the file's first line.
fn planes(line: &[u8]) -> Option<Vec<Plane>> {
    let (mut width, mut height, mut kind) = (0, 0, "420");
    let text = std::str::from_utf8(line.strip_prefix(MAGIC)?).ok()?;
    for word in text.split_ascii_whitespace() {
        match word.split_at_checked(1)? {
            ("W", n) => width = n.parse::<u64>().ok()?,
            ("H", n) => height = n.parse::<u64>().ok()?,
            ("C", k) => kind = k,
            _ => {}
        }
    }
    if !(1..=SIDE_MAX).contains(&width) || !(1..=SIDE_MAX).contains(&height) {
        return None;
    }
    // 420jpeg, 420p10, 422, mono16, 444alpha.
    let name_end = kind.find(|c: char| !c.is_ascii_digit()).unwrap_or(kind.len());
    let (name, rest) =
        if let Some(bits) = kind.strip_prefix("mono") { ("mono", bits) } else { kind.split_at(name_end) };
    let bytes = match rest.strip_prefix('p').unwrap_or(rest) {
        "9" | "10" | "12" | "14" | "16" => 2,
        _ => 1,
    };
    let (across, down) = match name {
        "420" => (2, 2),
        "422" => (2, 1),
        "411" => (4, 1),
        "444" => (1, 1),
        "mono" => (0, 0),
        _ => return None,
    };
    let plane = |stream, width: u64, height: u64| {
        let row = width * u64::from(bytes);
        let packing = Packing::Samples { bytes, channels: 1, big_endian: false };
        let form = Form::Raster(Raster { packing, row_bytes: row as u32 }); // at most 2^21
        Plane { stream, form, bytes: row * height }
    };
    let mut planes = vec![plane(1, width, height)];
    if across > 0 {
        planes.extend([2, 3].map(|s| plane(s, width.div_ceil(across), height.div_ceil(down))));
    }
    if rest == "alpha" {
        planes.push(plane(4, width, height));
    }
    Some(planes)
}

/// Opens a YUV4MPEG2 file.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    planes(line(hints.head)?)?;
    Some(Box::new(Video::default()))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Front,
    /// Before a frame.
    Frame,
    /// Within a plane of a large frame: which, and bytes to come.
    Plane(usize, u64),
    Opaque,
}

/// The splitter of one file.
#[derive(Debug, Default)]
struct Video {
    state: State,
    planes: Vec<Plane>,
    /// Streams that a mapped segment has begun.
    begun: bool,
    before: Last,
    doubt: Option<&'static str>,
}

impl Video {
    fn give_up(&mut self, reason: &'static str) {
        self.state = State::Opaque;
        self.doubt = Some(reason);
    }

    fn frame_bytes(&self) -> u64 {
        self.planes.iter().map(|p| p.bytes).sum()
    }

    fn step(&mut self, walk: &mut Walk<'_, '_>) {
        let rest = walk.rest();
        match self.state {
            State::Front => match line(rest).and_then(|l| Some((l.len(), planes(l)?))) {
                Some((n, planes)) => {
                    walk.give(WRAPPER, n);
                    self.planes = planes;
                    self.state = State::Frame;
                }
                None => self.give_up("y4m: a header that is none"),
            },
            State::Frame => {
                let Some(line) = line(rest).filter(|l| l.starts_with(FRAME)) else {
                    return self.give_up("y4m: no frame where one should be");
                };
                if self.frame_bytes() < TINY_FRAME {
                    self.state = State::Opaque;
                } else if self.frame_bytes() > SMALL_FRAME {
                    walk.give(WRAPPER, line.len());
                    self.state = State::Plane(0, self.planes[0].bytes); // there is one at least
                } else if let Some(mapped) = self.segment(rest) {
                    walk.map(mapped);
                } else {
                    self.give_up("y4m: the file ends within a frame");
                }
            }
            State::Plane(which, left) => {
                let plane = self.planes[which]; // see below
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                walk.give_as(plane.stream, plane.form, now);
                let left = left - now as u64; // at most what it was
                self.state = match self.planes.get(which + 1) {
                    _ if left > 0 => State::Plane(which, left),
                    Some(next) => State::Plane(which + 1, next.bytes),
                    None => State::Frame,
                };
            }
            State::Opaque => walk.give(1, rest.len()),
        }
    }

    /// As many whole frames as fit a segment; `None` if there is none.
    fn segment(&mut self, rest: &[u8]) -> Option<Mapped> {
        let mut parts: Vec<MappedPart> = Vec::new();
        for (stream, form) in [(WRAPPER, Form::Bytes)].into_iter().chain(self.planes.iter().map(|p| (p.stream, p.form)))
        {
            parts.push(MappedPart { stream, cut: !self.begun, form, bytes: Vec::new() });
        }
        let (mut at, mut order) = (0usize, Vec::new());
        while let Some(line) = rest.get(at..).and_then(line).filter(|l| l.starts_with(FRAME)) {
            let frame = line.len() + usize::try_from(self.frame_bytes()).ok()?;
            let end = at + frame; // below the window and SMALL_FRAME
            let Some(frame) = rest.get(at..end).filter(|_| end <= SEGMENT) else { break };
            let lengths = [line.len()].into_iter().chain(self.planes.iter().map(|p| p.bytes as usize)); // small
            let mut from = 0;
            for (k, (part, n)) in parts.iter_mut().zip(lengths).enumerate() {
                part.bytes.extend_from_slice(&frame[from..from + n]); // together the frame's bytes
                order.push((k, n));
                from += n;
            }
            at = end;
        }
        if at == 0 {
            return None;
        }
        self.begun = true;
        Some(Mapped { bytes: at as u64, how: PERMUTE, parts, parameters: permute::parameters(order) })
    }
}

impl Splitter for Video {
    fn id(&self) -> SplitterId {
        Y4M
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        while !walk.rest().is_empty() {
            // A segment, or a line, must be seen whole.
            let held = match self.state {
                State::Frame => SEGMENT + LINE_MAX,
                State::Front => LINE_MAX,
                _ => 0,
            };
            if !last && !walk.is_fresh() && walk.rest().len() < held {
                break;
            }
            self.step(&mut walk);
        }
        self.before = before;
        if last && self.doubt.is_none() && matches!(self.state, State::Plane(..)) {
            self.doubt = Some("y4m: the file ends within a frame");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{collect_parts, head, noise, streams, without_tail};
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, frame: usize, frames: usize) -> Vec<u8> {
        let mut out = header.as_bytes().to_vec();
        let samples = noise(frame * frames);
        for f in samples.chunks(frame) {
            out.extend_from_slice(b"FRAME\n");
            out.extend_from_slice(f);
        }
        out
    }

    #[test]
    fn small_frames_are_planes_of_many_frames() {
        let (w, h, frames) = (100, 50, 400);
        let frame = w * h * 3 / 2;
        let bytes = file("YUV4MPEG2 W100 H50 F25:1 Ip A1:1\n", frame, frames);
        let (parts, doubt) = collect_parts(open(head(&bytes)).unwrap(), &bytes, &[0]);
        assert_eq!(doubt, None);
        assert!(parts.len() < 8, "{} parts", parts.len());
        let all = streams(&bytes, &parts);
        let luma: Vec<u8> = bytes[33..].chunks(frame + 6).flat_map(|f| &f[6..6 + w * h]).copied().collect();
        assert!(all[&1] == luma);
        assert_eq!(all[&2].len() + all[&3].len() + luma.len(), frame * frames);
        let Part::Mapped(mapped) = &parts[1] else { panic!("{:?}", parts[1]) };
        let packing = Packing::Samples { bytes: 1, channels: 1, big_endian: false };
        let forms: Vec<_> = mapped.parts.iter().map(|p| p.form).collect();
        let [y, c] = [100, 50].map(|row_bytes| Form::Raster(Raster { packing, row_bytes }));
        assert_eq!(forms, [Form::Bytes, y, c, c]);
    }

    #[test]
    fn large_frames_are_runs_plane_by_plane() {
        let bytes = file("YUV4MPEG2 W640 H480 C422p10\n", 640 * 480 * 4, 3);
        let (parts, doubt) = collect_parts(open(head(&bytes)).unwrap(), &bytes, &[0]);
        let runs: Vec<_> =
            parts.iter().map(|p| if let Part::Run(r) = p { (r.stream, r.bytes) } else { panic!() }).collect();
        let (y, c) = (640 * 480 * 2, 320 * 480 * 2);
        let frame = [(1, y), (2, c), (3, c)];
        let want = [&[(0, 28 + 6)], &frame[..], &[(0, 6)], &frame, &[(0, 6)], &frame].concat();
        assert_eq!((runs, doubt), (want, None));
    }

    #[test]
    fn sizes_of_planes_follow_the_subsampling() {
        for (kind, sizes) in [
            ("", vec![15, 6, 6]),
            ("C420mpeg2", vec![15, 6, 6]),
            ("C411", vec![15, 6, 6]),
            ("C422", vec![15, 9, 9]),
            ("C444", vec![15, 15, 15]),
            ("C444p12", vec![30, 30, 30]),
            ("C444alpha", vec![15, 15, 15, 15]),
            ("Cmono", vec![15]),
            ("Cmono16", vec![30]),
        ] {
            let planes = planes(format!("YUV4MPEG2 W5 H3 {kind}\n").as_bytes()).expect(kind);
            assert_eq!(planes.iter().map(|p| p.bytes).collect::<Vec<_>>(), sizes, "{kind}");
        }
        for bad in
            ["YUV4MPEG2 W5\n", "YUV4MPEG2 W0 H5\n", "YUV4MPEG2 W5 H99999999\n", "YUV4MPEG2 W5 H5 C410\n", "YUV4MPEG2\n"]
        {
            assert_eq!(planes(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn tiny_frames_and_cut_ones_are_opaque() {
        let bytes = file("YUV4MPEG2 W4 H2\n", 12, 100);
        let (parts, doubt) = collect_parts(open(head(&bytes)).unwrap(), &bytes, &[0]);
        assert_eq!((parts.len(), doubt), (2, None));
        let bytes = file("YUV4MPEG2 W200 H100\n", 30_000, 10);
        let (_, doubt) = collect_parts(open(head(&bytes)).unwrap(), &bytes[..bytes.len() - 1], &[0]);
        assert_eq!(doubt, Some("y4m: the file ends within a frame"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn mutated_files_are_covered_alike_in_any_windows(
            size in prop::sample::select(vec![(80usize, 60usize), (300, 200), (720, 576), (1920, 800)]),
            changes in prop::collection::vec((prop_oneof![0..60_usize, 0..4_000_000_usize], any::<u8>()), 0..4),
            cut in prop::option::of(0..4_000_000_usize),
            windows in prop::collection::vec(prop_oneof![0..64_usize, 0..1_000_000_usize], 1..6),
        ) {
            let (w, h) = size;
            let mut bytes = file(&format!("YUV4MPEG2 W{w} H{h}\n"), w * h * 3 / 2, 4_000_000 / (w * h * 3 / 2) + 1);
            for (at, value) in changes {
                if let Some(b) = bytes.get_mut(at) {
                    *b = value;
                }
            }
            bytes.truncate(cut.unwrap_or(usize::MAX));
            if let Some(splitter) = open(head(&bytes)) {
                let whole = collect_parts(splitter, &bytes, &[]);
                prop_assert_eq!(whole, collect_parts(open(without_tail(&bytes)).unwrap(), &bytes, &windows));
            }
        }
    }
}
