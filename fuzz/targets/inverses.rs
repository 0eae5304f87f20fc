//! Every way back of a mapped segment, with parameters and parts as a recipe may hold them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onefold::media::{self, SplitterId};

fuzz_target!(|input: (u8, u8, Vec<Vec<u8>>, Vec<u8>, u16)| {
    let (number, version, parts, parameters, bytes) = input;
    let ways = media::WAYS_BACK;
    let mut how = ways[usize::from(number) % ways.len()];
    if version >= 250 {
        how = SplitterId { number: u16::from(number), version };
    }
    let parts: Vec<&[u8]> = parts.iter().take(16).map(Vec::as_slice).collect();
    if let Ok(back) = media::inverse(how, &parameters, &parts, usize::from(bytes)) {
        assert_eq!(back.len(), usize::from(bytes));
    }
});
