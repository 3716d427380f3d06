//! Commands in the documents: every subcommand, package, program and example that a shell block names must exist.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, markdown};
use crate::COMMANDS;
use crate::source::{Source, Token, enum_variants, is_word};
use crate::workspace::{File, Package};

const CLI: &str = "crates/np-cli/src/";

/// What exists.
struct Known {
    subcommands: BTreeSet<String>,
    packages: BTreeSet<String>,
    targets: BTreeSet<String>,
}

/// Checks the shell blocks of every document but those that speak of the past.
pub(super) fn check(files: &[File], packages: &[Package]) -> Vec<Finding> {
    let known = Known {
        subcommands: subcommands(files),
        packages: packages.iter().map(|package| package.name.clone()).collect(),
        targets: packages.iter().flat_map(|package| package.targets.iter().cloned()).collect(),
    };
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "md") {
        if file.path == "CHANGELOG.md" || file.path.starts_with("docs/decisions/") {
            continue;
        }
        for (line, command) in shell_commands(&file.text) {
            for message in judge(&command, &known) {
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings
}

/// The simple commands of all shell blocks. In a console block a command stands behind `$`, the rest is output.
fn shell_commands(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut commands = Vec::new();
    for fence in markdown::fences(text) {
        let console = fence.language == "console";
        if !console && !matches!(fence.language, "sh" | "bash" | "shell") {
            continue;
        }
        let (mut joined, mut first) = (String::new(), 0);
        for (line, text) in fence.lines {
            let prompt = text.trim().strip_prefix("$ ");
            if joined.is_empty() && console && prompt.is_none() {
                continue;
            }
            if joined.is_empty() {
                first = line;
            }
            let text = prompt.unwrap_or_else(|| text.trim());
            if let Some(text) = text.strip_suffix('\\') {
                joined.push_str(text);
                continue;
            }
            joined.push_str(text);
            for command in split_commands(&joined) {
                commands.push((first, command));
            }
            joined.clear();
        }
    }
    commands
}

fn split_commands(line: &str) -> Vec<Vec<String>> {
    let code = line.split(" #").next().unwrap_or_default();
    if code.starts_with('#') {
        return Vec::new();
    }
    let spaced = code.replace(';', " ; ");
    let words = spaced.split_whitespace().collect::<Vec<_>>();
    words
        .split(|word| matches!(*word, "&&" | "||" | "|" | "&" | ";"))
        .map(|words| {
            words.iter().skip_while(|word| is_assignment(word)).map(|word| (*word).to_owned()).collect::<Vec<_>>()
        })
        .filter(|words| !words.is_empty())
        .collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_word))
}

fn judge(command: &[String], known: &Known) -> Vec<String> {
    let Some((program, arguments)) = command.split_first() else {
        return Vec::new();
    };
    match program.rsplit('/').next() {
        Some("cargo") => judge_cargo(arguments, known),
        Some("np") => judge_np(arguments, known).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn judge_cargo(arguments: &[String], known: &Known) -> Vec<String> {
    let mut messages = Vec::new();
    let (ours, theirs) = match arguments.iter().position(|word| word == "--") {
        Some(at) => (arguments.get(..at).unwrap_or_default(), arguments.get(at + 1..).unwrap_or_default()),
        None => (arguments, &[] as &[String]),
    };
    if let [xtask, command, ..] = ours
        && xtask == "xtask"
        && !COMMANDS.iter().any(|(name, _)| name == command)
    {
        messages.push(format!("`cargo xtask {command}` does not exist"));
    }
    for (flags, what, names) in [
        (["-p", "--package"], "package", &known.packages),
        (["--example", "--example"], "example", &known.targets),
        (["--bin", "--bin"], "program", &known.targets),
        (["--bench", "--bench"], "benchmark", &known.targets),
        (["--test", "--test"], "test", &known.targets),
    ] {
        // Another workspace has packages and targets of its own.
        let elsewhere = values(ours, ["--manifest-path"; 2]).next().is_some();
        for value in values(ours, flags).filter(|value| !elsewhere && !names.contains(*value)) {
            messages.push(format!("the {what} `{value}` does not exist"));
        }
    }
    let runs_np = ours.first().is_some_and(|word| word == "run")
        && values(ours, ["-p", "--package"]).any(|value| value == "np-cli");
    if runs_np {
        messages.extend(judge_np(theirs, known));
    }
    messages
}

/// The values that follow one of these flags, also behind an equals sign.
fn values<'a>(arguments: &'a [String], flags: [&'a str; 2]) -> impl Iterator<Item = &'a str> + use<'a> {
    let pairs = arguments.iter().zip(arguments.iter().skip(1));
    let apart = pairs.filter(move |(flag, _)| flags.contains(&flag.as_str())).map(|(_, value)| value.as_str());
    let joined = arguments
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter(move |(flag, _)| flags.contains(flag))
        .map(|(_, value)| value);
    apart.chain(joined)
}

fn judge_np(arguments: &[String], known: &Known) -> Option<String> {
    let word = arguments.iter().find(|word| !word.starts_with('-'))?;
    let exists = word == "help" || known.subcommands.contains(word);
    (!exists).then(|| format!("`np {word}` does not exist"))
}

/// The names of the top-level subcommands, read from the enum that the parser's `subcommand` field names.
fn subcommands(files: &[File]) -> BTreeSet<String> {
    let mut enums = BTreeMap::new();
    let mut top = None;
    for file in files {
        if !file.path.starts_with(CLI) || file.extension() != "rs" {
            continue;
        }
        let source = Source::read(&file.text);
        let tokens = source.tokens();
        for name in deriving(&tokens, "Subcommand", "enum") {
            let variants = enum_variants(&tokens, name).unwrap_or_default();
            enums.insert(name.to_owned(), spelled(&file.text, &variants));
        }
        if let Some(name) = subcommand_field(&tokens) {
            top = Some(name.to_owned());
        }
    }
    match top.and_then(|name| enums.remove(&name)) {
        Some(names) => names,
        None => enums.into_values().flatten().collect(),
    }
}

/// Names of the items of this sort that derive this trait.
fn deriving<'a>(tokens: &[Token<'a>], derived: &str, sort: &str) -> Vec<&'a str> {
    let starts = tokens.iter().enumerate().filter(|(_, token)| token.text == "derive");
    starts
        .filter_map(|(at, _)| {
            let rest = tokens.get(at..)?;
            let end = rest.iter().position(|token| token.text == "]")?;
            let derives = rest.get(..end)?.iter().any(|token| token.text == derived);
            let mut words = rest.iter().skip(end);
            let found = words.find(|token| matches!(token.text, "struct" | "enum"))?;
            (derives && found.text == sort).then(|| words.next()).flatten()
        })
        .map(|token| token.text)
        .collect()
}

/// The last word of the type of the parser's field with the attribute `subcommand`.
fn subcommand_field<'a>(tokens: &[Token<'a>]) -> Option<&'a str> {
    let parser = *deriving(tokens, "Parser", "struct").first()?;
    let start = tokens
        .windows(2)
        .position(|pair| matches!(pair, [word, name] if word.text == "struct" && name.text == parser))?;
    let mut rest = tokens.get(start..)?.iter().skip_while(|token| token.text != "subcommand");
    rest.find(|token| token.text == "]")?;
    let field: Vec<_> =
        rest.skip_while(|token| token.text != ":").take_while(|token| !matches!(token.text, "," | "}")).collect();
    field.iter().rev().find(|token| token.text.starts_with(is_word)).map(|token| token.text)
}

/// The names as one types them: the variant in small letters with hyphens, or what `name = ".."` says above it.
fn spelled(text: &str, variants: &[(usize, String)]) -> BTreeSet<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut previous = None;
    let mut names = BTreeSet::new();
    for (line, variant) in variants {
        let from = previous.unwrap_or(line - 1);
        let above = lines.get(from..*line).unwrap_or_default();
        let given = above
            .iter()
            .filter(|line| line.trim().starts_with("#["))
            .find_map(|line| line.split_once("name = \"")?.1.split('"').next());
        names.insert(given.map_or_else(|| kebab(variant), str::to_owned));
        previous = Some(*line);
    }
    names
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for (at, c) in name.chars().enumerate() {
        if at > 0 && c.is_uppercase() {
            text.push('-');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGS: &str = "//! D.\n#[derive(Debug, Parser)]\npub(crate) struct Cli {\n    #[arg(long)]\n    json: bool,\n    #[command(subcommand)]\n    command: Option<Command>,\n}\n#[derive(Subcommand)]\nenum Command {\n    /// Makes keys.\n    Keygen(Keygen),\n    Demo { file: String },\n    #[command(name = \"show-all\")]\n    Everything,\n    DevCert,\n    #[command(subcommand)]\n    Key(KeyCommand),\n}\n#[derive(Subcommand)]\nenum KeyCommand { Show }\n";

    fn found(document: &str, text: &str) -> Vec<String> {
        let files = [File::new("crates/np-cli/src/args.rs", ARGS), File::new(document, text)];
        let package = |name: &str, targets: &[&str]| Package {
            name: name.to_owned(),
            dependencies: Vec::new(),
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        };
        let packages = [package("np-cli", &["np"]), package("np-examples", &["echo"])];
        let findings = check(&files, &packages);
        findings.into_iter().map(|one| one.to_string()).collect()
    }

    fn sh(line: &str) -> Vec<String> {
        found("README.md", &format!("```sh\n{line}\n```\n"))
    }

    #[test]
    fn commands_that_exist_pass() {
        for line in [
            "cargo run --release -p np-cli -- demo",
            "cargo run -p np-cli -- --json keygen --out k && np key show k",
            "NP_LOG=debug ./target/release/np show-all | wc -c",
            "np dev-cert # np nonsense",
            "cargo xtask ci",
            "cargo run --example echo -p np-examples",
            "cargo test --workspace -- --nocapture",
            "cargo bench --manifest-path benches/peers/Cargo.toml --bench packet",
            "# np nonsense",
            "echo np",
            "np --help",
        ] {
            assert_eq!(sh(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn commands_that_do_not_exist_are_found() {
        for (line, part) in [
            ("cargo run --release -p np-cli -- dmeo", "`np dmeo`"),
            ("cargo run --package=np-cli -- show", "`np show`"),
            ("np everything", "`np everything`"),
            ("true && np nonsense", "`np nonsense`"),
            ("np \\\n  nonsense", "`np nonsense`"),
            ("cargo xtask dance", "`cargo xtask dance`"),
            ("cargo run --example gone", "example `gone`"),
            ("cargo bench --bench gone", "benchmark `gone`"),
            ("cargo test -p np-gone", "package `np-gone`"),
        ] {
            let found = sh(line);
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(found.concat().contains(part), "{found:?}");
        }
    }

    #[test]
    fn a_console_block_runs_what_stands_behind_the_prompt() {
        let text = "```console\n$ np nonsense\nnp is output\n```\n```text\nnp nonsense\n```\n";
        assert_eq!(found("docs/A.md", text), ["docs/A.md:2: `np nonsense` does not exist"]);
        assert_eq!(found("CHANGELOG.md", text), [""; 0]);
    }
}
