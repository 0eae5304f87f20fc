//! Ogg: packets apart from pages (RFC 3533), for any codec, multiplexed and chained.
//!
//! A re-tag whose comment grows past a page renumbers all pages, so every CRC changes; a remux puts the packets into
//! other pages. The packets stay what they are:
//!
//! ```text
//!  segment          about a MiB of whole pages; the pages before a link's first data are one of their own
//!   header packets  wrapper   pictures, decoded from Base64, and setups between borders of their own
//!   data packets    an essence for each logical stream, see `essence`; of FLAC its samples, as a WAV of the same
//!                   recording has them, and a stream of the encoder's decisions, see `flac::within`
//!   laces           a stream for each logical stream: the lengths of its data packets as the pages have them, so that
//!                   they do not tell where a page ended
//!   pages           a stream of records, see `inverse`: what cannot be computed
//!   the rest        capture pattern, sequence numbers, CRC, flags that follow from the laces: computed
//! ```
//! A *link* is what a chained file is made of: it begins with the first pages of its logical streams.
//!
//! Owns the way from pages to segments. The way back is [`inverse`]. What a codec's packets hold is not looked at, but
//! for its headers (`header`), and for FLAC ([`flac::take_apart`]): a segment whose packets are no frames stays as it is,
//! with a counted reason.
//!
//! # Invariants
//!
//! 1. Essence and laces of a logical stream hold the same bytes under any tags and in any pages.
//! 2. Page records hold no number that counts from the file's start.
//! 3. A page with a wrong number or CRC is kept with it. Only bytes that are no page end a segment: they are wrapper up
//!    to the next page with a right CRC, within the bounds of `Patience`.
//! 4. State: `STREAMS_MAX` logical streams of some numbers each, and the start of a frame that pages cut apart, at most
//!    `HEADS_MAX` bytes of all. At most `HARD_BYTES` and the start of a page are held back.
//! 5. A frame's samples belong to the segment that it ends in, so there is no gap between segments.

mod base64;
mod crc;
mod header;
mod inverse;
mod page;

pub use inverse::inverse;

use super::flac::within::Within;
use super::flac::{self, TakenApart};
use super::patience::Patience;
use super::runs::{Last, Walk};
use super::signed::zigzag;
use super::{ESSENCE, Hints, Mapped, MappedPart, OGG, OGG_PAGES, Part, Splitter, SplitterId, StreamNumber};
use super::{WINDOW_MIN, WRAPPER};
use crate::chunk::Form;
use crate::format::wire::Put;
use header::Headers;
use inverse::{HEAD_CONTINUES, HEAD_FIRST, HEAD_HAS_ESSENCE, HEAD_HAS_LACES};
use inverse::{INDEX_LONG, ODD_CRC, ODD_FLAGS, ODD_SEQUENCE, PAGE_LAST, PAGE_NO_GRANULE, PAGE_ODD};
use page::{CONTINUED, FIRST, Front, LAST, Page};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The stream of page records.
pub const PAGES: StreamNumber = 3;

/// Logical streams of a link. More are no file that anyone made.
const STREAMS_MAX: usize = 64;

/// Logical streams that have a stream of their own; what is beyond shares the last one.
const SLOTS: u8 = 16;

/// A segment ends behind the first page from here on that leaves no packet open.
const SOFT_BYTES: usize = 896 << 10;

/// A segment ends before the page that would go beyond.
const HARD_BYTES: usize = 960 << 10;

const _: () = assert!(HARD_BYTES + page::PAGE_MAX < WINDOW_MIN / 2);

/// A segment with FLAC that no page of the usual places ends without an open frame ends from here on, where the least of
/// one is open.
const LEAST_BYTES: usize = flac::WORTH_BYTES;

const _: () = assert!(LEAST_BYTES < SOFT_BYTES);

/// Bytes of open frames that are kept of all logical streams for the next segment.
const HEADS_MAX: usize = 1 << 20;

/// As [`HARD_BYTES`] for the headers at the file's start, so that large pictures are seen whole. Nothing is held back
/// there: the first window shows that much.
const FRONT_BYTES: usize = WINDOW_MIN - (128 << 10);

/// Blobs of one segment that get a border.
const BLOBS_MAX: usize = 64;

/// The stream of a logical stream's packets.
fn essence(slot: u8) -> StreamNumber {
    if slot == 0 { ESSENCE } else { 2 * slot + 2 }
}

/// The stream of a logical stream's laces.
fn laces(slot: u8) -> StreamNumber {
    if slot == 0 { ESSENCE + 1 } else { 2 * slot + 3 }
}

/// The stream of the decisions of a logical stream that is FLAC.
pub fn decisions(slot: u8) -> StreamNumber {
    2 * SLOTS + 2 + slot // below 50
}

/// Opens an Ogg file: a whole page with a right CRC at its start.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let is_page = |bytes| match page::front(bytes) {
        Front::Page(page) => page.crc == page.computed_crc(),
        // The first page may be longer than the hint, though no codec's is.
        Front::Short | Front::Other => false,
    };
    is_page(hints.head).then(|| Box::new(Ogg::default()) as Box<dyn Splitter>)
}

/// One logical stream, between two pages.
#[derive(Clone, Copy, Debug)]
struct Logical {
    serial: u32,
    /// Of the page that should come next.
    sequence: u32,
    /// Of the last page that had one.
    granule: i64,
    /// No page has come yet.
    first: bool,
    /// The last packet goes on.
    open: bool,
    /// `None` once data came.
    headers: Option<Headers>,
    slot: Option<u8>,
    /// It is FLAC.
    flac: Option<header::Flac>,
    /// Bytes of data that the open packet has so far.
    open_bytes: usize,
}

impl Logical {
    /// A stream that `page` begins.
    fn new(page: &Page<'_>) -> Logical {
        let first = page.flags & FIRST != 0;
        Logical {
            serial: page.serial,
            sequence: page.sequence,
            granule: 0,
            first,
            open: page.flags & CONTINUED != 0,
            headers: first.then(|| Headers::of(page.body)),
            slot: None,
            flac: header::flac(page.body).filter(|_| first),
            open_bytes: 0,
        }
    }

    /// Passes a page; says how many of its laces, and of its body's bytes, belong to header packets. They come first.
    fn pass(&mut self, page: &Page<'_>) -> (usize, usize) {
        let (mut laces, mut bytes) = (0, 0);
        for &lace in page.laces {
            let Some(headers) = self.headers else { break };
            let is_header = self.open
                || match headers {
                    Headers::Left(n) => n > 0,
                    Headers::UntilFrame => page.body.get(bytes) != Some(&0xff),
                    Headers::All => true,
                };
            if !is_header {
                self.headers = None;
                break;
            }
            laces += 1;
            bytes += usize::from(lace);
            self.open = lace == 255;
            if let (false, Some(Headers::Left(n))) = (self.open, &mut self.headers) {
                *n = n.saturating_sub(1);
            }
        }
        if self.flac.is_some() {
            for &lace in page.laces.get(laces..).unwrap_or_default() {
                self.open_bytes = if lace == 255 { self.open_bytes.saturating_add(255) } else { 0 };
            }
        }
        if let Some(&lace) = page.laces.last() {
            self.open = lace == 255;
        }
        (laces, bytes)
    }

    /// Bytes of the samples of the frames that begin in `page`, which comes next; so many laces and bytes are headers.
    fn samples(&self, page: &Page<'_>, headers: (usize, usize)) -> usize {
        let Some(header::Flac { bits }) = self.flac else { return 0 };
        let (mut at, mut sum) = (headers.1, 0);
        let mut begins = self.open_bytes == 0;
        for &lace in page.laces.get(headers.0..).unwrap_or_default() {
            if begins {
                sum += flac::samples_bytes(page.body.get(at..).unwrap_or_default(), bits); // 255 of 2^21 at most
            }
            begins = lace < 255;
            at += usize::from(lace);
        }
        sum
    }
}

/// What a segment takes of one logical stream.
#[derive(Debug)]
struct Taken {
    /// As it was before the segment.
    before: Logical,
    /// [`Logical::open_bytes`] behind it.
    open_bytes: usize,
    header_laces: Vec<u8>,
    header: Vec<u8>,
    laces: Vec<u8>,
    essence: Vec<u8>,
    slot: Option<u8>,
}

/// Frames of one logical stream in a segment, see [`flac::within`].
struct Frames {
    taken: TakenApart,
    skip: usize,
    bytes: usize,
    tail: Vec<u8>,
}

/// The logical streams of a link.
#[derive(Clone, Debug, Default)]
struct Link {
    streams: Vec<Logical>,
    /// A page with data has come.
    has_data: bool,
    slots: u8,
}

impl Link {
    /// Whether `page` is the first of another link.
    fn ends_before(&self, page: &Page<'_>) -> bool {
        self.has_data && page.flags & FIRST != 0
    }

    /// The place of a page's stream, which may be new; `None` if that is one too many.
    fn find(&mut self, page: &Page<'_>) -> Option<usize> {
        if let Some(at) = self.streams.iter().position(|s| s.serial == page.serial) {
            return Some(at);
        }
        if self.streams.len() == STREAMS_MAX {
            return None;
        }
        self.streams.push(Logical::new(page));
        Some(self.streams.len() - 1)
    }

    /// How bad it would be to end a segment here: bytes of open frames; where there is no FLAC, whether any packet is
    /// open.
    fn open(&self) -> usize {
        if self.has_flac() {
            self.streams.iter().fold(0, |sum, s| sum.saturating_add(s.open_bytes))
        } else {
            usize::from(self.streams.iter().any(|s| s.open))
        }
    }

    fn has_flac(&self) -> bool {
        self.streams.iter().any(|s| s.flac.is_some())
    }
}

/// How far the next segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    Segment(usize),
    /// The window does not show its end. It goes this far at least.
    Wait(usize),
    NoPage,
    CutShort,
    TooManyStreams,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Pages,
    /// Behind bytes that are no page.
    Lost,
    Opaque,
}

/// The splitter of one Ogg file.
#[derive(Debug, Default)]
struct Ogg {
    state: State,
    link: Link,
    /// The last form of streams that have had their first border in this link.
    begun: BTreeMap<StreamNumber, Form>,
    /// What the last segment had of open frames, by their place in the link.
    heads: BTreeMap<usize, Vec<u8>>,
    /// Bytes of samples.
    decoded: u64,
    patience: Patience,
    before: Last,
    doubt: Option<&'static str>,
}

impl Ogg {
    fn scan(&self, rest: &[u8], last: bool) -> Scan {
        let mut link = self.link.clone();
        let at_start = self.patience.passed() == 0;
        let (mut at, mut samples) = (0, 0_usize);
        // Of FLAC: the least that is open behind a page, and where that page ends.
        let mut best = None::<(usize, usize)>;
        loop {
            let end = |otherwise| if at > 0 { Scan::Segment(at) } else { otherwise };
            let bytes = rest.get(at..).unwrap_or_default();
            let page = match page::front(bytes) {
                Front::Page(page) => page,
                Front::Short if !last => return Scan::Wait(at),
                Front::Short => return end(Scan::CutShort),
                Front::Other => return end(Scan::NoPage),
            };
            if link.ends_before(&page) {
                if at > 0 {
                    return Scan::Segment(at);
                }
                link = Link::default();
            }
            let hard = if at_start && !link.has_data { FRONT_BYTES } else { HARD_BYTES };
            if at + page.bytes.len() > hard {
                // A page is shorter than that, so `at` is not 0.
                return best.map_or(end(Scan::NoPage), |(_, at)| Scan::Segment(at));
            }
            let Some(stream) = link.find(&page).and_then(|i| link.streams.get_mut(i)) else {
                return end(Scan::TooManyStreams);
            };
            let before = *stream;
            let (headers, header_bytes) = stream.pass(&page);
            samples = samples.saturating_add(before.samples(&page, (headers, header_bytes)));
            if let Some((_, at)) = best.filter(|_| samples > flac::SAMPLES_MAX) {
                return Scan::Segment(at);
            }
            if headers < page.laces.len() && !link.has_data {
                if at > 0 && headers == 0 {
                    return Scan::Segment(at);
                }
                link.has_data = true;
            }
            at += page.bytes.len();
            if link.has_data || !at_start {
                let open = link.open();
                if at >= SOFT_BYTES && open == 0 {
                    return Scan::Segment(at);
                }
                if at >= LEAST_BYTES && link.has_flac() && best.is_none_or(|(least, _)| open <= least) {
                    best = Some((open, at));
                }
            }
        }
    }

    /// Takes these whole pages apart.
    fn map(&mut self, file: &[u8]) -> Mapped {
        let mut taken: Vec<(usize, Taken)> = Vec::new();
        let mut pages = Vec::new();
        let mut at = 0;
        // All of them were scanned: there is a page, and a place for its stream.
        while let Some(Front::Page(page)) = file.get(at..).map(page::front) {
            if self.link.ends_before(&page) {
                self.link = Link::default();
                self.begun.clear();
                self.heads.clear();
            }
            let Some(index) = self.link.find(&page) else { break };
            let Some(stream) = self.link.streams.get_mut(index) else { break };
            let place = match taken.iter().position(|(i, _)| *i == index) {
                Some(place) => place,
                None => {
                    let room = if taken.is_empty() { file.len() } else { 0 };
                    taken.push((
                        index,
                        Taken {
                            before: *stream,
                            open_bytes: 0,
                            header_laces: Vec::new(),
                            header: Vec::new(),
                            laces: Vec::new(),
                            essence: Vec::with_capacity(room),
                            slot: None,
                        },
                    ));
                    taken.len() - 1
                }
            };
            let Some((_, of)) = taken.get_mut(place) else { break };
            record(stream, index, &page, &mut pages);
            let (laces, bytes) = stream.pass(&page);
            of.open_bytes = stream.open_bytes;
            // Both are parts of the page.
            let ((a, b), (c, d)) = (page.laces.split_at(laces), page.body.split_at(bytes));
            of.header_laces.extend_from_slice(a);
            of.header.extend_from_slice(c);
            of.laces.extend_from_slice(b);
            of.essence.extend_from_slice(d);
            if !b.is_empty() {
                self.link.has_data = true;
                if stream.slot.is_none() {
                    stream.slot = Some(self.link.slots);
                    self.link.slots = (self.link.slots + 1).min(SLOTS - 1);
                }
                of.slot = stream.slot;
            }
            at += page.bytes.len();
        }
        debug_assert_eq!(at, file.len());
        self.segment(file.len(), &pages, taken)
    }

    /// Puts together what a segment is made of.
    fn segment(&mut self, bytes: usize, pages: &[u8], taken: Vec<(usize, Taken)>) -> Mapped {
        let (mut parameters, mut parts) = (Vec::new(), Vec::new());
        let mut more = 0; // parts that the container does not have
        parameters.put_varint(taken.len() as u64);
        for (index, of) in &taken {
            let before = &of.before;
            let mut head = 0;
            for (bit, set) in [
                (HEAD_FIRST, before.first),
                (HEAD_CONTINUES, before.open),
                (HEAD_HAS_LACES, !of.laces.is_empty()),
                (HEAD_HAS_ESSENCE, !of.essence.is_empty()),
            ] {
                head |= if set { bit } else { 0 };
            }
            parameters.put_u8(head);
            parameters.put_varint(*index as u64);
            parameters.put_u32(before.serial);
            parameters.put_varint(u64::from(before.sequence));
            parameters.put_varint(zigzag(before.granule));
            parameters.put_varint(of.header_laces.len() as u64);
        }
        let has_headers = taken.iter().any(|(_, of)| !of.header_laces.is_empty());
        if has_headers {
            parameters.put_varint(pages.len() as u64);
            self.headers(pages, &taken, &mut parameters, &mut parts);
        } else {
            let cut = self.cut(PAGES, Form::Bytes);
            parts.push(MappedPart { stream: PAGES, cut, form: Form::Bytes, bytes: pages.to_vec() });
        }
        let mut within = Within::default();
        for (index, of) in taken {
            let frames = self.frames(index, &of);
            let Some(slot) = of.slot else { continue };
            if !of.laces.is_empty() {
                let cut = self.cut(laces(slot), Form::Bytes);
                parts.push(MappedPart { stream: laces(slot), cut, form: Form::Bytes, bytes: of.laces });
            }
            if let Some(Frames { mut taken, skip, bytes, tail }) = frames {
                // One part of the container, two of the segment.
                within.note(parts.len() - more, skip, bytes, &tail, &mut taken);
                more += 1;
                self.decoded = self.decoded.saturating_add(taken.samples.len() as u64);
                for (stream, form, bytes) in
                    [(essence(slot), taken.form, taken.samples), (decisions(slot), Form::Bytes, taken.decisions)]
                {
                    parts.push(MappedPart { stream, cut: self.cut(stream, form), form, bytes });
                }
            } else if !of.essence.is_empty() {
                let cut = self.cut(essence(slot), Form::Bytes);
                parts.push(MappedPart { stream: essence(slot), cut, form: Form::Bytes, bytes: of.essence });
            }
        }
        let (how, parameters) = within.wrap(OGG_PAGES, parameters);
        // At most HARD_BYTES or FRONT_BYTES.
        Mapped { bytes: bytes as u64, how, parts, parameters }
    }

    /// Takes apart what of a logical stream is frames, and keeps what is open. `None` where that cannot be.
    fn frames(&mut self, index: usize, of: &Taken) -> Option<Frames> {
        let header::Flac { bits } = of.before.flac?;
        if of.essence.is_empty() {
            return None;
        }
        let head = self.heads.remove(&index).unwrap_or_default();
        let skip = head.len();
        let whole = if skip > 0 { Cow::from([&head[..], &of.essence].concat()) } else { Cow::from(&of.essence) };
        let taken = whole.len().checked_sub(of.open_bytes).ok_or("ogg: too much of open frames").and_then(|at| {
            let (frames, tail) = whole.split_at(at); // at most its length
            if self.heads.values().fold(tail.len(), |sum, head| sum.saturating_add(head.len())) <= HEADS_MAX {
                self.heads.insert(index, tail.to_vec());
            }
            if skip != of.before.open_bytes {
                return Err("ogg: too much of open frames");
            }
            let taken = flac::take_apart(frames, bits, flac::worth_samples(of.essence.len()))?;
            Ok(Frames { taken, skip, bytes: frames.len(), tail: tail.to_vec() })
        });
        taken.map_err(|why| self.doubt.get_or_insert(why)).ok()
    }

    /// The wrapper of a segment: all header packets, with blobs taken out, then their laces, then the page records.
    fn headers(
        &mut self,
        pages: &[u8],
        taken: &[(usize, Taken)],
        parameters: &mut Vec<u8>,
        parts: &mut Vec<MappedPart>,
    ) {
        let (mut main, mut pieces, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
        // Bytes of `main` that a piece has accounted for.
        let mut told = 0;
        for (_, of) in taken {
            let mut done = 0; // bytes of `of.header` that were given
            let mut at = 0; // where a packet begins
            for packet in of.header_laces.split_inclusive(|&l| l != 255) {
                let end = at + page::body_bytes(packet);
                for blob in of.header.get(at..end).map(header::blobs).unwrap_or_default() {
                    if blobs.len() == BLOBS_MAX {
                        break;
                    }
                    let begin = at + blob.at;
                    main.extend_from_slice(of.header.get(done..begin).unwrap_or_default());
                    pieces.put_varint((main.len() - told) as u64);
                    done = begin + blob.bytes;
                    match blob.decoded {
                        None => {
                            pieces.put_varint(0);
                            blobs.push(of.header.get(begin..done).unwrap_or_default().to_vec());
                        }
                        Some((mut front, n)) => {
                            let image = front.split_off(n); // `n` bytes of it are there, see `Blob`
                            pieces.put_varint(n as u64 + 1);
                            main.extend_from_slice(&front);
                            blobs.push(image);
                        }
                    }
                    told = main.len();
                }
                at = end;
            }
            main.extend_from_slice(of.header.get(done..).unwrap_or_default());
        }
        for (_, of) in taken {
            main.extend_from_slice(&of.header_laces);
        }
        main.extend_from_slice(pages);
        parameters.put_varint(blobs.len() as u64);
        parameters.extend_from_slice(&pieces);
        // Nothing else is wrapper: each of them begins anew.
        for bytes in std::iter::once(main).chain(blobs) {
            parts.push(MappedPart { stream: WRAPPER, cut: true, form: Form::Bytes, bytes });
        }
    }

    /// Whether a part of `stream` needs a border: its first in this link, or the first of another form.
    fn cut(&mut self, stream: StreamNumber, form: Form) -> bool {
        self.begun.insert(stream, form) != Some(form)
    }

    /// Passes bytes that are no page, up to the next one with a right CRC. Returns whether it came any further.
    fn search(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let before = walk.rest().len();
        while self.state == State::Lost {
            let rest = walk.rest();
            let next = rest.windows(4).position(|w| w == page::CAPTURE);
            // The last three could be the start of a capture pattern.
            let none = if last { rest.len() } else { rest.len().saturating_sub(3) };
            self.pass(walk, next.unwrap_or(none));
            if next.is_none() {
                break;
            }
            match page::front(walk.rest()) {
                Front::Page(page) if page.crc == page.computed_crc() => self.state = State::Pages,
                Front::Short if !last => break,
                _ => {
                    self.spend();
                    if self.state == State::Lost {
                        self.pass(walk, 1);
                    }
                }
            }
        }
        walk.rest().len() < before || self.state != State::Lost
    }

    /// Bytes that are no page.
    fn pass(&mut self, walk: &mut Walk<'_, '_>, bytes: usize) {
        walk.give(WRAPPER, bytes);
        self.patience.earn(bytes as u64);
    }

    fn give_up(&mut self, state: State, reason: &'static str) {
        self.state = state;
        self.doubt.get_or_insert(reason);
    }
}

/// Writes what of a page cannot be computed, and brings the stream's numbers forward. `pass` follows.
fn record(stream: &mut Logical, index: usize, page: &Page<'_>, out: &mut Vec<u8>) {
    let expected = if stream.open { CONTINUED } else { 0 } | if stream.first { FIRST } else { 0 };
    let crc = page.computed_crc();
    let mut odd = 0;
    if page.flags & !LAST != expected {
        odd |= ODD_FLAGS;
    }
    if page.sequence != stream.sequence {
        odd |= ODD_SEQUENCE;
    }
    if page.crc != crc {
        odd |= ODD_CRC;
    }
    let mut head = if page.flags & LAST != 0 { PAGE_LAST } else { 0 };
    head |= if page.granule == -1 { PAGE_NO_GRANULE } else { 0 };
    head |= if odd != 0 { PAGE_ODD } else { 0 };
    // Both fit: below 15, and below STREAMS_MAX.
    head |= (index as u8).min(INDEX_LONG);
    out.put_u8(head);
    if index >= usize::from(INDEX_LONG) {
        out.put_u8(index as u8);
    }
    out.put_u8(page.laces.len() as u8); // a page has at most 255
    if odd != 0 {
        out.put_u8(odd);
        if odd & ODD_FLAGS != 0 {
            out.put_u8(page.flags);
        }
        if odd & ODD_SEQUENCE != 0 {
            out.put_u32(page.sequence);
        }
        if odd & ODD_CRC != 0 {
            out.put_u32(page.crc ^ crc);
        }
    }
    if page.granule != -1 {
        out.put_varint(zigzag(page.granule.wrapping_sub(stream.granule)));
        stream.granule = page.granule;
    }
    stream.sequence = page.sequence.wrapping_add(1);
    stream.first = false;
}

impl Splitter for Ogg {
    fn id(&self) -> SplitterId {
        OGG
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        let decoded = self.decoded;
        while !walk.rest().is_empty() {
            let rest = walk.rest();
            let enough = self.decoded - decoded > flac::ENOUGH as u64; // it only grows
            if enough && !last {
                break;
            }
            match self.state {
                State::Opaque => walk.give(ESSENCE, rest.len()),
                State::Lost => {
                    if !self.search(&mut walk, last) {
                        if !walk.is_fresh() {
                            break;
                        }
                        // The window is smaller than promised.
                        self.pass(&mut walk, rest.len());
                    }
                }
                State::Pages => match self.scan(rest, last) {
                    Scan::Segment(bytes) => self.give_segment(&mut walk, bytes),
                    Scan::Wait(_) if !walk.is_fresh() => break,
                    // The window is smaller than promised.
                    Scan::Wait(bytes) if bytes > 0 => self.give_segment(&mut walk, bytes),
                    Scan::Wait(_) | Scan::NoPage => self.lose("ogg: bytes that are no page"),
                    Scan::CutShort => self.lose("ogg: the file ends within a page"),
                    Scan::TooManyStreams => self.give_up(State::Opaque, "ogg: too many streams"),
                },
            }
        }
        self.before = before;
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

impl Ogg {
    fn lose(&mut self, reason: &'static str) {
        self.give_up(State::Lost, reason);
        self.spend();
    }

    fn spend(&mut self) {
        self.patience.spend();
        if self.patience.is_over() {
            self.give_up(State::Opaque, "ogg: too many breaks");
        }
    }

    fn give_segment(&mut self, walk: &mut Walk<'_, '_>, bytes: usize) {
        let mapped = self.map(walk.rest().get(..bytes).unwrap_or_default());
        walk.map(mapped);
        self.patience.earn(bytes as u64);
        self.spend();
    }
}

#[cfg(test)]
pub(super) mod tests;
