//! Lanes in plain registers. Four hide the latency of each other's hashes on every processor.
//!
//! On processors without AVX-512 VBMI nothing was faster: a gather of eight words (AVX2) ran at 0.6 of the speed of
//! four plain lanes and collapses where the microcode mends Downfall; plain loads put together to a vector ran at
//! the same.

use super::{LANE_MARKS, Lists, Mark, Table};

/// Scans `L` lanes of `lane` bytes from `from` on: `bytes` are at least as many, and fewer than 2^32. Returns whether
/// the lists hold the marks.
#[expect(clippy::needless_range_loop, reason = "position i of every lane, one lane after the other")]
pub(super) fn scan<const L: usize>(table: &Table, bytes: &[u8], from: usize, lane: usize, lists: &mut Lists) -> bool {
    let mut hash: [u32; L] = std::array::from_fn(|l| table.before(bytes, from + l * lane));
    let rows: [&[u8]; L] = std::array::from_fn(|l| &bytes[from + l * lane..][..lane]);
    for i in 0..lane {
        for l in 0..L {
            hash[l] = table.step(hash[l], rows[l][i]);
            if hash[l] & table.mark == 0 {
                let n = lists.len[l];
                if n == LANE_MARKS {
                    return false;
                }
                let at = (from + l * lane + i) as u32; // bytes are fewer than 2^32
                lists.marks[l][n] = Mark { at, hash: hash[l] };
                lists.len[l] += 1;
            }
        }
    }
    true
}
