//! Many files: a treemap of what each has of its own, and a matrix of what groups of them share.

use super::svg::{self, Anchor, HEADING, LABEL, NOTE, Svg, TITLE, Type};
use super::{Palette, groups, treemap};
use crate::cli::render;
use crate::ops::map::MapReport;
use crate::ops::map::overview::Overview;
use std::collections::BTreeMap;

const WIDTH: f64 = 1400.0;
const LEFT: f64 = 30.0;
const TREE_HEIGHT: f64 = 620.0;
/// Rows and columns of the matrix, at most.
const GROUPS_MAX: usize = 26;
const CELL: f64 = 34.0;

/// Draws them. `name` is the picture's title.
pub fn draw(name: &str, report: &MapReport, overview: &Overview, palette: &Palette) -> String {
    let mut svg = Svg::new(WIDTH);
    svg.text(LEFT, 34.0, &svg::fit(name, (WIDTH - 2.0 * LEFT) / 1.17, TITLE.size), TITLE);
    let shared: u64 = overview.shared().values().sum();
    let line = format!(
        "{}, {}. {} of it ({}) need no storage of their own: other files here hold the same or nearly the same.",
        render::counted(report.files, "file"),
        render::size(report.bytes),
        render::size(shared),
        render::percent(shared, report.bytes)
    );
    svg.text(LEFT, 55.0, &line, LABEL);
    let mut y = svg.legend(LEFT, 80.0, &palette.legend(overview.shared().into_keys(), false)) + 24.0;
    let heading = "Where the bytes are";
    svg.text(LEFT, y, heading, HEADING);
    let note = "area: bytes of files, in their folders. Coloured: bytes that a file before it (in order of path) has, or \
                that coding against another spared";
    svg.text(LEFT + svg::bold_width(heading, HEADING.size) + 14.0, y, note, NOTE);
    y += 10.0;
    treemap::draw(&mut svg, overview, palette, (LEFT, y, WIDTH - 2.0 * LEFT, TREE_HEIGHT));
    y += TREE_HEIGHT + 40.0;
    matrix(&mut svg, overview, palette, y);
    svg.finish(name)
}

/// Groups of files in rows and columns, and what each pair shares.
fn matrix(svg: &mut Svg, overview: &Overview, palette: &Palette, top: f64) {
    let groups = groups::of(overview, GROUPS_MAX);
    let common = groups::common(&groups);
    let between = groups::between(overview, &groups);
    let heading = "What is shared with what";
    svg.text(LEFT, top, heading, HEADING);
    if between.is_empty() {
        svg.text(LEFT, top + 24.0, "Nothing: no two files here share storage.", LABEL);
        svg.reach(top + 30.0);
        return;
    }
    let mut note =
        "each cell: bytes that two rows share (columns have the rows' numbers; the diagonal: within the row). Darker: \
                    more"
            .to_owned();
    if common.len() > 1 {
        note.push_str(&format!(". Below {}", svg::fit(&common, 300.0, NOTE.size)));
    }
    svg.text(LEFT + svg::bold_width(heading, HEADING.size) + 14.0, top, &note, NOTE);
    let wide = 440.0;
    let (x0, y0) = (LEFT + wide, top + 34.0);
    let most = between.values().map(|m| m.values().sum::<u64>()).max().unwrap_or(1);
    for (row, group) in groups.iter().enumerate() {
        let y = y0 + row as f64 * CELL;
        let number = (row + 1).to_string();
        let middle = Type { anchor: Anchor::Middle, ..NOTE };
        svg.text(x0 + (row as f64 + 0.5) * CELL, y0 - 6.0, &number, middle);
        svg.text(LEFT + 18.0, y + CELL * 0.62, &number, Type { anchor: Anchor::End, ..NOTE });
        let size = render::size(group.bytes);
        let said = if group.files == 1 { size } else { format!("{}, {size}", render::counted(group.files, "file")) };
        svg.text(x0 - 10.0, y + CELL * 0.62, &said, Type { anchor: Anchor::End, ..NOTE });
        let room = wide - 44.0 - said.chars().count() as f64 * 6.6;
        let label = label(&group.label, &common);
        svg.text(LEFT + 26.0, y + CELL * 0.62, &svg::fit(&label, room, LABEL.size), LABEL);
        svg.line((LEFT, y), (x0 + (row as f64 + 1.0) * CELL, y), "#e4e7eb");
        for column in 0..=row {
            let cell = (x0 + column as f64 * CELL, y, CELL, CELL);
            let edge = "stroke=\"#e4e7eb\" stroke-width=\"1\"";
            let Some(means) = between.get(&(column, row)) else {
                svg.rect(cell, "#fafbfc", edge, None);
                continue;
            };
            let sum: u64 = means.values().sum();
            let Some((main, _)) = means.iter().max_by_key(|(_, n)| **n) else { continue };
            svg.rect(cell, svg::PAPER, edge, None);
            let opacity = strength(sum, most);
            let title = tell(palette, &groups, (column, row), means);
            svg.rect(cell, palette.of(*main), &format!("opacity=\"{opacity:.2}\" stroke=\"#ffffff\""), Some(&title));
            let fill = if opacity > 0.6 && *main == crate::ops::map::Means::Chunk { svg::PAPER } else { svg::INK };
            let of = Type { anchor: Anchor::Middle, fill, size: 9.5, bold: false };
            svg.text(cell.0 + CELL / 2.0, cell.1 + CELL * 0.6, &short(sum), of);
        }
    }
    svg.reach(y0 + groups.len() as f64 * CELL + 10.0);
}

/// A group's label without the folder that all have.
fn label(label: &str, common: &str) -> String {
    let below = |path: &str| path.strip_prefix(common).filter(|p| !p.is_empty()).map(str::to_owned);
    match label.strip_prefix("others in ") {
        Some(folder) if folder == common.trim_end_matches('/') => "others".to_owned(),
        Some(folder) => below(folder).map_or(label.to_owned(), |folder| format!("others in {folder}")),
        None => below(label).unwrap_or_else(|| label.to_owned()),
    }
}

/// From 0.18 for a ten-thousandth of the most to 1, by orders of magnitude.
fn strength(bytes: u64, most: u64) -> f64 {
    let of = (bytes.max(1) as f64 / most.max(1) as f64).log10(); // 0 and below
    (1.0 + of / 4.0).clamp(0.0, 1.0) * 0.82 + 0.18
}

/// Two or three characters: `12K`, `1.5M`.
fn short(bytes: u64) -> String {
    let text = render::size(bytes);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let value: f64 = number.parse().unwrap_or(0.0);
    let number = if value < 9.95 && unit != "B" { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{number}{}", unit.chars().next().unwrap_or('B'))
}

fn tell(
    palette: &Palette,
    groups: &[groups::Group],
    (a, b): (usize, usize),
    means: &BTreeMap<crate::ops::map::Means, u64>,
) -> String {
    let label = |i: usize| groups.get(i).map_or("", |g| g.label.as_str());
    let said: Vec<String> = means.iter().map(|(m, n)| format!("{} {}", palette.name(*m), render::size(*n))).collect();
    match a == b {
        true => format!("within {}: {}", label(a), said.join(", ")),
        false => format!("{} and {}: {}", label(a), label(b), said.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_leave_out_what_all_have() {
        let of = |l: &str| label(l, "/lib/");
        assert_eq!(
            [of("/lib/a"), of("others in /lib/a/b"), of("others in /lib"), of("/")],
            ["a", "others in a/b", "others", "/"]
        );
    }

    #[test]
    fn figures_in_cells_are_short() {
        assert_eq!(
            ["0B", "12K", "1.5M", "999B", "300G"].map(String::from),
            [short(0), short(12 << 10), short(3 << 19), short(999), short(300 << 30)]
        );
        assert!(strength(1, 1 << 40) >= 0.17 && strength(1 << 40, 1 << 40) > 0.99);
    }
}
