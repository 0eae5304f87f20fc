//! Codecs: a chunk's plain bytes to a payload and back.
//!
//! Media payload is mostly coded already, so the first question is whether zstd can find anything. A
//! sampled order-0 entropy answers for text and other plain matter at some 40 GB/s a core; what looks
//! like noise is asked again by compressing small probes from three places, since an order-0 count is
//! blind to repetition (of 243 MB that zstd could not shrink, in chunks of real media, three probes found 97 %).
//! The zstd level is 3: of the levels that keep up with a disk it is the one whose savings were
//! measured over a whole corpus of masters.

use super::jpeg::{self, Walker};
use super::pcm::{self, Effort};
use super::raster;
use super::{Form, Pcm, Predictor, Raster};
use crate::error::{Error, Result};
use crate::format::limits;
use crate::format::record::Codec;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, ResetDirective};

/// The zstd level of chunks.
pub const ZSTD_LEVEL: i32 = 3;
/// The same in the dense tier.
pub const ZSTD_DENSE_LEVEL: i32 = 19;
/// A chunk of fewer bytes is compressed without asking.
const PROBE_MIN_BYTES: usize = 16 << 10;
const PROBES: usize = 3;
const PROBE_BYTES: usize = 4 << 10;
/// Base bytes and chunk together are at most 2^23 bytes long.
const DELTA_WINDOW_LOG: u32 = 23;
/// Bytes sampled for the entropy.
const SAMPLES: usize = 4096;
/// Bits of the samples above which the probes are asked: 7.8 a byte.
const ENTROPY_BITS: u64 = 78 * SAMPLES as u64 * 65536 / 10;

/// Bits of the samples above which bytes are no sound that was not coded yet: 7.9 a byte. 4096 bytes of noise come to 7.95,
/// loud music in 16 bits to 7.8.
const NOISE_BITS: u64 = 79 * SAMPLES as u64 * 65536 / 10;

/// How much time codecs may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Chunks are stored as they are.
    None,
    /// What keeps up with disks.
    #[default]
    Fast,
    /// The smallest payload, at some MB/s a core.
    Dense,
}

/// A way to store less. Each can be left out, to measure what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Technique {
    /// Streams of a file apart from each other.
    Splitters,
    /// Losslessly coded sound back to samples, and the encoder's decisions.
    Decode,
    /// The text of deflate, and the encoder's decisions.
    Deflate,
    /// Chunks as what stored ones lack.
    Delta,
    /// Samples as what stored ones do not tell.
    Predict,
    /// Sound.
    Pcm,
    /// Pictures.
    Raster,
    /// JPEG files.
    Jpeg,
}

/// How new chunks are coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coding {
    pub tier: Tier,
    /// A bit for each technique that is left out.
    left_out: u8,
}

impl From<Tier> for Coding {
    fn from(tier: Tier) -> Self {
        Coding { tier, left_out: 0 }
    }
}

impl Coding {
    pub fn without(self, technique: Technique) -> Self {
        Coding { left_out: self.left_out | 1 << technique as u8, ..self } // eight of them
    }

    /// Whether the technique is in use. Without codecs nothing is decoded either: it would only grow.
    pub fn uses(self, technique: Technique) -> bool {
        (self.tier != Tier::None || technique == Technique::Splitters) && self.left_out & 1 << technique as u8 == 0
    }
}

/// What stands in a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload {
    /// The plain bytes themselves.
    Raw,
    Coded {
        codec: Codec,
        parameters: Vec<u8>,
        bytes: Vec<u8>,
    },
}

impl Payload {
    /// Bytes in the record; `usize::MAX` for the plain ones, which nothing that pays is as long as.
    fn stored_bytes(&self) -> usize {
        if let Payload::Coded { bytes, .. } = self { bytes.len() } else { usize::MAX }
    }
}

/// Chooses and runs a codec. One a thread: it keeps zstd's working memory.
pub struct Squeezer {
    coding: Coding,
    zstd: CCtx<'static>,
    probe: CCtx<'static>,
    pcm: pcm::Encoder,
    pcm_back: pcm::Decoder,
    raster: raster::Encoder,
    raster_back: raster::Decoder,
    scratch: Vec<u8>,
}

impl Default for Squeezer {
    fn default() -> Self {
        Squeezer::new(Coding::default())
    }
}

impl Squeezer {
    pub fn new(coding: Coding) -> Self {
        let tier = coding.tier;
        let mut zstd = CCtx::create();
        let mut probe = CCtx::create();
        // Neither parameter can be refused: both are within zstd's range.
        let _ = zstd.set_parameter(CParameter::CompressionLevel(if tier == Tier::Dense {
            ZSTD_DENSE_LEVEL
        } else {
            ZSTD_LEVEL
        }));
        let _ = probe.set_parameter(CParameter::CompressionLevel(1));
        Squeezer {
            coding,
            zstd,
            probe,
            pcm: pcm::Encoder::default(),
            pcm_back: pcm::Decoder::default(),
            raster: raster::Encoder::default(),
            raster_back: raster::Decoder::default(),
            scratch: Vec::new(),
        }
    }

    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// The payload of a chunk of this form: raw, or a codec's if that saves at least one part in 64.
    pub fn squeeze(&mut self, plain: &[u8], form: Form) -> Payload {
        self.squeeze_within(plain, form, None)
    }

    /// As [`Squeezer::squeeze`], for a chunk of which it is known where in a JPEG file it begins.
    pub fn squeeze_within(&mut self, plain: &[u8], form: Form, start: Option<&jpeg::Start>) -> Payload {
        if self.coding.tier == Tier::None {
            return Payload::Raw;
        }
        let media = self.jpeg(plain, form, start).or_else(|| match form {
            Form::Pcm(form) if self.coding.uses(Technique::Pcm) => self.pcm(plain, 0, form),
            Form::Raster(form) if self.coding.uses(Technique::Raster) => self.raster(plain, form),
            Form::Pcm(_) | Form::Raster(_) | Form::Jpeg => None,
            Form::Bytes if !self.coding.uses(Technique::Pcm) || sampled_entropy(plain) > NOISE_BITS => None,
            Form::Bytes => pcm::guess(plain).and_then(|guess| self.pcm(plain, guess.lead, guess.form)),
        });
        // Constant and repeated samples are zstd's; what a media codec leaves below a quarter may be such. So may bytes that
        // only look like samples, and blank pictures or plain fronts of JPEG files. The raster codec has asked zstd itself, at the level of
        // the fast tier.
        let is_best = |media: &Payload| match form {
            Form::Bytes | Form::Jpeg => false,
            Form::Raster(_) if self.coding.tier == Tier::Fast => true,
            Form::Pcm(_) | Form::Raster(_) => media.stored_bytes() * raster::SMALL_SHARE > plain.len(),
        };
        match media {
            Some(media) if is_best(&media) => media,
            Some(media) => match self.zstd(plain) {
                zstd if zstd.stored_bytes() < media.stored_bytes() => zstd,
                _ => media,
            },
            None => self.zstd(plain),
        }
    }

    /// As samples of sound, proven; `None` where that does not pay.
    fn pcm(&mut self, plain: &[u8], lead: usize, form: Pcm) -> Option<Payload> {
        let effort = match self.coding.tier {
            Tier::Dense => Effort::Dense,
            _ if form.coded => Effort::Close,
            _ => Effort::Fast,
        };
        let bytes = self.pcm.encode_behind(plain, lead, form, effort)?;
        let proven = self.pcm_back.proves(&bytes, plain, &mut self.scratch);
        proven.then_some(Payload::Coded { codec: Codec::PCM, parameters: Vec::new(), bytes })
    }

    /// As scans of a JPEG file, proven too. A chunk that begins one needs nothing known.
    fn jpeg(&mut self, plain: &[u8], form: Form, start: Option<&jpeg::Start>) -> Option<Payload> {
        if self.coding.tier != Tier::Dense || !self.coding.uses(Technique::Jpeg) {
            return None;
        }
        let fresh;
        let start = match start {
            Some(start) => start,
            None if form == Form::Jpeg || (form == Form::Bytes && jpeg::may_begin(plain)) => {
                fresh = Walker::default().follow(plain)?;
                &fresh
            }
            None => return None,
        };
        let bytes = jpeg::encode(start, plain)?;
        Some(Payload::Coded { codec: Codec::JPEG, parameters: Vec::new(), bytes })
    }

    /// As samples of a picture, likewise.
    fn raster(&mut self, plain: &[u8], form: Raster) -> Option<Payload> {
        let bytes = self.raster.encode(plain, form, self.coding.tier == Tier::Dense)?;
        let proven = self.raster_back.proves(&bytes, plain, &mut self.scratch);
        proven.then_some(Payload::Coded { codec: Codec::RASTER, parameters: Vec::new(), bytes })
    }

    fn zstd(&mut self, plain: &[u8]) -> Payload {
        if !self.promises(plain) {
            return Payload::Raw;
        }
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let _ = self.zstd.reset(ResetDirective::SessionOnly); // cannot fail between frames
        match self.zstd.compress2(&mut self.scratch, plain) {
            Ok(n) if n + n / 64 < plain.len() => {
                Payload::Coded { codec: Codec::ZSTD, parameters: Vec::new(), bytes: self.scratch.as_slice().to_vec() }
            }
            _ => Payload::Raw, // not smaller, or zstd is out of memory: raw is always right
        }
    }

    /// The payload of a chunk as what its bases lack, in their order: one zstd frame with the bases as prefix. Proven by
    /// decoding. `None` where zstd fails or the bases are too long for the window.
    ///
    /// Level 1 with long-distance matching: without that the fast matcher skips ahead in bytes that do not
    /// compress, and misses nearly all of the base. A fresh context for each costs 6 %, and spares a lifetime that the
    /// crate cannot express.
    pub fn delta(&mut self, plain: &[u8], bases: &[&[u8]]) -> Option<Vec<u8>> {
        let joined;
        let prefix = match bases {
            [one] => *one,
            many => {
                joined = many.concat();
                &joined
            }
        };
        if prefix.is_empty() || prefix.len() + plain.len() > 1 << DELTA_WINDOW_LOG {
            return None;
        }
        let mut zstd = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(1),
            CParameter::WindowLog(DELTA_WINDOW_LOG),
            CParameter::EnableLongDistanceMatching(true),
        ] {
            zstd.set_parameter(parameter).ok()?;
        }
        zstd.ref_prefix(prefix).ok()?;
        let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
        zstd.compress2(&mut out, plain).ok()?;
        drop(zstd);
        self.scratch.clear();
        undelta(prefix, &out, plain.len(), &mut self.scratch).ok()?;
        (self.scratch == plain).then(|| out.as_slice().to_vec())
    }

    /// Whether compressing is worth the time.
    fn promises(&mut self, plain: &[u8]) -> bool {
        if plain.len() < PROBE_MIN_BYTES || sampled_entropy(plain) < ENTROPY_BITS {
            return plain.len() > 16;
        }
        let step = (plain.len() - PROBE_BYTES) / (PROBES - 1);
        let mut out = [0u8; PROBE_BYTES + 512]; // zstd's bound for PROBE_BYTES is below that
        let saved: usize = (0..PROBES)
            .map(|i| {
                let part = &plain[i * step..i * step + PROBE_BYTES]; // i * step <= len - PROBE_BYTES
                let _ = self.probe.reset(ResetDirective::SessionOnly);
                let n = self.probe.compress2(&mut out[..], part).unwrap_or(PROBE_BYTES);
                PROBE_BYTES.saturating_sub(n)
            })
            .sum();
        saved * 100 > 3 * PROBES * PROBE_BYTES
    }
}

/// Bits of the order-0 entropy of [`SAMPLES`] bytes, taken in runs of 64 at even distances: bits a byte times
/// [`SAMPLES`], in 65536ths. Whole numbers, so that the answer is the same on every machine.
fn sampled_entropy(plain: &[u8]) -> u64 {
    const RUN: usize = 64;
    let mut counts = [0u16; 256]; // SAMPLES < 2^16
    let step = plain.len().saturating_sub(RUN) / (SAMPLES / RUN);
    for i in 0..SAMPLES / RUN {
        for &b in plain.iter().skip(i * step).take(RUN) {
            counts[usize::from(b)] += 1; // 256 counters for any byte
        }
    }
    let n: usize = counts.iter().map(|&c| usize::from(c)).sum();
    let log = |n: usize| u64::from(LOG2.get(n).copied().unwrap_or(0)); // n <= SAMPLES
    // The sum of c log2(n / c), scaled to SAMPLES bytes where there are fewer.
    let bits: u64 = counts.iter().map(|&c| u64::from(c) * (log(n) - log(usize::from(c).max(1)))).sum();
    bits * SAMPLES as u64 / n.max(1) as u64
}

/// log2(n) in 65536ths, rounded down; 0 for 0.
static LOG2: [u32; SAMPLES + 1] = {
    let mut table = [0; SAMPLES + 1];
    let mut n = 1;
    while n <= SAMPLES {
        let whole = n.ilog2();
        // n / 2^whole in 2^31ths, squared once for each bit.
        let mut x = (n as u64) << (31 - whole);
        let (mut bits, mut i) = (0, 0);
        while i < 16 {
            x = (x * x) >> 31;
            bits <<= 1;
            if x >= 1 << 32 {
                x >>= 1;
                bits |= 1;
            }
            i += 1;
        }
        table[n] = whole << 16 | bits;
        n += 1;
    }
    table
};

/// Appends what a delta's frame stands for.
fn undelta(
    prefix: &[u8],
    payload: &[u8],
    plain_bytes: usize,
    out: &mut Vec<u8>,
) -> std::result::Result<(), &'static str> {
    let start = out.len();
    out.resize(start + plain_bytes, 0); // bounded by the callers
    let mut zstd = DCtx::create();
    let done = zstd.ref_prefix(prefix).and_then(|_| zstd.decompress(&mut out[start..], payload));
    match done {
        Ok(n) if n == plain_bytes => Ok(()),
        outcome => {
            out.truncate(start);
            Err(if outcome.is_ok() { "it is not as long as its header says" } else { "zstd cannot decode it" })
        }
    }
}

/// Turns payloads back. One a thread.
pub struct Unsqueezer {
    zstd: DCtx<'static>,
    pcm: pcm::Decoder,
    raster: raster::Decoder,
    predictor: Predictor,
}

impl Default for Unsqueezer {
    fn default() -> Self {
        Unsqueezer {
            zstd: DCtx::create(),
            pcm: pcm::Decoder::default(),
            raster: raster::Decoder::default(),
            predictor: Predictor::default(),
        }
    }
}

impl Unsqueezer {
    /// Appends the plain bytes of a payload to `out`; exactly `plain_bytes` of them. `bases` are the plain bytes of the
    /// record's bases, in its order.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the payload is not what the codec writes, or of another length. `out` is
    /// then as it was.
    pub fn open(
        &mut self,
        codec: Codec,
        parameters: &[u8],
        payload: &[u8],
        plain_bytes: u32,
        bases: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let bad = |why| Error::Malformed { what: "a chunk's payload", offset: 0, why };
        let want = plain_bytes as usize;
        if want > limits::CHUNK_BYTES {
            return Err(bad("it is longer than a chunk can be"));
        }
        if !parameters.is_empty() {
            return Err(bad("its codec has parameters that this version does not know"));
        }
        if bases.is_empty() == matches!(codec, Codec::DELTA | Codec::PREDICTED) {
            return Err(bad("it has bases that its codec does not need, or lacks those that it needs"));
        }
        match codec {
            Codec::DELTA => {
                let joined;
                let prefix = match bases {
                    [one] => *one,
                    many => {
                        joined = many.concat(); // at most four chunks
                        &joined
                    }
                };
                undelta(prefix, payload, want, out).map_err(bad)?;
            }
            Codec::PREDICTED => self.predictor.decode(payload, want, bases, out).map_err(bad)?,
            Codec::PCM => self.pcm.decode(payload, want, out).map_err(bad)?,
            Codec::RASTER => self.raster.decode(payload, want, out).map_err(bad)?,
            Codec::JPEG => jpeg::decode(payload, want, out).map_err(bad)?,
            Codec::RAW if payload.len() == want => out.extend_from_slice(payload),
            Codec::RAW => return Err(bad("it is not as long as its header says")),
            Codec::ZSTD => {
                let start = out.len();
                out.resize(start + want, 0); // want is bounded above
                match self.zstd.decompress(&mut out[start..], payload) {
                    Ok(n) if n == want => {}
                    outcome => {
                        out.truncate(start);
                        return Err(bad(if outcome.is_ok() {
                            "it is not as long as its header says"
                        } else {
                            "zstd cannot decode it"
                        }));
                    }
                }
            }
            _ => return Err(bad("its codec is one that this version does not know")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(n: usize) -> Vec<u8> {
        let mut x = 88_172_645_463_325_252u64;
        (0..n)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x >> 32) as u8
            })
            .collect()
    }

    /// The dense tier's payload of bytes of this form, which must come back.
    fn dense(plain: &[u8], form: Form) -> (Codec, usize) {
        let Payload::Coded { codec, parameters, bytes } = Squeezer::new(Tier::Dense.into()).squeeze(plain, form) else {
            return (Codec::RAW, plain.len());
        };
        let mut back = Vec::new();
        Unsqueezer::default().open(codec, &parameters, &bytes, plain.len() as u32, &[], &mut back).unwrap();
        assert!(back == plain);
        (codec, bytes.len())
    }

    #[test]
    fn a_jpeg_is_what_makes_it_smallest() {
        let file = include_bytes!("jpeg/samples/420.jpg");
        let essence = file.windows(2).position(|w| w == [0xff, 0xdb]).unwrap();
        for (from, form, codec) in
            [(0, Form::Jpeg, Codec::JPEG), (0, Form::Bytes, Codec::JPEG), (essence, Form::Bytes, Codec::JPEG)]
        {
            assert_eq!(dense(&file[from..], form).0, codec, "from {from} as {form:?}");
        }
        assert_ne!(dense(&file[essence + 1..], Form::Bytes).0, Codec::JPEG, "nothing begins there");
        // Most of it is a comment, which the codec of JPEG leaves as it is.
        let comment = [&[0xff, 0xd8, 0xff, 0xfe, 0x4e, 0x22], [b'a'; 20_000].as_slice(), &file[2..]].concat();
        for form in [Form::Jpeg, Form::Bytes] {
            let (codec, stored) = dense(&comment, form);
            assert!(codec == Codec::ZSTD && stored < file.len() + 200, "{codec:?}, {stored} bytes");
        }
    }

    fn round(plain: &[u8]) -> (Codec, usize) {
        let (codec, parameters, bytes) = match Squeezer::default().squeeze(plain, Form::Bytes) {
            Payload::Raw => (Codec::RAW, vec![], plain.to_vec()),
            Payload::Coded { codec, parameters, bytes } => (codec, parameters, bytes),
        };
        let mut back = b"before".to_vec();
        Unsqueezer::default().open(codec, &parameters, &bytes, plain.len() as u32, &[], &mut back).unwrap();
        assert_eq!(&back[6..], plain);
        (codec, bytes.len())
    }

    proptest! {
        #[test]
        fn what_was_squeezed_comes_back(parts in proptest::collection::vec((any::<u8>(), 1usize..2000), 1..30)) {
            let plain: Vec<u8> = parts.iter().flat_map(|&(b, n)| std::iter::repeat_n(b, n)).collect();
            round(&plain);
        }

        #[test]
        fn arbitrary_payloads_never_panic_and_leave_nothing_behind(payload: Vec<u8>, plain in 0u32..70_000, number in 0u16..7) {
            let mut out = vec![1];
            let result = Unsqueezer::default().open(Codec { number, version: 1 }, &[], &payload, plain, if number == 2 { &[b"base"] } else { &[] }, &mut out);
            prop_assert_eq!(out.len(), if result.is_ok() { 1 + plain as usize } else { 1 });
        }
    }

    #[test]
    fn noise_stays_raw_and_text_does_not() {
        assert_eq!(round(&noise(256 << 10)).0, Codec::RAW);
        let text: Vec<u8> = (0..30_000).flat_map(|i| format!("line {i} of a log\n").into_bytes()).collect();
        let (codec, n) = round(&text[..256 << 10]);
        assert!(codec == Codec::ZSTD && n < 64 << 10, "{codec:?} {n}");
        assert_eq!(round(b"x").0, Codec::RAW);
        assert_eq!(round(&[0; 1 << 20]).0, Codec::ZSTD);
    }

    #[test]
    fn entropy_is_that_of_the_bytes() {
        let bits = |plain: &[u8]| sampled_entropy(plain) as f64 / (SAMPLES * 65536) as f64;
        for (plain, low, high) in [
            (vec![7; 100_000], 0.0, 0.0),
            ((0..100_000).map(|i| (i % 2) as u8).collect(), 0.999, 1.0),
            (noise(100_000), 7.93, 7.97),
            (vec![1, 2, 3, 4], 1.999, 2.0),
            (vec![], 0.0, 0.0),
        ] {
            assert!((low..=high).contains(&bits(&plain)), "{}: {}", plain.len(), bits(&plain));
        }
        for (n, log2) in LOG2.iter().enumerate().skip(1) {
            assert!((f64::from(*log2) / 65536.0 - (n as f64).log2()).abs() < 1e-4, "{n}");
        }
    }

    #[test]
    fn a_repetition_that_entropy_cannot_see_is_found_by_the_probes() {
        let block = noise(1 << 10);
        let plain: Vec<u8> = block.iter().copied().cycle().take(256 << 10).collect();
        assert_eq!(round(&plain).0, Codec::ZSTD);
    }

    #[test]
    fn a_delta_holds_what_its_bases_lack_and_needs_all_of_them() {
        let all = noise(700 << 10);
        let (a, b, own) = (&all[..256 << 10], &all[256 << 10..512 << 10], &all[600 << 10..]);
        let plain = [&a[100_000..], own, &b[..120_000]].concat();
        let delta = Squeezer::default().delta(&plain, &[a, b]).unwrap();
        assert!(delta.len() < own.len() + 1000, "{} bytes for {} new ones", delta.len(), own.len());
        let open = |bases: &[&[u8]]| {
            let mut out = vec![7];
            let done = Unsqueezer::default().open(Codec::DELTA, &[], &delta, plain.len() as u32, bases, &mut out);
            (done.is_ok(), out)
        };
        assert!(open(&[a, b]) == (true, [&[7], &plain[..]].concat()));
        for wrong in [&[][..], &[a], &[b, a], &[b"x"]] {
            let (done, out) = open(wrong);
            assert!(!done && out == [7] || out[1..] != plain, "another base gave the right bytes");
        }
        assert_eq!(Squeezer::default().delta(&plain, &[&vec![0; 8 << 20]]), None, "beyond the window");
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let Payload::Coded { codec, bytes, .. } = Squeezer::default().squeeze(&[7; 5000], Form::Bytes) else {
            panic!("constant bytes compress")
        };
        for plain in [4999, 5001, limits::CHUNK_BYTES as u32 + 1] {
            assert!(Unsqueezer::default().open(codec, &[], &bytes, plain, &[], &mut Vec::new()).is_err());
        }
        assert!(
            Unsqueezer::default().open(Codec { number: 0, version: 2 }, &[], b"x", 1, &[], &mut Vec::new()).is_err()
        );
    }
}
