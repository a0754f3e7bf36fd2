//! Tables that fit a terminal of 80 columns.

use std::io::{self, Write};

use crate::style;

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Between two columns.
const GAP: usize = 2;
/// A column that may be cut keeps so many characters.
const SHORTEST: usize = 8;

/// How a column is set.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Column {
    /// Text; cut if the table would be too wide.
    Text,
    /// Numbers, to the right.
    Number,
}

/// Rows under headings.
pub(crate) struct Table {
    headings: Vec<String>,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Column)]) -> Table {
        Table {
            headings: columns.iter().map(|(heading, _)| (*heading).to_owned()).collect(),
            columns: columns.iter().map(|&(_, column)| column).collect(),
            rows: Vec::new(),
            indent: 2,
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.push(cells.into());
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the table; headings only if one is not empty.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let widths = self.widths();
        let heading = style::HEADING;
        if self.headings.iter().any(|heading| !heading.is_empty()) {
            writeln!(out, "{heading}{}{heading:#}", self.line(&self.headings, &widths))?;
        }
        for row in &self.rows {
            writeln!(out, "{}", self.line(row, &widths))?;
        }
        Ok(())
    }

    /// The width of each column, so that all fit: the widest texts are cut first.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells =
                    self.rows.iter().filter_map(|row| row.get(column)).chain(&self.headings[column..=column]);
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let room = WIDTH.saturating_sub(self.indent + GAP * widths.len().saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            let texts =
                (0..widths.len()).filter(|&i| self.columns[i] == Column::Text && widths[i] > SHORTEST);
            let Some(widest) = texts.max_by_key(|&i| widths[i]) else { break };
            widths[widest] -= 1;
        }
        widths
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = " ".repeat(self.indent);
        for (i, ((cell, &width), column)) in cells.iter().zip(widths).zip(&self.columns).enumerate() {
            if i > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let cell = cut(cell, width);
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            match column {
                Column::Text => line.extend([cell, blanks]),
                Column::Number => line.extend([blanks, cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// `text` in at most `width` characters; names are told apart by their ends, so the middle goes.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = kept / 3;
    let tail = count - (kept - head);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit_80_columns() {
        let mut table =
            Table::new(&[("name", Column::Text), ("shape", Column::Text), ("ms", Column::Number)]);
        table.row(["/model/layers.0/self_attn/".repeat(4), "1x128x768".into(), "1.23".into()]);
        table.row(["b".into(), String::new(), "12.3".into()]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        let text = anstream::adapter::strip_str(&String::from_utf8(text).unwrap()).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(lines[1].ends_with("1.23") && lines[2].ends_with("12.3"));
        assert_eq!(lines[1].chars().count(), lines[2].chars().count());
    }

    #[test]
    fn long_names_keep_their_ends() {
        assert_eq!(cut("abcdefghij", 7), "ab…ghij");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 1), "…");
    }
}
