//! The codes that zlib makes for a block: most encoders in use build them so.
//!
//! Owns the way from how often each symbol comes to the bits of a dynamic block's header: Huffman's tree by zlib's heap with
//! its ties, its way to shorten codes that are too long, its run lengths. Whatever another encoder writes is kept as it is.
//!
//! # Invariants
//!
//! 1. The result depends on the counts alone; it is part of version 1 of the way back, so it never changes.
//! 2. Any counts give codes; memory and work are those of 286 symbols.

use super::bits::Writer;
use super::inflate::ORDER;

/// Symbols of the largest code; nodes above them.
const SYMBOLS: usize = 286;
const NODES: usize = 2 * SYMBOLS + 1;

struct Heap {
    weight: [u32; NODES],
    depth: [u8; NODES],
    /// From 1 on.
    heap: [u16; NODES],
    len: usize,
}

impl Heap {
    fn smaller(&self, a: u16, b: u16) -> bool {
        let (a, b) = (usize::from(a), usize::from(b)); // below NODES, as all that is in the heap
        (self.weight[a], self.depth[a]) < (self.weight[b], self.depth[b])
            || (self.weight[a] == self.weight[b] && self.depth[a] == self.depth[b])
    }

    fn down(&mut self, mut k: usize) {
        let v = self.heap[k]; // 1 <= k <= len
        let mut j = 2 * k;
        while j <= self.len {
            if j < self.len && self.smaller(self.heap[j + 1], self.heap[j]) {
                j += 1;
            }
            if self.smaller(v, self.heap[j]) {
                break;
            }
            self.heap[k] = self.heap[j];
            k = j;
            j *= 2;
        }
        self.heap[k] = v;
    }
}

/// Code lengths of at most `max` for symbols that come so often, and the largest symbol with one.
fn lengths(counts: &[u32], max: usize) -> (Vec<u8>, usize) {
    let symbols = counts.len().min(SYMBOLS);
    let mut h = Heap { weight: [0; NODES], depth: [0; NODES], heap: [0; NODES], len: 0 };
    let mut most = 0;
    for (symbol, &count) in counts.iter().enumerate().take(symbols) {
        h.weight[symbol] = count; // below SYMBOLS
        if count > 0 {
            h.len += 1;
            h.heap[h.len] = symbol as u16; // below SYMBOLS
            most = symbol;
        }
    }
    // zlib starts from -1 where no symbol comes.
    let mut largest = if h.len == 0 { None } else { Some(most) };
    while h.len < 2 {
        let symbol = match largest {
            None => 0,
            Some(n @ 0..=1) => n + 1,
            Some(_) => 0,
        };
        if largest.is_none_or(|n| n < 2) {
            largest = Some(symbol);
        }
        h.len += 1;
        h.heap[h.len] = symbol as u16; // at most 2
        h.weight[symbol] = 1;
    }
    let largest = largest.unwrap_or_default();
    for k in (1..=h.len / 2).rev() {
        h.down(k);
    }
    // Nodes in descending order of their weight, from the end on. At most 2 * SYMBOLS - 1 of them.
    let mut order = Vec::with_capacity(NODES);
    let mut parent = [0_u16; NODES];
    let mut node = symbols;
    loop {
        let a = h.heap[1]; // the heap holds two at least
        h.heap[1] = h.heap[h.len];
        h.len -= 1;
        h.down(1);
        let b = h.heap[1];
        order.extend([a, b]);
        let (i, j) = (usize::from(a), usize::from(b));
        // Counts of a segment's tokens: their sum is far below 2^32. `node` is below 2 * symbols.
        h.weight[node] = h.weight[i].wrapping_add(h.weight[j]);
        h.depth[node] = h.depth[i].max(h.depth[j]).wrapping_add(1);
        parent[i] = node as u16;
        parent[j] = node as u16;
        h.heap[1] = node as u16;
        node += 1;
        h.down(1);
        if h.len < 2 {
            break;
        }
    }
    let mut length = [0_u8; NODES];
    let mut counts = [0_i32; 17];
    let mut over = 0_i32;
    for &n in order.iter().rev() {
        let n = usize::from(n);
        let mut l = usize::from(length[usize::from(parent[n])]) + 1;
        if l > max {
            l = max;
            over += 1;
        }
        length[n] = l as u8; // at most 15
        if n < symbols {
            counts[l] += 1;
        }
    }
    if over > 0 {
        while over > 0 {
            let Some(l) = (1..max).rev().find(|l| counts[*l] > 0) else { break };
            counts[l] -= 1;
            counts[l + 1] += 2;
            counts[max] -= 1;
            over -= 2;
        }
        let mut rest = order.iter().map(|n| usize::from(*n)).filter(|n| *n < symbols);
        for l in (1..=max).rev() {
            for n in rest.by_ref().take(counts[l].max(0) as usize) {
                length[n] = l as u8; // at most 15
            }
        }
    }
    let mut out = vec![0; symbols];
    out.copy_from_slice(&length[..symbols]); // below NODES
    (out, largest)
}

/// A code's lengths as symbols of the code for code lengths, with what follows each: bits and how many.
fn runs(lengths: &[u8], largest: usize, out: &mut Vec<(u8, u32, u32)>) {
    let at = |n: usize| if n > largest { None } else { lengths.get(n).copied() };
    let (mut before, mut count) = (None, 0);
    let mut bounds = if at(0) == Some(0) { (138, 3) } else { (7, 4) };
    for n in 0..=largest {
        let Some(this) = at(n) else { break };
        let next = at(n + 1);
        count += 1;
        if count < bounds.0 && Some(this) == next {
            continue;
        }
        if count < bounds.1 {
            out.extend(std::iter::repeat_n((this, 0, 0), count));
        } else if this != 0 {
            if before != Some(this) {
                out.push((this, 0, 0));
                count -= 1;
            }
            // 3 to 6: a run of 7 is one symbol and a repetition.
            out.push((16, count as u32 - 3, 2));
        } else if count <= 10 {
            out.push((17, count as u32 - 3, 3));
        } else {
            out.push((18, count as u32 - 11, 7)); // at most 138
        }
        count = 0;
        before = Some(this);
        bounds = match next {
            Some(0) => (138, 3),
            next if next == before => (6, 3),
            _ => (7, 4),
        };
    }
}

/// How often each symbol comes in a block.
#[derive(Clone, Debug)]
pub struct Counts {
    pub literals: [u32; SYMBOLS],
    pub distances: [u32; 30],
}

impl Default for Counts {
    fn default() -> Self {
        let mut counts = Counts { literals: [0; SYMBOLS], distances: [0; 30] };
        counts.literals[super::inflate::END] = 1; // 256 < 286
        counts
    }
}

/// The header that zlib writes: its bits, packed, and how many. They tell the codes.
pub fn header(counts: &Counts) -> (Vec<u8>, u32) {
    let (literals, literal_most) = lengths(&counts.literals, 15);
    let (distances, distance_most) = lengths(&counts.distances, 15);
    let mut symbols = Vec::with_capacity(320);
    runs(&literals, literal_most, &mut symbols);
    runs(&distances, distance_most, &mut symbols);
    let mut weights = [0_u32; 19];
    for (symbol, ..) in &symbols {
        weights[usize::from(*symbol)] += 1; // at most 18
    }
    let (code_lengths, _) = lengths(&weights, 7);
    let codes = super::inflate::codes(&code_lengths);
    let of = |at: &u8| code_lengths.get(usize::from(*at)).copied().unwrap_or_default();
    let count = (4..=ORDER.len()).rev().find(|n| ORDER.get(n - 1).is_some_and(|at| of(at) != 0)).unwrap_or(4);
    let mut out = Writer::default();
    // At least 256 of 286 symbols, at most 30, at most 19.
    out.put(literal_most as u32 - 256, 5);
    out.put(distance_most as u32, 5);
    out.put(count as u32 - 4, 4);
    for at in ORDER.iter().take(count) {
        out.put(of(at).into(), 3);
    }
    for (symbol, extra, bits) in symbols {
        let code = codes.get(usize::from(symbol)).copied().unwrap_or_default();
        out.put(code.into(), of(&symbol).into());
        out.put(extra, bits);
    }
    let bits = out.bits();
    (out.finish(0), bits)
}
