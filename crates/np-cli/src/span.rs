//! Spans of time as people write them.

use std::time::Duration;

/// The longest span that an argument may ask for: a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `250ms`, `5s`, `2m` or `1h`: a whole number and its unit, a day at most.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| "a time is a whole number and a unit: 250ms, 5s, 2m, 1h".to_owned())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time needs one of the units ms, s, m, h: 5s".to_owned()),
    };
    let span = Duration::from_millis(number.saturating_mul(millis));
    if span > LONGEST { Err("a time is at most 24h".to_owned()) } else { Ok(span) }
}

/// As [`parse_span`], for a bound of waiting: one of no time at all would bound nothing and let nothing through.
pub(crate) fn parse_bound(text: &str) -> Result<Duration, String> {
    match parse_span(text)? {
        Duration::ZERO => Err("this time must be longer than nothing: 1ms at least".to_owned()),
        span => Ok(span),
    }
}

/// A span as an argument takes it: `250ms`, `5s`.
pub(crate) fn write_span(span: Duration) -> String {
    if span.subsec_nanos() == 0 { format!("{}s", span.as_secs()) } else { format!("{}ms", span.as_millis()) }
}

/// A span in the unit that suits its size, with three figures or so.
pub(crate) fn show_span(span: Duration) -> String {
    let micros = span.as_secs_f64() * 1e6;
    if micros < 1e3 {
        format!("{micros:.0} µs")
    } else if micros < 1e6 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse_bound, parse_span, show_span, write_span};

    #[test]
    fn spans_read_as_they_are_written() {
        for (text, millis) in [("0ms", 0), ("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("24h", 86_400_000)] {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "-5s", "1.5s", "5d", "25h", "99999999999999999999s", "9999999999999999h"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bound_is_not_nothing() {
        assert_eq!(parse_bound("1ms"), Ok(Duration::from_millis(1)));
        for text in ["0s", "0ms", "0h"] {
            assert!(parse_bound(text).is_err_and(|error| error.contains("1ms at least")), "{text}");
        }
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in ["0s", "250ms", "1500ms", "5s", "3600s"] {
            assert_eq!(parse_span(text).map(write_span).as_deref(), Ok(text));
        }
    }

    #[test]
    fn spans_are_shown_in_a_fitting_unit() {
        assert_eq!(show_span(Duration::from_micros(999)), "999 µs");
        assert_eq!(show_span(Duration::from_micros(1_500)), "1.50 ms");
        assert_eq!(show_span(Duration::from_millis(2_500)), "2.50 s");
    }
}
