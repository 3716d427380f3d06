//! Members as people read them, and as JSON. Must never print a text of theirs as it is.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use np_cluster::Member;
use np_facade::escape;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{self, Output};

/// The longest text of one column.
const MAX_TEXT: usize = 96;

/// Prints a table; `again` is for one that takes the place of another.
pub(crate) fn print(members: &[Member], output: Output, again: bool) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&members.iter().map(row).collect::<Vec<Value>>());
    }
    let live = io::stdout().is_terminal();
    // On a terminal it stands where the one before stood; in a pipe an empty line parts them.
    let before = match (again, live) {
        (true, true) => "\u{1b}[H\u{1b}[2J",
        (true, false) => "\n",
        (false, _) => "",
    };
    output::write(format!("{before}{}", text(members)).as_bytes())
}

fn row(member: &Member) -> Value {
    json!({
        "name": member.name,
        "state": member.state.to_string(),
        "address": member.address.to_string(),
        "key": member.key,
    })
}

fn text(members: &[Member]) -> String {
    let mut rows = vec![["name", "state", "address", "key"].map(ToOwned::to_owned)];
    rows.extend(members.iter().map(|member| {
        let key = member.key.as_deref().unwrap_or("-");
        [escape(&member.name, MAX_TEXT), member.state.to_string(), member.address.to_string(), escape(key, MAX_TEXT)]
    }));
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    rows.iter().fold(String::new(), |mut table, [name, state, address, key]| {
        let [first, second, third] = widths;
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{name:<first$}  {state:<second$}  {address:<third$}  {key}");
        table
    })
}
