//! Code 1: Reed-Solomon over GF(2^16), as `reed-solomon-simd` computes it.
//!
//! Each 64 bytes of a shard hold 32 elements (byte i is the lower, byte 32 + i the upper half of element i),
//! and elements at one place of all shards are coded together, apart from all others. `docs/FORMAT.md`
//! describes the code; golden vectors hold the crate to it.

use crate::error::{Error, Result};
use reed_solomon_simd::engine::{DefaultEngine, Engine, GfElement, tables};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// Ranges that are coded begin and end at multiples of this.
pub const ALIGN: u64 = 64;

fn refused(e: reed_solomon_simd::Error) -> Error {
    // Counts and lengths are checked by the callers, so this cannot be; and if it is, nothing is believed.
    Error::Damaged { what: "a parity group", path: Default::default(), offset: 0, why: e.to_string() }
}

/// Working memory for one group's shape: about twice the shards' length.
pub struct Coder {
    data: usize,
    parity: usize,
    encoder: Option<ReedSolomonEncoder>,
    decoder: Option<ReedSolomonDecoder>,
    engine: Option<DefaultEngine>,
    /// The sums that were asked for last.
    sums: Option<Sums>,
}

/// How some shards are sums of others: the code is linear, so each element of a shard is a sum of the elements at its
/// place in any `data` others, each times a factor that depends on which those are.
struct Sums {
    there: Vec<usize>,
    wanted: Vec<usize>,
    /// For each wanted shard a factor for each that is there, as its logarithm; `None` for 0.
    factors: Vec<Vec<Option<GfElement>>>,
}

/// Elements of 64 bytes.
const ELEMENTS: usize = 32;
/// Bytes that are multiplied at once: what stays in a core's first cache.
const BLOCK_BYTES: usize = 8 << 10;
/// Bytes of a shard that are encoded at once; a multiple of [`ALIGN`].
pub const PIECE_BYTES: usize = 64 << 10;

impl Coder {
    /// For `data` and `parity` shards, at least one of each.
    pub fn new(data: usize, parity: usize) -> Self {
        Coder { data, parity, encoder: None, decoder: None, engine: None, sums: None }
    }

    /// Computes the parity of `data`, all of one length, which is a multiple of 64 and not 0.
    ///
    /// # Errors
    /// None for such shards.
    pub fn encode(&mut self, data: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let mut made = vec![Vec::new(); self.parity];
        self.encode_onto(data, &mut made)?;
        Ok(made)
    }

    /// As [`Coder::encode`], behind what stands in one buffer for each parity shard.
    ///
    /// # Errors
    /// None for such shards.
    pub fn encode_onto(&mut self, data: &[&[u8]], onto: &mut [Vec<u8>]) -> Result<()> {
        let bytes = data.first().map_or(0, |d| d.len());
        // What the encoder holds of a piece of each shard stays in a core's second cache.
        for at in (0..bytes).step_by(PIECE_BYTES) {
            let piece = at..bytes.min(at + PIECE_BYTES);
            let encoder = match &mut self.encoder {
                Some(encoder) => {
                    encoder.reset(self.data, self.parity, piece.len()).map_err(refused)?;
                    encoder
                }
                none => none.insert(ReedSolomonEncoder::new(self.data, self.parity, piece.len()).map_err(refused)?),
            };
            for shard in data {
                // one that is shorter is refused for its length
                encoder.add_original_shard(shard.get(piece.clone()).unwrap_or_default()).map_err(refused)?;
            }
            let made = encoder.encode().map_err(refused)?;
            onto.iter_mut().zip(made.recovery_iter()).for_each(|(to, part)| to.extend_from_slice(part));
        }
        Ok(())
    }

    /// Rebuilds the shards that are `wanted` from those that are there; both are named by slot: data first, then
    /// parity. As many as there are data shards are used.
    ///
    /// # Errors
    /// [`Error::Damaged`] where too few are given.
    ///
    /// # Source
    /// The crate's decoder transforms all shards of the code word to give back those that are lost. For one or two a
    /// sum with known factors is the same and five to ten times faster; the factors come out of the decoder itself,
    /// asked with shards that have a single 1.
    pub fn rebuild(&mut self, there: &[(usize, &[u8])], wanted: &[usize]) -> Result<Vec<(usize, Vec<u8>)>> {
        let there = there.get(..self.data).unwrap_or(there);
        let slots: Vec<usize> = there.iter().map(|(slot, _)| *slot).collect();
        if self.sums.as_ref().is_none_or(|s| s.there != slots || s.wanted != wanted) {
            let factors = self.factors(&slots, wanted)?;
            self.sums = Some(Sums { there: slots, wanted: wanted.to_vec(), factors });
        }
        let engine = self.engine.get_or_insert_with(DefaultEngine::new);
        let mut block = vec![[0u8; ALIGN as usize]; BLOCK_BYTES / ALIGN as usize];
        let bytes = there.first().map_or(0, |(_, d)| d.len());
        let mut out = Vec::with_capacity(wanted.len());
        for (slot, factors) in wanted.iter().zip(self.sums.iter().flat_map(|s| &s.factors)) {
            let mut sum = vec![0u8; bytes];
            for (at, to) in sum.chunks_mut(BLOCK_BYTES).enumerate() {
                let from = at * BLOCK_BYTES..at * BLOCK_BYTES + to.len();
                for ((_, shard), factor) in there.iter().zip(factors) {
                    let (Some(factor), Some(shard)) = (factor, shard.get(from.clone())) else { continue };
                    let columns = block.get_mut(..to.len() / ALIGN as usize).unwrap_or_default();
                    columns.as_flattened_mut().copy_from_slice(shard); // shards are multiples of 64 long
                    engine.mul(columns, *factor);
                    // A plain loop over both columns' 64 bytes becomes wide instructions in every build.
                    for (sum, part) in to.as_chunks_mut::<64>().0.iter_mut().zip(columns) {
                        let mut i = 0;
                        while i < 64 {
                            sum[i] ^= part[i]; // both are arrays of 64
                            i += 1;
                        }
                    }
                }
            }
            out.push((*slot, sum));
        }
        Ok(out)
    }

    /// The factors of the wanted shards: what the decoder makes of shards that have a 1 at a place of their own.
    fn factors(&mut self, there: &[usize], wanted: &[usize]) -> Result<Vec<Vec<Option<GfElement>>>> {
        let log = &tables::get_exp_log().log;
        let mut factors = vec![Vec::with_capacity(there.len()); wanted.len()];
        for asked in there.chunks(ELEMENTS) {
            let place = |slot: &usize| asked.iter().position(|a| a == slot);
            let ones: Vec<[u8; ALIGN as usize]> = there
                .iter()
                .map(|slot| {
                    let mut shard = [0; ALIGN as usize];
                    if let Some(lower) = place(slot).and_then(|i| shard.get_mut(i)) {
                        *lower = 1;
                    }
                    shard
                })
                .collect();
            let shards: Vec<(usize, &[u8])> = there.iter().copied().zip(ones.iter().map(|s| s.as_slice())).collect();
            let made = self.decode(&shards, wanted)?;
            for (slot, factors) in wanted.iter().zip(&mut factors) {
                let shard = made.iter().find(|(s, _)| s == slot).map(|(_, b)| b.as_slice()).unwrap_or_default();
                for i in 0..asked.len() {
                    let byte = |at: usize| shard.get(at).copied().unwrap_or(0);
                    let element = GfElement::from_le_bytes([byte(i), byte(ELEMENTS + i)]);
                    factors.push((element != 0).then(|| log.get(usize::from(element)).copied().unwrap_or(0)));
                }
            }
        }
        Ok(factors)
    }

    /// As [`Coder::rebuild`], by the crate's decoder.
    fn decode(&mut self, there: &[(usize, &[u8])], wanted: &[usize]) -> Result<Vec<(usize, Vec<u8>)>> {
        let bytes = there.first().map_or(0, |(_, d)| d.len());
        let given = |slot: usize| there.iter().find(|(s, _)| *s == slot).map(|(_, d)| *d);
        let parity_wanted = wanted.iter().any(|slot| *slot >= self.data);
        let mut data: Vec<(usize, Vec<u8>)> = Vec::new();
        let lacking = |slot: &usize| *slot < self.data && given(*slot).is_none();
        if (0..self.data).any(|slot| lacking(&slot)) && (parity_wanted || wanted.iter().any(lacking)) {
            let decoder = match &mut self.decoder {
                Some(decoder) => {
                    decoder.reset(self.data, self.parity, bytes).map_err(refused)?;
                    decoder
                }
                none => none.insert(ReedSolomonDecoder::new(self.data, self.parity, bytes).map_err(refused)?),
            };
            for (slot, shard) in there {
                match slot.checked_sub(self.data) {
                    None => decoder.add_original_shard(*slot, shard).map_err(refused)?,
                    Some(i) => decoder.add_recovery_shard(i, shard).map_err(refused)?,
                }
            }
            let restored = decoder.decode().map_err(refused)?;
            data.extend(restored.restored_original_iter().map(|(slot, shard)| (slot, shard.to_vec())));
        }
        let parity = if parity_wanted {
            let rebuilt = |slot| data.iter().find(|(s, _)| *s == slot).map(|(_, d)| d.as_slice());
            let all: Vec<&[u8]> = (0..self.data).filter_map(|slot| given(slot).or_else(|| rebuilt(slot))).collect();
            self.encode(&all)?
        } else {
            Vec::new()
        };
        let made = data.into_iter().chain(parity.into_iter().enumerate().map(|(i, shard)| (self.data + i, shard)));
        Ok(made.filter(|(slot, _)| wanted.contains(slot)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::check::blake3;
    use proptest::prelude::*;

    fn shards(k: usize, bytes: usize) -> Vec<Vec<u8>> {
        let byte = |slot: usize, i: usize| (slot.wrapping_mul(2_654_435_761) ^ i.wrapping_mul(40_503) ^ (i >> 7)) as u8;
        (0..k).map(|slot| (0..bytes).map(|i| byte(slot, i)).collect()).collect()
    }

    fn encode(k: usize, m: usize, data: &[Vec<u8>]) -> Vec<Vec<u8>> {
        Coder::new(k, m).encode(&data.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
    }

    /// What the crate computed when code 1 was fixed. A version that gives other bytes is another code.
    #[test]
    fn golden_parity() {
        let golden = [
            (1, 1, GOLDEN_1_1),
            (2, 1, GOLDEN_2_1),
            (1, 2, GOLDEN_1_2),
            (6, 2, GOLDEN_6_2),
            (8, 2, GOLDEN_8_2),
            (3, 4, GOLDEN_3_4),
            (5, 3, GOLDEN_5_3),
            (64, 4, GOLDEN_64_4),
        ];
        let got = golden.map(|(k, m, _)| {
            let parity = encode(k, m, &shards(k, 4096)).concat();
            let hash: String = blake3(&[&parity])[..8].iter().map(|b| format!("{b:02x}")).collect();
            (k, m, hash)
        });
        assert_eq!(got, golden.map(|(k, m, hash)| (k, m, hash.to_owned())));
    }

    const GOLDEN_1_1: &str = "4e33c5e78af7b479";
    const GOLDEN_2_1: &str = "d7e1de0ea96d89e5";
    const GOLDEN_1_2: &str = "e0433a6febb84498";
    const GOLDEN_6_2: &str = "2c4511a3ee3b2a15";
    const GOLDEN_8_2: &str = "8e2487595e812d8b";
    const GOLDEN_3_4: &str = "10cd1b82084a8a61";
    const GOLDEN_5_3: &str = "0432c3071fe49270";
    const GOLDEN_64_4: &str = "172bfc766a5301a8";

    #[test]
    fn every_64_bytes_are_coded_alone() {
        let data = shards(5, 1024);
        let whole = encode(5, 3, &data);
        for (from, to) in [(0, 64), (64, 1024), (448, 640), (960, 1024)] {
            let part: Vec<Vec<u8>> = data.iter().map(|d| d[from..to].to_vec()).collect();
            let parity = encode(5, 3, &part);
            for (part, whole) in parity.iter().zip(&whole) {
                assert_eq!(part[..], whole[from..to], "{from}..{to}");
            }
            let there = [(1, &part[1][..]), (4, &part[4]), (5, &parity[0]), (6, &parity[1]), (7, &parity[2])];
            let mut rebuilt = Coder::new(5, 3).rebuild(&there, &[0, 2, 3]).unwrap();
            rebuilt.sort();
            assert_eq!(rebuilt, [0, 2, 3].map(|slot| (slot, part[slot].clone())), "{from}..{to}");
        }
    }

    proptest! {
        #[test]
        fn any_parity_many_lost_shards_come_back(
            (k, m) in (1usize..12, 1usize..5),
            order in proptest::collection::vec(any::<u32>(), 16),
            columns in 1usize..5,
        ) {
            let data = shards(k, columns * 64);
            let all: Vec<Vec<u8>> = data.iter().cloned().chain(encode(k, m, &data)).collect();
            let mut slots: Vec<usize> = (0..k + m).collect();
            slots.sort_by_key(|s| order[*s]);
            let there: Vec<(usize, &[u8])> = slots[..k].iter().map(|s| (*s, all[*s].as_slice())).collect();
            let rebuilt = Coder::new(k, m).rebuild(&there, &slots[k..]).unwrap();
            prop_assert_eq!(rebuilt.len(), m);
            for (slot, bytes) in rebuilt {
                prop_assert_eq!(&bytes, &all[slot]);
            }
        }
    }

    #[test]
    fn sums_are_what_the_decoder_gives() {
        for (k, m) in [(1, 1), (3, 4), (8, 2), (40, 3), (64, 4)] {
            let data = shards(k, 64 * 300);
            let all: Vec<Vec<u8>> = data.iter().cloned().chain(encode(k, m, &data)).collect();
            let lost: Vec<usize> = (0..m).map(|i| i * (k + m - 1) / m).collect();
            let there: Vec<(usize, &[u8])> =
                (0..k + m).filter(|s| !lost.contains(s)).map(|s| (s, all[s].as_slice())).collect();
            let mut coder = Coder::new(k, m);
            let sums = coder.rebuild(&there, &lost).unwrap();
            let mut decoded = coder.decode(&there, &lost).unwrap();
            decoded.sort();
            assert_eq!(sums, decoded, "{k} + {m}");
            assert!(sums.iter().all(|(slot, bytes)| *bytes == all[*slot]));
        }
    }

    #[test]
    fn too_few_shards_rebuild_nothing() {
        let data = shards(3, 64);
        let parity = encode(3, 2, &data);
        assert!(Coder::new(3, 2).rebuild(&[(0, &data[0]), (3, &parity[0])], &[1]).is_err());
    }
}
