//! Units of video among other bytes: an `mdat` whose tables have not come yet. What lies between the units is sound,
//! mostly.
//!
//! ```text
//!  [length unit][length unit]  sound  [length unit]  sound  ...
//!                              ^ no length: the next place is searched from which units go on
//! ```
//! Four bytes of sound look like a length and a unit's first bytes now and then, and behind a length that is none the
//! units go on somewhere too. So what was sure is learned from: how units begin, how large they are, how packets of
//! sound begin, how much of it lies between. Where nothing fits what was learned, the search is repeated without.
//! Where the sound is samples, no unit begins in the midst of what still sounds (see `guess`).
//!
//! # Invariants
//!
//! 1. A search looks at [`SEARCH`] bytes at most, and what it costs was earned: [`EARNED`] steps for each byte passed.
//! 2. State: some KiB of counts.

use super::super::guess::{self, Sound};
use super::{Chain, Codec, Unit, is_plausible, unit};
use std::cell::LazyCell;
use std::ops::Range;

/// Bytes that a search looks at.
const SEARCH: usize = 64 << 10;
/// Bytes that lie between two units: mostly fewer than the first, never more than the second.
const NEAR: usize = 4 << 10;
const FAR: usize = 64 << 10;
/// The same where a frame has a name.
const FAR_NAMED: usize = 512 << 10;
/// Units that must follow a place where one may begin.
const CHAINED: usize = 3;
/// The same before a file's codec is believed, if the units lie far from each other.
const CONFIRMED: usize = 5;
/// Steps of a look whether some frames sound.
const SOUND_STEPS: u64 = 32;
/// Frames of sound of which a few are looked at whether they sound.
const FRAMES_BETWEEN_LOOKS: usize = 128;
/// Units that may stand before a file's first sound.
const UNITS_BEFORE: usize = 4096;
/// Steps that any file may take, those that a byte earns, and those of one search.
const STEPS: u64 = 1 << 20;
const EARNED: u64 = 4;
const STEPS_MAX: u64 = 1 << 16;
/// Bytes that are passed in a step where there is nothing to look at.
const STEP_BYTES: u64 = 16;

/// What was seen so often is common.
#[derive(Clone, Debug)]
struct Counts {
    counts: [u32; 256],
    total: u32,
}

impl Counts {
    /// As many must have been seen before anything is said.
    const FEW: u32 = 16;

    fn new() -> Counts {
        Counts { counts: [0; 256], total: 0 }
    }

    fn note(&mut self, what: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(what)) {
            *count = count.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
    }

    /// At least one in `share` was so.
    fn is_common(&self, what: u8, share: u32) -> bool {
        let count = self.counts.get(usize::from(what)).copied().unwrap_or(0);
        count > 0 && count >= self.total / share
    }
}

/// What was learned of a file.
#[derive(Clone, Debug)]
struct Learned {
    /// How units begin.
    heads: Counts,
    /// How packets of sound begin (a stereo frame of AAC with 0x21, say).
    leads: Counts,
    /// Most of the packets began as others did.
    leads_tell: bool,
    /// Bytes of the largest unit, and of the most that lay between two.
    largest: u64,
    gap: usize,
}

/// The first bytes of a unit, behind its length.
fn head(unit: &[u8]) -> u8 {
    let at = |i: usize| unit.get(i).copied().unwrap_or(0);
    // H.264: type, slice type; HEVC: type, first slice.
    at(4).wrapping_mul(0x9d) ^ at(5) >> 3 ^ (at(6) & 0x80) >> 1
}

impl Learned {
    fn new() -> Learned {
        Learned { heads: Counts::new(), leads: Counts::new(), leads_tell: false, largest: 0, gap: 0 }
    }

    fn note_unit(&mut self, look: &[u8], bytes: u64) {
        self.heads.note(head(look));
        self.largest = self.largest.max(bytes);
    }

    fn note_lead(&mut self, look: &[u8]) {
        let Some(first) = look.first() else { return };
        self.leads.note(first >> 1);
        let total = self.leads.total;
        let usual = self.leads.counts.iter().filter(|n| **n > 0 && **n >= total / Counts::FEW);
        self.leads_tell = total >= Counts::FEW && 4 * usual.map(|n| u64::from(*n)).sum::<u64>() >= 3 * u64::from(total);
    }

    fn is_unit(&self, look: &[u8], unit: &Unit) -> bool {
        self.heads.total < Counts::FEW
            || self.heads.is_common(head(look), 256) && unit.bytes <= self.largest.saturating_mul(4)
    }

    fn is_lead(&self, first: u8) -> bool {
        !self.leads_tell || self.leads.is_common(first >> 1, Counts::FEW)
    }
}

/// Bytes of which a box has `left`, and how they are looked at.
struct Sight<'l> {
    codec: Codec,
    look: &'l [u8],
    left: u64,
    /// What units must fit, and sound.
    heads: Option<&'l Learned>,
    leads: Option<&'l Learned>,
    gap: usize,
    /// What lies between units, if it is samples, and the place of `look` where a frame begins.
    sound: Option<(Sound, usize)>,
    steps: &'l mut u64,
}

impl Sight<'_> {
    /// The unit at a place.
    fn unit(&self, at: usize) -> Option<Unit> {
        unit(self.codec, self.look.get(at..)?, self.left.checked_sub(at as u64)?)
    }

    /// Takes steps; `None` where there are too few.
    fn pay(&mut self, steps: u64) -> Option<()> {
        *self.steps = self.steps.checked_sub(steps)?;
        Some(())
    }

    /// The unit at a place that looks like one without one before it. Frames of sound begin at `sound_from`.
    fn lone_unit(&mut self, at: usize, sound_from: usize) -> Option<Unit> {
        let (unit, rest) = (self.unit(at)?, self.look.get(at..)?);
        let fits = self.heads.is_none_or(|l| l.is_unit(rest, &unit)) && is_plausible(self.codec, rest, &unit);
        (fits && !self.still_sounds(at, &unit, sound_from)?).then_some(unit)
    }

    /// Whether sound whose frames begin at `sound_from` goes on where a unit seems to begin; `None` where no step is left.
    fn still_sounds(&mut self, at: usize, unit: &Unit, sound_from: usize) -> Option<bool> {
        let (Some((sound, _)), Some(place)) = (self.sound, at.checked_sub(sound_from)) else { return Some(false) };
        self.pay(SOUND_STEPS)?;
        let bytes = usize::try_from(unit.bytes).unwrap_or(usize::MAX);
        // Of a short one (a delimiter, say) those that follow count.
        let alone = at.checked_add(bytes).and_then(|end| self.unit(end)).map_or(bytes, |_| usize::MAX);
        Some(sound.goes_on(self.look.get(sound_from..).unwrap_or_default(), place, alone))
    }

    /// Whether sound begins at a place; if no step is left it is said not to.
    fn is_sound(&mut self, at: usize) -> bool {
        let (Some((sound, _)), Some(rest)) = (self.sound, self.look.get(at..)) else { return false };
        self.pay(SOUND_STEPS).is_some() && sound.starts(rest)
    }

    /// What comes behind sound: a unit where a frame ends, nothing sounds, and another unit or sound follows. Where several may
    /// begin, near each other, one whose end is seen is believed, and then the shortest.
    fn behind_sound(&mut self) -> Behind {
        let Some((sound, from)) = self.sound else { return Behind::Other };
        let (frame, look) = (sound.frame_bytes(), self.look);
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let to = look.len().min(left).min(from.saturating_add(SEARCH));
        let (mut end, mut found) = (to, None::<(bool, u64, usize)>);
        for (i, at) in (from..to).step_by(frame).enumerate() {
            if at >= end {
                break;
            }
            if i.is_multiple_of(FRAMES_BETWEEN_LOOKS) {
                if self.pay(SOUND_STEPS).is_none() {
                    return Behind::Other;
                }
                // What ended may have ended where no unit begins: then others, far from it, would be believed.
                let sounds =
                    || sound.goes_on(look.get(from..).unwrap_or_default(), at - from, FRAMES_BETWEEN_LOOKS * frame);
                if at + guess::LOOK_FRAMES * frame <= to && !sounds() {
                    end = end.min(at + FRAMES_BETWEEN_LOOKS * frame);
                }
            }
            // Units of 16 MiB there are none.
            let Some(rest @ [0, ..]) = look.get(at..) else { continue };
            let Some(unit) = self.unit(at).filter(|unit| is_plausible(self.codec, rest, unit)) else { continue };
            match self.still_sounds(at, &unit, from) {
                None => return Behind::Other,
                Some(true) => continue,
                Some(false) => {}
            }
            if let Some(is_seen) = self.is_end_seen(at, &unit) {
                if found.is_none() {
                    // The last frames of sound in front of a unit are not told from it.
                    end = end.min(at + guess::LOOK_FRAMES * frame);
                }
                found = found.into_iter().chain([(!is_seen, unit.bytes, at)]).min();
            }
        }
        match found {
            Some((.., at)) => Behind::Unit(at),
            None if end == to => Behind::Sound,
            None => Behind::Other,
        }
    }

    /// Whether a unit's end is seen, and followed by another unit or by sound; `None` for what is followed by neither, and for
    /// what ends out of sight and does not fit what was learned.
    fn is_end_seen(&mut self, at: usize, unit: &Unit) -> Option<bool> {
        let end = (at as u64).saturating_add(unit.bytes);
        if self.left.saturating_sub(end) < guess::PIECE_MIN as u64 {
            return Some(true); // the last one
        }
        let least = self.sound.map_or(0, |(sound, _)| sound.frame_bytes());
        match usize::try_from(end).ok().filter(|end| end.saturating_add(least) <= self.look.len()) {
            Some(end) => (self.unit(end).is_some() || self.is_sound(end)).then_some(true),
            None => {
                let rest = self.look.get(at..).unwrap_or_default();
                self.heads.is_none_or(|l| l.is_unit(rest, unit)).then_some(false)
            }
        }
    }

    /// Whether there is a unit at a place, and so many follow: at once, or behind a gap.
    fn is_chain(&mut self, at: usize, more: usize) -> bool {
        let Some(unit) = self.unit(at) else { return false };
        let Some(end) = usize::try_from(unit.bytes).ok().and_then(|n| at.checked_add(n)) else { return false };
        // At the end of the data there is nothing to follow.
        if more == 0 || end as u64 + self.gap as u64 >= self.left {
            return true;
        }
        if end >= self.look.len() {
            return self.codec.is_named();
        }
        if self.unit(end).is_some() {
            return self.is_chain(end, more - 1);
        }
        if !self.look.get(end).is_some_and(|&b| self.leads.is_none_or(|l| l.is_lead(b))) {
            return false;
        }
        let to = self.look.len().min(end + self.gap);
        let mut next = self.candidate(end, to);
        while let Some(at) = next {
            if self.lone_unit(at, end).is_some() && self.is_chain(at, more - 1) {
                return true;
            }
            next = self.candidate(at + 1, to);
        }
        false
    }

    /// The first place before `to` with a byte that a unit may have there; none where no step is left.
    fn candidate(&mut self, from: usize, to: usize) -> Option<usize> {
        let (skip, first) = if self.codec == Codec::ProRes { (4, b'i') } else { (0, 0) };
        let bytes = self.look.get(from + skip..self.look.len().min(to + skip))?;
        let found = bytes.iter().position(|&b| b == first);
        let passed = found.unwrap_or(bytes.len()) as u64;
        *self.steps = self.steps.checked_sub(1 + passed / STEP_BYTES)?;
        found.map(|n| from + n)
    }

    /// The first place where a unit begins, `within` so many bytes. Where several may, near each other, the shortest
    /// unit is believed: a length that is none is a random number, so it is large.
    fn search(&mut self, within: usize, more: usize) -> Option<usize> {
        let mut found: Option<(u64, usize)> = None;
        let mut end = self.look.len().min(within);
        let mut next = self.candidate(0, end);
        let sound_from = self.sound.map_or(0, |(_, from)| from);
        while let Some(at) = next.filter(|at| *at < end) {
            if let Some(unit) = self.lone_unit(at, sound_from)
                && found.is_none_or(|(bytes, _)| unit.bytes < bytes)
                && self.is_chain(at, more)
            {
                // Others are looked for within its own bytes.
                end = end.min(at + self.gap.min(usize::try_from(unit.bytes).unwrap_or(self.gap)));
                found = Some((unit.bytes, at));
            }
            next = self.candidate(at + 1, end);
        }
        found.map(|(_, at)| at)
    }
}

/// What comes behind sound.
enum Behind {
    /// A unit, at this place.
    Unit(usize),
    /// More sound, as far as a search looks.
    Sound,
    /// Something else; or there was no step left to tell.
    Other,
}

/// The sound that `look` begins with (then it is `first`), or that comes behind its first units of a codec.
fn sound_beside(codec: Codec, look: &[u8], left: u64, first: &dyn Fn() -> Option<Sound>) -> Option<Sound> {
    let mut at = 0;
    for _ in 0..UNITS_BEFORE {
        let Some(unit) = unit(codec, look.get(at..)?, left.checked_sub(at as u64)?) else { break };
        at = at.checked_add(usize::try_from(unit.bytes).ok()?)?;
    }
    match at {
        0 => first(),
        at => guess::pcm(look.get(at..)?.get(..guess::PIECE_MIN)?, guess::PIECE_MIN),
    }
}

/// Where the first unit begins, and the sound, in data that are nothing but units of a codec and samples, by what is seen of them.
fn with_sound(codec: Codec, look: &[u8], left: u64, first: &dyn Fn() -> Option<Sound>) -> Option<(usize, Sound)> {
    let sound = sound_beside(codec, look, left, first)?;
    let frame = sound.frame_bytes();
    let (mut at, mut units, mut first, mut is_found) = (0_usize, 0, None, false);
    while units <= CHAINED
        && let Some(rest) = look.get(at..).filter(|rest| rest.len() >= frame)
    {
        let left = left.checked_sub(at as u64)?;
        if let Some(unit) = unit(codec, rest, left).filter(|_| is_found || !sound.starts(rest)) {
            first.get_or_insert(at);
            (at, units, is_found) = (at.checked_add(usize::try_from(unit.bytes).ok()?)?, units + 1, false);
            continue;
        }
        let (beside, steps) = (Some((sound, 0)), &mut STEPS_MAX.clone());
        let mut sight = Sight { codec, look: rest, left, heads: None, leads: None, gap: NEAR, sound: beside, steps };
        // Both within `rest`.
        match sight.behind_sound() {
            Behind::Unit(next) => (at, is_found) = (at + next, true),
            Behind::Sound => at += rest.len().min(SEARCH) / frame * frame,
            Behind::Other => return None,
        }
    }
    // All that is seen may be the first pictures and long sound.
    first.filter(|_| units > 1).map(|first| (first, sound))
}

/// The codec of an `mdat` of which nothing else is known, and the sound beside it if that is samples.
pub fn detect(look: &[u8], left: u64) -> Option<(Codec, Option<Sound>)> {
    let is_key = |codec, at: usize| {
        let (rest, left) = (look.get(at..).unwrap_or_default(), left.saturating_sub(at as u64));
        Chain::new(codec).unit(rest, left).is_some_and(|(_, key)| key)
    };
    let first = LazyCell::new(|| guess::pcm(look, guess::BYTES_MIN));
    for codec in [Codec::Hevc, Codec::Avc] {
        if let Some((at, sound)) = with_sound(codec, look, left, &|| *first)
            && is_key(codec, at)
        {
            return Some((codec, Some(sound)));
        }
    }
    // Pictures, groups and sequences of MPEG-1, 2 and 4: their start codes look like lengths.
    let front = look.get(..SEARCH).unwrap_or(look);
    let is_mpeg = front.windows(4).any(|w| matches!(w, [0, 0, 1, 0xb0 | 0xb3 | 0xb6 | 0xb8]));
    let all = [Codec::ProRes, Codec::Dnx, Codec::Hevc, Codec::Avc];
    // Samples of sound may look like start codes, but not like a name.
    let all = if is_mpeg { &all[..2] } else { &all };
    [(NEAR, CHAINED), (FAR, CONFIRMED)].into_iter().find_map(|(gap, more)| {
        let found = all.iter().filter_map(|&codec| {
            let (gap, steps) = (if codec.is_named() { FAR_NAMED } else { gap }, &mut STEPS_MAX.clone());
            let mut sight = Sight { codec, look, left, heads: None, leads: None, gap, sound: None, steps };
            let at = sight.search(SEARCH, if codec.is_named() { 1 } else { more })?;
            // A track begins with a key frame.
            (is_key(codec, at) || codec.is_named()).then_some((at, codec))
        });
        found.min_by_key(|(at, _)| *at).map(|(_, codec)| (codec, None))
    })
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Unit { bytes: u64, key: bool },
    Other { bytes: u64 },
}

/// Tells the units of a box from what lies between.
#[derive(Clone, Debug)]
pub struct Finder {
    chain: Chain,
    /// The bytes before were a unit, or a search found one here.
    in_row: bool,
    learned: Learned,
    /// Bytes since the last unit.
    since: usize,
    /// What lies between units, if it is samples.
    sound: Option<Sound>,
    steps: u64,
}

impl Finder {
    /// `sound` is what lies between units, if it is known to be samples.
    pub fn new(codec: Codec, sound: Option<Sound>) -> Finder {
        Finder { chain: Chain::new(codec), in_row: false, learned: Learned::new(), since: 0, sound, steps: STEPS }
    }

    /// What lies between units, if it is known to be samples by now.
    pub fn set_sound(&mut self, sound: Option<Sound>) {
        self.sound = sound;
    }

    /// Whether something else begins where `look` does, of which the box has `left`: a unit has just ended, or the box begins.
    pub fn is_gap(&self, look: &[u8], left: u64) -> bool {
        self.since == 0 && unit(self.chain.codec, look, left).is_none()
    }

    /// The samples between units, where they are known.
    pub fn sound(&self) -> Option<Sound> {
        self.sound
    }

    /// Whether sound begins where a unit has ended. What has a name is not taken for sound.
    fn starts_sound(&mut self, look: &[u8]) -> bool {
        match self.frames() {
            Some((sound, _)) if self.since == 0 && self.steps >= SOUND_STEPS => {
                self.steps -= SOUND_STEPS; // there are so many
                sound.starts(look)
            }
            _ => false,
        }
    }

    /// What starts `look`, of which the box has `left`: a unit, or bytes up to one.
    pub fn next(&mut self, look: &[u8], left: u64) -> Found {
        let found = self.here(look, left);
        let (Found::Unit { bytes, .. } | Found::Other { bytes }) = found;
        self.steps = self.steps.saturating_add(bytes.saturating_mul(EARNED)).min(STEPS);
        found
    }

    /// Whether a unit starts `look`, where one is expected.
    pub fn is_unit(&self, look: &[u8], left: u64) -> bool {
        self.in_row && unit(self.chain.codec, look, left).is_some()
    }

    /// So many bytes are known to be something else, and to end where a unit may begin.
    pub fn pass(&mut self, bytes: usize) {
        self.since = self.since.saturating_add(bytes);
        self.steps = self.steps.saturating_add((bytes as u64).saturating_mul(EARNED)).min(STEPS);
        self.in_row = true;
    }

    /// Whether frames have a name, so that nothing is taken for a unit that is none.
    pub fn is_named(&self) -> bool {
        self.chain.codec.is_named()
    }

    /// What lies between the units of `look`, of which the box has `left`, until it is so many bytes. The last piece may
    /// go on.
    pub fn between<'l>(&self, look: &'l [u8], left: u64, most: usize) -> Vec<&'l [u8]> {
        // Of no bytes there would be no end.
        let look = usize::try_from(left).ok().and_then(|left| look.get(..left)).unwrap_or(look);
        let (mut ahead, mut at, mut sum, mut places) = (self.clone(), 0_usize, 0, Vec::<Range<usize>>::new());
        while let Some(rest) = look.get(at..).filter(|rest| !rest.is_empty() && sum < most) {
            let found = ahead.next(rest, left.saturating_sub(at as u64));
            let (Found::Unit { bytes, .. } | Found::Other { bytes }) = found;
            let end = at.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX)).min(look.len());
            if let Found::Other { .. } = found {
                sum += end - at; // at most what is shown
                match places.last_mut().filter(|place| place.end == at) {
                    Some(place) => place.end = end,
                    None => places.push(at..end),
                }
            }
            at = end;
        }
        places.into_iter().filter_map(|place| look.get(place)).collect()
    }

    fn here(&mut self, look: &[u8], left: u64) -> Found {
        if self.in_row {
            // Samples may look like a unit.
            if (unit(self.chain.codec, look, left).is_none() || !self.starts_sound(look))
                && let Some(unit) = self.unit(look, left)
            {
                return unit;
            }
            if self.since == 0 {
                self.learned.note_lead(look);
            }
        }
        let found = self.search(look, left);
        self.in_row = found.is_some();
        if found == Some(0)
            && let Some(unit) = self.unit(look, left)
        {
            return unit;
        }
        // Where sound goes on beyond what was looked at it does with a whole frame.
        let whole = |bytes: usize| self.sound.map_or(bytes, |sound| bytes - bytes % sound.frame_bytes());
        let bytes = found.unwrap_or_else(|| whole(look.len().min(SEARCH))).max(1);
        self.since = self.since.saturating_add(bytes);
        Found::Other { bytes: (bytes as u64).min(left) }
    }

    fn unit(&mut self, look: &[u8], left: u64) -> Option<Found> {
        let (bytes, key) = self.chain.unit(look, left)?;
        self.learned.note_unit(look, bytes);
        self.learned.gap = self.learned.gap.max(self.since).min(FAR);
        self.since = 0;
        Some(Found::Unit { bytes, key })
    }

    /// The samples between units that have no name, and where `look` has the first frame of them.
    fn frames(&self) -> Option<(Sound, usize)> {
        let sound = self.sound.filter(|_| !self.is_named())?;
        Some((sound, self.since.next_multiple_of(sound.frame_bytes()) - self.since))
    }

    /// The place of `look` where a unit begins.
    fn search(&mut self, look: &[u8], left: u64) -> Option<usize> {
        if self.is_named() {
            return self.sight(look, left, (false, false), FAR_NAMED, |sight| sight.search(SEARCH, 1));
        }
        match self.sight(look, left, (true, false), NEAR, |sight| sight.behind_sound()) {
            Behind::Unit(at) => return Some(at),
            Behind::Sound => return None,
            Behind::Other => {}
        }
        let usual = (self.learned.gap + self.learned.gap / 4).max(NEAR);
        // Where sound must fit it is where units usually go on.
        let within = usual.saturating_sub(self.since);
        let search = |within: usize| move |sight: &mut Sight<'_>| sight.search(within, CHAINED);
        let found = self.sight(look, left, (true, true), usual, search(within));
        let found = found.or_else(|| self.sight(look, left, (false, true), usual, search(within)));
        found.or_else(|| {
            let found = self.sight(look, left, (false, false), FAR, search(SEARCH))?;
            self.learned.leads = Counts::new();
            self.learned.leads_tell = false;
            Some(found)
        })
    }

    /// A search where units, and packets of sound, must fit what was learned, or not.
    fn sight<R>(
        &mut self,
        look: &[u8],
        left: u64,
        fit: (bool, bool),
        gap: usize,
        search: impl FnOnce(&mut Sight<'_>) -> R,
    ) -> R {
        let (heads, leads) = (fit.0.then_some(&self.learned), fit.1.then_some(&self.learned));
        let before = self.steps.min(STEPS_MAX);
        let (mut steps, sound) = (before, self.frames());
        let found =
            search(&mut Sight { codec: self.chain.codec, look, left, heads, leads, gap, sound, steps: &mut steps });
        self.steps -= before - steps; // it was taken of them, and only becomes less
        found
    }
}
