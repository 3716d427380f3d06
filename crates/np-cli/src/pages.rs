//! `np completions` and `np man`: what shells and `man` read, made from the same arguments that np takes. Must never know
//! what a command does.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;

use crate::describe;
use crate::failure::Failure;
use crate::output::{self, Output};

/// Prints a script that makes a shell complete np's commands and arguments.
///
/// bash: np completions bash > ~/.local/share/bash-completion/completions/np. zsh: into a file `_np` in a folder of $fpath.
/// fish: np completions fish > ~/.config/fish/completions/np.fish.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that reads the script
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the manual page of np, or writes a page for each command into a folder.
///
/// To read it: np man | man -l -. To install all: np man ~/.local/share/man/man1.
#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// The folder that gets np.1, np-serve.1 and so on; made where it is missing, pages in it are written anew
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Prints the script.
pub(crate) fn completions(command: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut describe::command(), "np", &mut script);
    output::write(&script)
}

/// Prints the page of np, or writes all pages and prints where.
pub(crate) fn manual(command: &Manual, output: Output) -> Result<(), Failure> {
    let mut np = describe::command().disable_help_subcommand(true);
    np.build();
    let Some(folder) = &command.folder else {
        let page = page(np).map_err(|error| unwritten(Path::new("stdout"), &error))?;
        return output::write(&page);
    };
    std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
    let mut written = Vec::new();
    write_pages(&np, folder, &mut written)?;
    let files: Vec<_> = written.iter().map(|file| np_facade::escape_path(file)).collect();
    if output.is_ndjson() {
        return files.iter().try_for_each(|file| output.json(&json!({ "file": file })));
    }
    output.line(&files.join("\n"), &json!({ "files": files }))
}

fn write_pages(command: &Command, folder: &Path, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = folder.join(format!("{name}.1"));
    let page = page(command.clone()).and_then(|page| std::fs::write(&file, page));
    page.map_err(|error| unwritten(&file, &error))?;
    written.push(file);
    command.get_subcommands().try_for_each(|command| write_pages(command, folder, written))
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let path = np_facade::escape_path(path);
    Failure::local(format!("cannot write {path}: {error}; name a folder that this user may write to"))
}
