//! Aligned columns without borders, as wide as what is in them; the last column may run on.

use unicode_width::UnicodeWidthStr;

use crate::output::text;
use crate::output::{Paint, Tone};

/// One cell: text without control characters, and a tone for terminals that have colours.
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with a tone.
    pub fn toned(value: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: text::line(value.as_ref(), 400), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::toned(value, Tone::Plain)
    }
}

/// Rows below a line of headings.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are headings.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.rows.push(cells);
    }

    /// The table as text. With `width`, the last column is cut to what a line of the terminal holds.
    pub fn render(&self, paint: Paint, width: Option<usize>) -> String {
        let widths = self.widths();
        let headings: Vec<Cell> = self.headings.iter().map(|h| Cell::toned(h, Tone::Dim)).collect();
        let mut out = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            push_row(&mut out, row, &widths, paint, width);
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| h.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        widths
    }
}

fn push_row(out: &mut String, row: &[Cell], widths: &[usize], paint: Paint, line_width: Option<usize>) {
    let last = row.len().saturating_sub(1);
    let mut used = 0;
    let mut line = String::new();
    for (index, cell) in row.iter().enumerate() {
        if index == last {
            let room = line_width.map_or(usize::MAX, |w| w.saturating_sub(used).max(10));
            line.push_str(&paint.tone(&text::shorten(&cell.text, room), cell.tone));
            break;
        }
        line.push_str(&paint.tone(&cell.text, cell.tone));
        line.push_str(&" ".repeat(widths[index] - cell.text.width() + 2));
        used += widths[index] + 2;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_what_is_seen() {
        let mut table = Table::new(&["NAME", "STATE", "NOTE"]);
        table.row(vec!["日本".into(), "ok".into(), "first\nsecond".into()]);
        table.row(vec!["whisper".into(), "\u{1b}[31mbad".into(), "".into()]);
        assert_eq!(
            table.render(Paint::plain(), None),
            "NAME     STATE  NOTE\n日本     ok     first second\nwhisper  bad\n"
        );
    }

    #[test]
    fn the_last_column_is_cut_to_the_terminal() {
        let mut table = Table::new(&["ID", "ERROR"]);
        table.row(vec!["1".into(), "x".repeat(100).into()]);
        let text = table.render(Paint::plain(), Some(30));
        assert!(text.lines().all(|l| l.chars().count() <= 30), "{text}");
    }
}
