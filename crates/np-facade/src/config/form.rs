//! How a value is written: numbers, sizes, spans of time, names, lists. Must never know which setting it is for.

use std::fmt::{Debug, Display};
use std::path::PathBuf;
use std::time::Duration;

use np_types::escape;

/// The most characters of a value that an error shows.
const SHOWN: usize = 64;
/// The longest span of time: a year.
const LONGEST: u64 = 365 * 24 * 60 * 60 * 1_000;

/// A value as a layer has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// The text of an environment variable: what it is, its form says.
    Word(String),
    Text(String),
    Whole(i64),
    Flag(bool),
    List(Vec<Self>),
    /// A value that no setting takes: its name in TOML.
    Other(&'static str),
}

impl Raw {
    /// The text, quoted or of a variable.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, which a variable writes in digits.
    fn whole(&self) -> Option<u64> {
        match self {
            Self::Word(text) => text.trim().parse().ok(),
            Self::Whole(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Word(text) | Self::Text(text) if holds_secret(text) => "a secret key".to_owned(),
            Self::Word(text) | Self::Text(text) => format!("\"{}\"", escape(text, SHOWN)),
            Self::Whole(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Other(what) => format!("a {what}"),
        }
    }

    /// "is X, but must be Y".
    fn refuse<T>(&self, rule: impl Display) -> Result<T, String> {
        Err(format!("is {}, but must be {rule}", self.shown()))
    }
}

/// A way to write values of a type.
pub(super) trait Form<T> {
    /// The value, or what is wrong with it: "is X, but must be Y".
    fn read(&self, raw: &Raw) -> Result<T, String>;
    /// The value as TOML has it.
    fn write(&self, value: &T) -> String;
}

/// Unsigned numbers of any width.
pub(super) trait Whole: TryFrom<u64> + Copy {
    fn wide(self) -> u64;
}

macro_rules! whole {
    ($($number:ty),*) => { $(
        impl Whole for $number {
            fn wide(self) -> u64 {
                self as u64
            }
        }
    )* };
}

whole!(u16, u32, u64, usize);

/// A whole number of this range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) u64, pub(super) u64);

impl<T: Whole> Form<T> for Count {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        let Self(least, most) = *self;
        let number = raw.whole().filter(|number| (least..=most).contains(number));
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(number),
            None => raw.refuse(format_args!("a whole number of {least} to {most}")),
        }
    }

    fn write(&self, value: &T) -> String {
        value.wide().to_string()
    }
}

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// A number of bytes, at least and at most so many: `"16MiB"`, or a bare number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size(pub(super) u64, pub(super) u64);

impl<T: Whole> Form<T> for Size {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        let Self(least, most) = *self;
        let bytes = raw.whole().or_else(|| read_size(raw.text()?)).filter(|bytes| (least..=most).contains(bytes));
        match bytes.and_then(|bytes| T::try_from(bytes).ok()) {
            Some(bytes) => Ok(bytes),
            None => raw.refuse(format_args!(
                "a number of bytes, {} to {}, such as \"16MiB\" (units: B, KiB, MiB, GiB, TiB)",
                write_size(least),
                write_size(most)
            )),
        }
    }

    fn write(&self, value: &T) -> String {
        format!("\"{}\"", write_size(value.wide()))
    }
}

fn read_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let (_, shift) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number?.checked_mul(1 << shift)
}

fn write_size(bytes: u64) -> String {
    let fits = |(_, shift): &(&str, u32)| bytes != 0 && bytes.is_multiple_of(1 << shift);
    let (unit, shift) = UNITS.into_iter().find(fits).unwrap_or(("B", 0));
    format!("{}{unit}", bytes >> shift)
}

/// A span of time, at least so many milliseconds: `"250ms"`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) u64);

const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Form<Duration> for Span {
    fn read(&self, raw: &Raw) -> Result<Duration, String> {
        let millis = raw.text().and_then(read_span).filter(|millis| (self.0..=LONGEST).contains(millis));
        match millis {
            Some(millis) => Ok(Duration::from_millis(millis)),
            None => raw.refuse(format_args!(
                "a time of {} to 365d, such as \"250ms\" (units: ms, s, m, h, d)",
                write_span(self.0)
            )),
        }
    }

    fn write(&self, value: &Duration) -> String {
        format!("\"{}\"", write_span(u64::try_from(value.as_millis()).unwrap_or(u64::MAX)))
    }
}

fn read_span(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let (_, millis) = TIMES.into_iter().find(|(name, _)| *name == unit)?;
    number?.checked_mul(millis)
}

fn write_span(millis: u64) -> String {
    // Days are read and not written: 36h says more than a day and a half.
    let fits = |(unit, length): &(&str, u64)| *unit != "d" && millis != 0 && millis.is_multiple_of(*length);
    let (unit, length) = TIMES.into_iter().find(fits).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / length)
}

fn split_unit(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number.parse().ok(), unit)
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag;

impl Form<bool> for Flag {
    fn read(&self, raw: &Raw) -> Result<bool, String> {
        match raw {
            Raw::Flag(flag) => Ok(*flag),
            Raw::Word(text) if text == "true" => Ok(true),
            Raw::Word(text) if text == "false" => Ok(false),
            _ => raw.refuse("true or false"),
        }
    }

    fn write(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// A text that a function checks. No text may be a secret key: secrets are kept in files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text(pub(super) fn(&str) -> Result<(), String>);

impl Form<String> for Text {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let Some(text) = raw.text() else { return raw.refuse("a text in quotes") };
        check_secret(text)?;
        (self.0)(text)?;
        Ok(text.to_owned())
    }

    fn write(&self, value: &String) -> String {
        quote(value)
    }
}

/// The name of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct File;

impl Form<PathBuf> for File {
    fn read(&self, raw: &Raw) -> Result<PathBuf, String> {
        let Some(text) = raw.text().filter(|text| !text.is_empty()) else {
            return raw.refuse("the name of a file, in quotes");
        };
        check_secret(text)?;
        Ok(PathBuf::from(text))
    }

    fn write(&self, value: &PathBuf) -> String {
        quote(&value.to_string_lossy())
    }
}

/// A text that a function turns into a value, and another one writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parsed<T>(pub(super) fn(&str) -> Result<T, String>, pub(super) fn(&T) -> String);

impl<T> Form<T> for Parsed<T> {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        let Some(text) = raw.text() else { return raw.refuse("a text in quotes") };
        check_secret(text)?;
        (self.0)(text).or_else(|rule| raw.refuse(rule))
    }

    fn write(&self, value: &T) -> String {
        quote(&(self.1)(value))
    }
}

/// One of several names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Form<T> for Choice<T> {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        let found = raw.text().and_then(|text| self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)));
        match found {
            Some((_, value)) => Ok(*value),
            None => {
                let names: Vec<_> = self.0.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                raw.refuse(names.join(" or "))
            }
        }
    }

    fn write(&self, value: &T) -> String {
        let found = self.0.iter().find(|(_, other)| other == value);
        quote(found.map_or("", |(name, _)| name))
    }
}

/// A value, or this word for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maybe<F>(pub(super) F, pub(super) &'static str);

impl<T, F: Form<T>> Form<Option<T>> for Maybe<F> {
    fn read(&self, raw: &Raw) -> Result<Option<T>, String> {
        if raw.text() == Some(self.1) {
            return Ok(None);
        }
        self.0.read(raw).map(Some).map_err(|why| format!("{why}; or {} for none", quote(self.1)))
    }

    fn write(&self, value: &Option<T>) -> String {
        value.as_ref().map_or_else(|| quote(self.1), |value| self.0.write(value))
    }
}

/// Any number of values: a list, or one by itself. A variable has commas between them, and is empty for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<F>(pub(super) F);

impl<T, F: Form<T>> Form<Vec<T>> for List<F> {
    fn read(&self, raw: &Raw) -> Result<Vec<T>, String> {
        match raw {
            Raw::List(items) => items.iter().map(|item| self.0.read(item)).collect(),
            Raw::Word(text) if text.trim().is_empty() => Ok(Vec::new()),
            Raw::Word(text) => text.split(',').map(|item| self.0.read(&Raw::Word(item.trim().to_owned()))).collect(),
            one => Ok(vec![self.0.read(one)?]),
        }
    }

    fn write(&self, value: &Vec<T>) -> String {
        let items: Vec<_> = value.iter().map(|item| self.0.write(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Whether a text holds what begins like a secret key.
fn holds_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["npsec1", "nppsk1", "npsign1"].iter().any(|prefix| text.contains(prefix))
}

fn check_secret(text: &str) -> Result<(), String> {
    if holds_secret(text) && !std::path::Path::new(text).exists() {
        return Err("looks like a secret key itself; keep secrets in key files, and name the file here".to_owned());
    }
    Ok(())
}

/// A text as TOML writes it.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' | '\\' => out.extend(['\\', ch]),
            ch if ch.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(ch))),
            ch => out.push(ch),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Choice, Count, File, Flag, Form, List, Maybe, Raw, Size, Span, Text};

    fn word(text: &str) -> Raw {
        Raw::Word(text.to_owned())
    }

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn sizes_have_units_and_read_as_they_are_written() {
        let form = Size(0, u64::MAX);
        for (written, bytes) in [("0B", 0), ("16MiB", 16 << 20), ("1KiB", 1 << 10), ("1025B", 1_025), ("2TiB", 2 << 40)]
        {
            assert_eq!(Form::<u64>::read(&form, &text(written)), Ok(bytes));
            assert_eq!(form.write(&bytes), format!("\"{written}\""));
        }
        assert_eq!(Form::<u32>::read(&form, &Raw::Whole(7)), Ok(7));
        assert_eq!(Form::<u32>::read(&form, &word("7")), Ok(7));
        for wrong in ["", "16", "MiB", "16 MiB", "1.5MiB", "16MB", "-1B", "99999999999999TiB"] {
            assert!(Form::<u64>::read(&form, &text(wrong)).is_err(), "{wrong}");
        }
        let error = Form::<u32>::read(&Size(1 << 10, 1 << 30), &text("2GiB")).unwrap_err();
        assert!(error.contains("1KiB to 1GiB") && error.contains("\"2GiB\""), "{error}");
        assert!(Form::<u16>::read(&form, &text("64KiB")).is_err(), "what the type cannot hold");
    }

    #[test]
    fn spans_have_units_and_read_as_they_are_written() {
        for (written, millis) in [("0ms", 0), ("250ms", 250), ("30s", 30_000), ("2m", 120_000), ("36h", 129_600_000)] {
            let span = Duration::from_millis(millis);
            assert_eq!(Span(0).read(&text(written)), Ok(span));
            assert_eq!(Span(0).write(&span), format!("\"{written}\""));
        }
        assert_eq!(Span(1).read(&word("1d")), Ok(Duration::from_secs(86_400)));
        for wrong in [text("5"), text("5 s"), text("1.5s"), text("0ms"), text("366d"), Raw::Whole(5)] {
            let error = Span(1).read(&wrong).unwrap_err();
            assert!(error.contains("1ms to 365d"), "{error}");
        }
    }

    #[test]
    fn numbers_flags_and_names_are_typed() {
        let count = Count(1, 9);
        assert_eq!(Form::<u32>::read(&count, &Raw::Whole(9)), Ok(9));
        assert_eq!(Form::<usize>::read(&count, &word("1")), Ok(1));
        for wrong in [Raw::Whole(0), Raw::Whole(10), Raw::Whole(-1), text("5"), word("x"), Raw::Flag(true)] {
            let error = Form::<u32>::read(&count, &wrong).unwrap_err();
            assert!(error.contains("of 1 to 9"), "{error}");
        }
        assert_eq!((Flag.read(&Raw::Flag(true)), Flag.read(&word("false"))), (Ok(true), Ok(false)));
        assert!(Flag.read(&word("yes")).is_err() && Flag.read(&text("true")).is_err());
        let choice = Choice(&[("off", 0), ("on", 1)]);
        assert_eq!((choice.read(&text("ON")), choice.write(&1)), (Ok(1), "\"on\"".to_owned()));
        assert!(choice.read(&text("of")).is_err_and(|error| error.contains("\"off\" or \"on\"")));
    }

    #[test]
    fn lists_are_lists_or_one_value_or_have_commas() {
        let list = List(Text(|_| Ok(())));
        let two = vec!["a".to_owned(), "b c".to_owned()];
        assert_eq!(list.read(&Raw::List(vec![text("a"), text("b c")])), Ok(two.clone()));
        assert_eq!(list.read(&word("a, b c")), Ok(two.clone()));
        assert_eq!(list.read(&text("a")), Ok(vec!["a".to_owned()]));
        assert_eq!(list.read(&word("")), Ok(Vec::new()));
        assert!(list.read(&Raw::Whole(1)).is_err() && list.read(&Raw::List(vec![Raw::Whole(1)])).is_err());
        assert_eq!(list.write(&two), "[\"a\", \"b c\"]");
    }

    #[test]
    fn none_has_a_word() {
        let maybe = Maybe(Span(1), "off");
        assert_eq!(maybe.read(&text("off")), Ok(None));
        assert_eq!(maybe.read(&word("5s")), Ok(Some(Duration::from_secs(5))));
        assert_eq!(
            (maybe.write(&None), maybe.write(&Some(Duration::from_secs(5)))),
            ("\"off\"".into(), "\"5s\"".into())
        );
        assert!(maybe.read(&text("0s")).is_err_and(|error| error.contains("\"off\" for none")));
    }

    #[test]
    fn a_secret_in_the_place_of_a_name_is_refused_and_not_shown() {
        for secret in ["npsec1qqqqqqqqqqqqqqqqqq", "NPPSK1QQQQQQQQQQ"] {
            let error = File.read(&text(secret)).unwrap_err();
            assert!(
                error.contains("secret key itself") && !error.contains("qqqq") && !error.contains("QQQQ"),
                "{error}"
            );
            let error = Form::<u32>::read(&Count(0, 9), &text(secret)).unwrap_err();
            assert!(!error.to_lowercase().contains("qqqq"), "{error}");
        }
    }

    #[test]
    fn texts_are_quoted_so_that_they_read_back() {
        let form = Text(|_| Ok(()));
        assert_eq!(form.write(&"a\"b\\c\n".to_owned()), "\"a\\\"b\\\\c\\u000A\"");
    }
}
