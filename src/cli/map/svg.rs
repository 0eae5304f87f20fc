//! SVG, as much of it as the pictures need: shapes, paths, escaped texts, titles that a browser shows under the
//! pointer.
//!
//! No scripts, no fonts, no links to elsewhere: a picture is one file that any viewer shows.

use crate::cli::table;
use std::fmt::Write;

/// Colours that people of any colour vision tell apart (Okabe and Ito), and greys.
pub const OWN: &str = "#c9ccd1";
pub const SAME: &str = "#0072b2";
pub const REPEAT: &str = "#8d9aa8";
pub const CODED: [&str; 5] = ["#e69f00", "#cc79a7", "#009e73", "#d55e00", "#56b4e9"];
pub const INK: &str = "#1f2328";
pub const FAINT: &str = "#6a737d";
pub const PAPER: &str = "#ffffff";

/// Width of a character of the 12 px font in pixels, on average.
const CHARACTER: f64 = 6.9;

/// A picture on its way. Coordinates are in pixels, from the upper left.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// Text as it may stand in an element or an attribute. Control characters are not allowed in XML at all.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate with one digit behind the point.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// How a text stands at its place.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub struct Type {
    pub size: f64,
    pub fill: &'static str,
    pub bold: bool,
    pub anchor: Anchor,
}

pub const LABEL: Type = Type { size: 12.0, fill: INK, bold: false, anchor: Anchor::Start };
pub const NOTE: Type = Type { size: 11.0, fill: FAINT, bold: false, anchor: Anchor::Start };
pub const TITLE: Type = Type { size: 17.0, fill: INK, bold: true, anchor: Anchor::Start };
pub const HEADING: Type = Type { size: 13.5, fill: INK, bold: true, anchor: Anchor::Start };

/// Characters of this size in so many pixels.
fn characters_in(pixels: f64, size: f64) -> usize {
    (pixels / (CHARACTER * size / 12.0)).max(0.0) as usize // the pixels of a picture: a small number
}

/// Pixels that a bold text takes, about.
pub fn bold_width(text: &str, size: f64) -> f64 {
    table::width(text) as f64 * CHARACTER * 1.17 * size / 12.0
}

/// Shortens a text to a width in pixels, in its middle: both ends of a path tell something.
pub fn fit(text: &str, pixels: f64, size: f64) -> String {
    let most = characters_in(pixels, size);
    if table::width(text) <= most {
        return text.to_owned();
    }
    if most < 4 {
        return String::new();
    }
    let characters: Vec<char> = text.chars().collect();
    let (head, tail) = (most.div_ceil(3), most - most.div_ceil(3) - 1);
    let front: String = characters.iter().take(head).collect();
    let back: String = characters.iter().skip(characters.len().saturating_sub(tail)).collect();
    format!("{front}…{back}")
}

/// Shortens a text to a width at its end: for names, which are told by their beginnings.
pub fn fit_end(text: &str, pixels: f64, size: f64) -> String {
    let most = characters_in(pixels, size);
    if table::width(text) <= most {
        return text.to_owned();
    }
    if most < 4 {
        return String::new();
    }
    format!("{}…", text.chars().take(most - 1).collect::<String>())
}

impl Svg {
    pub fn new(width: f64) -> Svg {
        Svg { body: String::new(), width, height: 0.0 }
    }

    /// Says that the picture reaches down to here.
    pub fn reach(&mut self, y: f64) {
        self.height = self.height.max(y);
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}"); // a String takes everything
    }

    /// A filled rectangle; `more` are further attributes, `title` is shown under the pointer.
    pub fn rect(&mut self, (x, y, w, h): (f64, f64, f64, f64), fill: &str, more: &str, title: Option<&str>) {
        let (x, y, w, h) = (n(x), n(y), n(w.max(0.0)), n(h.max(0.0)));
        let head = format!("<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" fill=\"{fill}\"");
        match title {
            Some(t) => self.push(format_args!("{head} {more}><title>{}</title></rect>", escape(t))),
            None => self.push(format_args!("{head} {more}/>")),
        }
    }

    pub fn path(&mut self, d: &str, fill: &str, opacity: f64, title: &str) {
        let title = escape(title);
        self.push(format_args!(
            "<path d=\"{d}\" fill=\"{fill}\" opacity=\"{opacity:.2}\"><title>{title}</title></path>"
        ));
    }

    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
        let (x1, y1, x2, y2) = (n(x1), n(y1), n(x2), n(y2));
        self.push(format_args!("<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{stroke}\"/>"));
    }

    pub fn text(&mut self, x: f64, y: f64, text: &str, of: Type) {
        if text.is_empty() {
            return;
        }
        let anchor = match of.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let weight = if of.bold { " font-weight=\"bold\"" } else { "" };
        let (x, y, size, fill, text) = (n(x), n(y), n(of.size), of.fill, escape(text));
        self.push(format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{fill}\"{anchor}{weight}>{text}</text>"
        ));
    }

    /// A ribbon between a range of one line and one of another below it.
    pub fn ribbon(
        &mut self,
        (a1, a2, y1): (f64, f64, f64),
        (b1, b2, y2): (f64, f64, f64),
        (fill, opacity): (&str, f64),
        title: &str,
    ) {
        let middle = (y1 + y2) / 2.0;
        let d = format!(
            "M{} {}C{} {} {} {} {} {}L{} {}C{} {} {} {} {} {}Z",
            n(a1),
            n(y1),
            n(a1),
            n(middle),
            n(b1),
            n(middle),
            n(b1),
            n(y2),
            n(b2),
            n(y2),
            n(b2),
            n(middle),
            n(a2),
            n(middle),
            n(a2),
            n(y1),
        );
        self.path(&d, fill, opacity, title);
    }

    /// A legend: coloured squares, each with its words. Returns where it ends.
    pub fn legend(&mut self, x: f64, y: f64, entries: &[(&str, String)]) -> f64 {
        let (mut at, mut row) = (x, y);
        for (fill, words) in entries {
            let wide = 20.0 + table::width(words) as f64 * CHARACTER + 18.0;
            if at > x && at + wide > self.width - 20.0 {
                (at, row) = (x, row + 20.0);
            }
            self.rect((at, row - 10.0, 13.0, 13.0), fill, "stroke=\"#57606a\" stroke-width=\"0.5\"", None);
            self.text(at + 19.0, row + 1.0, words, LABEL);
            at += wide;
        }
        self.reach(row + 16.0);
        row + 16.0
    }

    /// The whole document. `name` is what it is about.
    pub fn finish(self, name: &str) -> String {
        let (w, h) = (n(self.width), n(self.height + 16.0));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
             font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\" role=\"img\">\n<title>{}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"{PAPER}\"/>\n{}</svg>\n",
            escape(name),
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_element(text: String) {
            let safe = escape(&text);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']) && !safe.chars().any(char::is_control));
            let mut svg = Svg::new(100.0);
            svg.text(1.0, 2.0, &text, LABEL);
            svg.rect((0.0, 0.0, 1.0, 1.0), OWN, "", Some(&text));
            let whole = svg.finish(&text);
            prop_assert_eq!(whole.matches("<script").count(), 0);
            prop_assert_eq!(whole.matches("</text>").count(), usize::from(!text.is_empty()));
        }

        #[test]
        fn a_fitted_text_is_no_wider_than_its_place(text in ".{0,80}", pixels in 0.0f64..400.0) {
            for fitted in [fit(&text, pixels, 12.0), fit_end(&text, pixels, 12.0)] {
                let wide = fitted.chars().count() as f64 * CHARACTER;
                prop_assert!(fitted.is_empty() || fitted == text || wide <= pixels + 1e-9);
            }
        }
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([n(1.0), n(1.25), n(-0.04), n(1234.56)], ["1", "1.2", "-0", "1234.6"]);
    }
}
