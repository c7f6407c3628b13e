//! Tables for people: columns that line up, within the width of a small terminal.

use std::io::{self, Write};

use crate::visible;

/// Characters in a line.
const WIDTH: usize = 80;
/// Characters of a column that is cut at least keeps.
const CUT_MIN: usize = 8;
/// Between columns.
const GAP: &str = "  ";

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Text, never cut.
    Left(&'static str),
    /// Numbers, never cut.
    Right(&'static str),
    /// Text of others, cut when the line would be too long.
    Cut(&'static str),
}

/// Prints rows under their headings. What others wrote cannot steer the terminal.
pub(crate) fn print(
    out: &mut impl Write,
    columns: &[Column],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| visible::line(cell)).collect())
        .collect();
    let mut widths: Vec<usize> = (0..)
        .zip(columns)
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            let cells = cells.map(|cell| cell.chars().count());
            cells.chain([heading(*column).len()]).max().unwrap_or(0)
        })
        .collect();
    fit(columns, &mut widths);
    let headings: Vec<_> = columns.iter().map(|column| heading(*column)).collect();
    line(out, columns, &widths, headings.iter().copied())?;
    for row in &rows {
        line(out, columns, &widths, row.iter().map(|cell| &**cell))?;
    }
    Ok(())
}

const fn heading(column: Column) -> &'static str {
    match column {
        Column::Left(heading) | Column::Right(heading) | Column::Cut(heading) => heading,
    }
}

/// Takes from the widest column that may be cut until the line fits.
fn fit(columns: &[Column], widths: &mut [usize]) {
    let gaps = GAP.len() * columns.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > WIDTH {
        let widest = widths
            .iter_mut()
            .zip(columns)
            .filter(|(width, column)| matches!(column, Column::Cut(_)) && **width > CUT_MIN)
            .max_by_key(|(width, _)| **width);
        let Some((width, _)) = widest else { return };
        *width -= 1;
    }
}

fn line<'a>(
    out: &mut impl Write,
    columns: &[Column],
    widths: &[usize],
    cells: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    let mut text = String::new();
    for ((cell, column), width) in cells.zip(columns).zip(widths) {
        if !text.is_empty() {
            text.push_str(GAP);
        }
        let length = cell.chars().count();
        let pad = " ".repeat(width.saturating_sub(length));
        match column {
            Column::Right(_) => text.push_str(&(pad + cell)),
            _ if length > *width => {
                text.extend(cell.chars().take(width - 1));
                text.push('…');
            }
            _ => text.push_str(&(cell.to_owned() + &pad)),
        }
    }
    writeln!(out, "{}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(columns: &[Column], rows: &[&[&str]]) -> String {
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect())
            .collect();
        let mut out = Vec::new();
        print(&mut out, columns, &rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up() {
        let columns = [
            Column::Right("JOB"),
            Column::Cut("NAME"),
            Column::Left("STATE"),
        ];
        let text = printed(&columns, &[&["1", "größe", "ended"], &["1234", "x", ""]]);
        assert_eq!(text, " JOB  NAME   STATE\n   1  größe  ended\n1234  x\n");
    }

    #[test]
    fn long_text_is_cut_to_the_width_and_nothing_steers_the_terminal() {
        let columns = [Column::Left("A"), Column::Cut("NAME"), Column::Cut("OTHER")];
        let (long, short) = ("x".repeat(100), "y".repeat(30));
        let text = printed(&columns, &[&["a\x1b[2J\n", &long, &short]]);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(
            text.contains("a\\x1b[2J\\n") && text.contains('…'),
            "{text}"
        );
    }
}
