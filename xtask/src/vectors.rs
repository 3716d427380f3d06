//! Writes the protocol's vectors to `docs/vectors`. Owns the folder; what stands in the files is the test kit's, which a
//! program of its own writes, so that this one is built without the rooms.

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

const WRITER: &[&str] =
    &["run", "--quiet", "--locked", "-p", "np-testkit", "--example", "vectors", "--", "docs/vectors"];

/// Writes every file of vectors anew.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    process::run_cargo(&workspace.root, WRITER, &[])
}
