//! `np completions` and `np man`: made from the commands that there are.

use std::fs;

use crate::support::{Folder, run};

#[test]
fn every_shell_gets_a_script_that_knows_the_commands_and_their_flags() {
    for (shell, sign) in [
        ("bash", "complete -F _np"),
        ("zsh", "#compdef np"),
        ("fish", "complete -c np"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer[np]"),
    ] {
        let script = run(["completions", shell]).ok();
        for word in [sign, "keygen", "inspect", "danger-trust-anyone"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    run(["completions", "cmd"]).fails(2, &["cmd", "bash"]);
    run(["completions"]).fails(2, &["<SHELL>"]);
}

#[test]
fn the_manual_is_one_page_on_stdout_or_a_page_for_each_command() {
    let page = run(["man"]).ok();
    for word in [".TH np 1", "serve", "Exit codes", "130"] {
        assert!(page.contains(word), "{word}");
    }
    let folder = Folder::new();
    let listed = run(["man", &folder.arg("man/man1")]).ok();
    for name in ["np.1", "np-serve.1", "np-key.1", "np-key-show.1", "np-config-print.1", "np-inspect.1"] {
        assert!(listed.lines().any(|line| line.ends_with(name)), "{name} in {listed}");
        let page = fs::read_to_string(folder.path("man/man1").join(name)).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    let pages = listed.lines().count();
    assert_eq!(pages, fs::read_dir(folder.path("man/man1")).unwrap().count());
    // Written again, it is the same.
    let before = fs::read(folder.path("man/man1/np.1")).unwrap();
    let again = run(["man", &folder.arg("man/man1"), "-o", "json"]).ok_json();
    assert_eq!(again["files"].as_array().unwrap().len(), pages);
    assert_eq!(fs::read(folder.path("man/man1/np.1")).unwrap(), before);
    let file = folder.file("taken", "");
    run(["man", &file]).fails(7, &["cannot write", "taken", "folder"]);
}
