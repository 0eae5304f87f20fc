//! Files as areas in the areas of their folders (a squarified treemap: Bruls, Huizing, van Wijk 2000).
//!
//! Areas that would be too small to be seen are drawn together, so a picture has some thousand shapes whatever it
//! shows.

use super::Palette;
use super::svg::{self, NOTE, Svg, Type};
use crate::cli::render;
use crate::format::record::Codec;
use crate::ops::map::Means;
use crate::ops::map::overview::Overview;
use std::collections::BTreeMap;

type Area = (f64, f64, f64, f64);

/// A folder with an area smaller than this in either direction is drawn as one.
const FOLDER_MIN: f64 = 16.0;
/// A file smaller than this is drawn with others as one.
const FILE_MIN: f64 = 4.0;
const HEAD: f64 = 14.0;

#[derive(Default)]
struct Node {
    bytes: u64,
    files: u64,
    shared: u64,
    coded: BTreeMap<Codec, u64>,
    children: BTreeMap<Vec<u8>, Node>,
}

impl Node {
    fn add(&mut self, names: &[&[u8]], leaf: &crate::ops::map::overview::Leaf) {
        let mut node = self;
        node.count(leaf);
        for name in names {
            node = node.children.entry(name.to_vec()).or_default();
            node.count(leaf);
        }
    }

    fn count(&mut self, leaf: &crate::ops::map::overview::Leaf) {
        self.bytes = self.bytes.saturating_add(leaf.bytes);
        self.files += leaf.files;
        self.shared = self.shared.saturating_add(leaf.shared);
        for (codec, n) in &leaf.coded {
            let sum = self.coded.entry(*codec).or_default();
            *sum = sum.saturating_add(*n);
        }
    }

    fn add_all(&mut self, other: &Node) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.files += other.files;
        self.shared = self.shared.saturating_add(other.shared);
        for (codec, n) in &other.coded {
            *self.coded.entry(*codec).or_default() += n;
        }
    }
}

/// Draws the treemap into an area.
pub fn draw(svg: &mut Svg, overview: &Overview, palette: &Palette, area: Area) {
    let mut root = Node::default();
    for leaf in &overview.leaves {
        root.add(&crate::catalog::tree::names(&leaf.path), leaf);
    }
    // Folders on the way that hold nothing else are one name.
    let mut name = Vec::new();
    while root.children.len() == 1
        && let Some((next, child)) = root.children.pop_first()
    {
        if child.children.is_empty() {
            root.children.insert(next, child);
            break;
        }
        name.push(b'/');
        name.extend_from_slice(&next);
        root = child;
    }
    if name.is_empty() {
        name.push(b'/');
    }
    folder(svg, palette, &render::name(&name), &root, area, 0);
    svg.reach(area.1 + area.3);
}

fn folder(svg: &mut Svg, palette: &Palette, label: &str, node: &Node, area: Area, depth: usize) {
    let (x, y, w, h) = area;
    if node.children.is_empty() || w < FOLDER_MIN || h < FOLDER_MIN || depth > 60 {
        cell(svg, palette, label, node, area);
        return;
    }
    let fill = ["#ffffff", "#f3f5f7"][depth % 2];
    svg.rect(area, fill, "stroke=\"#57606a\" stroke-width=\"0.8\"", None);
    let named = w > 40.0 && h > 34.0;
    if named {
        let text = format!("{label}  {}", render::size(node.bytes));
        let bold = Type { bold: depth < 2, fill: svg::INK, ..NOTE };
        let short = svg::fit_end(&text, w - 8.0, bold.size + 1.0);
        svg.text(x + 4.0, y + 11.0, if short.is_empty() { "" } else { &short }, bold);
    }
    let head = if named { HEAD } else { 2.0 };
    let inner = (x + 2.0, y + head, w - 4.0, h - head - 2.0);
    let mut children: Vec<(&Vec<u8>, &Node)> = node.children.iter().filter(|(_, c)| c.bytes > 0).collect();
    children.sort_by_key(|(_, c)| std::cmp::Reverse(c.bytes));
    // What is too small is put together, so that it is seen at all.
    let per_byte = inner.2 * inner.3 / node.bytes.max(1) as f64;
    let large = children.iter().take_while(|(_, c)| c.bytes as f64 * per_byte >= FILE_MIN * FILE_MIN).count();
    let mut rest = Node::default();
    children.iter().skip(large).for_each(|(_, c)| rest.add_all(c));
    children.truncate(large);
    let mut sizes: Vec<f64> = children.iter().map(|(_, c)| c.bytes as f64).collect();
    if rest.bytes > 0 {
        sizes.push(rest.bytes as f64);
    }
    let areas = squarify(&sizes, inner);
    for ((name, child), area) in children.iter().zip(&areas) {
        folder(svg, palette, &render::name(name), child, *area, depth + 1);
    }
    if rest.bytes > 0
        && let Some(area) = areas.last()
    {
        cell(svg, palette, &format!("{} of them, small", render::counted(rest.files, "file")), &rest, *area);
    }
}

/// A file: grey, and coloured from the left as much as it shares.
fn cell(svg: &mut Svg, palette: &Palette, label: &str, node: &Node, (x, y, w, h): Area) {
    let coded = node.coded.iter().map(|(codec, n)| (Means::Coded(*codec), *n));
    let parts: Vec<(Means, u64)> =
        std::iter::once((Means::Chunk, node.shared)).chain(coded).filter(|p| p.1 > 0).collect();
    let mut title = format!("{label}: {}", render::size(node.bytes));
    for (means, n) in &parts {
        title.push_str(&format!(", {} {}", palette.name(*means), render::size(*n)));
    }
    svg.rect((x, y, w, h), svg::OWN, "", Some(&title));
    let mut at = x;
    for (means, n) in parts {
        // Streams may be longer than their file: no more than the cell is coloured.
        let wide = (w * n as f64 / node.bytes.max(1) as f64).min(x + w - at);
        svg.rect((at, y, wide, h), palette.of(means), "", Some(&title));
        at += wide.max(0.0);
    }
    svg.rect((x, y, w, h), "none", "stroke=\"#ffffff\" stroke-width=\"0.8\"", None);
    if w > 52.0 && h > 15.0 {
        let dark = node.shared > node.bytes / 2;
        let of = Type { size: 9.5, fill: if dark { svg::PAPER } else { svg::INK }, ..NOTE };
        svg.text(x + 3.0, y + 11.0, &svg::fit_end(label, w - 8.0, of.size + 1.0), of);
    }
}

/// Areas for sizes in descending order, as square as they can be.
fn squarify(sizes: &[f64], (mut x, mut y, mut w, mut h): Area) -> Vec<Area> {
    let total: f64 = sizes.iter().sum();
    let scale = if total > 0.0 { w * h / total } else { 0.0 };
    let mut out = Vec::with_capacity(sizes.len());
    let mut rest = sizes;
    while !rest.is_empty() {
        let side = w.min(h).max(1e-9);
        // The worst shape of a row of so many.
        let worst = |row: &[f64]| {
            let sum: f64 = row.iter().sum::<f64>() * scale;
            let thick = sum / side;
            row.iter().map(|s| (s * scale / thick / thick).max(thick * thick / (s * scale))).fold(0.0, f64::max)
        };
        let mut n = 1;
        while n < rest.len() && worst(&rest[..n + 1]) <= worst(&rest[..n]) {
            n += 1; // n + 1 is at most the length
        }
        let (row, others) = rest.split_at(n);
        let thick = row.iter().sum::<f64>() * scale / side;
        let mut at = 0.0;
        for size in row {
            let long = if thick > 0.0 { size * scale / thick } else { 0.0 };
            out.push(if w >= h { (x, y + at, thick, long) } else { (x + at, y, long, thick) });
            at += long;
        }
        if w >= h {
            (x, w) = (x + thick, (w - thick).max(0.0));
        } else {
            (y, h) = (y + thick, (h - thick).max(0.0));
        }
        rest = others;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn areas_fill_their_folder_and_are_as_large_as_their_sizes(mut sizes in vec(1.0f64..1e9, 1..60)) {
            sizes.sort_by(|a, b| b.total_cmp(a));
            let areas = squarify(&sizes, (10.0, 20.0, 300.0, 200.0));
            prop_assert_eq!(areas.len(), sizes.len());
            let total: f64 = sizes.iter().sum();
            for ((x, y, w, h), size) in areas.iter().zip(&sizes) {
                prop_assert!((w * h - size / total * 60_000.0).abs() < 1.0, "{} {}", w * h, size / total * 60_000.0);
                prop_assert!(*x >= 9.99 && *y >= 19.99 && x + w <= 310.01 && y + h <= 220.01);
            }
        }
    }
}
