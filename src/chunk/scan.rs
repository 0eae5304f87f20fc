//! The fast twin of [`Cutter::next`]: a window is hashed once, in lanes, for cuts and for samples.
//!
//! The gear hash of a position is `h = (h << 1) + T[byte]`. One byte after the other that is a chain of
//! latencies; here a block is split into segments, one a lane, and all lanes step at once:
//!
//! ```text
//!  window   |  scanned before  |  block: lane 0 | lane 1 | lane 2 | ... | lane 15  |  not yet  |
//!                                         --->     --->     --->            --->
//!  marks    .....x.......x..x......x........x.............x......x..........x
//!                           |  where the low word of the hash has the mark's bits zero
//!                           +-> a cut? only where it has a mask's bits zero as well: asked of the whole hash
//!                           +-> a sample of its chunk, for the features
//! ```
//!
//! The low 32 bits of a sum depend on the low 32 bits of its parts alone, so lanes are words of 32 bits, and the
//! hash of a position on its last 32 bytes. Both masks' common bits in the low word (or the highest seven of
//! them) are the mark's: whatever the chunker could cut at is a mark. One position in 128 is one, and only there the
//! whole hash is made from the bytes.
//!
//! # Invariants
//!
//! 1. Cuts equal those of [`Cutter::next`] for every input. What the marks cannot answer is asked there.
//! 2. A mark at `p` is told by the 32 bytes that end at `p`. Where the window begins later than that, it is not
//!    used: cuts are looked for after the least length of a chunk, samples from a chunk's 32nd byte on.
//! 3. The samples of a chunk depend on its bytes, the table and the chunker alone: not on the kernel, on where windows
//!    or blocks begin, or on what stands before the chunk.
//! 4. Bytes that stay in the window are not hashed again when it moves on.
//! 5. Marks are bounded: a block with more than one in 16 positions or so has none, and counts as dense.

mod lanes;
#[cfg(target_arch = "x86_64")]
mod wide;

use super::cut::Cutter;
use std::ops::Range;

/// Bytes that tell the low word of a hash.
pub(super) const REACH: usize = 32;
/// Bytes that tell every bit of the masks: they ask nothing above bit 47.
pub(super) const DEPTH: usize = 48;
/// One position in `2^SAMPLE_BITS` is a sample.
const SAMPLE_BITS: u32 = 7;
/// A chunk of `n` bytes with more than `n / SAMPLES_MOST` samples repeats itself, and has none.
const SAMPLES_MOST: usize = 16;

/// Most bytes of a lane. An odd number of cache lines: at a power of two the lanes would meet in the same sets.
const LANE_BYTES: usize = 64 * 129;
/// Most marks of a lane. Beyond one in 16 positions a block is dense.
const LANE_MARKS: usize = LANE_BYTES / 16;
const LANES: usize = 16;

/// What the lanes need of a gear table.
pub(super) struct Table {
    words: [u64; 256],
    /// The words' low halves.
    low: [u32; 256],
    /// The low halves by byte: `planes[p][b / 64][b % 64]` is byte `p` of `low[b]`.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by the wide kernel"))]
    planes: [[[u8; 64]; 4]; 4],
    /// Bits that are zero at a mark.
    mark: u32,
    /// Bits that are zero at a sample: the mark's, and others where those are fewer than [`SAMPLE_BITS`].
    sample: u32,
}

impl Table {
    pub fn new(gear: &[u64; 256], mask_s: u64, mask_l: u64) -> Table {
        let low = gear.map(|w| w as u32); // its low half
        let mut planes = [[[0; 64]; 4]; 4];
        for (b, word) in low.iter().enumerate() {
            for (plane, byte) in planes.iter_mut().zip(word.to_le_bytes()) {
                plane[b / 64][b % 64] = byte;
            }
        }
        let common = (mask_s & mask_l) as u32; // its low half
        let mark = highest(common, SAMPLE_BITS);
        let sample = mark | highest(!mark, SAMPLE_BITS - mark.count_ones());
        Table { words: *gear, low, planes, mark, sample }
    }

    /// The low word of the hash before position `at`, of at most `REACH - 1` bytes: what is older leaves it with the
    /// next byte.
    fn before(&self, bytes: &[u8], at: usize) -> u32 {
        bytes[at.saturating_sub(REACH - 1)..at].iter().fold(0, |h, &b| self.step(h, b))
    }

    #[inline(always)]
    fn step(&self, hash: u32, byte: u8) -> u32 {
        (hash << 1).wrapping_add(self.low[usize::from(byte)])
    }

    /// The hash of these bytes: as far as the masks can tell, the whole one.
    fn whole(&self, bytes: &[u8; DEPTH]) -> u64 {
        // Three thirds at once: each is a chain of latencies.
        let mut parts = [0u64; 3];
        for i in 0..DEPTH / 3 {
            for (k, part) in parts.iter_mut().enumerate() {
                *part = (*part << 1).wrapping_add(self.words[usize::from(bytes[DEPTH / 3 * k + i])]);
            }
        }
        (parts[0] << (DEPTH / 3 * 2)).wrapping_add(parts[1] << (DEPTH / 3)).wrapping_add(parts[2])
    }

    /// Appends where a chunk's samples are: the definition, one byte after the other.
    ///
    /// A sample is a position from the chunk's 32nd byte on where the low word of the hash has the sample's bits
    /// zero. In a run of equal hashes (of equal bytes) only the first is one.
    fn samples_of(&self, chunk: &[u8], out: &mut Vec<u32>) {
        let start = out.len();
        let most = chunk.len() / SAMPLES_MOST;
        let Some((head, rest)) = chunk.split_at_checked(REACH - 1) else { return };
        let mut hash = self.before(head, head.len());
        let mut last = None;
        for (at, &byte) in (head.len() as u32..).zip(rest) {
            hash = self.step(hash, byte);
            if hash & self.sample == 0 && last != Some(hash) {
                if out.len() - start == most {
                    out.truncate(start);
                    return;
                }
                out.push(at);
            }
            last = Some(hash);
        }
    }
}

/// The highest `n` of a word's set bits, or all.
fn highest(word: u32, n: u32) -> u32 {
    (0..32).rev().map(|i| 1 << i).filter(|bit| word & bit != 0).take(n as usize).sum()
}

/// A position where the low word of the hash has the mark's bits zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    /// In the window.
    at: u32,
    /// The low word.
    hash: u32,
}

/// The marks of a block, by lane. Kept from block to block, so that it is made once.
struct Lists {
    marks: Vec<[Mark; Lists::SIZE]>,
    len: [usize; LANES],
}

impl Lists {
    /// A lane's marks, what the wide kernel adds before it looks at their number, and what it writes beyond their end.
    const SIZE: usize = LANE_MARKS + 64 + 2 * LANE_BYTES / 64 + 2;

    fn new() -> Lists {
        Lists { marks: vec![[Mark::default(); Lists::SIZE]; LANES], len: [0; LANES] }
    }
}

/// How a block is scanned. All give the same marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Wide,
}

impl Kernel {
    /// The fastest of this machine.
    fn best() -> Kernel {
        #[cfg(target_arch = "x86_64")]
        if wide::is_supported() {
            return Kernel::Wide;
        }
        Kernel::Portable
    }

    /// Scans a block at `from`. Returns its bytes, at least 1 if there are any, its lanes, and whether the lists hold
    /// their marks: else the block is dense. `bytes` are fewer than 2^32.
    fn block(self, table: &Table, bytes: &[u8], from: usize, lists: &mut Lists) -> (usize, usize, bool) {
        let left = bytes.len() - from;
        lists.len = [0; LANES];
        #[cfg(target_arch = "x86_64")]
        if self == Kernel::Wide {
            let lines = (left / (64 * LANES)).min(LANE_BYTES / 64);
            let lane = 64 * (lines - usize::from(lines.is_multiple_of(2) && lines > 0)); // odd, see LANE_BYTES
            if lane >= 3 * 64 {
                // SAFETY: this kernel is chosen only where the processor has what it is compiled for.
                let fits = unsafe { wide::scan(table, bytes, from, lane, lists) };
                return (LANES * lane, LANES, fits);
            }
        }
        if left >= 1024 {
            let lane = (left / 4).min(LANE_BYTES);
            return (4 * lane, 4, lanes::scan::<4>(table, bytes, from, lane, lists));
        }
        (left, 1, lanes::scan::<1>(table, bytes, from, left, lists))
    }
}

/// Cuts the windows of one stream of bytes after the other, and gathers the chunks' samples. One a thread.
///
/// ```text
///  loop {  fill the window;  next, next, ... ;  advance: what was cut leaves the window's front  }
/// ```
pub struct Scanner<'c> {
    cutter: &'c Cutter,
    kernel: Kernel,
    lists: Lists,
    /// In ascending order.
    marks: Vec<Mark>,
    /// Bytes of the window that were scanned.
    scanned: usize,
    /// Parts of these whose marks are not known, in ascending order, apart from each other.
    dense: Vec<Range<usize>>,
}

impl<'c> Scanner<'c> {
    pub fn new(cutter: &'c Cutter) -> Scanner<'c> {
        Scanner::with(cutter, Kernel::best())
    }

    fn with(cutter: &'c Cutter, kernel: Kernel) -> Scanner<'c> {
        Scanner { cutter, kernel, lists: Lists::new(), marks: Vec::new(), scanned: 0, dense: Vec::new() }
    }

    /// Bytes of the longest chunk.
    pub fn max_bytes(&self) -> usize {
        self.cutter.max_bytes()
    }

    /// Forgets the window: the next call shows another one.
    pub fn restart(&mut self) {
        self.marks.clear();
        self.dense.clear();
        self.scanned = 0;
    }

    /// The length of the chunk that begins at `range.start`: what [`Cutter::next`] says of `window[range]`, an
    /// empty range where it does not lie in the window.
    ///
    /// Since the last [`Scanner::restart`] or [`Scanner::advance`] the window may have grown, but not changed.
    pub fn next(&mut self, window: &[u8], range: Range<usize>) -> usize {
        self.scan(window);
        let from = range.start;
        let bytes = window.get(range).unwrap_or_default();
        let c = self.cutter;
        let Some(limits) = c.limits(bytes.len()) else { return bytes.len() };
        if !self.knows(from..from + limits.end) {
            return c.next(bytes);
        }
        // The chunker's hash starts with nothing at the least length: until it has seen as many bytes as the masks
        // can tell, it is another one than the marks'.
        let full = limits.end.min(limits.start + DEPTH);
        let mut hash = 0u64;
        for (at, &byte) in bytes[limits.start..full].iter().enumerate() {
            let at = limits.start + at;
            hash = (hash << 1).wrapping_add(c.table.words[usize::from(byte)]);
            if hash & limits.mask(at) == 0 {
                return at;
            }
        }
        let first = self.marks.partition_point(|m| (m.at as usize) < from + full);
        for mark in &self.marks[first..] {
            let at = mark.at as usize - from; // not before `from + full`, see above
            if at >= limits.end {
                break;
            }
            let mask = limits.mask(at);
            // The low half first. As many bytes as tell the rest stand before, see `full`.
            if mark.hash & mask as u32 == 0
                && bytes[..=at].last_chunk().is_some_and(|last| c.table.whole(last) & mask == 0)
            {
                return at;
            }
        }
        limits.longest
    }

    /// Takes `done` bytes from the window's front, and returns the samples of the chunks that lay there: in
    /// ascending order, apart from each other.
    pub fn advance(&mut self, window: &[u8], chunks: impl IntoIterator<Item = Range<usize>>, done: usize) -> Samples {
        self.scan(window);
        let mut samples = Samples::default();
        samples.positions.reserve(done / 100); // somewhat more than one in 128
        for chunk in chunks {
            self.collect(window, chunk, &mut samples.positions);
            samples.ends.push(samples.positions.len());
        }
        let gone = self.marks.partition_point(|m| (m.at as usize) < done);
        self.marks.drain(..gone);
        for mark in &mut self.marks {
            mark.at -= done as u32; // at most `mark.at`, see above
        }
        self.dense.retain_mut(|d| {
            *d = d.start.saturating_sub(done)..d.end.saturating_sub(done);
            d.start < d.end
        });
        self.scanned = self.scanned.saturating_sub(done);
        samples
    }

    /// Where the samples of bytes that stand alone are, such as a chunk that was read back. Forgets the window.
    pub fn samples(&mut self, chunk: &[u8]) -> Vec<u32> {
        self.restart();
        let whole = 0..chunk.len();
        let samples = self.advance(chunk, [whole], chunk.len());
        self.restart();
        samples.positions
    }

    /// Whether every mark of these bytes of the window is known.
    fn knows(&self, range: Range<usize>) -> bool {
        range.end <= self.scanned && !self.dense.iter().any(|d| d.start < range.end && range.start < d.end)
    }

    /// Scans what of the window was not.
    fn scan(&mut self, window: &[u8]) {
        let end = window.len().min(u32::MAX as usize); // beyond, nothing is known: a window is much shorter
        let window = &window[..end];
        while self.scanned < end {
            let from = self.scanned;
            let (bytes, lanes, fits) = self.kernel.block(&self.cutter.table, window, from, &mut self.lists);
            self.scanned += bytes;
            if fits {
                for (marks, &n) in self.lists.marks.iter().zip(&self.lists.len).take(lanes) {
                    self.marks.extend_from_slice(&marks[..n]);
                }
            } else {
                match self.dense.last_mut() {
                    Some(last) if last.end == from => last.end = self.scanned,
                    _ => self.dense.push(from..self.scanned),
                }
            }
        }
    }

    /// Appends a chunk's samples: what [`Table::samples_of`] gives, from the marks where they are known.
    fn collect(&self, window: &[u8], chunk: Range<usize>, out: &mut Vec<u32>) {
        let table = &self.cutter.table;
        if !self.knows(chunk.clone()) {
            return table.samples_of(window.get(chunk).unwrap_or_default(), out);
        }
        let start = out.len();
        let first = chunk.start + REACH - 1;
        let begin = self.marks.partition_point(|m| (m.at as usize) < first);
        let mut last = None;
        for mark in self.marks[begin..].iter().take_while(|m| (m.at as usize) < chunk.end) {
            let again = last.is_some_and(|l: Mark| l.hash == mark.hash && l.at + 1 == mark.at);
            if !again && mark.hash & table.sample == 0 {
                out.push(mark.at - chunk.start as u32); // not before `first`
            }
            last = Some(*mark);
        }
        if out.len() - start > chunk.len() / SAMPLES_MOST {
            out.truncate(start);
        }
    }
}

/// Where the samples of a batch's chunks are, each counted from its chunk's first byte: some 4 bytes for every 128 of
/// the chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    positions: Vec<u32>,
    /// Where each chunk's end.
    ends: Vec<usize>,
}

impl Samples {
    /// Those of one chunk.
    pub fn one(positions: &[u32]) -> Samples {
        Samples { positions: positions.to_vec(), ends: vec![positions.len()] }
    }

    /// Those of the chunk that was the `i`th when it was cut; none beyond the last.
    pub fn chunk(&self, i: usize) -> &[u32] {
        let start = if i == 0 { Some(0) } else { self.ends.get(i - 1).copied() };
        let range = start.zip(self.ends.get(i).copied()).map(|(a, b)| a..b);
        range.and_then(|r| self.positions.get(r)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
