//! The replay guard: window, copies, capacity, forgetting, clocks that are set, and a model beside it.
#![cfg(test)]

use std::collections::HashMap;
use std::time::Duration;

use np_noise::{ReplayError, ReplayGuard, ReplayGuardError};
use np_types::UnixMillis;
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

const WINDOW: Duration = Duration::from_secs(5);
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const CAPACITY: usize = 10_000;
const KEY: [u8; 16] = [0x5a; 16];

#[test]
fn stamps_within_five_seconds_pass_and_no_others() {
    let guard = guard();
    for (offset, passes) in [
        (0, true),
        (4_900, true),
        (-4_900, true),
        (5_000, true),
        (-5_000, true),
        (5_001, false),
        (-5_001, false),
        (5_100, false),
        (-5_100, false),
    ] {
        let expected = if passes { Ok(()) } else { Err(ReplayError::Skew { measured: offset }) };
        assert_eq!(guard.check(NOW, shifted(offset), &nonce(1)), expected, "{offset}");
        assert_eq!(self::guard().admit(NOW, shifted(offset), &nonce(1)), expected, "{offset}");
    }
}

/// The same first flight, seen by clocks before and behind its stamp: what counts is the distance at the moment it comes.
#[test]
fn the_window_moves_with_the_clock() {
    let stamp = shifted(0);
    for (clock, passes) in [(-5_100, false), (-4_900, true), (4_900, true), (5_100, false)] {
        let mut guard = guard();
        let expected = if passes { Ok(()) } else { Err(ReplayError::Skew { measured: -clock }) };
        assert_eq!(guard.check(shifted(clock), stamp, &nonce(1)), expected, "{clock}");
        assert_eq!(guard.admit(shifted(clock), stamp, &nonce(1)), expected, "{clock}");
        // Refused for its stamp, a flight leaves nothing behind; let in, it is a copy wherever its stamp still passes.
        assert_eq!(guard.len(), usize::from(passes), "{clock}");
        let again = if passes { Err(ReplayError::Seen) } else { Ok(()) };
        assert_eq!(guard.admit(shifted(clock.signum() * 4_900), stamp, &nonce(1)), again, "{clock}");
    }
}

#[test]
fn extreme_stamps_and_clocks_are_only_skewed() {
    let mut guard = guard();
    let skew = |measured| Err(ReplayError::Skew { measured });
    assert_eq!(guard.admit(NOW, UnixMillis(u64::MAX), &nonce(1)), skew(i64::MAX));
    assert_eq!(guard.admit(UnixMillis(u64::MAX), UnixMillis(0), &nonce(1)), skew(-i64::MAX));
    assert_eq!(guard.admit(UnixMillis(0), UnixMillis(0), &nonce(1)), Ok(()));
    assert_eq!(guard.admit(UnixMillis(u64::MAX), UnixMillis(u64::MAX), &nonce(2)), Ok(()));
    assert_eq!(guard.admit(UnixMillis(u64::MAX), UnixMillis(u64::MAX), &nonce(2)), Err(ReplayError::Seen));
}

#[test]
fn a_copy_is_refused_as_long_as_its_stamp_would_pass() {
    let mut guard = guard();
    let stamp = shifted(4_000);
    assert_eq!(guard.admit(NOW, stamp, &nonce(1)), Ok(()));
    for later in [0, 1, 5_000, 8_999, 9_000] {
        assert_eq!(guard.check(shifted(later), stamp, &nonce(1)), Err(ReplayError::Seen), "{later}");
        assert_eq!(guard.admit(shifted(later), stamp, &nonce(1)), Err(ReplayError::Seen), "{later}");
    }
    assert_eq!(guard.admit(shifted(9_001), stamp, &nonce(1)), Err(ReplayError::Skew { measured: -5_001 }));
}

#[test]
fn a_nonce_is_refused_with_another_stamp_too() {
    let mut guard = guard();
    assert_eq!(guard.admit(NOW, NOW, &nonce(1)), Ok(()));
    assert_eq!(guard.admit(NOW, shifted(1), &nonce(1)), Err(ReplayError::Seen));
}

#[test]
fn a_check_remembers_nothing() {
    let guard = guard();
    assert_eq!(guard.check(NOW, NOW, &nonce(1)), Ok(()));
    assert_eq!(guard.check(NOW, NOW, &nonce(1)), Ok(()));
    assert!(guard.is_empty());
}

#[test]
fn a_full_table_refuses_until_stamps_leave_the_window() {
    let mut guard = guard();
    // Half of the stamps leave after the instant 0 + 5 s, the other half one second later.
    for n in 0..CAPACITY {
        let stamp = if n % 2 == 0 { NOW } else { shifted(1_000) };
        assert_eq!(guard.admit(NOW, stamp, &nonce(n)), Ok(()), "{n}");
    }
    for later in [0, 1, 5_000] {
        let now = shifted(later);
        assert_eq!(guard.check(now, now, &nonce(CAPACITY)), Err(ReplayError::Full));
        assert_eq!(guard.admit(now, now, &nonce(CAPACITY)), Err(ReplayError::Full));
    }
    assert_eq!(guard.len(), CAPACITY, "nothing is put out to make room");
    assert_eq!(guard.check(shifted(5_000), shifted(1_000), &nonce(1)), Err(ReplayError::Seen));

    let now = shifted(5_001);
    assert_eq!(guard.check(now, now, &nonce(CAPACITY)), Ok(()));
    for n in 0..CAPACITY / 2 {
        assert_eq!(guard.admit(now, now, &nonce(CAPACITY + n)), Ok(()), "{n}");
    }
    assert_eq!(guard.admit(now, now, &nonce(3 * CAPACITY)), Err(ReplayError::Full));
    assert_eq!(guard.admit(now, shifted(1_000), &nonce(1)), Err(ReplayError::Seen));
}

/// A full table has many nonces that share a place in the index; taking one out must not lose those around it.
#[test]
fn forgetting_some_loses_no_others() {
    let mut guard = guard();
    // The middle third leaves a second before the others, and then the places of its nonces are used again.
    let leaves_early = |n: usize| (CAPACITY / 3..2 * CAPACITY / 3).contains(&n);
    for n in 0..CAPACITY {
        let stamp = if leaves_early(n) { NOW } else { shifted(1_000) };
        assert_eq!(guard.admit(NOW, stamp, &nonce(n)), Ok(()), "{n}");
    }
    let now = shifted(5_001);
    for n in (0..CAPACITY).filter(|n| leaves_early(*n)) {
        assert_eq!(guard.admit(now, now, &nonce(CAPACITY + n)), Ok(()), "{n}");
    }
    for n in 0..CAPACITY {
        let place = if leaves_early(n) { CAPACITY + n } else { n };
        assert_eq!(guard.check(now, now, &nonce(place)), Err(ReplayError::Seen), "{n}");
    }
}

#[test]
fn a_long_pause_empties_the_table() {
    let mut guard = guard();
    for n in 0..CAPACITY {
        assert_eq!(guard.admit(NOW, NOW, &nonce(n)), Ok(()));
    }
    let later = shifted(1_000_000_000);
    assert_eq!(guard.admit(later, later, &nonce(1)), Ok(()));
    assert_eq!(guard.len(), 1);
}

#[test]
fn a_clock_set_back_lets_no_copy_in() {
    let mut guard = guard();
    assert_eq!(guard.admit(NOW, NOW, &nonce(1)), Ok(()));
    // An hour later the nonce is forgotten; then the clock returns to where the stamp would pass again.
    let later = shifted(3_600_000);
    assert_eq!(guard.admit(later, later, &nonce(2)), Ok(()));
    let refused = guard.admit(NOW, NOW, &nonce(1));
    assert_eq!(refused, Err(ReplayError::ClockSetBack { wait: 3_595_000 }));
    assert_eq!(guard.check(NOW, NOW, &nonce(3)), refused);
    // A step back within the window forgets nothing and refuses nothing.
    assert_eq!(guard.admit(shifted(3_599_000), shifted(3_599_000), &nonce(4)), Ok(()));
    assert_eq!(guard.admit(shifted(3_599_000), later, &nonce(2)), Err(ReplayError::Seen));
}

/// Under a wide window stamps are kept in grains: eight milliseconds for a minute.
#[test]
fn a_clock_set_back_is_told_to_the_millisecond_where_stamps_are_kept_in_grains() {
    let mut guard = ReplayGuard::new(CAPACITY, Duration::from_secs(60), KEY).expect("a guard");
    assert_eq!(guard.admit(UnixMillis(8_000_000), UnixMillis(8_000_000), &nonce(1)), Ok(()));
    let back = UnixMillis(7_940_000);
    for (stamp, expected) in [
        (7_940_000, Ok(())),
        (7_939_999, Err(ReplayError::ClockSetBack { wait: 1 })),
        (7_900_000, Err(ReplayError::ClockSetBack { wait: 40_000 })),
        (7_879_999, Err(ReplayError::Skew { measured: -60_001 })),
    ] {
        assert_eq!(guard.check(back, UnixMillis(stamp), &nonce(2)), expected, "{stamp}");
    }
}

#[test]
fn a_guard_shows_how_much_it_holds_and_neither_nonces_nor_its_key() {
    let mut guard = guard();
    assert!(guard.is_empty());
    assert_eq!(guard.len(), 0);
    assert_eq!(guard.admit(NOW, NOW, &nonce(1)), Ok(()));
    assert!(!guard.is_empty() && guard.len() == 1);
    assert_eq!(format!("{guard:?}"), "ReplayGuard { window_millis: 5000, capacity: 10000, len: 1, .. }");
}

#[test]
fn capacity_and_window_are_checked_when_the_guard_is_made() {
    let error = |capacity, window| ReplayGuard::new(capacity, window, KEY).err();
    assert_eq!(error(9_999, WINDOW), Some(ReplayGuardError::Capacity(9_999)));
    assert_eq!(error(usize::MAX, WINDOW), Some(ReplayGuardError::Capacity(usize::MAX)));
    assert_eq!(error(10_000, Duration::ZERO), Some(ReplayGuardError::Window(Duration::ZERO)));
    assert_eq!(error(10_000, Duration::MAX), Some(ReplayGuardError::Window(Duration::MAX)));
    assert_eq!(error(10_000, Duration::from_millis(1)), None);
    assert_eq!(error(10_000, Duration::from_secs(3_600)), None);
    let long = Duration::from_millis(3_600_001);
    assert_eq!(error(10_000, long), Some(ReplayGuardError::Window(long)));
    assert_eq!(error((1 << 24) + 1, WINDOW), Some(ReplayGuardError::Capacity((1 << 24) + 1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Beside a map that keeps everything: no copy within the window passes, nothing else is refused.
    #[test]
    fn the_guard_agrees_with_a_plain_map(
        window in 1u64..20_000,
        steps in proptest::collection::vec((0u64..3_000, -20_000i64..20_000, 0usize..50), 1..400),
    ) {
        let mut guard = ReplayGuard::new(CAPACITY, Duration::from_millis(window), KEY).unwrap();
        // Wide windows are kept in grains: a nonce may stay that much longer.
        let grain = 2 * window / 16_382 + 1;
        let mut seen: HashMap<usize, u64> = HashMap::new();
        let mut now = NOW.0;
        for (elapsed, offset, n) in steps {
            now += elapsed;
            let stamp = now.saturating_add_signed(offset % (window as i64 + window as i64 / 10 + 1));
            let oldest = (now - window) / grain;
            let expected = if now.abs_diff(stamp) > window {
                Err(ReplayError::Skew { measured: stamp as i64 - now as i64 })
            } else if seen.get(&n).is_some_and(|stamp| stamp / grain >= oldest) {
                Err(ReplayError::Seen)
            } else {
                seen.insert(n, stamp);
                Ok(())
            };
            prop_assert_eq!(guard.check(UnixMillis(now), UnixMillis(stamp), &nonce(n)), expected);
            prop_assert_eq!(guard.admit(UnixMillis(now), UnixMillis(stamp), &nonce(n)), expected);
        }
    }
}

fn guard() -> ReplayGuard {
    ReplayGuard::new(CAPACITY, WINDOW, KEY).expect("a guard")
}

fn shifted(millis: i64) -> UnixMillis {
    UnixMillis(NOW.0.saturating_add_signed(millis))
}

fn nonce(n: usize) -> [u8; 16] {
    (n as u128).to_be_bytes()
}
