//! Payloads of every codec, as a disk may hold them: an error, or as many bytes as were asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onefold::chunk::Unsqueezer;
use onefold::format::record::Codec;

fuzz_target!(|input: (u8, u8, u32, Vec<Vec<u8>>, Vec<u8>)| {
    let (number, version, plain_bytes, bases, payload) = input;
    let codec = Codec { number: u16::from(number % 8), version: if version < 250 { 1 } else { version } };
    let plain_bytes = plain_bytes % (1 << 17);
    let bases: Vec<&[u8]> = bases.iter().take(4).map(Vec::as_slice).collect();
    let mut out = vec![7];
    match Unsqueezer::default().open(codec, &[], &payload, plain_bytes, &bases, &mut out) {
        Ok(()) => assert_eq!(out.len(), 1 + plain_bytes as usize),
        Err(_) => assert_eq!(out, [7]),
    }
});
