//! The judgements of `np doctor`: what was read goes in, what to make of it and what to do comes out. Must never read
//! anything itself.

use serde::Serialize;

use crate::counted::counted;

/// What a preface's time may differ from the server's, in milliseconds.
const SKEW: i64 = 5_000;
/// 2026-01-01 and 2100-01-01, in seconds since 1970: np is younger than the first.
const YEARS: std::ops::Range<u64> = 1_767_225_600..4_102_444_800;
/// What a server opens beside its connections.
#[cfg(any(unix, test))]
const BESIDE: u64 = 64;
/// Descriptors below which no server of any size runs.
#[cfg(any(unix, test))]
const LEAST_DESCRIPTORS: u64 = 256;
/// What a connection may have under way, below which a single record of 64 KiB waits for the network.
const LEAST_BUFFER: u64 = 64 << 10;
/// A buffer below which one connection cannot fill a link of 1 Gbit/s over 20 ms.
const GOOD_BUFFER: u64 = 2 << 20;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Nothing to do.
    Ok,
    /// It works, and may not do so under load or for long.
    Warn,
    /// It does not work.
    Fail,
}

impl State {
    /// The word of the table.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) check: String,
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// What to do; nothing where it is well.
    #[serde(skip_serializing_if = "String::is_empty", rename = "todo")]
    pub(crate) advice: String,
}

impl Check {
    fn new(check: impl Into<String>, state: State, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check: check.into(), state, found: found.into(), advice: advice.into() }
    }

    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found, "")
    }
}

/// Whether this machine's clock can be right: `now` in seconds since 1970, nothing where it stands before that. Unless it is
/// `compared` with a server's, nobody has looked for seconds.
pub(crate) fn clock(now: Option<u64>, compared: bool) -> Check {
    const SET: &str =
        "set the clock (timedatectl set-ntp true, or chrony): servers refuse clients whose clock is 5 s off";
    const UNCOMPARED: &str = "a time at which np exists, not compared with a server's: `np doctor ADDR` compares them";
    match now {
        Some(now) if YEARS.contains(&now) && compared => Check::ok("clock", "a time at which np exists"),
        Some(now) if YEARS.contains(&now) => Check::ok("clock", UNCOMPARED),
        Some(now) if now < YEARS.start => {
            let days = counted((YEARS.start - now) / 86_400, "day", "days");
            Check::new("clock", State::Fail, format!("stands {days} before 2026"), SET)
        }
        Some(_) => Check::new("clock", State::Fail, "stands behind the year 2100", SET),
        None => Check::new("clock", State::Fail, "stands before 1970", SET),
    }
}

/// What a server said to a first flight that carried this machine's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// It went on with the handshake: the time passed.
    Taken,
    /// It refused the time; by how many milliseconds this clock is ahead, where it said so.
    Refused(Option<i64>),
    /// It refused for another reason, of which this tells.
    Other(String),
    /// Nobody compares clocks in this mode.
    NotCompared(&'static str),
    /// No answer: why.
    Silent(String),
}

/// Whether a server can be reached, and takes this machine's time.
pub(crate) fn server(place: &str, stamp: &Stamp) -> [Check; 2] {
    let reached = |found: &str| Check::ok(format!("server {place}"), found);
    let clock = |state, found: String, advice: &str| Check::new("clock of the server", state, found, advice);
    match stamp {
        Stamp::Taken => [
            reached("answers, and speaks np"),
            clock(State::Ok, format!("at most {} s from this machine's", SKEW / 1_000), ""),
        ],
        Stamp::Refused(ahead) => [reached("answers, and speaks np"), skew(*ahead)],
        Stamp::Other(why) => [
            reached(&format!("answers, and speaks np; it refuses this handshake: {why}")),
            clock(
                State::Warn,
                "not compared: the handshake was refused before".to_owned(),
                "see docs/ERRORS.md for the code",
            ),
        ],
        Stamp::NotCompared(mode) => [
            reached("can be reached"),
            clock(State::Ok, format!("not compared in the mode {mode}; certificates have dates, though"), ""),
        ],
        Stamp::Silent(why) => [
            Check::new(
                format!("server {place}"),
                State::Fail,
                why.clone(),
                "check the address, the network and the firewall, and that an np server listens there",
            ),
            clock(State::Warn, "not compared: there is no answer".to_owned(), "reach the server first"),
        ],
    }
}

fn skew(ahead: Option<i64>) -> Check {
    let found = match ahead {
        Some(ahead) if ahead < 0 => format!("{:.1} s ahead of this machine's", ahead.unsigned_abs() as f64 / 1e3),
        Some(ahead) => format!("{:.1} s behind this machine's", ahead as f64 / 1e3),
        None => "too far from this machine's".to_owned(),
    };
    let advice =
        format!("set both clocks by NTP (timedatectl set-ntp true, or chrony); up to {} s are taken", SKEW / 1_000);
    Check::new("clock of the server", State::Fail, found, advice)
}

/// The milliseconds in the text of a refusal for the clock: `the peer's clock is off by -5100 ms`.
pub(crate) fn skew_in(text: &str) -> Option<i64> {
    text.split_whitespace().find_map(|word| word.parse().ok())
}

/// What reading a key file gave: what it holds, or what is wrong and what to do about it; and whether its mode was looked at.
pub(crate) fn key_file(path: &str, read: Result<&'static str, String>, moded: bool) -> Check {
    let name = format!("key file {path}");
    match read {
        Ok(holds) if moded => Check::ok(name, format!("holds {holds}, and its mode is that of a secret")),
        Ok(holds) => Check::ok(name, format!("holds {holds}; who may read it is not looked at on this system")),
        Err(error) => {
            let (found, advice) =
                error.split_once("; ").unwrap_or((&error, "make a new one with `np keygen --out FILE`"));
            Check::new(name, State::Fail, found, advice)
        }
    }
}

/// What trying to listen gave.
pub(crate) fn listen(place: &str, bound: Result<(), String>) -> Check {
    let name = format!("listen {place}");
    match bound {
        Ok(()) => Check::ok(name, "free, and this user may listen there"),
        Err(error) => {
            let (found, advice) = error.split_once("; ").unwrap_or((&error, "choose another address"));
            Check::new(name, State::Fail, found, advice)
        }
    }
}

/// The limits of open files, soft and hard, where the system has such; none is no limit.
#[cfg(any(unix, test))]
pub(crate) fn descriptors(soft: Option<u64>, hard: Option<u64>, connections: u64) -> Check {
    const RAISE: &str =
        "raise the hard limit: LimitNOFILE= in the unit, or a line `nofile` in /etc/security/limits.conf";
    let name = "open files";
    let wanted = connections.saturating_add(BESIDE);
    let shown = |limit: Option<u64>| limit.map_or_else(|| "any number".to_owned(), |limit| limit.to_string());
    let found = format!(
        "{} at once, up to {} where asked for; {} {wanted}",
        shown(soft),
        shown(hard),
        counted(connections, "connection takes", "connections take")
    );
    let below = |limit: Option<u64>, height: u64| limit.is_some_and(|limit| limit < height);
    if below(hard, LEAST_DESCRIPTORS) {
        Check::new(name, State::Fail, found, RAISE)
    } else if below(hard, wanted) {
        Check::new(name, State::Warn, found, format!("{RAISE}; or set max_connections lower"))
    } else if below(soft, wanted) {
        let advice = "np serve raises it by itself; other programs need `ulimit -n`, or LimitNOFILE= in the unit";
        Check::new(name, State::Warn, found, advice)
    } else {
        Check::ok(name, found)
    }
}

/// A direction's socket buffers, in bytes: the most that the system tunes one to by itself, the most that a program may ask
/// for, and what the configuration asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Buffers {
    pub(crate) tuned: Option<u64>,
    pub(crate) askable: Option<u64>,
    pub(crate) asked: Option<u64>,
}

/// Whether buffers let one connection fill a link. `direction` is `receive` or `send`.
pub(crate) fn buffers(direction: &str, buffers: Buffers) -> Check {
    let name = format!("{direction} buffers");
    let (auto, max) = match direction {
        "send" => ("net.ipv4.tcp_wmem", "net.core.wmem_max"),
        _ => ("net.ipv4.tcp_rmem", "net.core.rmem_max"),
    };
    let kib = |bytes: u64| format!("{} KiB", bytes >> 10);
    if let (Some(asked), Some(askable)) = (buffers.asked, buffers.askable)
        && asked > askable
    {
        let found =
            format!("{direction}_buffer asks for {}, and the system gives {} at most", kib(asked), kib(askable));
        return Check::new(name, State::Warn, found, format!("sysctl -w {max}={asked}, or ask for less"));
    }
    let (most, setting) = match (buffers.asked, buffers.tuned) {
        (Some(asked), _) => (asked, format!("{direction}_buffer")),
        (None, Some(tuned)) => (tuned, format!("the last figure of {auto}")),
        (None, None) => return Check::ok(name, "not told by this system"),
    };
    let found = format!("up to {} a connection", kib(most));
    if most < LEAST_BUFFER {
        Check::new(name, State::Fail, found, format!("a record takes 64 KiB: raise {setting} to 4194304"))
    } else if most < GOOD_BUFFER {
        let advice = format!("enough nearby; over 20 ms it is less than 1 Gbit/s: raise {setting} to 4194304");
        Check::new(name, State::Warn, found, advice)
    } else {
        Check::ok(name, found)
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, Check, Stamp, State, buffers, clock, descriptors, key_file, listen, server, skew_in};

    #[track_caller]
    fn is(check: &Check, state: State, found: &str, advice: &str) {
        assert_eq!(check.state, state, "{check:?}");
        assert!(check.found.contains(found) && check.advice.contains(advice), "{check:?}");
        assert_eq!(check.advice.is_empty(), state == State::Ok, "what is not well says what to do: {check:?}");
    }

    #[test]
    fn a_clock_that_cannot_be_right_fails() {
        is(&clock(Some(1_800_000_000), true), State::Ok, "", "");
        is(&clock(Some(1_767_225_600), true), State::Ok, "", "");
        is(&clock(Some(1_767_225_599), true), State::Fail, "0 days before 2026", "NTP".to_lowercase().as_str());
        is(&clock(Some(0), true), State::Fail, "20454 days before 2026", "timedatectl");
        is(&clock(Some(4_102_444_800), true), State::Fail, "2100", "timedatectl");
        is(&clock(None, true), State::Fail, "1970", "timedatectl");
        is(&clock(Some(1_800_000_000), false), State::Ok, "`np doctor ADDR` compares", "");
        is(&clock(None, false), State::Fail, "1970", "timedatectl");
    }

    #[test]
    fn a_server_that_refuses_the_time_or_is_silent_fails() {
        let two = |stamp| server("tcp://db:9000", &stamp);
        let [reached, time] = two(Stamp::Taken);
        is(&reached, State::Ok, "speaks np", "");
        is(&time, State::Ok, "at most 5 s", "");
        let [reached, time] = two(Stamp::Refused(Some(-5_100)));
        is(&reached, State::Ok, "", "");
        is(&time, State::Fail, "5.1 s ahead of this machine's", "NTP");
        is(&two(Stamp::Refused(Some(60_000)))[1], State::Fail, "60.0 s behind this machine's", "NTP");
        is(&two(Stamp::Refused(None))[1], State::Fail, "too far", "NTP");
        is(&two(Stamp::NotCompared("tls"))[1], State::Ok, "mode tls", "");
        let [reached, time] = two(Stamp::Other("not-allowed".to_owned()));
        is(&reached, State::Ok, "not-allowed", "");
        is(&time, State::Warn, "not compared", "ERRORS.md");
        let [reached, time] = two(Stamp::Silent("refused".to_owned()));
        is(&reached, State::Fail, "refused", "firewall");
        is(&time, State::Warn, "not compared", "reach");
    }

    #[test]
    fn the_difference_is_read_out_of_the_refusal() {
        assert_eq!(skew_in("the peer's clock is off by -5100 ms"), Some(-5_100));
        assert_eq!(skew_in("this machine's clock was set back; stamps this old are refused"), None);
        assert_eq!(skew_in("off by 99999999999999999999 ms"), None);
    }

    #[test]
    fn a_key_file_and_a_place_that_cannot_be_used_fail_with_the_way_out() {
        is(&key_file("a.key", Ok("a secret key"), true), State::Ok, "a secret key", "");
        is(
            &key_file("a.key", Err("has mode 0644; run `chmod 600 a.key`".to_owned()), true),
            State::Fail,
            "0644",
            "chmod 600",
        );
        is(&key_file("a.key", Ok("a secret key"), false), State::Ok, "not looked at", "");
        is(&key_file("a.key", Err("broken".to_owned()), true), State::Fail, "broken", "np keygen");
        is(&listen("tcp://h:1", Ok(())), State::Ok, "free", "");
        is(&listen("tcp://h:1", Err("in use; choose another port".to_owned())), State::Fail, "in use", "another port");
        is(&listen("tcp://h:1", Err("in use".to_owned())), State::Fail, "in use", "another address");
    }

    #[test]
    fn open_files_are_held_against_the_connections() {
        is(&descriptors(None, None, 1 << 20), State::Ok, "any number", "");
        is(&descriptors(Some(1_064), Some(1_064), 1_000), State::Ok, "take 1064", "");
        is(&descriptors(Some(1_063), Some(1_064), 1_000), State::Warn, "1063 at once", "np serve raises it");
        is(&descriptors(Some(1_063), Some(1_063), 1_000), State::Warn, "", "max_connections lower");
        is(&descriptors(Some(255), Some(255), 10), State::Fail, "255 at once", "LimitNOFILE");
        is(&descriptors(Some(256), Some(256), 10), State::Ok, "", "");
    }

    #[test]
    fn buffers_are_held_against_a_record_and_a_link() {
        let tuned = |bytes| Buffers { tuned: Some(bytes), ..Buffers::default() };
        is(&buffers("receive", tuned(2 << 20)), State::Ok, "2048 KiB", "");
        is(&buffers("receive", tuned((2 << 20) - 1)), State::Warn, "2047 KiB", "tcp_rmem");
        is(&buffers("send", tuned(65_535)), State::Fail, "63 KiB", "tcp_wmem");
        is(&buffers("send", Buffers::default()), State::Ok, "not told", "");
        let asked = Buffers { tuned: Some(6 << 20), askable: Some(212_992), asked: Some(1 << 20) };
        is(&buffers("send", asked), State::Warn, "208 KiB at most", "net.core.wmem_max=1048576");
        is(&buffers("send", Buffers { asked: Some(60_000), ..asked }), State::Fail, "58 KiB", "send_buffer");
    }
}
