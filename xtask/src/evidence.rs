//! The page of figures: what each long check came to, with date, command and result, as JSON and in docs/ASSURANCE.md.
//!
//! Owns where the figures lie and how a section of the page is replaced. It must never run a check.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::Failure;
use crate::workspace::Workspace;

/// The page, and the folder of what it is made of.
const PAGE: &str = "docs/ASSURANCE.md";
const FOLDER: &str = "docs/assurance";

/// What one check came to.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    /// The name of its file and of its place in the page.
    pub(crate) name: &'a str,
    /// What to type to do it again.
    pub(crate) command: &'a str,
    /// One sentence.
    pub(crate) result: String,
    /// Everything, for programs.
    pub(crate) figures: Value,
    /// Tables and sentences, for people.
    pub(crate) text: String,
}

/// What was stored of a check, or null.
pub(crate) fn read(workspace: &Workspace, name: &str) -> Result<Value, Failure> {
    let path = path(workspace, name);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let value: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(value.get("figures").cloned().unwrap_or_default())
        }
        Err(_) => Ok(Value::Null),
    }
}

/// Stores what a check came to and puts it into the page.
pub(crate) fn write(workspace: &Workspace, section: &Section<'_>) -> Result<(), Failure> {
    let date = today();
    let commit = commit(workspace);
    let at = commit.as_str().map(|commit| format!(" at {commit}")).unwrap_or_default();
    let whole = json!({
        "date": date,
        "command": section.command,
        "commit": commit,
        "result": section.result,
        "figures": section.figures,
    });
    fs::create_dir_all(workspace.root.join(FOLDER))?;
    fs::write(path(workspace, section.name), format!("{whole:#}\n"))?;
    let page = workspace.root.join(PAGE);
    let text = fs::read_to_string(&page).map_err(|error| format!("{PAGE}: {error}"))?;
    let head = format!("{date}{at}, `{}`: {}", section.command, section.result);
    let body = [head.as_str(), section.text.trim()].join("\n\n");
    fs::write(&page, replaced(&text, section.name, body.trim())?)?;
    println!("{}: {}", section.name, section.result);
    Ok(())
}

/// The page with another text between the marks of a section.
fn replaced(page: &str, name: &str, body: &str) -> Result<String, Failure> {
    let (begin, end) = (format!("<!-- {name}: "), format!("<!-- {name}: end -->"));
    let missing = || format!("{PAGE} has no place for `{name}`: two lines, `{begin}... -->` and `{end}`");
    let from = page.find(&begin).ok_or_else(missing)?;
    let (head, rest) = page.split_at(from);
    let (mark, rest) = rest.split_once('\n').ok_or_else(missing)?;
    let (_, tail) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{head}{mark}\n\n{body}\n\n{end}{tail}"))
}

fn path(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root.join(FOLDER).join(format!("{name}.json"))
}

/// The commit of the working tree, where git tells.
pub(crate) fn commit(workspace: &Workspace) -> Value {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short=12", "HEAD"]).current_dir(&workspace.root).stderr(Stdio::null());
    let output = git.output().ok().filter(|output| output.status.success());
    output.and_then(|output| String::from_utf8(output.stdout).ok()).map_or(Value::Null, |text| text.trim().into())
}

/// The day in UTC, as `2026-01-31`.
pub(crate) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    day(seconds / 86_400)
}

/// The day that is so many behind 1970-01-01, in the calendar of today: years are counted from March, so that a leap day
/// is the last of its year.
fn day(since: u64) -> String {
    let days = since + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (since, shown) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_453, "2025-12-31"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(day(since), shown);
        }
    }

    #[test]
    fn a_section_is_replaced_and_the_rest_of_the_page_stays() -> Result<(), Failure> {
        let page = "# Page\n\n<!-- fuzz: by command -->\nold\n<!-- fuzz: end -->\n\n<!-- miri: by command -->\n<!-- miri: end -->\ntail\n";
        let new = replaced(page, "fuzz", "new")?;
        assert_eq!(new, replaced(&new, "fuzz", "new")?, "once more changes nothing");
        assert!(new.starts_with("# Page\n\n<!-- fuzz: by command -->\n\nnew\n\n<!-- fuzz: end -->\n"));
        assert!(!new.contains("old") && new.ends_with("<!-- miri: end -->\ntail\n"));
        assert!(replaced(page, "coverage", "new").is_err_and(|error| error.to_string().contains("no place")));
        Ok(())
    }

    #[test]
    fn what_is_written_is_read_again() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        let workspace = Workspace { root: folder.path().to_path_buf(), packages: Vec::new() };
        fs::create_dir(folder.path().join("docs"))?;
        fs::write(folder.path().join(PAGE), "<!-- miri: x -->\n<!-- miri: end -->\n")?;
        assert_eq!(read(&workspace, "miri")?, Value::Null);
        let figures = json!({ "tests": 7 });
        let section = Section { name: "miri", command: "do it", result: "fine".into(), figures, text: "| a |".into() };
        write(&workspace, &section)?;
        assert_eq!(read(&workspace, "miri")?, json!({ "tests": 7 }));
        let page = fs::read_to_string(folder.path().join(PAGE))?;
        assert!(page.contains(&format!("{}, `do it`: fine\n\n| a |", today())), "{page}");
        Ok(())
    }
}
