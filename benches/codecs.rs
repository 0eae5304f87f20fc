//! Speeds of splitters, their ways back and codecs on real files, one thread: `ONEFOLD_BENCH_MEDIA=FOLDER cargo bench
//! --profile dev -- codecs`. Without a folder the repository's own small files are used.
//!
//! Each file is split in windows as a backup does; what a splitter maps is turned back. The chunks of each stream (256 KiB,
//! on the borders of its samples) are coded alone, in both tiers, and decoded. Nothing is looked up, so there are no deltas
//! but those between a chunk and itself with a changed piece.

use onefold::chunk::jpeg::Walker;
use onefold::chunk::{Form, Payload, Squeezer, Tier, Unsqueezer};
use onefold::format::record::Codec;
use onefold::media::{self, Hints, Mapped, Part};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 256 << 10;
const WINDOW_BYTES: usize = 4 << 20;
/// Times that a file is split, and a chunk coded in the fast tier: the least time counts, since others may use the machine too.
const ROUNDS: usize = 3;
/// Plain bytes that each codec, and each format, is measured on at most.
const ENOUGH: u64 = 64 << 20;

#[derive(Default)]
struct Speed {
    bytes: u64,
    stored: u64,
    there: Duration,
    back: Duration,
}

impl Speed {
    fn line(&self, what: &str) {
        let rate = |d: Duration| match d.is_zero() {
            true => "     -".to_owned(),
            false => format!("{:>6.0}", self.bytes as f64 / d.as_secs_f64() / 1e6),
        };
        let share = self.stored as f64 * 100.0 / self.bytes.max(1) as f64;
        let (there, back, bytes) = (rate(self.there), rate(self.back), self.bytes as f64 / 1e6);
        println!("{what:<28} {there} MB/s there {back} MB/s back {share:>6.1} % of {bytes:>6.1} MB");
    }
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// The streams of a file, with the form of each, and the mapped segments with their places.
struct Split {
    streams: BTreeMap<u8, (Form, Vec<u8>)>,
    mapped: Vec<(Mapped, u64)>,
    took: Duration,
}

fn split(bytes: &[u8]) -> Split {
    let head = &bytes[..bytes.len().min(media::HINT_BYTES)];
    let mut splitter = media::open(Hints { head, tail: None });
    let (mut at, mut shown) = (0, 0);
    let (mut parts, mut all) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while at < bytes.len() {
        shown = (at.max(shown) + WINDOW_BYTES).max(at + media::WINDOW_MIN).min(bytes.len());
        splitter.split(&bytes[at..shown], shown == bytes.len(), &mut parts);
        let used: u64 = parts.iter().map(Part::bytes).sum();
        at += used as usize;
        all.append(&mut parts);
        if used == 0 && shown == bytes.len() {
            break;
        }
    }
    let took = begun.elapsed();
    let mut out = Split { streams: BTreeMap::new(), mapped: Vec::new(), took };
    let mut at = 0usize;
    for part in all {
        let n = part.bytes();
        match part {
            Part::Run(run) => {
                let stream = out.streams.entry(run.stream).or_default();
                stream.0 = run.form;
                stream.1.extend_from_slice(&bytes[at..at + n as usize]);
            }
            Part::Mapped(mapped) => {
                for part in &mapped.parts {
                    let stream = out.streams.entry(part.stream).or_default();
                    stream.0 = part.form;
                    stream.1.extend_from_slice(&part.bytes);
                }
                out.mapped.push((mapped, n));
            }
        }
        at += n as usize;
    }
    out
}

fn name_of(codec: Codec) -> &'static str {
    match codec.number {
        1 => "zstd",
        2 => "delta",
        3 => "pcm",
        4 => "raster",
        5 => "predicted",
        6 => "jpeg",
        _ => "raw",
    }
}

fn code(speeds: &mut BTreeMap<String, Speed>, tier: Tier, form: Form, plain: &[u8]) {
    let (mut squeezer, mut unsqueezer) = (Squeezer::new(tier.into()), Unsqueezer::default());
    let step = CHUNK_BYTES / form.align() * form.align();
    let (rounds, tier) = if tier == Tier::Dense { (1, "dense") } else { (ROUNDS, "fast") };
    let mut least: Vec<[Duration; 2]> = vec![[Duration::MAX; 2]; plain.len().div_ceil(step)];
    // Round after round, so that a chunk does not find what the processor has just learned of it.
    for round in 1..=rounds {
        let mut walker = Walker::default();
        for (chunk, [there, back]) in plain.chunks(step).zip(&mut least) {
            let begun = Instant::now();
            let start = if form == Form::Jpeg { walker.follow(chunk) } else { None };
            let payload = squeezer.squeeze_within(chunk, form, start.as_ref());
            *there = begun.elapsed().min(*there);
            let (name, stored) = match payload {
                Payload::Raw => {
                    *back = Duration::ZERO;
                    (format!("raw, {tier} tier"), chunk.len())
                }
                Payload::Coded { codec, parameters, bytes } => {
                    let coded = form.pcm().is_some_and(|p| p.coded);
                    let kind = if coded { ", sound that was coded" } else { "" };
                    let mut out = Vec::new();
                    let begun = Instant::now();
                    unsqueezer
                        .open(codec, &parameters, &bytes, chunk.len() as u32, &[], &mut out)
                        .expect("its own payload");
                    *back = begun.elapsed().min(*back);
                    assert!(out == chunk, "it comes back");
                    (format!("{}, {tier} tier{kind}", name_of(codec)), bytes.len())
                }
            };
            if round == rounds {
                let speed = speeds.entry(name).or_default();
                speed.bytes += chunk.len() as u64;
                speed.stored += stored as u64;
                speed.there += *there;
                speed.back += *back;
            }
        }
    }
}

pub fn run() {
    let folder = std::env::var_os("ONEFOLD_BENCH_MEDIA").map_or_else(|| "tests/media".into(), PathBuf::from);
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    let mut formats: BTreeMap<String, Speed> = BTreeMap::new();
    let mut codecs: BTreeMap<String, Speed> = BTreeMap::new();
    let (mut coded, mut dense) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    for path in paths {
        let format = path.extension().map_or("none".into(), |e| e.to_string_lossy().into_owned());
        if formats.get(&format).is_some_and(|s| s.bytes > ENOUGH) {
            continue;
        }
        let Ok(bytes) = fs::read(&path) else { continue };
        let mut split = split(&bytes);
        for _ in 1..ROUNDS {
            split.took = self::split(&bytes).took.min(split.took);
        }
        let speed = formats.entry(format.clone()).or_default();
        speed.bytes += bytes.len() as u64;
        speed.stored += split.streams.values().map(|(_, b)| b.len() as u64).sum::<u64>();
        speed.there += split.took;
        let mut back = Duration::ZERO;
        for (mapped, n) in &split.mapped {
            let parts: Vec<&[u8]> = mapped.parts.iter().map(|p| p.bytes.as_slice()).collect();
            let rounds = (0..ROUNDS).map(|_| {
                let begun = Instant::now();
                let back = media::inverse(mapped.how, &mapped.parameters, &parts, *n as usize).expect("it comes back");
                std::hint::black_box(back);
                begun.elapsed()
            });
            back += rounds.min().unwrap_or_default();
        }
        speed.back += back;
        for (form, plain) in split.streams.values() {
            let kind = format!("{format} {form:?}");
            let done = coded.entry(kind.clone()).or_default();
            if *done < ENOUGH / 4 {
                *done += plain.len() as u64;
                code(&mut codecs, Tier::Fast, *form, plain);
            }
            let done = dense.entry(kind).or_default();
            if *done < ENOUGH / 32 {
                let some = &plain[..plain.len().min(2 << 20)];
                *done += some.len() as u64;
                code(&mut codecs, Tier::Dense, *form, some);
            }
        }
    }
    println!("splitters, by extension (streams in per cent of the file), files of {}", folder.display());
    formats.iter().for_each(|(format, speed)| speed.line(format));
    println!("codecs (payload in per cent of the chunk)");
    codecs.iter().for_each(|(name, speed)| speed.line(name));
    deltas();
}

/// A chunk against a base that differs in one piece: what a re-tagged or re-wrapped file costs.
fn deltas() {
    let base = super::noise(77, 32 << 20);
    let mut squeezer = Squeezer::default();
    let mut unsqueezer = Unsqueezer::default();
    let mut speed = Speed::default();
    for (i, base) in base.chunks(CHUNK_BYTES).enumerate() {
        let mut plain = base.to_vec();
        plain.splice(100_000..100_000 + i, super::noise(i as u64, 1000));
        let begun = Instant::now();
        let payload = squeezer.delta(&plain, &[base]).expect("it pays");
        speed.there += begun.elapsed();
        let mut out = Vec::new();
        let begun = Instant::now();
        unsqueezer.open(Codec::DELTA, &[], &payload, plain.len() as u32, &[base], &mut out).expect("its own payload");
        speed.back += begun.elapsed();
        assert!(out == plain, "it comes back");
        speed.bytes += plain.len() as u64;
        speed.stored += payload.len() as u64;
    }
    speed.line("delta, one base");
}
