//! Markdown as far as the rules need it: fenced blocks, prose without code, links, code spans.

/// A fenced block: its language and its lines with their numbers.
pub(super) struct Fence<'a> {
    /// The first word behind the opening fence.
    pub(super) language: &'a str,
    /// The lines inside.
    pub(super) lines: Vec<(usize, &'a str)>,
}

/// The fenced blocks of a document.
pub(super) fn fences(text: &str) -> Vec<Fence<'_>> {
    let mut fences: Vec<Fence<'_>> = Vec::new();
    for line in lines(text) {
        match line.place {
            Place::Opening => fences.push(Fence {
                language: line.text.trim().trim_start_matches('`').split([' ', ',']).next().unwrap_or_default(),
                lines: Vec::new(),
            }),
            Place::Inside => {
                if let Some(fence) = fences.last_mut() {
                    fence.lines.push((line.number, line.text));
                }
            }
            Place::Outside | Place::Closing => {}
        }
    }
    fences
}

/// The lines outside fences, with code spans taken out.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    lines(text).filter(|line| line.place == Place::Outside).map(|line| (line.number, without_code_spans(line.text)))
}

/// The lines outside fences as they are.
pub(super) fn outside(text: &str) -> impl Iterator<Item = (usize, &str)> {
    lines(text).filter(|line| line.place == Place::Outside).map(|line| (line.number, line.text))
}

/// What stands between backticks on a line.
pub(super) fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The line with its code spans taken out.
pub(super) fn without_code_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// Where the links of a line lead: `[text](here)` and `[name]: here`.
pub(super) fn links(line: &str) -> Vec<String> {
    let mut found: Vec<String> =
        line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect();
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        found.push(target.to_owned());
    }
    found.into_iter().map(|target| target.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Opening,
    Inside,
    Closing,
}

struct Line<'a> {
    number: usize,
    text: &'a str,
    place: Place,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut inside = false;
    text.lines().enumerate().map(move |(at, text)| {
        let fence = text.trim_start().starts_with("```");
        let place = match (inside, fence) {
            (false, false) => Place::Outside,
            (false, true) => Place::Opening,
            (true, false) => Place::Inside,
            (true, true) => Place::Closing,
        };
        inside = inside != fence;
        Line { number: at + 1, text, place }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "See `a` [b](c.md#d).\n```sh\nnp demo\n```\n[e]: f.md \"title\"\n";

    #[test]
    fn fences_prose_and_links_are_told_apart() {
        let fences = fences(SAMPLE);
        assert_eq!(fences.len(), 1);
        assert!(fences.iter().all(|fence| fence.language == "sh" && fence.lines == [(3, "np demo")]));
        let prose: Vec<_> = prose(SAMPLE).collect();
        assert_eq!(prose.first(), Some(&(1, "See `` [b](c.md#d).".to_owned())));
        assert_eq!(prose.len(), 2);
        let links: Vec<_> = outside(SAMPLE).flat_map(|(_, line)| links(line)).collect();
        assert_eq!(links, ["c.md#d", "f.md"]);
        assert_eq!(code_spans("x `a` y `b`").collect::<Vec<_>>(), ["a", "b"]);
    }
}
