//! Members as people read them, and as JSON. Must never print a text of theirs as it is.

use std::io::{self, IsTerminal as _};

use np_cluster::Member;
use np_facade::escape;
use serde_json::{Value, json};

use crate::columns::{self, Column};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::screen;

/// The longest text of one column.
const MAX_TEXT: usize = 96;
/// Name, state, address and key. Both ends of what is shortened still tell one from the others.
const COLUMNS: [Column; 4] = [
    Column::text(0).or_shortened(10),
    Column::text(0),
    Column::text(0).or_shortened(21),
    Column::text(0).or_shortened(12),
];

/// Prints the members once: a list like any other.
pub(crate) fn print(members: &[Member], output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.list(&rows(members));
    }
    output::write(text(members, screen::width()).as_bytes())
}

/// Prints one of several tables: a value a table, so that its end is told. `again` is for one that takes the place of another.
pub(crate) fn refresh(members: &[Member], output: Output, again: bool) -> Result<(), Failure> {
    if output.is_ndjson() {
        return output.json(&json!({ "members": rows(members) }));
    }
    if output.is_json() {
        return output.json(&rows(members));
    }
    let live = io::stdout().is_terminal();
    // On a terminal it stands where the one before stood; in a pipe an empty line parts them.
    let before = match (again, live) {
        (true, true) => "\u{1b}[H\u{1b}[2J",
        (true, false) => "\n",
        (false, _) => "",
    };
    output::write(format!("{before}{}", text(members, screen::width())).as_bytes())
}

fn rows(members: &[Member]) -> Vec<Value> {
    members.iter().map(row).collect()
}

fn row(member: &Member) -> Value {
    json!({
        "name": member.name,
        "state": member.state.to_string(),
        "address": member.address.to_string(),
        "key": member.key,
    })
}

fn text(members: &[Member], width: Option<usize>) -> String {
    let mut rows = vec![["name", "state", "address", "key"].map(ToOwned::to_owned)];
    rows.extend(members.iter().map(|member| {
        let key = member.key.as_deref().unwrap_or("-");
        [escape(&member.name, MAX_TEXT), member.state.to_string(), member.address.to_string(), escape(key, MAX_TEXT)]
    }));
    columns::table(COLUMNS, &rows, width)
}
