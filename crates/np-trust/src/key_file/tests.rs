//! Tests of key files: content, permissions, creation.

use std::fs;
use std::path::{Path, PathBuf};

use np_types::{KeyError, Psk, PublicKey, SecretKey};
use tempfile::TempDir;

use super::{KeyFileError, KeyFileMode, KeyFileProblem, read_psk, read_secret_key, write_new_secret};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("test.key")
    }

    /// A file that its owner alone may read.
    fn with(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path();
        fs::write(&path, content).unwrap();
        #[cfg(unix)]
        unix::set_mode(&path, 0o600);
        path
    }
}

#[test]
fn modes_are_looked_at_where_there_are_some() {
    assert_eq!(super::checks_mode(), cfg!(unix));
}

#[test]
fn an_error_wraps_what_the_system_or_the_key_said() {
    use std::error::Error as _;

    let folder = Folder::new();
    let wrapped = |error: &KeyFileError| error.source().map(ToString::to_string);
    assert_eq!(wrapped(&read(&folder.path()).unwrap_err()), None, "it is not there, which says all");
    let wrong = read(&folder.with("no key\n")).unwrap_err();
    let KeyFileProblem::Key { error, .. } = &wrong.problem else { panic!("{wrong}") };
    assert_eq!(wrapped(&wrong), Some(error.to_string()));
    let problem = KeyFileProblem::Read(std::io::ErrorKind::TimedOut.into());
    assert!(wrapped(&KeyFileError { path: folder.path(), problem }).is_some());
}

fn key() -> SecretKey {
    SecretKey::from_bytes([7; 32])
}

fn text() -> String {
    key().to_text().to_string()
}

fn read(path: &Path) -> Result<SecretKey, KeyFileError> {
    read_secret_key(path, KeyFileMode::Checked)
}

fn problem_of(content: impl AsRef<[u8]>) -> KeyFileProblem {
    let error = read(&Folder::new().with(content)).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("test.key"), "{shown}");
    assert!(!shown.contains(&text()[8..20]), "the secret leaked: {shown}");
    error.problem
}

#[test]
fn a_new_file_is_read_back() {
    let folder = Folder::new();
    write_new_secret(&folder.path(), &text()).unwrap();
    assert_eq!(read(&folder.path()).unwrap(), key());
    assert_eq!(fs::read_to_string(folder.path()).unwrap(), format!("{}\n", text()));
}

#[test]
fn a_psk_is_written_and_read_and_is_no_secret_key() {
    let folder = Folder::new();
    let psk = Psk::from_bytes([9; 32]);
    write_new_secret(&folder.path(), &psk.to_text()).unwrap();
    assert_eq!(read_psk(&folder.path(), KeyFileMode::Checked).unwrap(), psk);
    let error = read(&folder.path()).unwrap_err();
    assert!(matches!(error.problem, KeyFileProblem::Key { line: 1, error: KeyError::WrongKind { .. } }));
}

#[test]
fn an_existing_file_is_never_touched() {
    let folder = Folder::new();
    let path = folder.with("precious");
    let error = write_new_secret(&path, &text()).unwrap_err();
    assert!(matches!(error.problem, KeyFileProblem::Exists), "{error}");
    assert_eq!(fs::read_to_string(path).unwrap(), "precious");
}

#[test]
fn a_missing_folder_is_not_made() {
    let folder = Folder::new();
    fs::write(folder.0.path().join("file"), "").unwrap();
    for parent in ["none", "file"] {
        let path = folder.0.path().join(parent).join("test.key");
        let error = write_new_secret(&path, &text()).unwrap_err();
        assert!(matches!(error.problem, KeyFileProblem::NoFolder), "{error}");
        assert!(!path.parent().unwrap().is_dir());
    }
}

#[test]
fn what_is_no_secret_is_never_written() {
    let folder = Folder::new();
    let public = PublicKey::from_bytes([1; 32]).to_string();
    for wrong in ["", "passphrase", &public, &format!("{0}\n{0}", text())] {
        write_new_secret(&folder.path(), wrong).unwrap_err();
        assert!(!folder.path().exists());
    }
}

#[test]
fn comments_empty_lines_and_foreign_line_ends_do_not_count() {
    let folder = Folder::new();
    let content = format!("# made today\r\n\r\n  {}\t\r\n# end", text());
    assert_eq!(read(&folder.with(content)).unwrap(), key());
    fs::remove_file(folder.path()).unwrap();
    write_new_secret(&folder.path(), &format!("# public: np1...\n{}\n", text())).unwrap();
    assert_eq!(read(&folder.path()).unwrap(), key());
}

#[test]
fn a_file_without_exactly_one_key_is_refused() {
    assert!(matches!(problem_of(""), KeyFileProblem::Empty));
    assert!(matches!(problem_of("# npsec1\n\n"), KeyFileProblem::Empty));
    let two = format!("{0}\n\n{0}\n", text());
    assert!(matches!(problem_of(two), KeyFileProblem::Second { line: 3 }));
}

#[test]
fn other_content_is_refused_without_showing_it() {
    let public = PublicKey::from_bytes([1; 32]).to_string();
    assert!(matches!(problem_of(public), KeyFileProblem::Key { line: 1, error: KeyError::WrongKind { .. } }));
    let typo = format!("#\n{}q", text());
    assert!(matches!(problem_of(typo), KeyFileProblem::Key { line: 2, error: KeyError::Checksum }));
    assert!(matches!(problem_of([0xff, 0xfe]), KeyFileProblem::NotText));
}

#[test]
fn a_file_past_64_kib_is_refused_and_one_of_64_kib_is_not() {
    let padded = |length: usize| format!("{}\n{}", text(), "#".repeat(length - text().len() - 1));
    let folder = Folder::new();
    assert_eq!(read(&folder.with(padded(65_536))).unwrap(), key());
    assert!(matches!(problem_of(padded(65_537)), KeyFileProblem::TooLarge));
}

#[test]
fn missing_files_and_folders_are_named() {
    let folder = Folder::new();
    let error = read(&folder.path()).unwrap_err();
    assert!(matches!(error.problem, KeyFileProblem::Missing), "{error}");
    #[cfg(unix)]
    {
        let error = read(folder.0.path()).unwrap_err();
        assert!(matches!(error.problem, KeyFileProblem::IsFolder), "{error}");
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::path::Path;

    use super::super::may_hold_secret;
    use super::{Folder, KeyFileMode, KeyFileProblem, key, read, read_secret_key, text};
    use crate::write_new_secret;

    pub(super) fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn of_all_modes_only_the_four_pass_and_only_for_their_owner() {
        let (root, me, other) = (0, 1000, 1001);
        for mode in 0..=0o7777 {
            let mine = [0o600, 0o400].contains(&mode);
            let roots = [0o640, 0o440].contains(&mode);
            assert_eq!(may_hold_secret(mode, me, me).is_ok(), mine, "{mode:o}");
            assert_eq!(may_hold_secret(mode, root, me).is_ok(), roots, "{mode:o}");
            let both = mine || roots;
            assert_eq!(may_hold_secret(mode, root, root).is_ok(), both, "{mode:o}");
            assert!(may_hold_secret(mode, other, me).is_err(), "{mode:o}");
            assert!(may_hold_secret(mode, other, root).is_err(), "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused_for_that_and_not_for_its_mode() {
        for (owner, user) in [(0, 1000), (1001, 1000)] {
            let problem = may_hold_secret(0o600, owner, user).unwrap_err();
            assert!(matches!(problem, KeyFileProblem::Owner { owner: found, .. } if found == owner), "{problem:?}");
        }
    }

    #[test]
    fn the_mode_to_give_keeps_roots_file_readable() {
        for (owner, user, mend) in [(0, 0, 0o600), (1000, 1000, 0o600), (0, 1000, 0o640)] {
            let problem = may_hold_secret(0o644, owner, user).unwrap_err();
            assert!(matches!(problem, KeyFileProblem::Mode { mode: 0o644, wanted } if wanted == mend), "{problem:?}");
        }
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let folder = Folder::new();
        write_new_secret(&folder.path(), &text()).unwrap();
        assert_eq!(mode_of(&folder.path()), 0o600);
    }

    #[test]
    fn a_link_is_not_written_through() {
        let folder = Folder::new();
        let target = folder.0.path().join("target");
        symlink(&target, folder.path()).unwrap();
        let error = write_new_secret(&folder.path(), &text()).unwrap_err();
        assert!(matches!(error.problem, KeyFileProblem::Exists), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn a_readable_file_is_refused_with_the_command_that_mends_it() {
        let folder = Folder::new();
        let path = folder.with(text());
        for mode in [0o644, 0o604, 0o660, 0o620, 0o602, 0o700, 0o666, 0o4600] {
            set_mode(&path, mode);
            let error = read(&path).unwrap_err();
            assert!(
                matches!(error.problem, KeyFileProblem::Mode { mode: seen, wanted: 0o600 } if seen == mode),
                "{error}"
            );
            let command = format!("`chmod 600 {}`", path.display());
            assert!(error.to_string().contains(&command), "{error}");
        }
        set_mode(&path, 0o400);
        assert_eq!(read(&path).unwrap(), key());
    }

    #[test]
    fn group_readable_is_for_roots_files_alone() {
        let folder = Folder::new();
        let path = folder.with(text());
        for mode in [0o640, 0o440] {
            set_mode(&path, mode);
            assert_eq!(read(&path).is_ok(), is_root(), "{mode:o}");
        }
    }

    #[test]
    fn danger_takes_any_mode() {
        let folder = Folder::new();
        let path = folder.with(text());
        set_mode(&path, 0o666);
        assert_eq!(read_secret_key(&path, KeyFileMode::DangerAny).unwrap(), key());
    }

    #[test]
    fn a_link_is_followed_and_its_target_checked() {
        let folder = Folder::new();
        let path = folder.with(text());
        let link = folder.0.path().join("link.key");
        symlink(&path, &link).unwrap();
        assert_eq!(read(&link).unwrap(), key());
        set_mode(&path, 0o644);
        let error = read(&link).unwrap_err();
        assert!(matches!(error.problem, KeyFileProblem::Mode { .. }), "{error}");
    }

    #[test]
    fn somebody_elses_file_is_refused() {
        if !is_root() {
            eprintln!("not root: giving a file away cannot be tested here; the table of modes is");
            return;
        }
        let folder = Folder::new();
        let path = folder.with(text());
        chown(&path, Some(12_345), None).unwrap();
        for mode in [0o600, 0o400, 0o640, 0o644] {
            set_mode(&path, mode);
            let error = read(&path).unwrap_err();
            assert!(matches!(error.problem, KeyFileProblem::Owner { owner: 12_345, user: 0 }), "{error}");
            assert!(error.to_string().contains("chown 0"), "{error}");
        }
        assert!(read_secret_key(&path, KeyFileMode::DangerAny).is_ok());
    }
}
