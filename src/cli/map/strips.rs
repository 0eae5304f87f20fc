//! A few files as bars under each other, ribbons between what they share.

use super::svg::{self, Anchor, HEADING, LABEL, NOTE, Svg, TITLE, Type};
use super::{Palette, axis_step};
use crate::cli::render;
use crate::ops::map::MapReport;
use crate::ops::map::strips::{Range, Ribbon, Strips};
use std::collections::BTreeMap;

const WIDTH: f64 = 1240.0;
const LEFT: f64 = 30.0;
const RIGHT: f64 = 30.0;
const BAR: f64 = 26.0;
/// Between two bars: the label of the lower one and room for the ribbons.
const GAP: f64 = 112.0;
/// The same where no ribbon passes.
const GAP_PLAIN: f64 = 34.0;
/// A file shorter than this many pixels is still seen.
const BAR_MIN: f64 = 3.0;

/// Draws them. `name` is the picture's title.
pub fn draw(name: &str, report: &MapReport, strips: &Strips, palette: &Palette) -> String {
    let mut svg = Svg::new(WIDTH);
    svg.text(LEFT, 34.0, &svg::fit(name, (WIDTH - LEFT - RIGHT) / 1.17, TITLE.size), TITLE);
    let shared = shared(strips);
    let saved: u64 = shared.values().flat_map(BTreeMap::values).sum();
    let files = render::counted(report.files, "file");
    let line = format!("{files}, {}. {}", render::size(report.bytes), said(saved));
    svg.text(LEFT, 55.0, &line, LABEL);
    let top = svg.legend(LEFT, 80.0, &palette.legend(strips.ribbons.iter().map(|r| r.means), true)) + 44.0;
    let longest = strips.files.iter().map(|f| f.bytes).max().unwrap_or(0).max(1);
    let scale = (WIDTH - LEFT - RIGHT) / longest as f64; // pixels a byte: for the eye
    axis(&mut svg, longest, scale, top - 24.0);
    let rows = rows(strips, top + 18.0);
    let y_of = |row: usize| rows.get(row).copied().unwrap_or(top);
    let x_of = |bytes: u64| LEFT + bytes as f64 * scale;
    // Ribbons lie under the bars that they pass.
    for r in &strips.ribbons {
        let (fill, means) = (palette.of(r.means), palette.name(r.means));
        let title = format!(
            "{means}: bytes {} of the upper are in bytes {} of the lower",
            range(r.of_upper),
            range(r.of_lower)
        );
        let widen = |range: Range| (x_of(range.from), x_of(range.to).max(x_of(range.from) + 0.7));
        let ((a1, a2), (b1, b2)) = (widen(r.of_upper), widen(r.of_lower));
        // One that passes other files is fainter, so that it does not hide theirs.
        let passed = r.lower.saturating_sub(r.upper).max(1) as f64; // at most a dozen
        let ink = (fill, 0.42 / passed);
        svg.ribbon((a1, a2, y_of(r.upper) + BAR), (b1, b2, y_of(r.lower)), ink, &title);
    }
    for (row, file) in strips.files.iter().enumerate() {
        let y = y_of(row);
        let width = (file.bytes as f64 * scale).max(BAR_MIN);
        label(&mut svg, strips, row, y, shared.get(&row));
        svg.rect((LEFT, y, width, BAR), svg::OWN, "", None);
        for r in &file.repeats {
            svg.rect(
                (x_of(r.from), y, r.bytes() as f64 * scale, BAR),
                svg::REPEAT,
                "",
                Some("repeats bytes of this file"),
            );
        }
        for r in strips.ribbons.iter().filter(|r| r.upper == row) {
            mark(&mut svg, palette, r, r.of_upper, (y, x_of(r.of_upper.from), scale), 0.55);
        }
        for r in strips.ribbons.iter().filter(|r| r.lower == row) {
            mark(&mut svg, palette, r, r.of_lower, (y, x_of(r.of_lower.from), scale), 1.0);
        }
        for r in &file.holes {
            let more = "stroke=\"#8d9aa8\" stroke-dasharray=\"3 2\"";
            svg.rect((x_of(r.from), y, r.bytes() as f64 * scale, BAR), svg::PAPER, more, Some("hole or one value"));
        }
        svg.rect((LEFT, y, width, BAR), "none", "stroke=\"#57606a\" stroke-width=\"0.8\"", None);
        svg.reach(y + BAR + 8.0);
    }
    svg.finish(name)
}

/// Where each bar begins.
fn rows(strips: &Strips, top: f64) -> Vec<f64> {
    let mut y = top;
    let mut out = Vec::with_capacity(strips.files.len());
    for row in 0..strips.files.len() {
        if row > 0 {
            let passes = strips.ribbons.iter().any(|r| r.upper < row && row <= r.lower);
            y += BAR + if passes { GAP } else { GAP_PLAIN };
        }
        out.push(y);
    }
    out
}

fn mark(svg: &mut Svg, palette: &Palette, r: &Ribbon, of: Range, (y, x, scale): (f64, f64, f64), opacity: f64) {
    let width = (of.bytes() as f64 * scale).max(0.7);
    let title = format!("{}: bytes {}", palette.name(r.means), range(of));
    svg.rect((x, y, width, BAR), palette.of(r.means), &format!("opacity=\"{opacity}\""), Some(&title));
}

fn range(r: Range) -> String {
    format!("{} to {}", render::count(r.from), render::count(r.to))
}

fn said(saved: u64) -> String {
    match saved {
        0 => "They share no storage.".to_owned(),
        n => format!(
            "{} stand in a file above already, or nearly so. Ribbons join the ranges that are shared; the upper file's \
             are paler.",
            render::size(n)
        ),
    }
}

/// Bytes of each file that are tied to one above, by it.
fn shared(strips: &Strips) -> BTreeMap<usize, BTreeMap<usize, u64>> {
    let mut out: BTreeMap<usize, BTreeMap<usize, u64>> = BTreeMap::new();
    for r in &strips.ribbons {
        *out.entry(r.lower).or_default().entry(r.upper).or_default() += r.of_lower.bytes();
    }
    out
}

/// `A`, `B`, ... behind `Z` numbers.
fn letter(row: usize) -> String {
    match u8::try_from(row) {
        Ok(n) if n < 26 => char::from(b'A' + n).to_string(),
        _ => (row + 1).to_string(),
    }
}

fn label(svg: &mut Svg, strips: &Strips, row: usize, y: f64, shared: Option<&BTreeMap<usize, u64>>) {
    let Some(file) = strips.files.get(row) else { return };
    let bold = Type { bold: true, ..HEADING };
    svg.text(LEFT, y - 8.0, &letter(row), bold);
    let said = match shared {
        None => render::size(file.bytes),
        Some(with) => {
            let parts = with.iter().map(|(upper, n)| format!("{} in {}", render::size(*n), letter(*upper)));
            format!("{}, of it {}", render::size(file.bytes), parts.collect::<Vec<_>>().join(", "))
        }
    };
    let room = WIDTH - LEFT - RIGHT - 24.0;
    let said = svg::fit_end(&said, room * 0.45, NOTE.size);
    // Labels stand on the ribbons: a white edge keeps them readable.
    let path = svg::fit(&render::name(&file.path), room * 0.52, LABEL.size);
    for (x, text, of) in
        [(LEFT + 20.0, path, LABEL), (WIDTH - RIGHT, said, Type { anchor: Anchor::End, fill: svg::INK, ..NOTE })]
    {
        let wide = crate::cli::table::width(&text) as f64 * 7.0 * of.size / 12.0 + 8.0;
        let from = if matches!(of.anchor, Anchor::End) { x - wide + 4.0 } else { x - 4.0 };
        svg.rect((from, y - 20.0, wide, 17.0), svg::PAPER, "opacity=\"0.8\" rx=\"3\"", None);
        svg.text(x, y - 8.0, &text, of);
    }
}

fn axis(svg: &mut Svg, longest: u64, scale: f64, y: f64) {
    let step = axis_step(longest);
    let mut at = 0u64;
    while at <= longest {
        let x = LEFT + at as f64 * scale;
        svg.line((x, y), (x, y + 6.0), svg::FAINT);
        let anchor = if at == 0 { Anchor::Start } else { Anchor::Middle };
        if x < WIDTH - RIGHT - 20.0 {
            svg.text(x, y - 4.0, &render::size(at), Type { anchor, ..NOTE });
        }
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    svg.line((LEFT, y), (LEFT + longest as f64 * scale, y), svg::FAINT);
}
