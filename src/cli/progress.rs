//! Progress on stderr: a bar on a terminal, a line now and then elsewhere, and every other line there.
//!
//! # Invariants
//!
//! 1. Nothing here touches stdout.
//! 2. A line ([`Screen::say`]) is never drawn into a bar.
//! 3. Short work shows nothing.

use super::render;
use crate::ops::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the display looks at the counters.
pub const TICK: Duration = Duration::from_millis(100);
/// A bar for less than this would only flicker.
const BAR_AFTER: Duration = Duration::from_millis(700);
/// Between lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The rate is that of the last so many seconds, one sample each.
const WINDOW_SAMPLES: usize = 15;

enum Bar {
    /// None yet, or taken away for a moment.
    Hidden,
    Shown(ProgressBar),
    /// The result is being printed: there is none any more.
    Closed,
}

/// Standard error, shared by lines and the bar.
pub struct Screen {
    terminal: bool,
    bar: Mutex<Bar>,
}

impl Screen {
    /// Stands for stderr; `terminal` says whether a bar can be drawn there.
    pub fn new(terminal: bool) -> Screen {
        Screen { terminal, bar: Mutex::new(Bar::Hidden) }
    }

    /// Writes a line, above the bar if there is one.
    pub fn say(&self, line: &str) {
        let print = || {
            let _ = writeln!(std::io::stderr(), "{line}"); // nowhere to say that stderr is closed
        };
        match &*self.lock() {
            Bar::Shown(bar) => bar.suspend(print),
            _ => print(),
        }
    }

    /// Takes the bar away for good: what comes next on the terminal is the result, or the end.
    pub fn clear(&self) {
        let mut bar = self.lock();
        if let Bar::Shown(shown) = &*bar {
            shown.finish_and_clear();
        }
        *bar = Bar::Closed;
    }

    fn draw(&self, name: &str, reading: &Reading, words: &str) {
        let mut bar = self.lock();
        if matches!(*bar, Bar::Hidden) {
            let new = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            new.set_prefix(name.to_owned());
            *bar = Bar::Shown(new);
        }
        if let Bar::Shown(shown) = &*bar {
            let (done, total) = reading.main();
            if reading.known && total > 0 {
                shown.set_style(style("{prefix} [{bar:16}] {percent:>3} %  {wide_msg}"));
                shown.set_length(total);
            } else {
                shown.set_style(style("{prefix} {spinner} {wide_msg}"));
            }
            shown.set_position(done);
            shown.set_message(words.to_owned());
            shown.tick();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Bar> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner) // at worst a bar too many
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").tick_chars("|/-\\ ")
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub files_done: u64,
    pub files_total: u64,
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub bytes_new: u64,
    pub known: bool,
    pub phase: &'static str,
}

impl Reading {
    /// Reads the counters, each for itself: a display may be off by a file.
    pub fn of(p: &Progress) -> Reading {
        let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        Reading {
            files_done: get(&p.files_done),
            files_total: get(&p.files_total),
            bytes_done: get(&p.bytes_done),
            bytes_total: get(&p.bytes_total),
            bytes_new: get(&p.bytes_new),
            known: p.totals_known.load(Ordering::Relaxed),
            phase: p.phase.lock().map_or("", |phase| *phase),
        }
    }

    /// Done and total in what the work is measured by: bytes, or files where no bytes are counted.
    fn main(&self) -> (u64, u64) {
        if self.bytes_total > 0 || self.bytes_done > 0 {
            (self.bytes_done, self.bytes_total)
        } else {
            (self.files_done, self.files_total)
        }
    }

    fn is_idle(&self) -> bool {
        self.files_done == 0 && self.bytes_done == 0 && self.phase.is_empty()
    }
}

/// What was reached when, for the rate of late.
#[derive(Default)]
pub struct Meter {
    samples: VecDeque<(Duration, u64)>,
    phase: &'static str,
}

impl Meter {
    /// Takes note of a reading and returns units a second over the last `WINDOW_SAMPLES` seconds, once there is
    /// something to compare with. Another phase, or a count that went back, begins anew.
    pub fn rate(&mut self, now: Duration, reading: &Reading) -> Option<f64> {
        let done = reading.main().0;
        if reading.phase != self.phase || self.samples.back().is_some_and(|&(_, before)| before > done) {
            self.samples.clear();
            self.phase = reading.phase;
        }
        if self.samples.back().is_none_or(|&(at, _)| now.saturating_sub(at) >= Duration::from_secs(1)) {
            self.samples.push_back((now, done));
            if self.samples.len() > WINDOW_SAMPLES {
                self.samples.pop_front();
            }
        }
        let &(at, before) = self.samples.front()?;
        let seconds = now.saturating_sub(at).as_secs_f64();
        (seconds >= 0.5).then(|| (done - before) as f64 / seconds) // not less than any sample: see above
    }
}

/// Time left at a rate of units a second; `None` where it cannot be told.
fn time_left(reading: &Reading, rate: Option<f64>) -> Option<Duration> {
    let (done, total) = reading.main();
    let rate = rate.filter(|r| reading.known && *r > 0.0)?;
    // 100 days and more is no forecast.
    let seconds = total.saturating_sub(done) as f64 / rate;
    (seconds < 8.64e6).then(|| Duration::from_secs_f64(seconds))
}

/// The counters in words.
pub fn words(reading: &Reading, rate: Option<f64>) -> String {
    let of = |done: String, total: u64, shown: String| {
        if reading.known && total > 0 { format!("{done} of {shown}") } else { done }
    };
    let r = reading;
    let mut parts = Vec::new();
    if !r.phase.is_empty() {
        parts.push(r.phase.to_owned());
    }
    let by_bytes = r.bytes_done > 0 || r.bytes_total > 0;
    if by_bytes {
        parts.push(of(render::size(r.bytes_done), r.bytes_total, render::size(r.bytes_total)));
    }
    if let Some(rate) = rate.filter(|_| by_bytes) {
        parts.push(format!("{}/s", render::size(rate as u64))); // saturating, and for the eye
    }
    if let Some(left) = time_left(r, rate) {
        parts.push(format!("{} left", render::duration(Duration::from_secs(left.as_secs_f64().ceil() as u64))));
    }
    // A narrow terminal cuts the end off: the least comes last.
    if r.files_done > 0 || r.files_total > 0 {
        parts.push(format!("{} files", of(render::count(r.files_done), r.files_total, render::count(r.files_total))));
    }
    if r.bytes_new > 0 {
        parts.push(format!("{} new", render::size(r.bytes_new)));
    }
    parts.join(", ")
}

/// restic's status document.
fn status(reading: &Reading, elapsed: Duration, rate: Option<f64>) -> Value {
    let (done, total) = reading.main();
    let mut d = json!({
        "message_type": "status",
        "action": reading.phase,
        "seconds_elapsed": elapsed.as_secs(),
        "files_done": reading.files_done,
        "bytes_done": reading.bytes_done,
        "bytes_new": reading.bytes_new,
    });
    if reading.known && total > 0 {
        d["total_files"] = reading.files_total.into();
        d["total_bytes"] = reading.bytes_total.into();
        d["percent_done"] = (done as f64 / total as f64).min(1.0).into(); // a share: rounding does no harm
    }
    if let Some(left) = time_left(reading, rate) {
        d["seconds_remaining"] = left.as_secs().into();
    }
    d
}

enum Style {
    Off,
    Bar,
    Lines,
    Documents,
}

/// Shows a verb's counters while it runs.
pub struct Display {
    name: &'static str,
    style: Style,
    screen: Arc<Screen>,
    begun: Instant,
    next_line: Duration,
    meter: Meter,
}

impl Display {
    /// Chooses how progress is shown: not at all under `--quiet`, a bar on a terminal, else lines, which are documents
    /// for those who asked for JSON.
    pub fn new(name: &'static str, quiet: bool, as_json: bool, screen: Arc<Screen>) -> Display {
        let style = match (quiet, screen.terminal, as_json) {
            (true, _, _) => Style::Off,
            (_, true, _) => Style::Bar,
            (_, _, true) => Style::Documents,
            _ => Style::Lines,
        };
        Display { name, style, screen, begun: Instant::now(), next_line: LINE_EVERY, meter: Meter::default() }
    }

    /// Looks at the counters and draws or prints if it is time.
    pub fn tick(&mut self, progress: &Progress) {
        let reading = Reading::of(progress);
        if matches!(self.style, Style::Off) || reading.is_idle() {
            return;
        }
        let now = self.begun.elapsed();
        let rate = self.meter.rate(now, &reading);
        if matches!(self.style, Style::Bar) {
            if now >= BAR_AFTER {
                self.screen.draw(self.name, &reading, &words(&reading, rate));
            }
        } else if now >= self.next_line {
            self.next_line = now + LINE_EVERY;
            match self.style {
                Style::Documents => self.screen.say(&status(&reading, now, rate).to_string()),
                _ => self.screen.say(&format!("{}: {}", self.name, words(&reading, rate))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(bytes_done: u64) -> Reading {
        Reading {
            files_done: 3,
            files_total: 9,
            bytes_done,
            bytes_total: 100 << 20,
            bytes_new: 1 << 20,
            known: true,
            phase: "reading",
        }
    }

    #[test]
    fn words_tell_how_far_how_fast_and_how_long_still() {
        assert_eq!(
            words(&reading(40 << 20), Some((1 << 20) as f64)),
            "reading, 40.0 MiB of 100 MiB, 1.00 MiB/s, 1 min 00 s left, 3 of 9 files, 1.00 MiB new"
        );
        let unknown = Reading { known: false, ..reading(40 << 20) };
        assert_eq!(words(&unknown, None), "reading, 40.0 MiB, 3 files, 1.00 MiB new");
        assert_eq!(words(&Reading::default(), None), "");
    }

    #[test]
    fn no_time_is_promised_where_nothing_moves() {
        assert_eq!(time_left(&reading(1), Some(0.0)), None);
        assert_eq!(time_left(&reading(1), None), None);
        assert_eq!(time_left(&reading(1), Some(1e-9)), None);
        assert_eq!(time_left(&reading(200 << 20), Some(1.0)), Some(Duration::ZERO), "more done than there was");
    }

    #[test]
    fn the_rate_is_that_of_late_and_begins_anew_with_a_phase() {
        let mut m = Meter::default();
        let at = Duration::from_secs;
        assert_eq!(m.rate(at(0), &reading(0)), None);
        for s in 1..=20 {
            m.rate(at(s), &reading(s * 100));
        }
        let mut fast = 0.0;
        for s in 1..=20 {
            fast = m.rate(at(20 + s), &reading(2000 + s * 1000)).unwrap();
        }
        assert!((fast - 1000.0).abs() < 1.0, "{fast}");
        assert_eq!(m.rate(at(41), &Reading { phase: "sealing", ..reading(5) }), None);
        assert_eq!(m.rate(at(42), &Reading { phase: "sealing", ..reading(1) }), None, "a count that went back");
    }

    #[test]
    fn a_status_document_has_restics_names() {
        let d = status(&reading(50 << 20), Duration::from_secs(7), Some((10 << 20) as f64));
        assert_eq!((d["percent_done"].as_f64(), d["seconds_remaining"].as_u64()), (Some(0.5), Some(5)));
        assert_eq!((d["seconds_elapsed"].as_u64(), d["total_files"].as_u64()), (Some(7), Some(9)));
    }
}
