//! Everything that is read from disks, as bytes that nothing has checked: an error or a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onefold::format::{PackId, check, entry, footer, log, node, record, snapshot, superblock};
use std::path::Path;

fuzz_target!(|input: (u8, u8, u32, Vec<u8>)| {
    let (kind, level, offset, mut bytes) = input;
    let (pack, path, offset) = (PackId([7; 12]), Path::new("somewhere"), u64::from(offset));
    if kind < 128 {
        // Behind its own check: no fuzzer finds one.
        let check = check::check64(check::place_seed(pack, offset), &bytes);
        bytes.extend(check);
    }
    match kind % 11 {
        0 => drop(record::Header::decode(pack, offset, &bytes)),
        1 => drop(footer::Footer::decode(pack, offset, &bytes)),
        2 => drop(entry::Entry::decode(&bytes)),
        3 => drop(entry::decode_attributes(&bytes)),
        4 => drop(node::decode_node(level, &bytes)),
        5 => drop(node::decode_stream_list(level, &bytes)),
        6 => drop(node::decode_segment_node(level, &bytes)),
        7 => drop(snapshot::Snapshot::decode(&bytes)),
        8 => drop(log::LogEntry::decode(path, &bytes)),
        9 => drop(superblock::Superblock::decode(path, &bytes)),
        _ => drop(entry::Witness::decode(&bytes)),
    }
});
