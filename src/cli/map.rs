//! `map`: a picture of which parts of which files share storage.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::similar::unreadable;
use super::{json, render};
use crate::error::{Error, Result};
use crate::ops::map::{self, MapOptions, MapReport, Means, Picture};
use crate::ops::names;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

mod groups;
mod overview;
mod strips;
mod svg;
mod treemap;

/// Draw which parts of which files share storage, as an SVG picture
///
/// Up to twelve files at and below the paths are drawn as bars to one scale, with ribbons between the ranges that they
/// share, relatives beside each other. More files are drawn as areas in their folders, coloured by how much of each
/// another file holds already, above a matrix of the folders and files that share most with each other. Colours tell by
/// which means: the same chunks, or chunks coded against each other. The picture needs no script; a browser shows more
/// under the pointer. Beyond 65,536 files the deepest folders are taken together. Reads folders and the tables of
/// packs, no file's contents.
///
/// Exit status: 0 drawn; 1 no such snapshot or path, or failed; 2 wrong usage; 4 drawn, but a part could not be looked
/// at because of damage; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct MapArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// Folders or files to draw [default: the whole snapshot]
    paths: Vec<OsString>,

    /// File to write the picture to; `-` is standard output
    #[arg(long, value_name = "FILE")]
    svg: OsString,
}

const EXAMPLES: &str = "\
Examples:
  onefold map latest --svg library.svg
  onefold map latest /library/Artist/Album --svg album.svg
  onefold map latest /library/film.mov /library/film.mkv --svg - | rsvg-convert -o two.png";

impl MapArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let to_stdout = self.svg == "-";
        if to_stdout && context.json {
            let what = "--svg -".to_owned();
            return Err(Error::Argument {
                what,
                why: "standard output takes the picture or, with --json, documents".into(),
            });
        }
        let (snapshot, path) = args::snapshot(&store, &self.snapshot, self.paths.first())?;
        let more = self.paths.iter().skip(1);
        let more = more.map(|p| args::inside(std::os::unix::ffi::OsStrExt::as_bytes(p.as_os_str()))).collect();
        let options = MapOptions { snapshot, path: path.unwrap_or_default(), more };
        let report = map::run(&store, &options, &context.control)?;
        let picture = draw(&options, &report);
        if to_stdout {
            context.out.stream(picture.as_bytes())?;
        } else {
            let path = Path::new(&self.svg);
            std::fs::write(path, &picture).map_err(Error::io("write", path))?;
            tell(context, path, picture.len() as u64, &report)?;
        }
        if report.unreadable > 0 {
            context.warn(unreadable(report.unreadable));
        }
        Ok(if report.unreadable > 0 { Exit::Damage } else { Exit::Done })
    }
}

fn draw(options: &MapOptions, report: &MapReport) -> String {
    let s = &options.snapshot;
    let path = if options.path.is_empty() { "/".to_owned() } else { render::name(&options.path) };
    let more = match options.more.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let name = format!(
        "What shares storage: {path}{more}, snapshot {} of {}",
        s.id.short(),
        render::time_of_ns(s.snapshot.time_ns)
    );
    let palette = Palette::of_report(report);
    match &report.picture {
        Picture::Strips(s) => strips::draw(&name, report, s, &palette),
        Picture::Overview(o) => overview::draw(&name, report, o, &palette),
    }
}

/// Which colour stands for which means.
pub(super) struct Palette {
    coded: Vec<Means>,
}

impl Palette {
    fn of_report(report: &MapReport) -> Palette {
        let mut all: BTreeSet<Means> = match &report.picture {
            Picture::Strips(s) => s.ribbons.iter().map(|r| r.means).collect(),
            Picture::Overview(o) => o.shared().into_keys().collect(),
        };
        all.remove(&Means::Chunk);
        Palette { coded: all.into_iter().collect() }
    }

    fn of(&self, means: Means) -> &'static str {
        let at = self.coded.iter().position(|m| *m == means);
        at.map_or(svg::SAME, |at| svg::CODED[at % svg::CODED.len()]) // a remainder
    }

    fn name(&self, means: Means) -> String {
        match means {
            Means::Chunk => "same chunks".into(),
            Means::Coded(codec) => names::codec(codec).into_owned(),
        }
    }

    fn legend(&self, means: impl Iterator<Item = Means>, strips: bool) -> Vec<(&'static str, String)> {
        let means: BTreeSet<Means> = means.chain([Means::Chunk]).collect();
        let mut out = vec![(svg::OWN, if strips { "the file's own bytes" } else { "a file's own bytes" }.to_owned())];
        for m in means {
            out.push(match m {
                Means::Chunk => (self.of(m), "same chunks: the bytes are equal".into()),
                Means::Coded(_) => (self.of(m), format!("{}: coded against each other, nearly equal", self.name(m))),
            });
        }
        if strips {
            out.push((svg::REPEAT, "repeats bytes of the same file".into()));
            out.push((svg::PAPER, "hole or one value (dashed)".into()));
        }
        out
    }
}

/// A distance between marks: a power of two times a round number, at most twelve of them.
pub(super) fn axis_step(longest: u64) -> u64 {
    let mut step = 1u64;
    while longest / step > 12 {
        step = step.saturating_mul(2);
    }
    step
}

/// Bytes that are shared, by means.
fn sums(report: &MapReport) -> BTreeMap<Means, u64> {
    match &report.picture {
        Picture::Overview(o) => o.shared(),
        Picture::Strips(s) => {
            let mut out = BTreeMap::new();
            for r in &s.ribbons {
                *out.entry(r.means).or_default() += r.of_lower.bytes();
            }
            out
        }
    }
}

fn tell(context: &Context, path: &Path, bytes: u64, report: &MapReport) -> Result<()> {
    let palette = Palette::of_report(report);
    let sums = sums(report);
    if context.json {
        let by: serde_json::Map<String, serde_json::Value> =
            sums.iter().map(|(m, n)| (palette.name(*m).replace(' ', "_"), (*n).into())).collect();
        let mut d = json!({
            "message_type": "summary",
            "files": report.files,
            "size": report.bytes,
            "shared_by": by,
            "picture": match report.picture { Picture::Strips(_) => "strips", Picture::Overview(_) => "overview" },
            "svg_bytes": bytes,
            "unreadable": report.unreadable,
        });
        json::put_system_path(&mut d, "svg", path);
        return context.out.document(&d);
    }
    let name = render::name(path.as_os_str().as_encoded_bytes());
    let of = format!("{}, {}", render::counted(report.files, "file"), render::size(report.bytes));
    context.out.line(format!("{name} drawn: {of}"))?;
    for (means, n) in sums {
        context.out.line(format!("  {}  {}", palette.name(means), render::size(n)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_a_few_round_marks() {
        for longest in [0, 1, 13, 1000, 1 << 20, u64::MAX] {
            let step = axis_step(longest);
            assert!(step.is_power_of_two() && longest / step <= 12, "{longest}");
        }
    }
}
