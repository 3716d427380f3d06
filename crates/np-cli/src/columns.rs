//! Tables whose lines fit the screen. Must never know what a column means.

/// What parts two columns.
const GAP: usize = 2;

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Figures stand at the right.
    right: bool,
    /// How wide it is at least where there is room.
    usual: usize,
    yields: Yields,
}

/// What becomes of a column where lines are too long. The last column that yields is the first to do so.
#[derive(Debug, Clone, Copy)]
enum Yields {
    Never,
    /// It loses the middle of its texts, down to so many characters.
    Shortened(usize),
    LeftOut,
}

impl Column {
    /// Text, as wide as it is.
    pub(crate) const fn text(usual: usize) -> Self {
        Self { right: false, usual, yields: Yields::Never }
    }

    /// A figure.
    pub(crate) const fn figure(usual: usize) -> Self {
        Self { right: true, usual, yields: Yields::Never }
    }

    /// It may be shortened to this.
    pub(crate) const fn or_shortened(self, to: usize) -> Self {
        Self { yields: Yields::Shortened(to), ..self }
    }

    /// It may be left out.
    pub(crate) const fn or_left_out(self) -> Self {
        Self { yields: Yields::LeftOut, ..self }
    }
}

/// Rows as lines of no more than `width` characters, if their columns yield that much; as they are where there is no width.
pub(crate) fn table<const N: usize>(columns: [Column; N], rows: &[[String; N]], width: Option<usize>) -> String {
    let widths = widths(columns, rows, width.unwrap_or(usize::MAX));
    let line = |row: &[String; N]| {
        let cells = columns.iter().zip(row).zip(widths);
        let shown = cells.filter_map(|((column, text), width)| {
            let (text, width) = (shortened(text, width?), width?);
            Some(if column.right { format!("{text:>width$}") } else { format!("{text:<width$}") })
        });
        let line = shown.collect::<Vec<_>>().join(&" ".repeat(GAP));
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// How wide each column is; none for one that is left out.
fn widths<const N: usize>(columns: [Column; N], rows: &[[String; N]], most: usize) -> [Option<usize>; N] {
    let longest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|text| text.chars().count()).max();
    let bare: [Option<usize>; N] = std::array::from_fn(longest);
    let mut usual = columns.iter();
    let roomy = bare.map(|width| width.max(usual.next().map(|column| column.usual)));
    if sum(&roomy) <= most {
        return roomy;
    }
    let mut widths = bare;
    for (at, column) in columns.iter().enumerate().rev() {
        let over = sum(&widths).saturating_sub(most);
        let Some(width) = widths.get_mut(at).filter(|_| over > 0) else {
            continue;
        };
        *width = match column.yields {
            Yields::Never => *width,
            Yields::Shortened(to) => width.map(|width| width.min(width.saturating_sub(over).max(to))),
            Yields::LeftOut => None,
        };
    }
    widths
}

fn sum(widths: &[Option<usize>]) -> usize {
    widths.iter().flatten().map(|width| width + GAP).sum::<usize>().saturating_sub(GAP)
}

/// A text without its middle where it is longer than that: what tells two apart stands at either end.
fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let behind = kept / 2;
    let head = text.chars().take(kept - behind);
    head.chain(['…']).chain(text.chars().skip(count - behind)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Column, shortened, table};

    fn rows<const N: usize>(rows: &[[&str; N]]) -> Vec<[String; N]> {
        rows.iter().map(|row| row.map(str::to_owned)).collect()
    }

    #[test]
    fn columns_have_their_usual_width_or_that_of_their_longest_text() {
        let columns = [Column::text(6), Column::figure(4), Column::text(0)];
        let rows = rows(&[["name", "n", "what"], ["a", "12345", ""]]);
        assert_eq!(table(columns, &rows, None), "name        n  what\na       12345\n");
        assert_eq!(table(columns, &rows, Some(19)), table(columns, &rows, None));
        // What is usual is not needed.
        assert_eq!(table(columns, &rows, Some(18)), "name      n  what\na     12345\n");
    }

    #[test]
    fn the_last_column_that_yields_is_the_first_to_do_so() {
        let columns = [Column::text(0).or_shortened(4), Column::figure(0).or_left_out(), Column::text(0).or_left_out()];
        let rows = rows(&[["abcdefgh", "1", "xyz"]]);
        assert_eq!(table(columns, &rows, Some(16)), "abcdefgh  1  xyz\n");
        assert_eq!(table(columns, &rows, Some(15)), "abcdefgh  1\n");
        assert_eq!(table(columns, &rows, Some(10)), "abcdefgh\n");
        assert_eq!(table(columns, &rows, Some(7)), "abc…fgh\n");
        assert_eq!(table(columns, &rows, Some(1)), "ab…h\n", "no narrower than that");
        let stays = [Column::text(0), Column::figure(0), Column::text(0)];
        assert_eq!(table(stays, &rows, Some(1)), "abcdefgh  1  xyz\n");
    }

    #[test]
    fn what_is_shortened_keeps_both_ends() {
        assert_eq!(shortened("äbcdefgh", 8), "äbcdefgh");
        assert_eq!(shortened("äbcdefgh", 7), "äbc…fgh");
        assert_eq!(shortened("äbcdefgh", 2), "ä…");
        assert_eq!(shortened("äbcdefgh", 0), "…");
    }
}
