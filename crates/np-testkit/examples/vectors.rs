//! Writes the protocol's vectors into the folder that its argument names: `cargo xtask vectors` runs it. Owns the
//! writing; what stands in the files is the library's.
#![expect(clippy::print_stdout, reason = "a program for a terminal: printing is what it is for")]

use std::path::PathBuf;
use std::{env, fs};

use np_testkit::vectors::files;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or("name the folder to write to")?;
    fs::create_dir_all(&folder)?;
    for file in files() {
        let path = folder.join(file.name);
        let changed = fs::read_to_string(&path).ok().as_deref() != Some(file.text.as_str());
        fs::write(&path, &file.text)?;
        println!("{} {}", if changed { "written  " } else { "unchanged" }, file.name);
    }
    Ok(())
}
