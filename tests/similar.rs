//! Near-duplicates end to end: what splitters, decoders and codecs took apart comes back bit for bit, and costs little.

use crate::support::{Shelf, assert_same, copy, noise, options};
use onefold::chunk::{Coding, Technique, Tier};
use onefold::format::record::Codec;
use onefold::ops::Control;
use onefold::ops::backup::{self, BackupOptions, Source};
use onefold::ops::check::{self, CheckOptions};
use onefold::ops::stats;
use onefold::store::Mode;
use std::fs;
use std::path::Path;

fn media(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media").join(name)).unwrap()
}

const FLAC: &str = "kaligari/Hums/01 Haunted Hum.flac";
const OGG: &str = "corsica_s/Alarms/01 Alarm Clock.ogg";
const WAV: &str = "Rutger Muller/Piano/01 Piano.wav";
const MP3: &str = "maqsim/Lunar Land/01 Lunar Land.mp3";
const MP4: &str = "Videos/Lunar Land.mp4";

/// A member of a tar archive: its header, its bytes, zeros.
fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 512];
    out[..name.len()].copy_from_slice(name.as_bytes());
    out[100..108].copy_from_slice(b"0000644\0");
    out[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
    out[156] = b'0';
    out[257..265].copy_from_slice(b"ustar\x0000");
    out[148..156].fill(b' ');
    let sum: u32 = out.iter().map(|b| u32::from(*b)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// Backs up, restores, compares; gives the bytes that were stored.
fn round(shelf: &Shelf, source: &Path, nth: usize) -> u64 {
    let report = shelf.backup(source);
    assert!(report.complete);
    let target = format!("out{nth}");
    let (restored, notices) = shelf.restore("latest", source, &target);
    assert_eq!((restored.files_lost, restored.failed), (0, 0), "{notices:?}");
    assert_same(source, &shelf.path(&target));
    let options = CheckOptions { read_data: true, rebuild: true };
    let check = check::run(&shelf.open(Mode::Read).0, &options, &Control::default()).unwrap();
    assert_eq!((&check.problems, check.files_lost), (&vec![], 0));
    assert!(check.rebuilt.0 > 0 || nth == 0, "files whose bytes do not stand in the store as they are");
    report.counts.data_added_packed
}

/// Chunks of a stream come in the order of the segments that take of it, also where a window without mapped segments
/// follows one whose bytes are still gathered.
#[test]
fn plain_chunks_behind_mapped_segments_of_their_stream_keep_their_order() {
    let shelf = Shelf::new(1);
    let source = shelf.path("library");
    fs::create_dir(&source).unwrap();
    for (name, bytes) in [("flac", media(FLAC)), ("ogg", media(OGG)), ("wav", media(WAV)), ("mp3", media(MP3))] {
        for (i, more) in [100_000, 3 << 20, 13 << 20].into_iter().enumerate() {
            fs::write(source.join(format!("{i}.{name}")), [&bytes[..], &noise(i as u64 + 1, more)].concat()).unwrap();
        }
    }
    let all = [FLAC, OGG, WAV, MP3, MP4].map(media);
    let mut tar: Vec<u8> = Vec::new();
    for i in 0..40_usize {
        let own = noise(i as u64 + 50, 40_000 * (i % 7) + 1);
        tar.extend(member(&format!("noise{i}"), &own));
        tar.extend(member(&format!("media{i}"), &all[i * 3 % all.len()]));
    }
    tar.extend([0; 1024]);
    fs::write(source.join("mixed.tar"), tar).unwrap();
    round(&shelf, &source, 0);
}

#[test]
fn a_recording_in_another_wrapper_costs_its_wrapper() {
    let shelf = Shelf::new(2);
    let wav = media(WAV);
    let data = wav.windows(4).position(|w| w == b"data").unwrap() + 8;
    let samples = &wav[data..data + (wav.len() - data) / 4 * 4];
    let swapped: Vec<u8> = samples.chunks(2).flat_map(|s| [s[1], s[0]]).collect();
    let wide: Vec<u8> = samples.chunks(2).flat_map(|s| [0, s[0], s[1]]).collect();
    let riff = |bits: u16, samples: &[u8]| {
        let block = bits / 8 * 2;
        let mut out = b"RIFF".to_vec();
        out.extend((36 + samples.len() as u32).to_le_bytes());
        out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0\x44\xac\0\0");
        out.extend((44_100 * u32::from(block)).to_le_bytes());
        out.extend(block.to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(b"data");
        out.extend((samples.len() as u32).to_le_bytes());
        out.extend(samples);
        out
    };
    let au = [&b".snd\0\0\0\x18\xff\xff\xff\xff\0\0\0\x03\0\0\xac\x44\0\0\0\x02"[..], &swapped].concat();
    let quiet: Vec<u8> = samples
        .chunks(2)
        .flat_map(|s| ((f32::from(i16::from_le_bytes([s[0], s[1]])) * 0.9).round() as i16).to_le_bytes())
        .collect();
    let source = shelf.path("library");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("first.wav"), riff(16, samples)).unwrap();
    let first = round(&shelf, &source, 0);
    assert!(first * 10 < samples.len() as u64 * 9, "{first} of {}", samples.len());
    let others = [("au", au, 2), ("24 bit", riff(24, &wide), 2), ("gain", riff(16, &quiet), 25)];
    for (i, (name, bytes, percent)) in others.into_iter().enumerate() {
        fs::write(source.join(name), &bytes).unwrap();
        let added = round(&shelf, &source, i + 1);
        assert!(added * 100 < bytes.len() as u64 * percent + 1_000_000, "{name}: {added} of {}", bytes.len());
    }
}

#[test]
fn retagged_files_of_every_kind_cost_little_and_come_back() {
    let shelf = Shelf::new(3);
    let source = shelf.path("library");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media"), &source);
    let first = round(&shelf, &source, 0);
    let mut grown = 0;
    for path in [FLAC, MP3, WAV, MP4, OGG] {
        let bytes = fs::read(source.join(path)).unwrap();
        grown += bytes.len() as u64;
        // ID3v2 in front of whatever it is, as careless tools write it.
        let tag = [&b"ID3\x03\0\0\0\0\x07\x6f"[..], &[b'x'; 1007]].concat();
        fs::write(source.join(path), [tag, bytes].concat()).unwrap();
    }
    let again = round(&shelf, &source, 1);
    assert!(again * 8 < grown, "{again} of {grown} ({first} at first)");
}

/// The dense tier codes chunks of JPEG files by what came before them in their streams; names stay those of the plain bytes.
#[test]
fn jpegs_are_smaller_in_the_dense_tier_and_the_same_chunks_in_any() {
    let shelf = Shelf::new(1);
    let photo = media("Photos/2008/Wood.jpg");
    // Another picture's front: a comment behind SOI.
    let tagged = [&[0xff, 0xd8, 0xff, 0xfe, 0, 6], &b"mine"[..], &photo[2..]].concat();
    let broken = [&photo[..300_000], &noise(1, 300_000)].concat();
    let tar = [member("a.jpg", &photo), member("b.jpg", &tagged), member("c.jpg", &photo[..200_000])].concat();
    let back_up = |name: &str, bytes: &[u8], coding: Coding| {
        let source = shelf.path(name);
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("file"), bytes).unwrap();
        let options = BackupOptions { coding, ..options(Source::Paths(vec![source.clone()]), false) };
        let report = backup::run(&shelf.open(Mode::Write { verb: "backup" }).0, options, &Control::default()).unwrap();
        let (restored, notices) = shelf.restore("latest", &source, &format!("out {name}"));
        assert_eq!((restored.files_lost, restored.failed), (0, 0), "{notices:?}");
        assert_same(&source, &shelf.path(&format!("out {name}")));
        report.counts.data_added_packed
    };
    let jpegs = || {
        let stats = stats::run(&shelf.open(Mode::Read).0, &Control::default()).unwrap();
        stats
            .by_codec
            .iter()
            .find(|(codec, _)| *codec == Codec::JPEG)
            .map_or((0, 0), |(_, s)| (s.chunks, s.plain_bytes))
    };
    let dense = Coding::from(Tier::Dense);
    let first = back_up("dense", &photo, dense);
    let (chunks, bytes) = jpegs();
    assert!(chunks >= 2 && bytes > 300_000, "{chunks} chunks, {bytes} bytes");
    assert!(first * 100 < photo.len() as u64 * 88, "{first} of {}", photo.len());
    for (name, bytes) in [("fast", &photo), ("tagged", &tagged), ("tar", &tar)] {
        let added = back_up(name, bytes, Coding::default());
        assert!(added < 80_000, "{name}: {added} bytes for chunks that are stored");
    }
    // What is stored already is followed all the same, so that what is new behind it is known: a file that ends earlier has one new
    // chunk, which begins in the midst of the scan. As a delta it would be smaller. Each store cuts elsewhere, so that chunk may
    // be too short to gain by it; not five times.
    let before = jpegs();
    let mut added = 0;
    for short in 1..6 {
        added +=
            back_up(&format!("short {short}"), &photo[..photo.len() - 9000 * short], dense.without(Technique::Delta));
    }
    assert!(jpegs().0 > before.0, "{added} bytes were added");
    back_up("broken", &broken, dense);
    let report =
        check::run(&shelf.open(Mode::Read).0, &CheckOptions { read_data: true, rebuild: true }, &Control::default());
    assert_eq!(report.unwrap().problems, []);

    let plain = Shelf::new(1);
    let source = plain.path("library");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), &photo).unwrap();
    let options =
        BackupOptions { coding: dense.without(Technique::Jpeg), ..options(Source::Paths(vec![source]), false) };
    let report = backup::run(&plain.open(Mode::Write { verb: "backup" }).0, options, &Control::default()).unwrap();
    assert!(report.counts.data_added_packed > first + 60_000, "the technique was left out");
}
