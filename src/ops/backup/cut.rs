//! Parts of a window to chunks: where runs are cut, and what waits for more of the file.
//!
//! # Invariants
//!
//! 1. Chunks and mapped segments cover what was cut, in order. Cuts do not depend on the windows.
//! 2. Within a run whose form has an alignment, every chunk begins at a multiple of it.

use crate::chunk::{Form, Scanner};
use crate::media::{Mapped, Part};
use std::collections::VecDeque;

/// Where a chunk lies, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub stream: u8,
    pub from: usize,
    pub to: usize,
    pub form: Form,
}

/// What a window was cut into: from and to are bytes of it.
pub(super) enum Piece {
    Chunk(Cut),
    Mapped(Box<Mapped>, usize, usize),
}

impl Piece {
    pub fn chunk(&self) -> Option<Cut> {
        if let Piece::Chunk(cut) = self { Some(*cut) } else { None }
    }
}

/// Cuts what can be cut of the parts over `bytes`, and tells how many bytes that was. A run that may go on is cut only
/// where the longest chunk could not change the cut.
///
/// Within a run whose form has an alignment, a cut is moved back to a multiple of it, counted from the run's start;
/// only the run's end is a cut anywhere.
pub(super) fn cut(
    scanner: &mut Scanner<'_>,
    bytes: &[u8],
    parts: &mut VecDeque<Part>,
    last: bool,
) -> (Vec<Piece>, usize) {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(part) = parts.front_mut() {
        let run = match part {
            Part::Run(run) => *run,
            Part::Mapped(_) => {
                if let Some(Part::Mapped(mapped)) = parts.pop_front() {
                    let to = at + mapped.bytes as usize; // parts lie within the window
                    pieces.push(Piece::Mapped(Box::new(mapped), at, to));
                    at = to;
                }
                continue;
            }
        };
        let closed = last || parts.len() > 1;
        let left = run.bytes as usize; // runs lie within the window
        if left == 0 {
            if parts.len() == 1 {
                break;
            }
            parts.pop_front();
            continue;
        }
        // One byte more than the longest chunk: whether this chunk is the run's last must be known.
        if !closed && left <= scanner.max_bytes() {
            break;
        }
        let mut n = scanner.next(bytes, at..at + left); // the parts cover `bytes`
        if n < left {
            let align = run.form.align();
            n = if n < align { align.min(left) } else { n - n % align }; // every chunk begins at a multiple
        }
        pieces.push(Piece::Chunk(Cut { stream: run.stream, from: at, to: at + n, form: run.form }));
        at += n;
        if let Some(Part::Run(run)) = parts.front_mut() {
            run.bytes -= n as u64;
        }
    }
    (pieces, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Cutter, Pcm};
    use crate::format::Keys;
    use crate::format::superblock::ChunkerParameters;
    use crate::media::Run;

    fn noise(n: usize) -> Vec<u8> {
        let mut x = 88_172_645_463_325_252u64;
        std::iter::repeat_with(|| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .take(n)
        .collect()
    }

    fn cutter() -> Cutter {
        let p = ChunkerParameters { min_bytes: 2 << 10, avg_bytes: 8 << 10, max_bytes: 32 << 10, ..Default::default() };
        Cutter::new(p, &Keys::new([0; 32], 3)).unwrap()
    }

    fn run(stream: u8, bytes: usize, sample_bytes: u8, channels: u8) -> Run {
        let form = match sample_bytes {
            0 => Form::Bytes,
            _ => Form::Pcm(Pcm { sample_bytes, channels, coded: false }),
        };
        Run { stream, bytes: bytes as u64, cut: true, form }
    }

    /// Cuts in windows that grow by `step` bytes, as runs become known.
    fn in_steps(cutter: &Cutter, bytes: &[u8], runs: &[Run], step: usize) -> Vec<(u8, usize, usize)> {
        let mut scanner = Scanner::new(cutter);
        let mut all = Vec::new();
        let mut open: VecDeque<Part> = VecDeque::new();
        let mut rest: VecDeque<Run> = runs.iter().copied().collect();
        let (mut front, mut seen) = (0, 0);
        while front < bytes.len() {
            let mut more = step.min(bytes.len() - seen);
            seen += more;
            while more > 0 {
                let run = &mut rest[0];
                let n = more.min(run.bytes as usize);
                match open.back_mut() {
                    Some(Part::Run(last)) if !run.cut => last.bytes += n as u64,
                    _ => open.push_back(Part::Run(Run { bytes: n as u64, ..*run })),
                }
                run.bytes -= n as u64;
                run.cut = false;
                more -= n;
                if run.bytes == 0 {
                    rest.pop_front();
                }
            }
            let window = &bytes[front..seen];
            let (pieces, done) = cut(&mut scanner, window, &mut open, seen == bytes.len());
            scanner.advance(window, [], done);
            all.extend(pieces.iter().filter_map(Piece::chunk).map(|c| (c.stream, front + c.from, front + c.to)));
            front += done;
        }
        all
    }

    #[test]
    fn cuts_within_a_run_stand_on_its_frames_whatever_the_windows() {
        let cutter = cutter();
        let bytes = noise(700_001);
        // One ends where the longest chunk does, one is shorter than a frame, one ends within a frame.
        let lengths = [100_003, 32 << 10, 5, 7, 1, 200_000, 33_000];
        let mut runs = Vec::new();
        let mut at = 0;
        for (i, n) in lengths.into_iter().enumerate() {
            runs.push(run(i as u8, n, [3, 4, 2, 0, 3][i % 5], [2, 16, 2, 0, 32][i % 5]));
            at += n;
        }
        runs.push(run(9, bytes.len() - at, 3, 2));
        let whole = in_steps(&cutter, &bytes, &runs, bytes.len());
        for step in [32 << 10, (32 << 10) + 1, 99_999, 300_000] {
            assert_eq!(in_steps(&cutter, &bytes, &runs, step), whole, "windows grow by {step}");
        }
        let (mut end, mut chunks) = (0, whole.into_iter().peekable());
        for run in runs {
            let start = end;
            end += run.bytes as usize;
            while let Some((stream, from, to)) = chunks.next_if(|c| c.1 < end) {
                assert_eq!(stream, run.stream);
                assert!(from < to && to <= end && (from - start) % run.form.align() == 0);
            }
        }
        assert!(chunks.next().is_none());
    }

    #[test]
    fn a_constant_run_of_frames_is_cut_below_the_maximum() {
        let bytes = vec![0; 100_000];
        let chunks = in_steps(&cutter(), &bytes, &[run(0, bytes.len(), 3, 2)], 50_000);
        assert_eq!(chunks[0], (0, 0, 32_766), "the most frames of 6 bytes in 32 KiB");
    }
}
