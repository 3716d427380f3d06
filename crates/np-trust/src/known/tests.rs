//! Tests of the file of known peers.

use std::error::Error as _;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use np_types::{KeyError, PublicKey, SecretKey, UnixMillis};
use tempfile::TempDir;

use super::{KnownPeer, KnownPeers, KnownPeersError, KnownPeersProblem};

const NOW: UnixMillis = UnixMillis(1_772_323_200_000);
const DB: &str = "tcp://db:4711";

fn key(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}

struct Place {
    path: PathBuf,
    known: KnownPeers,
    _folder: TempDir,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_peers");
    let known = KnownPeers::open(&path).unwrap();
    Place { path, known, _folder: folder }
}

fn with(text: &str) -> Place {
    let place = place();
    fs::write(&place.path, text).unwrap();
    place
}

fn problem_of(text: &str) -> KnownPeersProblem {
    let place = with(text);
    let error = KnownPeers::open(&place.path).unwrap_err();
    assert!(error.to_string().contains("known_peers"), "{error}");
    // What is wrong from the start is no less wrong later on.
    let later = place.known.first_use(DB, &key(1), NOW).unwrap_err();
    assert_eq!(later.to_string(), error.to_string());
    assert_eq!(fs::read_to_string(&place.path).unwrap(), text);
    error.problem
}

#[test]
fn a_first_key_is_kept_and_another_is_refused_with_its_line() {
    let place = place();
    assert_eq!(place.known.check(DB, &key(1)).unwrap(), KnownPeer::New);
    assert!(!place.path.exists(), "a check writes nothing");
    assert_eq!(place.known.first_use(DB, &key(1), NOW).unwrap(), KnownPeer::New);
    assert_eq!(fs::read_to_string(&place.path).unwrap(), format!("{DB} {} 2026-03-01\n", key(1)));
    assert_eq!(place.known.first_use(DB, &key(1), NOW).unwrap(), KnownPeer::Known);
    let changed = KnownPeer::Changed { expected: key(1), line: 1 };
    assert_eq!(place.known.first_use(DB, &key(2), NOW).unwrap(), changed);
    assert_eq!(place.known.check(DB, &key(2)).unwrap(), changed);
    assert_eq!(place.known.check("tcp://db:4712", &key(2)).unwrap(), KnownPeer::New);
    assert_eq!(fs::read_to_string(&place.path).unwrap().lines().count(), 1);
}

#[test]
fn any_of_several_keys_is_known_and_the_last_is_the_expected_one() {
    let place = place();
    place.known.remember(DB, &key(1)).unwrap();
    place.known.remember(DB, &key(2)).unwrap();
    place.known.remember(DB, &key(1)).unwrap();
    assert_eq!(fs::read_to_string(&place.path).unwrap().lines().count(), 2);
    for known in [1, 2] {
        assert_eq!(place.known.check(DB, &key(known)).unwrap(), KnownPeer::Known);
    }
    assert_eq!(place.known.check(DB, &key(3)).unwrap(), KnownPeer::Changed { expected: key(2), line: 2 });
}

#[test]
fn lines_and_comments_stay_as_they_are() {
    let text = format!("# mine\r\n\r\n  {DB}\t{}   2020-01-01 # the old one\nmem:x {} # no day", key(1), key(2));
    let place = with(&text);
    assert_eq!(place.known.check(DB, &key(1)).unwrap(), KnownPeer::Known);
    assert_eq!(place.known.check("mem:x", &key(2)).unwrap(), KnownPeer::Known);
    assert_eq!(place.known.first_use("unix:/run/a#b", &key(3), NOW).unwrap(), KnownPeer::New);
    let expected = format!("{text}\nunix:/run/a#b {} 2026-03-01\n", key(3));
    assert_eq!(fs::read_to_string(&place.path).unwrap(), expected);
    assert_eq!(place.known.check("unix:/run/a#b", &key(3)).unwrap(), KnownPeer::Known);
}

#[test]
fn a_mark_at_the_start_hides_no_line() {
    let place = with(&format!("\u{feff}{DB} {}\n", key(1)));
    assert_eq!(place.known.check(DB, &key(1)).unwrap(), KnownPeer::Known);
}

#[test]
fn a_line_that_cannot_be_read_makes_the_file_an_error() {
    let good = format!("{DB} {}", key(1));
    assert!(matches!(problem_of("db\n"), KnownPeersProblem::Key { line: 1, error: KeyError::Empty }));
    let problem = problem_of(&format!("{good}\n{} {DB}", key(1)));
    assert!(matches!(problem, KnownPeersProblem::Key { line: 2, error: KeyError::Prefix { .. } }));
    for rest in ["yesterday", "2026-02-29", "2026-03-01 more", "2026-03-01 2026-03-01"] {
        assert!(matches!(problem_of(&format!("\n{good} {rest}")), KnownPeersProblem::Day { line: 2 }), "{rest}");
    }
}

#[test]
fn what_is_no_list_is_refused_by_name() {
    let place = place();
    fs::write(&place.path, [0xff]).unwrap();
    assert!(matches!(KnownPeers::open(&place.path).unwrap_err().problem, KnownPeersProblem::NotText));
    fs::File::create(&place.path).unwrap().set_len(4 * 1_048_576 + 1).unwrap();
    assert!(matches!(KnownPeers::open(&place.path).unwrap_err().problem, KnownPeersProblem::TooLarge));
    fs::remove_file(&place.path).unwrap();
    fs::create_dir(&place.path).unwrap();
    assert!(matches!(KnownPeers::open(&place.path).unwrap_err().problem, KnownPeersProblem::NotFile));
}

/// A path through a file leads nowhere, and is no list that is not there yet. Windows does not tell them apart.
#[cfg(unix)]
#[test]
fn a_path_through_a_file_is_refused() {
    let place = with("");
    let error = KnownPeers::open(&place.path.join("known_peers")).unwrap_err();
    assert!(matches!(error.problem, KnownPeersProblem::Read(_)), "{error}");
}

#[test]
fn an_error_has_the_one_behind_it_as_its_source() {
    let source = |problem| KnownPeersError { path: PathBuf::new(), problem }.source().map(ToString::to_string);
    let io = || std::io::Error::other("the disk is gone");
    for problem in [KnownPeersProblem::Read(io()), KnownPeersProblem::Write(io())] {
        assert_eq!(source(problem), Some("the disk is gone".to_owned()));
    }
    let error = "np1".parse::<PublicKey>().unwrap_err();
    assert_eq!(source(KnownPeersProblem::Key { line: 1, error: error.clone() }), Some(error.to_string()));
    assert_eq!(source(KnownPeersProblem::Full), None);
}

/// Or whoever reads a list that others write would need to write beside it, and would wait for them.
#[test]
fn a_key_that_is_known_needs_no_lock() {
    let place = with(&format!("{DB} {}\n", key(1)));
    assert_eq!(place.known.first_use(DB, &key(1), NOW).unwrap(), KnownPeer::Known);
    place.known.remember(DB, &key(1)).unwrap();
    assert!(!place.path.with_file_name("known_peers.lock").exists());
    place.known.remember(DB, &key(2)).unwrap();
    assert!(place.path.with_file_name("known_peers.lock").exists());
}

#[test]
fn a_line_that_would_pass_4_mib_is_not_written() {
    let line = format!("a {} 2026-03-01\n", key(1));
    let comment = |room: usize| format!("#{}\n", "x".repeat(4 * 1_048_576 - 2 - room));
    let full = comment(line.len() - 1);
    let place = with(&full);
    let error = place.known.first_use("a", &key(1), NOW).unwrap_err();
    assert!(error.to_string().contains("no room below its limit of 4 MiB"), "{error}");
    assert_eq!(fs::read_to_string(&place.path).unwrap(), full);
    let place = with(&comment(line.len()));
    assert_eq!(place.known.first_use("a", &key(1), NOW).unwrap(), KnownPeer::New);
    assert_eq!(place.known.check("a", &key(1)).unwrap(), KnownPeer::Known);
}

#[test]
fn an_address_is_one_word_of_at_most_512_bytes() {
    let place = place();
    for wrong in ["", "#x", "a b", "a\n", "a\u{a0}b", "a\u{1b}", &"a".repeat(513)] {
        for error in [place.known.check(wrong, &key(1)), place.known.first_use(wrong, &key(1), NOW)] {
            let error = error.unwrap_err();
            assert!(matches!(error.problem, KnownPeersProblem::Address), "{wrong:?}");
            assert!(error.to_string().contains("1 to 512 bytes"), "{error}");
        }
    }
    assert!(!place.path.exists());
    place.known.remember(&"a".repeat(512), &key(1)).unwrap();
}

#[test]
fn a_secret_in_the_file_is_not_shown() {
    let secret = SecretKey::from_bytes([7; 32]).to_text();
    for text in [format!("{DB} {}", &*secret), format!("{} {DB}", &*secret), format!("{DB} {} {}", key(1), &*secret)] {
        let error = KnownPeers::open(&with(&text).path).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(&secret[8..20]), "the secret leaked: {shown}");
    }
}

#[test]
fn folders_are_made_when_the_first_key_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/known_peers");
    let known = KnownPeers::open(&path).unwrap();
    assert_eq!(known.check(DB, &key(1)).unwrap(), KnownPeer::New);
    assert!(!folder.path().join("a").exists());
    known.remember(DB, &key(1)).unwrap();
    assert_eq!(known.check(DB, &key(1)).unwrap(), KnownPeer::Known);
}

#[cfg(unix)]
#[test]
fn file_and_folders_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/known_peers");
    let known = KnownPeers::open(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    known.remember(DB, &key(1)).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&folder.path().join("a"))), (0o600, 0o700, 0o700));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    known.remember(DB, &key(2)).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_stays() {
    let place = with("");
    let link = place.path.with_file_name("link");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    KnownPeers::open(&link).unwrap().remember(DB, &key(1)).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(place.known.check(DB, &key(1)).unwrap(), KnownPeer::Known);

    fs::remove_file(&place.path).unwrap();
    let error = KnownPeers::open(&link).unwrap_err();
    assert!(matches!(error.problem, KnownPeersProblem::NotFile), "a link to nothing: {error}");
}

#[cfg(unix)]
#[test]
fn a_device_is_never_replaced() {
    let error = KnownPeers::open(Path::new("/dev/null")).unwrap_err();
    assert!(matches!(error.problem, KnownPeersProblem::NotFile), "{error}");
}

#[test]
fn a_new_version_that_cannot_be_written_leaves_the_old_one() {
    let place = with(&format!("{DB} {}\n", key(1)));
    // A folder stands where the new version is written.
    let new = place.path.with_file_name("known_peers.new");
    fs::create_dir(&new).unwrap();
    let error = place.known.first_use("mem:x", &key(2), NOW).unwrap_err();
    assert!(matches!(error.problem, KnownPeersProblem::Write(_)), "{error}");
    assert_eq!(fs::read_to_string(&place.path).unwrap(), format!("{DB} {}\n", key(1)));
    assert_eq!(place.known.check("mem:x", &key(2)).unwrap(), KnownPeer::New);
}

#[test]
fn what_a_crash_left_behind_is_neither_read_nor_in_the_way() {
    let place = with(&format!("{DB} {}\n", key(1)));
    // As after a crash between the writing of the new version and its taking the place of the old one.
    let new = place.path.with_file_name("known_peers.new");
    fs::write(&new, format!("{DB} {}\nmem:x {}", key(8), key(9))).unwrap();
    fs::write(place.path.with_file_name("known_peers.lock"), "").unwrap();
    assert_eq!(place.known.check(DB, &key(1)).unwrap(), KnownPeer::Known);
    assert_eq!(place.known.check("mem:x", &key(9)).unwrap(), KnownPeer::New);
    place.known.first_use("mem:x", &key(2), NOW).unwrap();
    let expected = format!("{DB} {}\nmem:x {} 2026-03-01\n", key(1), key(2));
    assert_eq!(fs::read_to_string(&place.path).unwrap(), expected);
    assert!(!new.exists());
}

#[test]
fn threads_that_remember_at_the_same_time_lose_nothing() {
    let place = place();
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for thread in 0..8u8 {
            let (known, start) = (&place.known, &start);
            scope.spawn(move || {
                start.wait();
                for peer in 0..10 {
                    let found = known.first_use(&format!("mem:{thread}-{peer}"), &key(thread), NOW);
                    assert_eq!(found.unwrap(), KnownPeer::New);
                }
            });
        }
    });
    assert_complete(&place, 8);
}

fn assert_complete(place: &Place, writers: u8) {
    assert_eq!(fs::read_to_string(&place.path).unwrap().lines().count(), usize::from(writers) * 10);
    for writer in 0..writers {
        for peer in 0..10 {
            let found = place.known.check(&format!("mem:{writer}-{peer}"), &key(writer)).unwrap();
            assert_eq!(found, KnownPeer::Known);
        }
    }
}

#[test]
fn of_two_first_uses_at_the_same_time_one_wins() {
    for _ in 0..20 {
        let place = place();
        let start = Barrier::new(2);
        let first_use = |byte| {
            start.wait();
            place.known.first_use(DB, &key(byte), NOW).unwrap()
        };
        let found = thread::scope(|scope| {
            let one = scope.spawn(|| first_use(1));
            (first_use(2), one.join().unwrap())
        });
        let one_won = (KnownPeer::Changed { expected: key(1), line: 1 }, KnownPeer::New);
        let two_won = (KnownPeer::New, KnownPeer::Changed { expected: key(2), line: 1 });
        assert!(found == one_won || found == two_won, "{found:?}");
        assert_eq!(fs::read_to_string(&place.path).unwrap().lines().count(), 1, "the other key is not kept");
    }
}

/// What names the file to the processes of the next test, and which of them one is.
const CHILD: &str = "NP_TRUST_TEST_CHILD";

/// Does nothing by itself: it is what the processes of the next test run.
#[test]
fn a_process_that_remembers() {
    let Some(child) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let writer: u8 = child.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let known = KnownPeers::open(&child.with_file_name("known_peers")).unwrap();
    for peer in 0..10 {
        known.first_use(&format!("mem:{writer}-{peer}"), &key(writer), NOW).unwrap();
    }
}

#[test]
fn processes_that_remember_at_the_same_time_lose_nothing() {
    let place = place();
    let start = |writer: u8| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "known::tests::a_process_that_remembers"]);
        command.env(CHILD, place.path.with_file_name(writer.to_string()));
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_complete(&place, 4);
}

#[test]
fn the_users_folder_is_found_through_the_environment() {
    let root = if cfg!(windows) { r"C:\" } else { "/" };
    let path = |rest: &str| Path::new(root).join(rest);
    let find = |set: &[(&str, PathBuf)]| {
        let env = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value));
        KnownPeers::default_path(&env)
    };
    let relative = PathBuf::from("relative");
    if cfg!(windows) {
        assert_eq!(find(&[("APPDATA", path("data"))]), Some(path("data").join("np").join("known_peers")));
        assert_eq!(find(&[("APPDATA", relative), ("HOME", path("home"))]), None);
        return;
    }
    let (xdg, home) = (("XDG_CONFIG_HOME", path("xdg")), ("HOME", path("home")));
    let in_home = Some(path("home/.config/np/known_peers"));
    assert_eq!(find(&[xdg.clone(), home.clone()]), Some(path("xdg/np/known_peers")));
    assert_eq!(find(&[xdg]), Some(path("xdg/np/known_peers")));
    assert_eq!(find(std::slice::from_ref(&home)), in_home);
    for empty in [PathBuf::new(), relative.clone()] {
        assert_eq!(find(&[("XDG_CONFIG_HOME", empty), home.clone()]), in_home);
    }
    assert_eq!(find(&[("HOME", relative)]), None);
}
