//! Aligned tables, without lines: the header says what a column is, two spaces keep columns apart.

/// On which side a column's texts meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// Rows of texts, printed once all are known. Cells must be printable already.
pub struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes an empty table with these columns.
    pub fn new(columns: &[(&'static str, Side)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the columns are dropped, missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().take(self.columns.len()).collect());
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The header and the rows, one text a line, without trailing spaces. A column that is empty in every row is left
    /// out, with its header.
    pub fn lines(&self) -> Vec<String> {
        let cell = |row: &Vec<String>, i: usize| row.get(i).map_or(String::new(), Clone::clone);
        let mut lines = vec![String::new(); self.rows.len() + 1];
        for (i, (title, side)) in self.columns.iter().enumerate() {
            if self.rows.iter().all(|row| row.get(i).is_none_or(String::is_empty)) {
                continue;
            }
            let cells: Vec<String> =
                std::iter::once((*title).to_owned()).chain(self.rows.iter().map(|r| cell(r, i))).collect();
            let wide = cells.iter().map(|c| width(c)).max().unwrap_or(0);
            for (line, cell) in lines.iter_mut().zip(&cells) {
                if !line.is_empty() || i > 0 {
                    line.push_str("  ");
                }
                let pad = " ".repeat(wide - width(cell)); // `wide` is the widest of them
                match side {
                    Side::Left => line.push_str(&format!("{cell}{pad}")),
                    Side::Right => line.push_str(&format!("{pad}{cell}")),
                }
            }
        }
        lines.iter().map(|line| line.trim_end().to_owned()).collect()
    }
}

/// Pairs of a word and what there is to say, the words in a column: the summaries.
pub fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Vec<String> {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let wide = pairs.iter().map(|(word, _)| width(word)).max().unwrap_or(0);
    pairs.iter().map(|(word, said)| format!("  {word}{}  {said}", " ".repeat(wide - width(word)))).collect()
}

/// Columns that a text takes on a terminal: two for East Asian wide characters and pictographs, none for combining
/// marks. The common ranges of Unicode's `EastAsianWidth.txt`; a rare character costs alignment only.
pub fn width(text: &str) -> usize {
    let of = |c: char| match c {
        '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' => 2,
        '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' => 2,
        '\u{1f300}'..='\u{1f64f}' | '\u{1f900}'..='\u{1f9ff}' | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    };
    text.chars().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut t = Table::new(&[("name", Side::Left), ("size", Side::Right), ("", Side::Left)]);
        t.row(["ü".into(), "5".into(), "x".into()]);
        t.row(["日本".into(), "1,000".into(), String::new()]);
        assert_eq!(t.lines(), ["name   size", "ü         5  x", "日本  1,000"]);
    }

    #[test]
    fn a_column_without_a_cell_is_left_out() {
        let mut t = Table::new(&[("id", Side::Left), ("name", Side::Left), ("n", Side::Right)]);
        t.row(["a".into(), String::new(), "1".into()]);
        t.row(["b".into()]);
        assert_eq!(t.lines(), ["id  n", "a   1", "b"]);
    }

    #[test]
    fn pairs_stand_in_two_columns() {
        assert_eq!(pairs([("files", "3".to_owned()), ("new", "4".to_owned())]), ["  files  3", "  new    4"]);
    }
}
