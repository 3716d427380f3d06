//! Any bytes as the body of a typed message, in each codec: a value that is read is written to what reads as the same
//! value, one byte more or less is refused, and nothing panics. Owns this rule alone; it must never know what a call is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Duration;

use np_dispatch::{CodecError, decode_borrowed, encode_as};
use np_types::Codec;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};

/// What a reader may allocate for a body: so many bytes for each of the body's own and of the elements that may take none.
/// The largest element of the types below, some copies of growing lists, and each of the types once.
#[allow(dead_code, reason = "the program asks; a test beside others cannot, since it sees their memory too")]
pub(crate) const fn most_memory(body: usize) -> usize {
    (body + 1_024) * 8_192
}

#[derive(Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(u32),
    Line(i64, f64),
    Named { name: String, parts: Vec<Option<Self>> },
}

#[derive(Serialize, Deserialize)]
enum Deep {
    End,
    List(Vec<Self>),
    Boxed(Box<Self>),
    Maybe { inner: Option<Box<Self>> },
    Keys(BTreeMap<String, Self>),
}

#[derive(Serialize, Deserialize)]
struct Everything {
    shape: Shape,
    counts: BTreeMap<u64, i128>,
    names: Vec<(String, Option<char>)>,
    nothing: Vec<()>,
    fixed: [u16; 3],
    outcome: Result<f32, bool>,
    more: Option<Box<Self>>,
}

#[derive(Serialize, Deserialize)]
struct Borrowed<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    bytes: Blob<'a>,
    number: i16,
}

/// Bytes that are written as such; a plain slice is a list of numbers to a codec that tells the two apart.
#[derive(Deserialize)]
#[serde(transparent)]
struct Blob<'a>(#[serde(borrow)] &'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Types that are kept aside by serde before it knows what they are, which postcard cannot do.
#[derive(Serialize, Deserialize)]
struct Loose {
    id: u32,
    kind: Tagged,
    #[serde(flatten)]
    rest: BTreeMap<String, Any>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "t")]
enum Tagged {
    A { n: i64 },
    B { list: Vec<Any> },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Any {
    Nothing(()),
    Flag(bool),
    Count(u64),
    Below(i64),
    Real(f64),
    Text(String),
    List(Vec<Self>),
    Keys(BTreeMap<String, Self>),
}

/// Holds a body against the rules for one type, as which it is read twice, with lifetimes of its own each time.
macro_rules! keeps {
    ($codec:expr, $body:expr; $($type:ty),*) => {
        [$(match decode_borrowed::<$type>($codec, $body) {
            Err(error) => refused(&error),
            Ok(value) => {
                let written = encode_as($codec, &value).unwrap_or_else(|error| panic!("what was read is not written: {error}"));
                let again = decode_borrowed::<$type>($codec, &written)
                    .unwrap_or_else(|error| panic!("{}: what was written is not read: {error}", stringify!($type)));
                assert_eq!(encode_as($codec, &again), Ok(written.clone()), "{} comes back changed", stringify!($type));
                let more = longer($codec, $body);
                let refused = decode_borrowed::<$type>($codec, &more).err();
                assert_eq!(refused, Some(CodecError::Trailing { left: 1 }), "{} and more", stringify!($type));
                let shorter = $body.split_last().filter(|_| $codec != Codec::Json);
                assert!(shorter.is_none_or(|(_, body)| decode_borrowed::<$type>($codec, body).is_err()));
                true
            }
        }),*]
        .contains(&true)
    };
}

/// Gives whether the bytes are a value: one byte names the codec, and the rest is the body.
pub(crate) fn target(data: &[u8]) -> bool {
    let Some((codec, body)) = data.split_first() else {
        return false;
    };
    let codec = [Codec::Postcard, Codec::Json, Codec::MessagePack][usize::from(codec % 3)];
    let mut good = keeps!(codec, body;
        Vec<Shape>,
        Deep,
        Everything,
        Vec<()>,
        BTreeMap<String, Vec<Option<u32>>>,
        (i8, u16, i32, u64, u128, char),
        (Duration, IpAddr, NonZeroU16, Range<u32>),
        Vec<f64>,
        &str
    );
    if codec == Codec::Postcard {
        good |= keeps!(codec, body; &[u8]);
    } else {
        good |= keeps!(codec, body; Loose, Vec<Any>);
        good |= decode_borrowed::<IgnoredAny>(codec, body).is_ok();
    }
    if codec == Codec::Json {
        // It has no bytes: text is read as such where they are asked for, and they are written as numbers.
        good | decode_borrowed::<Borrowed<'_>>(codec, body).is_ok()
    } else {
        good | keeps!(codec, body; Borrowed<'_>)
    }
}

/// A body that is refused is refused in words, which hold nothing but printable characters.
fn refused(error: &CodecError) -> bool {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
    false
}

/// The body with one byte more that cannot be a part of its value. A number of JSON goes on until something ends it.
fn longer(codec: Codec, body: &[u8]) -> Vec<u8> {
    let tail: &[u8] = if codec == Codec::Json { b" 0" } else { b"\x00" };
    [body, tail].concat()
}
