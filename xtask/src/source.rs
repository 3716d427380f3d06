//! Rust source as lines of code and lines of comment, as tokens, and as functions with their lengths.
//!
//! Owns a scanner that knows comments, strings and character literals and nothing of the grammar beyond brackets: good
//! enough to count with, and it needs no parser. It must never know which counts are allowed.

/// One file, taken apart. `code` and `comments` have as many lines as the file, each blank where the other stands;
/// the insides of strings are replaced by underscores.
pub(crate) struct Source {
    /// Everything but comments.
    pub(crate) code: String,
    /// Comments, with their slashes.
    pub(crate) comments: String,
}

/// A word or a single sign, with the line (from 1) it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// The line.
    pub(crate) line: usize,
    /// The text.
    pub(crate) text: &'a str,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of the word `fn`.
    pub(crate) first: usize,
    /// The line of the closing brace.
    pub(crate) last: usize,
    /// Lines that hold code, from the first to the last: blank lines and comments are free.
    pub(crate) lines: usize,
    /// Whether a `match` stands in it.
    pub(crate) matches: bool,
}

/// What is left of a file when the parts for tests are taken out.
pub(crate) struct Production<'a> {
    /// The tokens left.
    pub(crate) tokens: Vec<Token<'a>>,
    /// First and last line of each part taken out.
    pub(crate) tests: Vec<(usize, usize)>,
    /// Names of the modules for tests that live in files of their own.
    pub(crate) test_files: Vec<String>,
}

impl Source {
    /// Takes a file apart.
    pub(crate) fn read(text: &str) -> Self {
        let mut scanner = Scanner { rest: text, code: String::with_capacity(text.len()), comments: String::new() };
        while !scanner.rest.is_empty() {
            scanner.step();
        }
        Self { code: scanner.code, comments: scanner.comments }
    }

    /// The words and signs of the code.
    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        let mut tokens = Vec::new();
        for (number, line) in self.code.lines().enumerate() {
            let mut rest = line.trim_start();
            while let Some(first) = rest.chars().next() {
                let length =
                    if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
                let (text, after) = rest.split_at(length);
                tokens.push(Token { line: number + 1, text });
                rest = after.trim_start();
            }
        }
        tokens
    }

    /// The tokens without the items that are compiled for tests alone.
    pub(crate) fn production(&self) -> Production<'_> {
        let tokens = self.tokens();
        let mut left = Production { tokens: Vec::new(), tests: Vec::new(), test_files: Vec::new() };
        let mut rest = tokens.as_slice();
        while let Some((token, after)) = rest.split_first() {
            let Some(item) = after_test_attribute(rest) else {
                left.tokens.push(*token);
                rest = after;
                continue;
            };
            let field = item.first().is_some_and(|first| !ITEMS.contains(&first.text));
            let (item, after) = item.split_at(if field { field_length(item) } else { item_length(item) });
            if let [.., name, end] = item
                && end.text == ";"
                && item.iter().any(|token| token.text == "mod")
            {
                left.test_files.push(name.text.to_owned());
            }
            let last = item.last().map_or(token.line, |token| token.line);
            left.tests.push((token.line, last));
            rest = after;
        }
        left
    }

    /// The functions with a body among these tokens.
    pub(crate) fn functions(&self, tokens: &[Token<'_>]) -> Vec<Function> {
        let filled: Vec<bool> = self.code.lines().map(|line| !line.trim().is_empty()).collect();
        let mut functions = Vec::new();
        let mut rest = tokens;
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            let name = after.first().map_or("", |name| name.text);
            if token.text != "fn" || !name.starts_with(is_word) {
                continue;
            }
            let item = after.get(..item_length(after)).unwrap_or_default();
            let Some(end) = item.last().filter(|end| end.text == "}") else {
                continue;
            };
            let body = filled.get(token.line - 1..end.line).unwrap_or_default();
            functions.push(Function {
                name: name.to_owned(),
                first: token.line,
                last: end.line,
                lines: body.iter().filter(|filled| **filled).count(),
                matches: item.iter().any(|token| token.text == "match"),
            });
        }
        functions
    }
}

/// The variants of the enum with this name: the lines and names in the order of the source.
pub(crate) fn enum_variants(tokens: &[Token<'_>], name: &str) -> Option<Vec<(usize, String)>> {
    let start = tokens
        .windows(2)
        .position(|pair| matches!(pair, [word, found] if word.text == "enum" && found.text == name))?;
    let mut variants = Vec::new();
    let (mut depth, mut expected) = (0_usize, true);
    for token in tokens.get(start..)?.iter().skip_while(|token| token.text != "{") {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            "," if depth == 1 => expected = true,
            word if depth == 1 && expected && word.starts_with(is_word) => {
                variants.push((token.line, word.to_owned()));
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    Some(variants)
}

/// Whether this sign may stand in a word.
pub(crate) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// If an attribute that compiles for tests alone stands here, what follows it and its further attributes.
fn after_test_attribute<'t, 's>(tokens: &'t [Token<'s>]) -> Option<&'t [Token<'s>]> {
    let (attribute, mut rest) = split_attribute(tokens)?;
    let mut words = attribute.iter().map(|token| token.text);
    let tests = words.nth(2) == Some("cfg")
        && words.any(|word| word == "test")
        && !attribute.iter().any(|token| token.text == "not" || token.text == "any");
    if !tests {
        return None;
    }
    while let Some((_, after)) = split_attribute(rest) {
        rest = after;
    }
    Some(rest)
}

fn split_attribute<'t, 's>(tokens: &'t [Token<'s>]) -> Option<(&'t [Token<'s>], &'t [Token<'s>])> {
    let (hash, after) = tokens.split_first()?;
    if hash.text != "#" || after.first()?.text != "[" {
        return None;
    }
    tokens.split_at_checked(1 + group_length(after))
}

/// What an item begins with; anything else is a field, an argument or an arm.
const ITEMS: &[&str] = &[
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "pub",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
    "{",
];

/// How many tokens an item has: to its closing brace, or to its semicolon if that comes first.
fn item_length(tokens: &[Token<'_>]) -> usize {
    let mut at = 0;
    while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
        match rest.first().map_or("", |token| token.text) {
            "{" => return at + group_length(rest),
            "(" | "[" => at += group_length(rest),
            ";" => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// How many tokens a field has: to its comma, or up to the end of what it stands in.
fn field_length(tokens: &[Token<'_>]) -> usize {
    let mut at = 0;
    while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
        match rest.first().map_or("", |token| token.text) {
            "{" | "(" | "[" => at += group_length(rest),
            "," | ";" => return at + 1,
            "}" | ")" | "]" => return at,
            _ => at += 1,
        }
    }
    at
}

/// How many tokens stand from an opening bracket to the one that closes it.
fn group_length(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Walks over the text and writes each part to the side it belongs to.
struct Scanner<'a> {
    rest: &'a str,
    code: String,
    comments: String,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let first = self.rest.chars().next().unwrap_or_default();
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            self.comment(length);
        } else if self.rest.starts_with("/*") {
            self.comment(block_comment_length(self.rest));
        } else if first == '"' {
            self.literal(string_length(self.rest));
        } else if first == '\'' {
            self.literal(quote_length(self.rest));
        } else if is_word(first) {
            self.word();
        } else {
            self.code(first.len_utf8());
        }
    }

    fn word(&mut self) {
        let length = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let raw = matches!(self.rest.get(..length), Some("r" | "br" | "cr"));
        self.code(length);
        let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
        if raw && self.rest.get(hashes..).is_some_and(|rest| rest.starts_with('"')) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = self.rest.get(hashes + 1..).unwrap_or_default();
            let end = body.find(&close).map_or(body.len(), |at| at + close.len());
            self.literal(hashes + 1 + end);
        }
    }

    fn code(&mut self, length: usize) {
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.code.push_str(text);
        blank(text, ' ', &mut self.comments);
        self.rest = rest;
    }

    fn comment(&mut self, length: usize) {
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.comments.push_str(text);
        blank(text, ' ', &mut self.code);
        self.rest = rest;
    }

    fn literal(&mut self, length: usize) {
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        // A lifetime comes here too, as the quote alone; its name follows as a word.
        let inner = text.trim_matches('"').trim_matches('\'');
        if inner.is_empty() {
            self.code.push('\'');
        } else {
            blank(text, '_', &mut self.code);
        }
        blank(text, ' ', &mut self.comments);
        self.rest = rest;
    }
}

fn blank(text: &str, filler: char, side: &mut String) {
    side.extend(text.chars().map(|c| if c == '\n' { c } else { filler }));
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal, or 1 for the quote of a lifetime.
fn quote_length(text: &str) -> usize {
    let mut signs = text.char_indices().skip(1);
    match signs.next() {
        Some((_, '\\')) => {
            signs.next();
            signs.find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 1)
        }
        Some(_) => match signs.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests;
