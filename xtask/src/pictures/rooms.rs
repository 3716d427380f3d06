//! A drawing of the rooms: which crate of ours uses which, as the manifests say, without arrows that follow from others.

use std::collections::BTreeMap;

use super::escaped;
use crate::workspace::{Kind, Package};

/// A box, the way from one to the next beside it, and from row to row, in pixels.
const BOX: (usize, usize) = (110, 34);
const STEP: (usize, usize) = (130, 84);
const MARGIN: usize = 20;

/// What a crate of ours uses of ours: rooms alone, not what only tests and measures.
type Uses<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// The drawing, rows from those that use the most down to those that use nothing.
pub(super) fn draw(packages: &[Package]) -> String {
    let uses = uses(packages);
    let mut rows: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for name in uses.keys() {
        rows.entry(height(name, &uses)).or_default().push(name);
    }
    let widest = rows.values().map(Vec::len).max().unwrap_or_default();
    let (width, top) = (widest * STEP.0 + 2 * MARGIN, rows.keys().max().copied().unwrap_or_default());
    let mut places = BTreeMap::new();
    for (height, names) in &rows {
        let left = (width - names.len() * STEP.0) / 2;
        for (at, name) in around(names, &uses).iter().enumerate() {
            places.insert(*name, (left + at * STEP.0 + STEP.0 / 2, MARGIN + (top - height) * STEP.1));
        }
    }
    svg(&uses, &places, (width, MARGIN * 2 + top * STEP.1 + BOX.1))
}

/// A row with those in the middle that the lowest rooms use, so that no line runs behind those.
fn around<'a>(row: &[&'a str], uses: &Uses<'_>) -> Vec<&'a str> {
    let user = |name: &str| {
        let users = uses.keys().filter(|user| direct(user, uses).contains(&name));
        users.map(|user| height(user, uses)).min().unwrap_or_default()
    };
    let mut row = row.to_vec();
    row.sort_by_key(|name| (std::cmp::Reverse(user(name)), *name));
    let half = |side: usize| row.iter().copied().skip(side).step_by(2);
    half(0).chain(half(1).collect::<Vec<_>>().into_iter().rev()).collect()
}

fn svg(uses: &Uses<'_>, places: &BTreeMap<&str, (usize, usize)>, (width, height): (usize, usize)) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"which crate of np uses which\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#161b22\"/>\n<g stroke=\"#8b949e\">\n"
    );
    for (name, (x, y)) in places {
        for used in direct(name, uses) {
            if let Some((to, below)) = places.get(used) {
                svg.push_str(&format!("<line x1=\"{x}\" y1=\"{}\" x2=\"{to}\" y2=\"{below}\"/>\n", y + BOX.1));
            }
        }
    }
    svg.push_str(
        "</g>\n<g font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\" fill=\"#c9d1d9\">\n",
    );
    for (name, (x, y)) in places {
        let left = x - BOX.0 / 2;
        svg.push_str(&format!(
            "<rect x=\"{left}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\" fill=\"#21262d\" stroke=\"#58a6ff\"/>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            BOX.0,
            BOX.1,
            y + 22,
            escaped(name)
        ));
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn uses(packages: &[Package]) -> Uses<'_> {
    packages.iter().filter(|package| is_room(&package.name)).map(|room| (room.name.as_str(), used(room))).collect()
}

fn used(room: &Package) -> Vec<&str> {
    let ours = room.dependencies.iter().filter(|used| used.local && used.kind == Kind::Normal);
    ours.map(|used| used.name.as_str()).filter(|name| is_room(name)).collect()
}

fn is_room(name: &str) -> bool {
    name.starts_with("np-") && !["np-benches", "np-examples", "np-testkit"].contains(&name)
}

/// How many rooms stand below, on the longest way down.
fn height(name: &str, uses: &Uses<'_>) -> usize {
    let below = uses.get(name).into_iter().flatten();
    below.map(|used| height(used, uses) + 1).max().unwrap_or_default()
}

/// What a room uses that it does not use through another.
fn direct<'a>(name: &str, uses: &Uses<'a>) -> Vec<&'a str> {
    let all = uses.get(name).cloned().unwrap_or_default();
    let through = |used: &&str| !all.iter().any(|other| other != used && reaches(other, used, uses));
    all.iter().filter(|used| through(used)).copied().collect()
}

fn reaches(from: &str, to: &str, uses: &Uses<'_>) -> bool {
    uses.get(from).into_iter().flatten().any(|used| *used == to || reaches(used, to, uses))
}

#[cfg(test)]
mod tests {
    use super::{around, direct, height};

    #[test]
    fn what_follows_from_other_arrows_is_not_drawn() {
        let uses = [("a", vec!["b", "c"]), ("b", vec!["c"]), ("c", vec![])].into();
        assert_eq!(direct("a", &uses), ["b"]);
        assert_eq!(direct("b", &uses), ["c"]);
        assert_eq!(["a", "b", "c"].map(|name| height(name, &uses)), [2, 1, 0]);
    }

    #[test]
    fn what_low_rooms_use_stands_in_the_middle() {
        let uses = [("top", vec!["low", "p", "q"]), ("low", vec!["m"]), ("m", vec![]), ("p", vec![]), ("q", vec![])];
        assert_eq!(around(&["m", "p", "q"], &uses.into()), ["p", "m", "q"]);
    }
}
