//! Splitters within splitters: a member of an archive is split as it would be if it were a file of its own.
//!
//! Owns how a member's own splitter is driven: [`Member`] where its bytes stand in the archive, [`Text`] where they come
//! out of a compressed stream, segment by segment.
//!
//! # Invariants
//!
//! 1. A member's parts, cuts and forms are those of a file with its bytes, but for the limits of [`Text`]. A border stands
//!    before and behind it.
//! 2. What an inner splitter says is not believed: too much, too little or nothing at all ends in opaque runs.
//! 3. Depth is bounded: an archive in an archive is opaque, but for a tar in a gzip file.

#[cfg(doc)]
use super::WINDOW_MIN;
use super::opaque::Opaque;
use super::runs::Walk;
use super::{ESSENCE, Form, HINT_BYTES, Hints, Part, Run, Splitter, StreamNumber, WRAPPER};

/// Members below are not worth borders of their own: they join what stands around them.
pub(super) const ALONE: u64 = 64 << 10;

/// Bytes that a text's splitter may hold back before it is asked no more.
const HELD: usize = 4 << 20;

/// Chooses the splitter of a member.
pub(super) type Open<'a> = fn(Hints<'_>) -> Box<dyn Splitter + 'a>;

/// The bytes of a member that stand in the archive as they are.
pub(super) struct Member<'a> {
    open: Open<'a>,
    /// Bytes that its splitter is shown at least, unless the member ends.
    window: usize,
    splitter: Option<Box<dyn Splitter + 'a>>,
    left: u64,
    parts: Vec<Part>,
}

impl<'a> Member<'a> {
    /// The next `bytes` bytes. `window` is [`WINDOW_MIN`], or [`HINT_BYTES`] in a [`Text`]: its windows are small, and what
    /// is held back there is taken for what came before.
    pub fn new(bytes: u64, open: Open<'a>, window: usize) -> Member<'a> {
        Member { open, window, splitter: None, left: bytes, parts: Vec::new() }
    }

    /// Bytes not given yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Gives what the window shows. False if the next one is needed.
    ///
    /// Where the window is smaller than promised, its splitter sees less.
    pub fn step(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let rest = walk.rest();
        let shown = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
        let rest = rest.get(..shown).unwrap_or_default();
        let ends = last || shown as u64 == self.left;
        if shown < self.window && !ends && !walk.is_fresh() {
            return false;
        }
        let head = rest.get(..HINT_BYTES).unwrap_or(rest);
        let splitter = self.splitter.get_or_insert_with(|| (self.open)(Hints { head, tail: None }));
        self.parts.clear();
        splitter.split(rest, ends, &mut self.parts);
        let used = self.parts.iter().fold(0_u64, |sum, p| sum.saturating_add(p.bytes()));
        let broken = used > shown as u64 || (used == 0 && shown > 0) || (ends && used < shown as u64);
        if broken {
            self.splitter = Some(Box::new(Opaque::default()));
            walk.cut();
            walk.give(ESSENCE, shown);
            self.left -= shown as u64; // at most `left`
        } else {
            self.parts.drain(..).for_each(|part| walk.part(part));
            self.left -= used;
        }
        // What it holds back is shown again with more behind it.
        self.left == 0 || walk.rest().is_empty() || ends
    }

    /// Why its splitter gave up, if it did.
    pub fn doubt(&self) -> Option<&'static str> {
        self.splitter.as_ref().and_then(|s| s.doubt())
    }
}

/// A text that comes in pieces, each of which must be told at once: runs only, and what the splitter holds back at a
/// piece's end is taken as what came before it.
pub(super) struct Text<'a> {
    open: Open<'a>,
    splitter: Option<Box<dyn Splitter + 'a>>,
    /// The splitter gave up, or was given up.
    done: bool,
    /// Bytes that are told, but that the splitter wants to see again.
    held: Vec<u8>,
    /// The stream and the form of the last byte told.
    before: Option<(StreamNumber, Form)>,
}

impl<'a> Text<'a> {
    pub fn new(open: Open<'a>) -> Text<'a> {
        Text { open, splitter: None, done: false, held: Vec::new(), before: None }
    }

    /// What the next bytes are.
    pub fn split(&mut self, text: &[u8], last: bool) -> Vec<Run> {
        let mut out = Runs { runs: Vec::new(), before: self.before };
        if self.splitter.is_none() && last && (text.len() as u64) < ALONE {
            self.done = true;
        }
        if self.done {
            out.push(ESSENCE, Form::Bytes, text.len() as u64, false);
            self.before = out.before;
            return out.runs;
        }
        let told = self.held.len();
        let mut window = std::mem::take(&mut self.held);
        window.extend_from_slice(text);
        let head = window.get(..HINT_BYTES).unwrap_or(&window);
        let splitter = self.splitter.get_or_insert_with(|| (self.open)(Hints { head, tail: None }));
        let mut parts = Vec::new();
        splitter.split(&window, last, &mut parts);
        let (told, mut at) = (told as u64, 0_u64);
        for part in parts {
            let (stream, form, cut) = match &part {
                Part::Run(run) => (run.stream, run.form, run.cut),
                Part::Mapped(_) => (ESSENCE, Form::Bytes, false),
            };
            let (from, to) = (at, at.saturating_add(part.bytes()).min(window.len() as u64));
            at = to;
            if to <= told {
                continue;
            }
            if from >= told {
                out.push(stream, form, to - from, cut);
            } else {
                // It began among what was told as something else: its frames do not begin at the border.
                let goes_on = !cut && out.before == Some((stream, form));
                let form = if goes_on { form } else { Form::Bytes };
                out.push(stream, form, to - told, false);
            }
        }
        let untold = window.len() as u64 - at.max(told).min(window.len() as u64);
        if untold > 0 {
            let (stream, form) = match out.before {
                Some(before) if before.0 != WRAPPER || untold < ALONE => before,
                // So much is held back for the tags that may end an essence, which begins here.
                _ => (ESSENCE, Form::Bytes),
            };
            out.push(stream, form, untold, false);
        }
        self.before = out.before;
        self.held = window.split_off(usize::try_from(at).unwrap_or(usize::MAX).min(window.len()));
        if self.held.len() > HELD {
            self.done = true;
            self.held = Vec::new();
        }
        out.runs
    }
}

/// Runs that follow each other.
struct Runs {
    runs: Vec<Run>,
    before: Option<(StreamNumber, Form)>,
}

impl Runs {
    fn push(&mut self, stream: StreamNumber, form: Form, bytes: u64, cut: bool) {
        if bytes == 0 {
            return;
        }
        // What a JPEG file goes on with may have been told as plain bytes: that is no border.
        let told = form == Form::Jpeg && !cut && self.before == Some((stream, Form::Bytes));
        let form = if told { Form::Bytes } else { form };
        let cut = cut || self.before != Some((stream, form));
        self.before = Some((stream, form));
        match self.runs.last_mut() {
            Some(run) if !cut => run.bytes += bytes,
            _ => self.runs.push(Run { stream, bytes, cut, form }),
        }
    }
}
