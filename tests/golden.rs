//! Golden stores: what version 1 wrote, every later version reads.
//!
//! `tests/golden/v1/` holds the disks of a small store as they lay on disk, and `expected.txt`: for each
//! snapshot its source and the facts of every file below it. The test makes a store from copies of the
//! disks alone, restores every snapshot and compares.
//!
//! A change of the format before the first release replaces them: `ONEFOLD_GOLDEN_WRITE=stores cargo test golden`
//! writes the folder anew, in the same commit as `docs/FORMAT.md` and the reason. After the first release
//! a version's golden stores are never written again.

use crate::fuzz::bodies;
use crate::support::{Shelf, copy, facts, noise, options, touch};
use onefold::chunk::Tier;
use onefold::format::check as sums;
use onefold::format::id::hex;
use onefold::io::Io;
use onefold::media::{self, Deflate, Hints, Options};
use onefold::ops::backup::{self, Source};
use onefold::ops::check::{self, CheckOptions};
use onefold::ops::recover::{self, RecoverOptions};
use onefold::ops::restore::{self, RestoreOptions};
use onefold::ops::{Control, snapshots, stats};
use onefold::store::{Mode, OpenOptions, Store};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// One line a file: the path in hexadecimal, then its facts.
fn lines(root: &Path) -> Vec<String> {
    let (facts, _) = facts(root);
    facts.iter().map(|(path, fact)| format!("{} {fact}", hex(path))).collect()
}

fn restored(shelf: &Shelf, store: &Store, nth: usize) -> PathBuf {
    let snapshot = snapshots::list(store, &[])[nth].clone();
    let target = shelf.path(&format!("out{nth}"));
    let path = Some(snapshot.snapshot.roots[0].clone());
    let options = RestoreOptions {
        snapshot,
        path,
        target: target.clone(),
        includes: vec![],
        overwrite: false,
        owner: false,
        partial: false,
    };
    let report = restore::run(store, &options, &Control::default()).unwrap();
    assert_eq!((report.files_lost, report.failed), (0, 0));
    target
}

/// Two generations of a small tree that meets every structure of the format ([`masters`] has those of media): inline files, raw and
/// compressed chunks, holes, lists of references and of segments, a folder of many entries (nodes), a split FLAC,
/// links, odd names.
fn library(root: &Path, generation: u64) {
    fs::create_dir_all(root.join("many")).unwrap();
    fs::write(root.join("noise.bin"), noise(1, 90_000)).unwrap();
    fs::write(root.join("inline"), b"a few bytes").unwrap();
    let text: Vec<u8> = (0..9000 + generation).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    fs::write(root.join("text"), text).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"odd \xff\n name")), b"odd").unwrap();
    let mut flac = b"fLaC\x80\0\0\x22".to_vec();
    flac.extend([0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0xc4, 0x42, 0xf0, 0, 0, 0, 0]);
    flac.extend([generation as u8; 16]);
    flac.extend([0xff, 0xf8]);
    flac.extend(noise(2, 30_000));
    fs::write(root.join("song.flac"), flac).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(3, 5000), 3 << 20).unwrap();
    sparse.set_len(5 << 20).unwrap();
    drop(sparse);
    // a stream of more references than stand in an entry, and a file of more segments
    fs::write(root.join("long"), vec![generation as u8 + 7; 20 << 20]).unwrap();
    let extents = fs::File::create(root.join("extents")).unwrap();
    for i in 0..40 {
        std::os::unix::fs::FileExt::write_all_at(&extents, &noise(4, 4096), i << 20).unwrap();
    }
    drop(extents);
    for i in 0..120 {
        fs::write(root.join(format!("many/a file with a name of some length, number {i:04}")), format!("{i}")).unwrap();
    }
    fs::hard_link(root.join("noise.bin"), root.join("many/hard link")).unwrap();
    std::os::unix::fs::symlink("../noise.bin", root.join("many/symlink")).unwrap();
    for (i, path) in ["noise.bin", "inline", "text", "song.flac", "sparse", "many/symlink", "many"].iter().enumerate() {
        touch(&root.join(path), 1_500_000_000 + i as i64, 123_456_789);
    }
}

/// Files of which nothing stands in the store as it stands in them, or that only codecs of their own make small.
fn masters(root: &Path, generation: u64) {
    let at = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let start = |name: &str, bytes: usize| fs::read(at(name)).unwrap()[..bytes].to_vec();
    let put = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).unwrap();
    fs::create_dir_all(root).unwrap();
    let piano = start("tests/media/Rutger Muller/Piano/01 Piano.wav", 140_044);
    put("piano.wav", &piano);
    let swapped: Vec<u8> = piano[44..].chunks(2).flat_map(|s| [s[1], s[0]]).collect();
    put("piano.au", &[&b".snd\0\0\0\x18\xff\xff\xff\xff\0\0\0\x03\0\0\xac\x44\0\0\0\x02"[..], &swapped].concat());
    put("clock.ogg", &start("tests/media/corsica_s/Alarms/01 Alarm Clock.ogg", 40_000));
    put("hum.flac", &start("tests/media/kaligari/Hums/02 Glass Hum.flac", 60_000));
    put("land.mp4", &start("tests/media/Videos/Lunar Land.mp4", 60_000));
    for name in ["mono", "stereo", "three"] {
        let path = format!("src/media/wavpack/tests/{name}.wv");
        put(&format!("{name}.wv"), &fs::read(at(&path)).unwrap());
    }
    let mut gz = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    gz.extend(fs::read(at("src/media/deflate/tests/zlib-6.deflate")).unwrap());
    put("text.gz", &[gz, vec![0; 8]].concat());
    // Pictures of a slope with some noise.
    let grain = noise(6, 90_000);
    let pixels: Vec<u8> = (0..90_000).map(|i| ((i / 3 % 200 + i / 600) as u8 / 2) + (grain[i] & 3)).collect();
    put("slope.ppm", &[b"P6\n200 150\n255\n", &pixels[..]].concat());
    let mut stream = Vec::new();
    let payload = noise(7, 184 * 500);
    for (i, payload) in payload.chunks(184).enumerate() {
        let first = i % 25 == 0;
        stream.extend([0x47, if first { 0x41 } else { 1 }, 0, 0x10 | i as u8 & 15]);
        let start = [0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0];
        stream.extend(if first { [&start[..], &payload[9..]].concat() } else { payload.to_vec() });
    }
    put("stream.ts", &stream);
    let mut edited = noise(5, 120_000);
    edited.splice(60_000..60_000, vec![b'x'; 50 * generation as usize]);
    put("edited.bin", &edited);
    if generation > 0 {
        let word = |s: &[u8]| f32::from(i16::from_le_bytes([s[0], s[1]]));
        let quiet = piano[44..].chunks(2).flat_map(|s| ((word(s) * 0.8).round() as i16).to_le_bytes());
        put("quiet.wav", &piano[..44].iter().copied().chain(quiet).collect::<Vec<_>>());
    }
}

fn write() {
    let shelf = Shelf::new(2);
    let source = shelf.path("library");
    let mut expected = String::new();
    for generation in 0..2 {
        fs::create_dir_all(&source).unwrap();
        library(&source, generation);
        masters(&source.join("media"), generation);
        let mut how = options(Source::Paths(vec![source.clone()]), false);
        how.coding = if generation == 0 { Tier::Fast } else { Tier::Dense }.into();
        let store = shelf.open(Mode::Write { verb: "backup" }).0;
        backup::run(&store, how, &Control::default()).unwrap();
        drop(store);
        expected.push_str(&format!("snapshot {generation}\n"));
        lines(&source).iter().for_each(|l| expected.push_str(&format!("{l}\n")));
        fs::remove_dir_all(&source).unwrap();
    }
    let _ = fs::remove_dir_all(golden());
    for i in 0..2 {
        copy(&shelf.disk(i), &golden().join(format!("disk{i}")));
    }
    fs::write(golden().join("expected.txt"), expected).unwrap();
}

#[test]
fn golden_stores_of_version_1_are_read_bit_for_bit() {
    if std::env::var_os("ONEFOLD_GOLDEN_WRITE").is_some_and(|what| what == "stores") {
        write();
    }
    let shelf = Shelf::new(1); // for its folders; its own store is not used
    let disks: Vec<PathBuf> = (0..2).map(|i| shelf.path(&format!("golden{i}"))).collect();
    for (i, disk) in disks.iter().enumerate() {
        copy(&golden().join(format!("disk{i}")), disk);
    }
    let home = shelf.path("recovered");
    let options = RecoverOptions { store: home.clone(), disks, memory_bytes: 256 << 20 };
    let report = recover::run(&Io::real(), &options, &Control::default()).unwrap();
    assert_eq!((report.snapshots, report.problems.len()), (2, 0), "{:?}", report.problems);
    let store = Store::open(&Io::real(), &home, &OpenOptions::new(Mode::Read, 256 << 20)).unwrap().store;
    let text = fs::read_to_string(golden().join("expected.txt")).unwrap();
    let mut parts = text.split("snapshot ").skip(1);
    for nth in 0..2 {
        let want: Vec<&str> = parts.next().unwrap().lines().skip(1).collect();
        let got = lines(&restored(&shelf, &store, nth));
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert_eq!(got, want, "snapshot {nth}");
        }
    }
    assert!(parts.next().is_none());
    // Every codec and nearly every way back is in it.
    let found = stats::run(&store, &Control::default()).unwrap();
    let codecs: Vec<u16> = found.by_codec.iter().filter(|(_, sums)| sums.chunks > 0).map(|(c, _)| c.number).collect();
    assert_eq!(codecs, [0, 1, 2, 3, 4, 5], "codecs of the golden store");
    let formats: Vec<u16> = found.by_format.iter().filter_map(|f| f.splitter).collect();
    for splitter in
        [media::FLAC, media::OGG, media::TS, media::WAV, media::AU, media::WAVPACK, media::ISOBMFF, media::GZIP]
    {
        assert!(formats.contains(&splitter.number), "{splitter:?} is not in the golden store");
    }
    let whole = CheckOptions { read_data: true, rebuild: true };
    let check = check::run(&store, &whole, &Control::default()).unwrap();
    assert_eq!((&check.problems, check.files_lost), (&vec![], 0));
    assert!(check.rebuilt.0 >= 10, "{} files were rebuilt", check.rebuilt.0);
    // and the second generation differs from the first as it was made to
    assert!(facts(&shelf.path("out0")) != facts(&shelf.path("out1")), "both generations are the same");
}

/// A line for each file that is kept: what the splitter that takes it is called, and a hash of what it makes of it.
fn splits() -> String {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders: Vec<PathBuf> = ["fuzz/corpus/splitters", "tests/media"].map(|f| home.join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|f| f.extension().is_none_or(|e| e != "md"));
    files.sort();
    let line = |path: &PathBuf| {
        let mut bytes = fs::read(path).unwrap();
        bytes.truncate(300_000);
        let head = &bytes[..bytes.len().min(media::HINT_BYTES)];
        let id = media::open_with(Hints { head, tail: None }, Options { deflate: Deflate::Always }).id(); // as `bodies::split` does
        let mut hash = Vec::new();
        for (stream, n, mapped) in bodies::split(&bytes, bytes.len().max(1)) {
            hash.push(stream);
            hash.extend(n.to_le_bytes());
            let Some(mapped) = mapped else { continue };
            hash.extend(mapped.how.number.to_le_bytes());
            hash.push(mapped.how.version);
            hash.extend((mapped.parameters.len() as u64).to_le_bytes());
            hash.extend(mapped.parameters);
            for part in mapped.parts {
                hash.extend([part.stream, u8::from(part.cut)]);
                hash.extend((part.bytes.len() as u64).to_le_bytes());
                hash.extend(part.bytes);
            }
        }
        let hash = hex(&sums::blake3(&[&hash])[..16]);
        let path = path.strip_prefix(home).unwrap().display();
        format!("{:#06x} v{} {hash} {path}\n", id.number, id.version)
    };
    files.iter().map(line).collect()
}

/// What is stored is met only by what is split alike: a splitter that begins to make something else of the same bytes gets a
/// new version, and `ONEFOLD_GOLDEN_WRITE=splits cargo test golden` writes the list anew.
#[test]
fn splitters_make_of_the_kept_files_what_they_made() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/splits.txt");
    let now = splits();
    if std::env::var_os("ONEFOLD_GOLDEN_WRITE").is_some_and(|what| what == "splits") {
        fs::write(&path, &now).unwrap();
    }
    let before = fs::read_to_string(&path).unwrap();
    let (now, before): (Vec<&str>, Vec<&str>) = (now.lines().collect(), before.lines().collect());
    for (now, before) in now.iter().zip(&before) {
        assert_eq!(now, before, "its splitter makes something else of it: is its version a new one?");
    }
    assert_eq!(now.len(), before.len(), "files came or went");
    let kept =
        |id: media::SplitterId| before.iter().any(|l| l.starts_with(&format!("{:#06x} v{} ", id.number, id.version)));
    #[rustfmt::skip]
    let all = {
        use media::*;
        [PDF, OPAQUE, FLAC, MP3, OGG, TS, WAV, AIFF, CAF, AU, WAVPACK, ISOBMFF, MATROSKA, AVI, FLV, MXF, JPEG, PNG, ADTS, MPEG_PS, TAR, ZIP, GZIP, DPX, TIFF, BMP, PNM, TGA, Y4M]
    };
    for id in all {
        assert!(kept(id), "no file is kept for {id:?}");
    }
}
