//! Tests of lists that follow their file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use np_types::PublicKey;

use super::{SETTLE, WatchedList};
use crate::AllowList;
use crate::test_log::lines_of;

fn key(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, lines(bytes)).unwrap();
}

fn lines(keys: &[u8]) -> String {
    keys.iter().map(|byte| format!("{}\n", key(*byte))).collect()
}

/// A file with the key 1 and the list that follows it.
struct Watched {
    list: WatchedList,
    path: PathBuf,
    start: Instant,
    folder: tempfile::TempDir,
}

impl Watched {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("staff");
        write(&path, &[1]);
        let start = Instant::now();
        let list = WatchedList::open(&path, start).unwrap().unwrap();
        Self { list, path, start, folder }
    }

    fn at(&self, after: Duration) -> AllowList {
        (*self.list.current(self.start + after)).clone()
    }

    /// The list after every doubt about its file's time has gone.
    fn settled(&self) -> AllowList {
        self.at(SETTLE)
    }

    fn reads(&self) -> u32 {
        self.list.lock().reads
    }
}

fn list(keys: &[u8]) -> AllowList {
    AllowList::parse(&lines(keys)).unwrap()
}

#[test]
fn the_last_list_is_that_of_the_last_look() {
    let watched = Watched::new();
    let last = || (*watched.list.last()).clone();
    assert_eq!(last(), list(&[1]));
    write(&watched.path, &[1, 2]);
    assert_eq!(last(), list(&[1]), "nobody has looked since");
    assert_eq!(watched.settled(), list(&[1, 2]));
    assert_eq!(last(), list(&[1, 2]));
}

#[test]
fn a_change_counts_at_the_next_look() {
    let watched = Watched::new();
    assert_eq!(watched.settled(), list(&[1]));
    for (keys, after) in [(&[1, 2][..], 10), (&[3], 20), (&[4], 20), (&[], 20), (&[1], 30)] {
        write(&watched.path, keys);
        assert_eq!(watched.at(Duration::from_secs(after)), list(keys));
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_took_the_others_place_counts() {
    let watched = Watched::new();
    watched.settled();
    let modified = fs::metadata(&watched.path).unwrap().modified().unwrap();
    let other = watched.folder.path().join("other");
    write(&other, &[2]);
    File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
    fs::rename(&other, &watched.path).unwrap();
    assert_eq!(watched.at(SETTLE * 2), list(&[2]));
}

#[test]
fn a_file_that_stays_as_it_is_is_read_no_more() {
    let watched = Watched::new();
    let seconds = Duration::from_secs;
    watched.at(seconds(1));
    watched.at(Duration::from_millis(1_999));
    assert_eq!(watched.reads(), 3, "within 2 s of its change a file may change again and keep its time");
    watched.at(seconds(2));
    assert_eq!(watched.reads(), 4);
    for later in 2..100 {
        watched.at(seconds(later));
    }
    assert_eq!(watched.reads(), 4);

    write(&watched.path, &[2]);
    watched.at(seconds(100));
    watched.at(seconds(101));
    assert_eq!(watched.reads(), 6);
    watched.at(seconds(102));
    watched.at(seconds(103));
    assert_eq!(watched.reads(), 7);
}

/// The list as its look left it, and what it wrote to the log.
fn logged(watched: &Watched, after: u64) -> (AllowList, Vec<String>) {
    let mut list = None;
    let lines = lines_of(|| list = Some(watched.at(Duration::from_secs(after))));
    (list.unwrap(), lines)
}

fn assert_one(lines: &[String], parts: &[&str]) {
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in parts {
        assert!(lines[0].contains(part), "{part} is not in {lines:?}");
    }
}

#[test]
fn a_good_change_is_audited_once_and_a_touch_not_at_all() {
    let watched = Watched::new();
    watched.settled();
    write(&watched.path, &[1, 2]);
    let (_, lines) = logged(&watched, 10);
    assert_one(&lines, &["INFO np::audit", "read again", "keys=2", "staff"]);
    assert_eq!(logged(&watched, 11).1, Vec::<String>::new());
    write(&watched.path, &[1, 2]);
    assert_eq!(logged(&watched, 20).1, Vec::<String>::new());
}

#[test]
fn a_malformed_file_keeps_the_last_good_list_and_is_audited_once_a_change() {
    let watched = Watched::new();
    watched.settled();
    fs::write(&watched.path, format!("{}\nnonsense", key(2))).unwrap();
    let (list_now, lines) = logged(&watched, 10);
    assert_eq!(list_now, list(&[1]));
    assert_one(&lines, &["ERROR np::audit", "staff, line 2", "last good one"]);
    for later in [10, 11, 20, 30] {
        assert_eq!(logged(&watched, later), (list(&[1]), Vec::new()));
    }
    fs::write(&watched.path, "other nonsense").unwrap();
    assert_one(&logged(&watched, 40).1, &["ERROR np::audit", "staff, line 1"]);

    write(&watched.path, &[2]);
    let (list_now, lines) = logged(&watched, 50);
    assert_eq!(list_now, list(&[2]));
    assert_one(&lines, &["INFO np::audit"]);
}

#[test]
fn a_file_past_its_bound_and_a_folder_in_its_place_keep_the_last_good_list() {
    let watched = Watched::new();
    File::create(&watched.path).unwrap().set_len(4 * 1_048_576 + 1).unwrap();
    let (list_now, lines) = logged(&watched, 10);
    assert_eq!(list_now, list(&[1]));
    assert_one(&lines, &["ERROR np::audit", "4 MiB"]);

    fs::remove_file(&watched.path).unwrap();
    fs::create_dir(&watched.path).unwrap();
    let (list_now, lines) = logged(&watched, 20);
    assert_eq!(list_now, list(&[1]));
    assert_one(&lines, &["ERROR np::audit", "is not a file"]);
    assert_eq!(logged(&watched, 30).1, Vec::<String>::new());

    fs::remove_dir(&watched.path).unwrap();
    write(&watched.path, &[1]);
    assert_one(&logged(&watched, 40).1, &["INFO np::audit"]);
}

#[test]
fn a_file_that_is_gone_allows_nobody_until_it_is_back() {
    let watched = Watched::new();
    fs::remove_file(&watched.path).unwrap();
    let (list_now, lines) = logged(&watched, 1);
    assert!(list_now.is_empty());
    assert_one(&lines, &["WARN np::audit", "gone", "staff"]);
    assert_eq!(logged(&watched, 10), (AllowList::default(), Vec::new()));

    write(&watched.path, &[1]);
    let (list_now, lines) = logged(&watched, 20);
    assert_eq!(list_now, list(&[1]));
    assert_one(&lines, &["INFO np::audit"]);
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_keeps_the_last_good_list() {
    let watched = Watched::new();
    // A link to itself is refused to everybody, root too.
    fs::remove_file(&watched.path).unwrap();
    std::os::unix::fs::symlink(&watched.path, &watched.path).unwrap();
    let (list_now, lines) = logged(&watched, 10);
    assert_eq!(list_now, list(&[1]));
    assert_one(&lines, &["ERROR np::audit", "cannot be read"]);
    assert_eq!(logged(&watched, 20), (list(&[1]), Vec::new()));
}

#[test]
fn a_list_that_is_wrong_at_the_start_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("staff");
    fs::write(&path, "nonsense").unwrap();
    let error = WatchedList::open(&path, Instant::now()).err().unwrap();
    assert!(error.to_string().contains("staff, line 1"), "{error}");
    assert!(WatchedList::open(folder.path(), Instant::now()).unwrap().is_none(), "a folder is not followed");
}

#[test]
fn looks_at_the_same_time_see_the_old_list_or_the_new_one() {
    let watched = Watched::new();
    let one = list(&[1]);
    let two = list(&[1, 2]);
    let other = watched.folder.path().join("other");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let seen = watched.at(Duration::from_secs(1));
                    assert!(seen == one || seen == two, "{seen:?}");
                }
            });
        }
        for keys in [&[1, 2][..], &[1]].iter().cycle().take(50) {
            write(&other, keys);
            // On Windows a file that is being read cannot be replaced.
            let _ = fs::rename(&other, &watched.path);
        }
    });
}
