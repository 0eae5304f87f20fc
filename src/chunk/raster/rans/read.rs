//! The decoder's loops: words to tokens, then bits to residuals, a stretch at a time.
//!
//! # Invariants
//!
//! They are total, and the same in both compilations.

use super::super::lanes::{LANES, Lanes, PAD, STRETCH};
use super::super::tokens::{LEVEL, LEVELS, bits_below};
use super::super::wide;
use super::{FREQUENCY_BITS, SLOTS, STATE_MIN, TABLES};

/// What a decoder needs of a context. Small, since some twenty of them are used in turns and should stay near.
pub struct Table {
    /// The token of each slot.
    pub token_of: [u8; SLOTS],
    /// Of each token: its frequency, and where its slots begin. There are 60; what stands behind them is never looked at, but
    /// need not be ruled out either.
    pub shares: [[u16; 2]; 256],
}

impl Default for Table {
    fn default() -> Self {
        Table { token_of: [0; SLOTS], shares: [[0; 2]; 256] }
    }
}

/// What a decoder reads from.
pub struct Reading<'a> {
    pub words: &'a [u8],
    pub bits: &'a [u8],
    /// The context of each sum of tokens.
    pub by_sum: [[&'a Table; 512]; LANES],
}

impl<'a> Reading<'a> {
    /// The contexts of a lane's sums, from those of its levels.
    pub fn by_sum(tables: &'a [Table; TABLES], context_of: &[u8; LEVELS]) -> [&'a Table; 512] {
        std::array::from_fn(|s| &tables[usize::from(context_of[usize::from(LEVEL[s])]) % TABLES])
    }
}

pub type ReadAll = fn(&Lanes, &Reading<'_>, &[u32; LANES], &mut [u8], &mut [u16]) -> bool;

/// Lanes whose levels hang on lane 0 at the same place, as bits; or this: see each lane. Known beforehand, weights are
/// constants and nothing is multiplied by nought.
const ANY: u8 = u8::MAX;

/// Where a reader is.
struct At<const N: usize> {
    states: [u32; N],
    word: usize,
    bit: usize,
    /// The tokens to the left and left of it, where these are the last ones.
    last: [[u16; 2]; N],
}

/// Room for a stretch, kept from one to the next. Nothing in it is read before it is written, so it need not be cleared.
struct Room<const N: usize> {
    found: [[u8; STRETCH]; N],
    values: [[u16; STRETCH]; N],
    sums: [[u16; STRETCH]; N],
    counts: [[u8; STRETCH]; N],
    of_two: [u8; STRETCH],
    of_all: [u8; STRETCH],
    halves: [[u32; STRETCH]; 2],
}

impl<const N: usize> Room<N> {
    fn new() -> Self {
        Room {
            found: [[0; STRETCH]; N],
            values: [[0; STRETCH]; N],
            sums: [[0; STRETCH]; N],
            counts: [[0; STRETCH]; N],
            of_two: [0; STRETCH],
            of_all: [0; STRETCH],
            halves: [[0; STRETCH]; 2],
        }
    }
}

/// The tokens of a stretch. `NEAR`: the left neighbour is the token before, in all lanes. `CROSS`: lanes that lean on lane
/// 0, behind the front; or [`ANY`].
#[inline(always)]
fn read_tokens<const N: usize, const NEAR: bool, const CROSS: u8>(
    lanes: &Lanes,
    from: &Reading<'_>,
    at: &mut At<N>,
    tokens: &[u8],
    room: &mut Room<N>,
    (i, n): (usize, usize),
) {
    let Room { found, sums, .. } = room;
    let stride = lanes.stride();
    let words = from.words.as_chunks::<2>().0;
    let mut weights = [[0u16; 3]; N];
    for j in 0..N {
        let lane = &lanes.lanes[j];
        lane.above(&tokens[j * stride..][..stride], i, &mut sums[j][..n]);
        weights[j] = lane.weights(i);
    }
    let cross: [usize; N] = std::array::from_fn(|j| lanes.lanes[j].cross.unwrap_or(0));
    // In 64 bits, of which AVX2 knows no product: the compiler would do the lanes' states in one register otherwise, and
    // spend its time on putting them in and out.
    let mut x = at.states.map(u64::from);
    let (mut l, mut word_at) = (at.last, at.word);
    for k in 0..n.min(STRETCH) {
        let mut now = [0u8; N];
        for j in 0..N {
            if !NEAR {
                let lane = &lanes.lanes[j];
                let token = |back: usize| match k.checked_sub(back) {
                    Some(k) => found[j][k],
                    None => tokens[j * stride + PAD + i + k - back],
                };
                l[j] = [token(lane.left).into(), token(2 * lane.left).into()];
            }
            let [a, b, c] = match CROSS {
                ANY => weights[j],
                _ if CROSS >> j & 1 == 1 => [3, 0, 2],
                _ => [3, 1, 0],
            };
            let other = if CROSS == ANY { now[cross[j] % N] } else { now[0] };
            let sum = sums[j][k]
                .wrapping_add(a.wrapping_mul(l[j][0]))
                .wrapping_add(b.wrapping_mul(l[j][1]))
                .wrapping_add(c.wrapping_mul(other.into()));
            let table = from.by_sum[j][usize::from(sum) % 512];
            let slot = x[j] as u32 % SLOTS as u32;
            let token = table.token_of[slot as usize];
            let [frequency, start] = table.shares[usize::from(token)];
            let state = u64::from(frequency)
                .wrapping_mul(x[j] >> FREQUENCY_BITS)
                .wrapping_add(slot.wrapping_sub(start.into()).into());
            // No branch: whether a word comes in is as good as random.
            let word = words.get(word_at).map_or(0, |w| u64::from(u16::from_le_bytes(*w)));
            let comes = state < u64::from(STATE_MIN);
            x[j] = if comes { state << 16 | word } else { state };
            word_at = word_at.wrapping_add(usize::from(comes));
            found[j][k] = token;
            now[j] = token;
            l[j] = [token.into(), l[j][0]];
        }
    }
    at.states = x.map(|x| x as u32); // below 2^32: a frequency times the rest, and less than it
    at.last = l;
    at.word = word_at;
}

/// The residuals of a stretch's tokens.
#[inline(always)]
fn read_bits<const N: usize>(bits: &[u8], bit_at: &mut usize, room: &mut Room<N>, n: usize) -> bool {
    let Room { found, values, counts, of_two, of_all, halves, .. } = room;
    // How many bits each lane takes, the first two together, and all of them: 52 at most.
    of_all[..n].fill(0);
    for (j, (counts, found)) in counts.iter_mut().zip(&*found).enumerate() {
        for ((count, &token), (two, all)) in counts[..n].iter_mut().zip(found).zip(of_two.iter_mut().zip(&mut *of_all))
        {
            *count = bits_below(token) as u8;
            *all = all.wrapping_add(*count);
            if j < 2 {
                *two = *all;
            }
        }
    }
    // Of each place the bits of its first two lanes, then those of the others; 57 are there.
    let [first, second] = halves;
    let mut at = *bit_at;
    for k in 0..n.min(STRETCH) {
        let Some(&eight) = bits.get(at / 8..).and_then(|b| b.first_chunk::<8>()) else { return false };
        let hold = u64::from_le_bytes(eight) >> (at % 8);
        first[k] = hold as u32; // what is above is not looked at
        second[k] = (hold >> (of_two[k] & 63)) as u32;
        at = at.wrapping_add(of_all[k].into());
    }
    *bit_at = at;
    for j in 0..N {
        let (found, half, values) = (&found[j][..n], &halves[j / 2][..n], &mut values[j][..n]);
        let before = if j % 2 == 1 { &counts[j - 1] } else { &[0; STRETCH] };
        let (before, counts) = (&before[..n], &counts[j][..n]);
        for k in 0..n {
            let (token, bits) = (u32::from(found[k]), u32::from(counts[k]) & 31);
            // A token below 4 is its residual, others tell the three highest bits.
            let base = if token < 4 { token } else { (4 | token & 3) << bits };
            let below = half[k] >> (before[k] & 31) & ((1u32 << bits) - 1);
            values[k] = base.wrapping_add(below) as u16;
        }
    }
    true
}

#[inline(always)]
fn read_stretch<const N: usize, const NEAR: bool, const CROSS: u8>(
    lanes: &Lanes,
    from: &Reading<'_>,
    at: &mut At<N>,
    tokens: &mut [u8],
    u: &mut [u16],
    room: &mut Room<N>,
    (i, n): (usize, usize),
) -> bool {
    read_tokens::<N, NEAR, CROSS>(lanes, from, at, tokens, room, (i, n));
    if !read_bits(from.bits, &mut at.bit, room, n) {
        return false;
    }
    for j in 0..N {
        tokens[j * lanes.stride() + PAD + i..][..n].copy_from_slice(&room.found[j][..n]);
        u[j * lanes.len + i..][..n].copy_from_slice(&room.values[j][..n]);
    }
    true
}

#[inline(always)]
fn read_body<const N: usize, const NEAR: bool, const CROSS: u8>(
    lanes: &Lanes,
    from: &Reading<'_>,
    states: &[u32; LANES],
    tokens: &mut [u8],
    u: &mut [u16],
) -> bool {
    let mut at = At::<N> { states: std::array::from_fn(|j| states[j]), word: 0, bit: 0, last: [[0; 2]; N] }; // N <= LANES
    let mut room = Room::new();
    let front = lanes.front();
    let mut i = 0;
    while i < lanes.len {
        let n = lanes.reach(i).min(STRETCH);
        let whole = match i < front {
            true => read_stretch::<N, NEAR, ANY>(lanes, from, &mut at, tokens, u, &mut room, (i, n)),
            false => read_stretch::<N, NEAR, CROSS>(lanes, from, &mut at, tokens, u, &mut room, (i, n)),
        };
        if !whole {
            return false;
        }
        i += n;
    }
    at.word * 2 == from.words.len() && at.states == [STATE_MIN; N]
}

#[inline(always)]
pub fn read_all_body(l: &Lanes, r: &Reading<'_>, s: &[u32; LANES], t: &mut [u8], u: &mut [u16]) -> bool {
    let near = l.lanes.iter().all(|l| l.left <= 1);
    match (l.count, near, l.cross()) {
        (3, _, 0b110) => read_body::<3, true, 0b110>(l, r, s, t, u),
        (3, ..) => read_body::<3, true, ANY>(l, r, s, t, u),
        (_, true, 0) => read_body::<4, true, 0>(l, r, s, t, u),
        (_, true, 0b10) => read_body::<4, true, 0b10>(l, r, s, t, u),
        (_, true, 0b1110) => read_body::<4, true, 0b1110>(l, r, s, t, u),
        (_, true, _) => read_body::<4, true, ANY>(l, r, s, t, u),
        (_, false, _) => read_body::<4, false, ANY>(l, r, s, t, u),
    }
}
wide! {
    /// All residuals of a section; whether it ended as it should.
    pub fn read_all(l: &Lanes, r: &Reading<'_>, s: &[u32; LANES], t: &mut [u8], u: &mut [u16]) -> bool = read_all_body
}
