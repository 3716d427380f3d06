//! Writes the protocol's vectors to `docs/vectors`. Owns the folder; what stands in the files is the test kit's.

use std::fs;

use np_testkit::vectors::files;

use crate::Failure;
use crate::workspace::Workspace;

/// Writes every file of vectors anew.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let folder = workspace.root.join("docs/vectors");
    fs::create_dir_all(&folder)?;
    for file in files() {
        let path = folder.join(file.name);
        let changed = fs::read_to_string(&path).ok().as_deref() != Some(file.text.as_str());
        fs::write(&path, &file.text)?;
        println!("{} docs/vectors/{}", if changed { "written  " } else { "unchanged" }, file.name);
    }
    Ok(())
}
