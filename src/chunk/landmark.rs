//! Landmarks of sound: places that stay where they are when a recording is remastered.
//!
//! A *peak* is a sample whose magnitude is the greatest of all within `REACH` frames of its channel, by a lead that is a share
//! of its own. Gain, dither, polarity, bit depth, a swap or split of channels and slow fades leave peaks where they
//! are. A landmark is a run of peaks: its key is a hash of their distances, of which of them have the first one's
//! sign, and of which neighbour is the greater. In stereo the sum of both channels has landmarks too, so that a mono
//! mix meets its source.
//!
//! Short runs (`ALIGN` distances) tell by their places how two chunks lie to one another; there a chance hit is outvoted.
//! Of longer runs (`FEATURE` distances), which hardly meet by chance, six min-hashes are features as those of
//! [`super::sketch`], in the same index but of their own kind: the two never meet.
//!
//! # Invariants
//!
//! 1. Features are persistent: a golden test holds them. They depend on the samples, the form and the store's gear seed
//!    alone; all is integer arithmetic.
//! 2. Work is linear; landmarks are fewer than one in `REACH` samples and pseudo-channels.

use super::Pcm;
use super::predict::frames;
use crate::format::Keys;
use crate::format::footer::{FEATURES, Features};

/// A peak is the greatest of so many frames to either side.
const REACH: usize = 256;
/// Frames whose maximum is taken at once.
const CELL: usize = 64;
/// A peak leads by more than this share of itself: one in 2^LEAD_BITS.
const LEAD_BITS: u32 = 9;
/// Distances between peaks that make a landmark, and a feature's key.
const ALIGN: usize = 2;
const FEATURE: usize = 3;
/// Fewer keys than this say nothing.
const KEYS_MIN: usize = 4;
/// The channel of landmarks of the sum of two channels.
pub const SUM: u8 = 255;

/// A run of peaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Landmark {
    pub key: u32,
    /// Of its first peak.
    pub frame: u32,
    /// Or [`SUM`].
    pub channel: u8,
}

/// What is kept of a chunk of samples to find those that line up with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landmarks {
    /// `None` where there are too few.
    pub features: Option<Features>,
    /// Ascending.
    pub marks: Vec<Landmark>,
}

/// Finds landmarks. One a thread.
pub struct Landmarker {
    key: u64,
    planes: Vec<Vec<i32>>,
    cells: Vec<u32>,
    peaks: Vec<Peak>,
}

#[derive(Clone, Copy, Debug)]
struct Peak {
    at: u32,
    /// The sample.
    value: i32,
}

impl Landmarker {
    pub fn new(keys: &Keys) -> Self {
        Landmarker {
            // Another step from the seed than the sketches' key.
            key: mix(keys.gear_seed() ^ 0x6c61_6e64_6d61_726b),
            planes: Vec::new(),
            cells: Vec::new(),
            peaks: Vec::new(),
        }
    }

    /// The landmarks of a chunk's plain bytes.
    pub fn landmarks(&mut self, plain: &[u8], form: Pcm) -> Landmarks {
        if !frames::known(form) || plain.len() > crate::format::limits::CHUNK_BYTES {
            return Landmarks::default();
        }
        let mut planes = std::mem::take(&mut self.planes);
        frames::split(plain, form, &mut planes);
        if let [left, right] = planes.as_slice() {
            // Half of it, so that it is a sample too.
            let sum = left.iter().zip(right).map(|(l, r)| ((i64::from(*l) + i64::from(*r)) >> 1) as i32).collect();
            planes.push(sum);
        }
        let mut all = Landmarks::default();
        let (mut least, mut keys) = ([u64::MAX; FEATURES], 0usize);
        for (i, plane) in planes.iter().enumerate() {
            let channel = if form.channels == 2 && i == 2 { SUM } else { i as u8 }; // at most 32 planes
            self.peaks(plane);
            for run in self.peaks.windows(ALIGN + 1) {
                let key = (self.run_key(run) >> 32) as u32; // the better mixed half
                all.marks.push(Landmark { key, frame: run[0].at, channel }); // a window is not empty
            }
            for run in self.peaks.windows(FEATURE + 1) {
                let key = self.run_key(run);
                keys += 1;
                for (least, line) in least.iter_mut().zip(1u64..) {
                    *least = (*least).min(mix(key ^ mix(line)));
                }
            }
        }
        all.marks.sort_unstable();
        all.features = (keys >= KEYS_MIN).then(|| {
            let mut features = [0; FEATURES];
            for (kind, (feature, least)) in (0u64..).zip(features.iter_mut().zip(least)) {
                // `mix` is a bijection, and the byte features' inputs are below 2^35.
                *feature = mix((16 + kind) << 56 | least >> 8);
            }
            features
        });
        self.planes = planes;
        all
    }

    fn run_key(&self, run: &[Peak]) -> u64 {
        let mut key = self.key;
        let first = run.first().map_or(0, |p| p.value);
        for pair in run.windows(2) {
            let [a, b] = [pair[0], pair[1]]; // a window of 2
            let distance = u64::from(b.at - a.at); // peaks ascend
            let sign = u64::from((b.value < 0) != (first < 0));
            let greater = u64::from(b.value.unsigned_abs() > a.value.unsigned_abs());
            key = mix(key ^ (distance << 2 | sign << 1 | greater));
        }
        key
    }

    /// Finds the peaks of a channel, ascending.
    fn peaks(&mut self, plane: &[i32]) {
        const CELLS: usize = REACH / CELL;
        self.peaks.clear();
        self.cells.clear();
        // What is shorter than a cell at the end is beyond the reach of any peak that counts.
        let (whole, _) = plane.as_chunks::<CELL>();
        self.cells.extend(whole.iter().map(greatest));
        let cells = self.cells.as_slice();
        let mut k = CELLS;
        while k + CELLS < cells.len() {
            // Cells k - 3 .. k + 3 lie within reach of any frame of cell k.
            let top = cells[k]; // k < cells.len()
            let lead = top >> LEAD_BITS;
            let near = |i: usize| i == k || top.saturating_sub(cells[i]) > lead; // i <= k + CELLS < cells.len()
            if top == 0 || !(k + 1 - CELLS..k + CELLS).all(near) {
                k += 1;
                continue;
            }
            let cell = &whole[k]; // as many cells as chunks
            let inside = cell.iter().position(|s| s.unsigned_abs() == top).unwrap_or(0);
            let at = k * CELL + inside;
            let below = |s: &i32| top.saturating_sub(s.unsigned_abs()) > lead;
            let alone = cell.iter().enumerate().all(|(i, s)| i == inside || below(s));
            // Both ends are in `plane`: cells k - 4 and k + 4 are.
            let before = near(k - CELLS) || plane[at - REACH..(k + 1 - CELLS) * CELL].iter().all(below);
            let behind = near(k + CELLS) || plane[(k + CELLS) * CELL..=at + REACH].iter().all(below);
            if alone && before && behind {
                self.peaks.push(Peak { at: at as u32, value: cell[inside] }); // a chunk is at most 16 MiB long
            }
            k += 1;
        }
    }
}

/// The greatest magnitude.
fn greatest(cell: &[i32; CELL]) -> u32 {
    let mut top = [0u32; 16];
    for part in cell.as_chunks::<16>().0 {
        for (t, s) in top.iter_mut().zip(part) {
            *t = (*t).max(s.unsigned_abs());
        }
    }
    top.into_iter().fold(0, u32::max)
}

/// splitmix64's last steps.
const fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::predict::testing::{interleave, noise, remaster, song};
    use super::*;
    use proptest::prelude::*;

    fn landmarker() -> Landmarker {
        Landmarker::new(&Keys::new([1; 32], 7))
    }

    fn form(sample_bytes: u8, channels: u8) -> Pcm {
        Pcm { sample_bytes, channels, coded: false }
    }

    /// The definition, word for word: but only where all within reach lies in whole cells.
    fn peaks_by_definition(plane: &[i32]) -> Vec<u32> {
        let cells = plane.len() / CELL;
        (0..plane.len())
            .filter(|&at| at / CELL >= REACH / CELL && at / CELL + REACH / CELL < cells)
            .filter(|&at| {
                let top = plane[at].unsigned_abs();
                let near =
                    (at - REACH..=at + REACH).filter(|i| *i != at).map(|i| plane[i].unsigned_abs()).max().unwrap();
                top > near && top - near > top >> LEAD_BITS
            })
            .map(|at| at as u32)
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn peaks_are_what_the_definition_says(seed: u64, n in 0..3000usize, range in 1..2000i32) {
            let plane: Vec<i32> = (0..n as u64).map(|i| noise(seed, i) as i32 % range).collect();
            let mut l = landmarker();
            l.peaks(&plane);
            prop_assert_eq!(l.peaks.iter().map(|p| p.at).collect::<Vec<_>>(), peaks_by_definition(&plane));
        }

        #[test]
        fn any_bytes_of_any_form_have_landmarks_or_none(bytes: Vec<u8>, sample_bytes: u8, channels: u8) {
            landmarker().landmarks(&bytes, form(sample_bytes, channels));
        }
    }

    #[test]
    fn remasters_keep_their_landmarks() {
        let song = song(3, 60_000, 2);
        let old = landmarker().landmarks(&interleave(&song, 3), form(3, 2));
        let mut quieter = remaster(&song, 0.94 / 256.0, 1);
        let cases = [
            ("16 bits with dither", interleave(&quieter, 2), form(2, 2), 4),
            (
                "turned over",
                interleave(&song.iter().map(|c| c.iter().map(|s| -s).collect()).collect::<Vec<_>>(), 3),
                form(3, 2),
                6,
            ),
            ("one channel", interleave(&quieter[1..], 2), form(2, 1), 1),
            ("swapped", interleave(&[quieter.remove(1), quieter.remove(0)], 2), form(2, 2), 4),
        ];
        for (what, plain, form, least) in cases {
            let new = landmarker().landmarks(&plain, form);
            let same = old.features.unwrap().iter().zip(new.features.unwrap()).filter(|(a, b)| **a == *b).count();
            assert!(same >= least, "{what}: {same} features of 6");
            let found =
                new.marks.iter().filter(|m| old.marks.iter().any(|o| o.key == m.key && o.frame == m.frame)).count();
            assert!(found * 10 > new.marks.len() * 8, "{what}: {found} of {} landmarks", new.marks.len());
        }
        let other =
            landmarker().landmarks(&interleave(&super::super::predict::testing::song(4, 60_000, 2), 3), form(3, 2));
        assert!(old.features.unwrap().iter().zip(other.features.unwrap()).all(|(a, b)| *a != b));
    }

    #[test]
    fn features_of_another_store_are_others() {
        let plain = interleave(&song(3, 30_000, 1), 2);
        let other = Landmarker::new(&Keys::new([1; 32], 8)).landmarks(&plain, form(2, 1));
        assert_ne!(landmarker().landmarks(&plain, form(2, 1)).features, other.features);
    }

    #[test]
    fn silence_and_short_chunks_have_none() {
        assert_eq!(landmarker().landmarks(&[0; 100_000], form(2, 2)), Landmarks::default());
        assert_eq!(landmarker().landmarks(&interleave(&song(1, 600, 1), 2), form(2, 1)).features, None);
    }

    /// They stand in footers: these numbers never change.
    #[test]
    fn golden_features() {
        let features = landmarker().landmarks(&interleave(&song(42, 40_000, 2), 2), form(2, 2)).features.unwrap();
        assert_eq!(features, GOLDEN);
    }

    const GOLDEN: Features = [
        13518922682552619810,
        18130347995140141098,
        14749453474251549509,
        1524249021751965366,
        9178867513726776234,
        13750967410325979526,
    ];
}
