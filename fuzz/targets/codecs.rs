//! Any bytes as a chunk of any form, in both tiers: what was squeezed comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onefold::chunk::form::{Packing, Pcm, Raster};
use onefold::chunk::{Form, Payload, Squeezer, Tier, Unsqueezer};
use onefold::format::record::Codec;

fuzz_target!(|input: (u8, u8, u8, u16, bool, Vec<u8>)| {
    let (kind, a, b, row, dense, plain) = input;
    let samples = Packing::Samples { bytes: a % 2 + 1, channels: b % 4 + 1, big_endian: b > 127 };
    let packed = Packing::Yuv422 { bytes: a % 2 + 1, luma_first: b & 1 == 0, big_endian: b > 127 };
    let raster = |packing| Form::Raster(Raster { packing, row_bytes: u32::from(row) });
    let form = match kind % 6 {
        0 => Form::Bytes,
        1 => Form::Pcm(Pcm { sample_bytes: a % 4 + 1, channels: b % 32 + 1, coded: row & 1 == 1 }),
        2 => raster(Packing::V210),
        3 => raster(Packing::Rgb10 { big_endian: b > 127 }),
        4 => raster(packed),
        _ => raster(samples),
    };
    let tier = if dense { Tier::Dense } else { Tier::Fast };
    let (codec, parameters, payload) = match Squeezer::new(tier.into()).squeeze(&plain, form) {
        Payload::Raw => (Codec::RAW, Vec::new(), plain.clone()),
        Payload::Coded { codec, parameters, bytes } => (codec, parameters, bytes),
    };
    let mut out = Vec::new();
    Unsqueezer::default().open(codec, &parameters, &payload, plain.len() as u32, &[], &mut out).expect("its own payload");
    assert!(out == plain);
});
