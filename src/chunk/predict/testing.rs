//! Sound for tests: the same on every machine.

/// Numbers that depend on nothing but these two: splitmix64.
pub fn noise(seed: u64, i: u64) -> u64 {
    let z = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Channels of 24-bit samples, made of integers alone: resonances that noise strikes now and then.
pub fn song(seed: u64, frames: usize, channels: usize) -> Vec<Vec<i32>> {
    (0..channels as u64)
        .map(|c| {
            // Coefficients of 2 r cos(w) and r^2 in 2^-14, by resonance.
            let tones: Vec<(i64, i64)> =
                (0..5).map(|t| (32_000 - 900 * (t * t) as i64 - (noise(seed, 77 + t) % 500) as i64, 16_320)).collect();
            let mut states = vec![(0i64, 0i64); tones.len()];
            (0..frames as u64)
                .map(|i| {
                    let loud = (noise(seed, i / 4000) % 7 + 1) as i64;
                    let strike = (noise(seed ^ 9, i * 2 + c % 2) % 20_001) as i64 - 10_000;
                    let mut sum = 0;
                    for ((a, b), (x, y)) in tones.iter().zip(&mut states) {
                        let next = (a * *x - b * *y + ((strike * loud) << 10)) >> 14;
                        (*y, *x) = (*x, next.clamp(-(1 << 24), 1 << 24));
                        sum += *x;
                    }
                    ((sum * 10) as i32).clamp(-(1 << 22), 1 << 22)
                })
                .collect()
        })
        .collect()
}

/// Times a gain, with triangular dither.
pub fn remaster(song: &[Vec<i32>], gain: f64, seed: u64) -> Vec<Vec<i32>> {
    let dither = |i: u64| (noise(seed, i) >> 11) as f64 / (1u64 << 53) as f64;
    song.iter()
        .zip(0u64..)
        .map(|(channel, c)| {
            let one = |(i, s): (u64, &i32)| {
                (f64::from(*s) * gain + dither(4 * i + c) - dither((4 * i + c) ^ 1 << 40) + 0.5).floor()
            };
            (0u64..).zip(channel).map(one).map(|x| x as i32).collect()
        })
        .collect()
}

/// The lowest bytes of the samples.
pub fn interleave(planes: &[Vec<i32>], sample_bytes: u8) -> Vec<u8> {
    let mut out = Vec::new();
    super::frames::join(planes, sample_bytes, &mut out);
    out
}
