//! Samples without tables: whether bytes are PCM of 16, 24 or 32 bits, or floats that are integers; in which order, of how
//! many channels.
//!
//! Sound changes little from sample to sample, and only if it is read in its own order: turned round, its lowest bits, which
//! are noise, are the highest. Pictures of 8 bits change little either way, coded bytes much either way. By the same it is told
//! where such sound goes on and where it ends. What is guessed decides space only.
//!
//! # Invariants
//!
//! 1. The answer depends on the bytes alone, without rounding, and costs the same for any number of them.
//! 2. What it says of bytes that are no sound may be anything.

use super::words::{Kind, Word};

/// Fewer bytes are not looked at.
pub const BYTES_MIN: usize = 8 << 10;
/// The same where sound is expected: what lies between two pictures.
pub const PIECE_MIN: usize = 2 << 10;

/// Places that are looked at, and frames at each.
const PLACES: usize = 16;
const FRAMES: usize = 32;
/// Places after which it is asked whether this is worth going on: coded bytes, whatever they are read as, are not.
const FIRST_PLACES: usize = 3;
/// From a place to the one that is looked at next: so the first ones lie apart, since sound may begin loudly.
const PLACE_STEP: usize = 5;
/// Channels that are tried.
const CHANNELS: [usize; 4] = [1, 2, 6, 8];
const CHANNELS_MAX: usize = 8;
/// Numbers of bits are in sixteenths.
const BIT: u64 = 16;
/// Entropy of Laplacian or normal numbers is so much above the logarithm of their mean magnitude.
const ABOVE_MEAN: u64 = 38;
/// Of the bits of a sample at least one in so many must be saved, and so many more than turned round.
const SAVED_SHARE: u64 = 8;
/// Fewer are left only of what is nearly silent, which any order makes small.
const BITS_MIN: u64 = 3 * BIT;

/// The logarithm of a number, in sixteenths.
fn log2(n: u64) -> u64 {
    let n = n.max(1);
    let bits = u64::from(n.ilog2());
    let fraction = if bits >= 4 { n >> (bits - 4) } else { n << (4 - bits) };
    bits * BIT + (fraction & 15) // near enough
}

/// The sample of a word, in its own bytes. Of a float `None` if it is no integer, see [`super::words`].
fn sample(word: Word, bytes: &[u8]) -> Option<i64> {
    let put = |v: i64, byte: &u8| v << 8 | i64::from(*byte);
    let bits = if word.is_big_endian() { bytes.iter().fold(0, put) } else { bytes.iter().rev().fold(0, put) };
    if word.is_float() {
        // Exact: numbers of 24 bits.
        let v = f32::from_bits(bits as u32) * 8_388_608.0;
        let n = v as i32;
        let is_one = n as f32 == v && (-1 << 23..1 << 23).contains(&n);
        return is_one.then_some(i64::from(n));
    }
    let free = 64 - 8 * bytes_of(word); // at most 4 bytes
    Some(bits << free >> free)
}

/// Bytes of a word that this module reads: 2 to 4.
fn bytes_of(word: Word) -> u32 {
    word.bytes() as u32
}

/// Values that a word can have. Of floats those that are integers of 24 bits: chance makes no integers of other numbers.
fn range(word: Word) -> u64 {
    if word.is_float() { 1 << 24 } else { 1 << (8 * bytes_of(word)) }
}

/// Bits of a sample that may have any of these values.
fn all_bits(word: Word) -> u64 {
    u64::from(range(word).ilog2()) * BIT
}

/// What is summed of one number after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    before: i64,
    change: i64,
    first: u64,
    second: u64,
}

impl Lane {
    fn add(&mut self, v: i64, counts: bool) {
        let change = v - self.before;
        if counts {
            self.first += change.unsigned_abs(); // 33 bits each
            self.second += (change - self.change).unsigned_abs();
        }
        (self.before, self.change) = (v, change);
    }

    fn bits(&self, places: usize) -> u64 {
        let count = (places * (FRAMES - 2)) as u64; // FIRST_PLACES at least
        log2(self.first.min(self.second) / count) + ABOVE_MEAN
    }
}

/// Samples that were told: those of [`pcm`], of 2 to 4 bytes and at most 8 channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    pub word: Word,
    pub channels: u8,
}

/// Frames in front of a place, and behind it, by which it is told whether sound goes on there.
pub const LOOK_FRAMES: usize = 32;
/// Coded bytes that are read as samples differ from each other by a third of the range on average. What differs by less than one
/// part in so many is sound, ...
const SMOOTH_SHARE: u64 = 16;
/// ... and what differs by more than this is none. Between them it is if it is not twice as rough as what came before.
const ROUGH_SHARE: u64 = 6;

impl Sound {
    pub fn frame_bytes(&self) -> usize {
        self.word.frame_bytes(self.channels)
    }

    /// By how much a sample differs from the one before, or from what the two before let expect, on average; `None` if there
    /// are fewer than two frames, or floats that are none.
    fn roughness(&self, bytes: &[u8]) -> Option<u64> {
        let mut lanes = [Lane::default(); CHANNELS_MAX];
        let mut frames = 0_u64;
        for frame in bytes.chunks_exact(self.frame_bytes()) {
            for (lane, word) in lanes.iter_mut().zip(frame.chunks_exact(self.word.bytes())) {
                lane.add(sample(self.word, word)?, frames > 0);
            }
            frames += 1;
        }
        let of = lanes.iter().take(usize::from(self.channels));
        let sum: u64 = of.map(|lane| lane.first.min(lane.second)).sum();
        sum.checked_div(frames.saturating_sub(1) * u64::from(self.channels))
    }

    /// Whether `look` begins with this sound, whatever else it could be.
    pub fn starts(&self, look: &[u8]) -> bool {
        self.goes_on(look, 0, LOOK_FRAMES * self.frame_bytes())
    }

    /// Whether sound that starts `look` still goes on at a place of it: `bytes` that lie there are more of it, and no unit of
    /// coded video of this length.
    pub fn goes_on(&self, look: &[u8], at: usize, bytes: usize) -> bool {
        let frame = self.frame_bytes();
        let from = at - at % frame;
        // The frame before it is the first: what begins with a leap is something else.
        let end = at.saturating_add(bytes.max(frame)).min(from.saturating_add(LOOK_FRAMES * frame));
        let Some(behind) = look.get(from.saturating_sub(frame)..end.min(look.len())) else { return false };
        let Some(behind) = self.roughness(behind) else { return false };
        let range = range(self.word);
        let before = look.get(from.saturating_sub(LOOK_FRAMES * frame)..from).unwrap_or_default();
        behind < range / SMOOTH_SHARE
            || behind < range / ROUGH_SHARE && self.roughness(before).is_some_and(|before| behind < 2 * before)
    }
}

/// What samples need.
#[derive(Clone, Copy, Debug)]
struct Need {
    /// Bits a sample, on average over the channels, and of the channel with the most.
    mean: u64,
    most: u64,
}

/// What sound that is read so needs, by its first places alone if these need nearly all bits; `None` if it cannot be read so.
fn need(sound: &[u8], as_word: Word, channels: usize) -> Option<Need> {
    let frame = as_word.bytes() * channels;
    let room = sound.len().saturating_sub(FRAMES * frame);
    let mut lanes = [Lane::default(); CHANNELS_MAX + 2];
    let mut used = 0_i64;
    for turn in 0..PLACES {
        let place = turn * PLACE_STEP % PLACES; // each once: they have no common divisor
        let at = room * place / PLACES / frame * frame;
        let bytes = sound.get(at..).unwrap_or_default();
        for (i, frame) in bytes.chunks_exact(frame).take(FRAMES).enumerate() {
            let mut of = [0; CHANNELS_MAX];
            for (v, word) in of.iter_mut().zip(frame.chunks_exact(as_word.bytes())) {
                *v = sample(as_word, word)?;
                used |= *v;
            }
            // The middle and the side of two.
            let both = [(of[0] + of[1]) / 2, of[0] - of[1]];
            let all = of.iter().take(channels).chain(&both);
            for (lane, v) in lanes.iter_mut().zip(all) {
                lane.add(*v, i >= 2);
            }
        }
        if turn + 1 == FIRST_PLACES {
            let first = needed(&lanes, channels, used, FIRST_PLACES);
            if first.mean + all_bits(as_word) / (2 * SAVED_SHARE) > all_bits(as_word) {
                return Some(first);
            }
        }
    }
    Some(needed(&lanes, channels, used, PLACES))
}

/// What is needed by what so many places added to the lanes: those of the channels, then the middle and the side of two. `used` has
/// the bits that are set in any sample.
fn needed(lanes: &[Lane], channels: usize, used: i64, places: usize) -> Need {
    // Low bits that are not used cost nothing.
    let unused = u64::from(used.trailing_zeros() & 31) * BIT;
    let mean = |lanes: &[Lane]| lanes.iter().map(|lane| lane.bits(places)).sum::<u64>() / lanes.len().max(1) as u64;
    let (own, both) = lanes.split_at(channels);
    let least = if channels == 2 { mean(own).min(mean(&both[..2])) } else { mean(own) };
    let most = own.iter().map(|lane| lane.bits(places)).max().unwrap_or(0);
    Need { mean: least.saturating_sub(unused), most: most.saturating_sub(unused) }
}

/// What the samples are that `sound` begins with, and how many channels they have, if it looks like sound. At least
/// `bytes_min` must be seen of it.
pub fn pcm(sound: &[u8], bytes_min: usize) -> Option<Sound> {
    if sound.len() < bytes_min {
        return None;
    }
    let mut best: Option<(u64, u64, Sound)> = None;
    for (bytes, kind) in [(2, Kind::Signed), (3, Kind::Signed), (4, Kind::Signed), (4, Kind::Float)] {
        let [Some(big), Some(little)] = [true, false].map(|big_endian| Word::new(bytes, big_endian, kind)) else {
            continue; // there are these words
        };
        let all = all_bits(big);
        for channels in CHANNELS {
            let needs = [big, little].map(|word| (word, need(sound, word, channels)));
            let Some((word, Some(need))) =
                needs.into_iter().filter(|(_, n)| n.is_some()).min_by_key(|(_, n)| n.map(|n| n.mean))
            else {
                continue;
            };
            let turned = needs.iter().find(|(other, _)| *other != word).and_then(|(_, n)| *n);
            let limit = turned.map_or(all, |n| n.mean.min(all));
            if need.most < BITS_MIN || need.mean + all / SAVED_SHARE > limit {
                continue;
            }
            // The share of the bits that is left; of a float that is one there is no doubt.
            let share = if word.is_float() { need.mean } else { need.mean + all };
            if best.is_none_or(|(before, of, _)| share * of < before * all) {
                best = Some((share, all, Sound { word, channels: channels as u8 })); // at most 8
            }
        }
    }
    best.map(|(_, _, found)| found)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{noise, real};
    use super::*;

    fn told(sound: &[u8]) -> Option<(Word, u8)> {
        pcm(sound, BYTES_MIN).map(|s| (s.word, s.channels))
    }

    /// A real recording of 16 bits, with noise below them, in these words and channels.
    fn sound(word_bytes: usize, big_endian: bool, channels: usize, noise_bytes: usize) -> Vec<u8> {
        let wav = real("Rutger Muller/Piano/01 Piano.wav");
        let mut low = noise(4 << 20).into_iter();
        let frames = wav[44 + 40_000..].as_chunks::<4>().0.iter().take(30_000);
        let mut out = Vec::new();
        let mut slots = [0; CHANNELS_MAX];
        for frame in frames {
            let both = [[frame[0], frame[1]], [frame[2], frame[3]]].map(i16::from_le_bytes);
            for (c, slot) in slots.iter_mut().enumerate().take(channels) {
                // Each pair of channels a bit different.
                *slot = (i32::from(both[c % 2]) / (1 + c as i32 / 2)) << 16;
                let mut word = slot.to_le_bytes();
                for byte in &mut word[2 - noise_bytes.min(2)..2] {
                    *byte = low.next().unwrap();
                }
                let mut word = word[4 - word_bytes..].to_vec();
                if big_endian {
                    word.reverse();
                }
                out.extend(word);
            }
        }
        out
    }

    #[test]
    fn a_recording_is_told_in_any_words_and_channels() {
        for (word_bytes, noise_bytes) in [(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)] {
            for big_endian in [false, true] {
                for channels in CHANNELS {
                    let found = told(&sound(word_bytes, big_endian, channels, noise_bytes));
                    let word = Word::new(word_bytes as u32, big_endian, Kind::Signed).unwrap();
                    assert_eq!(
                        found,
                        Some((word, channels as u8)),
                        "{word_bytes} {big_endian} {channels} {noise_bytes}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_loud_beginning_is_not_taken_for_all() {
        // Noise at -10 dB for a sixth of it, then at -30 dB.
        let mut loud = noise(1 << 18).into_iter();
        let sound: Vec<u8> = (0..1 << 16)
            .flat_map(|i| {
                let wide = i16::from_le_bytes([loud.next().unwrap(), loud.next().unwrap()]);
                (wide / if i < 11_000 { 3 } else { 32 }).to_le_bytes()
            })
            .collect();
        // Noise has no channels.
        assert_eq!(told(&sound).map(|(word, _)| word), Word::new(2, false, Kind::Signed));
    }

    #[test]
    fn floats_that_are_integers_are_told() {
        for big_endian in [false, true] {
            let float = |w: &[u8; 2]| {
                let bits = (f32::from(i16::from_le_bytes(*w)) / 32_768.0).to_bits();
                if big_endian { bits.to_be_bytes() } else { bits.to_le_bytes() }
            };
            let floats: Vec<u8> = sound(2, false, 2, 0).as_chunks::<2>().0.iter().flat_map(float).collect();
            assert_eq!(told(&floats), Some((Word::new(4, big_endian, Kind::Float).unwrap(), 2)));
        }
    }

    #[test]
    fn silent_channels_are_counted() {
        let stereo = sound(2, true, 2, 0);
        let six: Vec<u8> = stereo.as_chunks::<4>().0.iter().flat_map(|f| [&f[..], &[0; 8]].concat()).collect();
        assert_eq!(told(&six), Some((Word::new(2, true, Kind::Signed).unwrap(), 6)));
    }

    #[test]
    fn the_same_in_both_channels_is_told_too() {
        let mono = sound(2, true, 1, 0);
        let both: Vec<u8> = mono.as_chunks::<2>().0.iter().flat_map(|w| [*w, *w].concat()).collect();
        assert_eq!(told(&both), Some((Word::new(2, true, Kind::Signed).unwrap(), 2)));
    }

    #[test]
    fn what_is_coded_text_silence_and_pictures_are_not_taken_for_sound() {
        assert_eq!(told(&noise(100_000)), None);
        assert_eq!(told(&[0; 100_000]), None);
        let text: Vec<u8> = (0..20_000).flat_map(|i| format!("line {i} of {}\n", i * 7 % 1000).into_bytes()).collect();
        assert_eq!(told(&text), None);
        // Pixels of 8 bits: a slope with some noise.
        let grain = noise(200_000);
        for channels in [1, 2, 3, 4] {
            let pixel = |i: usize| (i / channels % 200) as u8 / 2 + (i % channels) as u8 * 30 + (grain[i] & 7);
            assert_eq!(told(&(0..200_000).map(pixel).collect::<Vec<_>>()), None, "{channels}");
        }
        assert_eq!(told(&real("Photos/2008/Wood.jpg")), None);
        assert_eq!(told(&real("maqsim/Lunar Land/01 Lunar Land.mp3")), None);
        assert_eq!(told(&sound(2, true, 2, 0)[..BYTES_MIN - 1]), None);
    }
}
