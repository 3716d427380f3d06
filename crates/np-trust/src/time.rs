//! The wall clock and days in UTC. Must never know what a day is for.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use np_types::UnixMillis;

/// The system's time. A clock that stands before 1970 reads as the end of time: then what expires has expired.
pub(crate) fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    UnixMillis(since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(u64::MAX))
}

const MILLIS_OF_DAY: u64 = 86_400_000;

/// Days from 0001-01-01 to 1970-01-01.
const BEFORE_1970: u32 = 719_162;

const YEARS: std::ops::RangeInclusive<u32> = 1970..=9999;

/// A day of the Gregorian calendar in UTC, from 1970 to 9999, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(u32);

impl Day {
    /// 9999-12-31.
    const LAST: Self = Self(2_932_896);

    /// Reads exactly `YYYY-MM-DD`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
        let before = (1..month).map(|month| month_length(year, month)).sum::<u32>();
        let fine = parts.next().is_none()
            && YEARS.contains(&year)
            && (1..=12).contains(&month)
            && (1..=month_length(year, month)).contains(&day);
        fine.then(|| Self(year_start(year) + before + day - 1))
    }

    /// The day that holds a moment; the last one for all that comes after it.
    pub(crate) fn of(moment: UnixMillis) -> Self {
        u32::try_from(moment.0 / MILLIS_OF_DAY).map_or(Self::LAST, |days| Self(days).min(Self::LAST))
    }

    /// When it begins.
    pub(crate) const fn start(self) -> UnixMillis {
        UnixMillis(self.0 as u64 * MILLIS_OF_DAY)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never too late, and for 9999 about 20 years early.
        let guess = 1970 + self.0 / 366;
        let year = (guess..).take_while(|year| year_start(*year) <= self.0).last().unwrap_or(guess);
        let mut left = self.0 - year_start(year);
        let mut month = 1;
        while left >= month_length(year, month) {
            left -= month_length(year, month);
            month += 1;
        }
        write!(f, "{year:04}-{month:02}-{:02}", left + 1)
    }
}

fn digits(text: &str, count: usize) -> Option<u32> {
    let fine = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    fine.then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 to the first day of a year from 1970 on.
const fn year_start(year: u32) -> u32 {
    let before = year - 1;
    before * 365 + before / 4 - before / 100 + before / 400 - BEFORE_1970
}

const fn month_length(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use np_types::UnixMillis;

    use super::{Day, unix_now};

    #[test]
    fn days_read_show_and_begin_where_they_should() {
        // date -u -d 2026-03-01 +%s
        let known = [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2000-03-01", 951_868_800),
            ("2026-03-01", 1_772_323_200),
            ("2100-03-01", 4_107_542_400),
            ("9999-12-31", 253_402_214_400),
        ];
        for (text, seconds) in known {
            let day = Day::parse(text).unwrap();
            assert_eq!(day.start(), UnixMillis(seconds * 1_000), "{text}");
            assert_eq!(day.to_string(), text);
            assert_eq!(Day::of(UnixMillis(seconds * 1_000 + 86_399_999)), day);
        }
        assert_eq!(Day::of(UnixMillis(u64::MAX)), Day::parse("9999-12-31").unwrap());
    }

    #[test]
    fn every_day_of_400_years_reads_back() {
        for days in 0..400 * 366 {
            assert_eq!(Day::parse(&Day(days).to_string()), Some(Day(days)));
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        let wrong = [
            "",
            "2026",
            "2026-1-01",
            "2026-01-1",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "2026-01-32",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "1969-12-31",
            "12026-01-01",
            "2026-01-01-",
            "2026-01-01T",
            "+026-01-01",
            "2026/01/01",
        ];
        for text in wrong {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_clock_runs_in_this_century() {
        let century = Day::parse("2024-01-01").unwrap().start()..Day::parse("2100-01-01").unwrap().start();
        assert!(century.contains(&unix_now()));
    }
}
