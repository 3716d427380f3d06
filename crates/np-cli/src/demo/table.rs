//! The rows as people read them, one by one as they come, or as one JSON array.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde::Serialize;

use crate::demo::items::Checked;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::screen;
use crate::span::show_span;

/// The width of the longest item.
const ITEM: usize = 26;
const TRANSPORT: usize = 9;
const RESULT: usize = 6;

/// One claim over one transport.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    ok: bool,
    detail: String,
    #[serde(skip)]
    item: &'static str,
    #[serde(skip)]
    transport: &'static str,
}

impl Row {
    /// The row of a check.
    pub(crate) fn new(item: &'static str, transport: &'static str, checked: Checked) -> Self {
        let name = format!("{item} over {transport}");
        let ok = checked.is_ok();
        let (Ok(detail) | Err(detail)) = checked;
        Self { name, ok, detail, item, transport }
    }

    fn text(&self, colour: bool, width: Option<usize>) -> String {
        const INDENT: usize = 2 + RESULT + 2 + ITEM + 2 + TRANSPORT + 2;
        let (mark, word, paint) = if self.ok { ("✓", "ok", "\u{1b}[32m") } else { ("✗", "FAILED", "\u{1b}[31m") };
        let (paint, plain) = if colour { (paint, "\u{1b}[0m") } else { ("", "") };
        // Colour takes no room, and stands in none of the lines that follow.
        let rest = format!("{:ITEM$}  {:TRANSPORT$}  {}", self.item, self.transport, self.detail);
        let rest = screen::fit(&format!("{:1$}{rest}", "", 4 + RESULT), INDENT, width);
        format!("{paint}{mark} {word:RESULT$}{plain}  {}\n", rest.trim_start())
    }
}

/// The rows so far.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Row>,
    output: Output,
    colour: bool,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(output: Output) -> Self {
        Self { rows: Vec::new(), output, colour: output::takes_colour(io::stdout().is_terminal()) }
    }

    /// Prints the names of the columns.
    pub(crate) fn head(&self) -> Result<(), Failure> {
        let line = format!("  {:RESULT$}  {:ITEM$}  {:TRANSPORT$}  {}\n", "result", "item", "transport", "figures");
        if self.output.is_json() { Ok(()) } else { output::write(line.as_bytes()) }
    }

    /// Adds a row, and prints it where rows are for people.
    pub(crate) fn row(&mut self, row: Row) -> Result<(), Failure> {
        if self.output.is_ndjson() {
            self.output.json(&row)?;
        } else if !self.output.is_json() {
            output::write(row.text(self.colour, screen::width()).as_bytes())?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Prints what comes after the last row: a line that counts them, or all of them as JSON.
    pub(crate) fn foot(&self, took: Duration) -> Result<(), Failure> {
        if self.output.is_ndjson() {
            return Ok(());
        }
        if self.output.is_json() {
            return self.output.json(&self.rows);
        }
        let good = self.rows.len().saturating_sub(self.failed().len());
        let line = format!("{good} of {} rows ok in {}\n", self.rows.len(), show_span(took));
        output::write(line.as_bytes())
    }

    /// The names of the rows that failed.
    pub(crate) fn failed(&self) -> Vec<&str> {
        self.rows.iter().filter(|row| !row.ok).map(|row| row.name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{ITEM, Row};
    use crate::demo::items::Item;

    #[test]
    fn rows_are_aligned_and_coloured_only_when_asked() {
        assert_eq!(Item::ALL.iter().map(|item| item.name().chars().count()).max(), Some(ITEM));
        let good = Row::new("typed calls", "tcp", Ok("4 values".to_owned()));
        let bad = Row::new("typed calls", "unix", Err("none".to_owned()));
        assert_eq!(good.text(false, None), "✓ ok      typed calls                 tcp        4 values\n");
        assert_eq!(bad.text(false, None), "✗ FAILED  typed calls                 unix       none\n");
        assert!(good.text(true, None).starts_with("\u{1b}[32m✓"));
        let long = Row::new("typed calls", "tcp", Ok("one two three".to_owned()));
        let lines = "✓ ok      typed calls                 tcp        one two\n                                                 three\n";
        assert_eq!(long.text(false, Some(57)), lines);
        assert_eq!(long.text(true, Some(57)).lines().nth(1), lines.lines().nth(1));
    }

    #[test]
    fn a_row_in_json_has_three_fields() {
        let row = Row::new("typed calls", "tcp", Err("none".to_owned()));
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, r#"{"name":"typed calls over tcp","ok":false,"detail":"none"}"#);
    }
}
