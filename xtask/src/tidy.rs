//! The house rules that no ready-made tool checks: budgets, module docs, manifests, the promises of the documents.
//!
//! Owns the order of the rules and their report; each rule lives in a module of its own and is a function from files to
//! findings, so that a test can feed it a sample that must fail.

mod agreement;
mod budget;
mod commands;
mod documents;
mod errors;
mod manifests;
mod markdown;
mod text;

use std::fmt;

use crate::Failure;
use crate::workspace::Workspace;

/// One thing that a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file.
    pub(crate) path: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks the project's files and prints what was found.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let files = workspace.files()?;
    let mut findings = text::check(&files);
    findings.extend(manifests::check(&files));
    findings.extend(documents::check(&files));
    findings.extend(errors::check(&files));
    findings.extend(agreement::check(&files));
    findings.extend(commands::check(&files, &workspace.packages));
    let budgets = budget::check(&files);
    findings.extend(budgets.refused);

    println!("function lines per package (comments and blank lines are free):");
    for row in budgets.rows.iter().filter(|row| row.functions > 0) {
        println!("  {row}");
    }
    for warning in &budgets.warnings {
        println!("warning: {warning}");
    }
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing to mend", files.len());
        Ok(())
    } else {
        Err(format!("{} findings", findings.len()).into())
    }
}
