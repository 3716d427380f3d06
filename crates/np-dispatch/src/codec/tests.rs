//! Tests of the codecs: round trips, trailing bytes, borrowing, bombs.

use np_types::{CallError, Codec, Status};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CodecError, MAX_DEPTH, MAX_EMPTY, decode, decode_borrowed, encode, encode_as};

const TYPED: &[Codec] = &[
    Codec::Postcard,
    #[cfg(feature = "json")]
    Codec::Json,
    #[cfg(feature = "msgpack")]
    Codec::MessagePack,
];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(u32),
    Line(i64, f64),
    Named { name: String, parts: Vec<Option<Self>> },
}

fn shapes() -> Vec<Shape> {
    let parts = vec![None, Some(Shape::Point), Some(Shape::Line(-7, 0.5))];
    vec![Shape::Circle(300), Shape::Named { name: "hé".to_owned(), parts }]
}

#[test]
fn a_value_goes_round_in_every_codec() {
    for &codec in TYPED {
        let body = encode_as(codec, &shapes()).unwrap();
        assert_eq!(decode(codec, &body), Ok(shapes()), "{codec}");
        let text = (i128::MIN, 'ß', [1u8, 2], std::collections::BTreeMap::from([("k".to_owned(), ())]));
        assert_eq!(decode(codec, &encode_as(codec, &text).unwrap()), Ok(text), "{codec}");
    }
}

#[test]
fn postcard_is_the_codec_without_a_name() {
    assert_eq!(encode(&300u32), encode_as(Codec::Postcard, &300u32));
}

#[test]
fn trailing_bytes_are_an_error_in_every_codec() {
    for &codec in TYPED {
        for tail in [&b"\x00"[..], b"\x91", b"\xc1\xc1", b"]", b"7 8 9"] {
            let mut body = encode_as(codec, &(1u8, "x")).unwrap().to_vec();
            body.extend_from_slice(tail);
            let refused = decode::<(u8, String)>(codec, &body);
            assert_eq!(refused, Err(CodecError::Trailing { left: tail.len() }), "{codec}");
        }
    }
}

#[test]
fn short_and_foreign_bodies_are_refused() {
    for &codec in TYPED {
        assert!(matches!(decode::<u32>(codec, &[]), Err(CodecError::Decode(_))), "{codec}");
        let body = encode_as(codec, &("text that is no list of numbers", 1u8)).unwrap();
        for cut in 0..body.len() {
            assert!(decode::<(String, u8)>(codec, &body[..cut]).is_err(), "{codec}, {cut} bytes");
        }
        let wrong = decode::<Vec<Vec<bool>>>(codec, &body).unwrap_err();
        assert!(matches!(wrong, CodecError::Decode(_)), "{codec}");
        assert!(!wrong.to_string().contains("text that is"), "{wrong}");
    }
}

#[test]
fn codecs_of_no_type_and_of_features_that_are_off_are_named() {
    for codec in [Codec::Bytes, Codec::Other(9)] {
        assert_eq!(decode::<u32>(codec, &[7]), Err(CodecError::Unsupported(codec)));
        assert_eq!(encode_as(codec, &7u32), Err(CodecError::Unsupported(codec)));
    }
    for (codec, feature) in [(Codec::Json, "`json`"), (Codec::MessagePack, "`msgpack`")] {
        assert!(CodecError::Unsupported(codec).to_string().contains(feature));
        let written = encode_as(codec, &7u32);
        assert_eq!(written.is_ok(), TYPED.contains(&codec), "{written:?}");
    }
}

#[test]
fn text_and_bytes_are_borrowed_from_the_body() {
    for &codec in TYPED {
        let body = encode_as(codec, &("borrowed text", 7u8)).unwrap();
        let (text, number): (&str, u8) = decode_borrowed(codec, &body).unwrap();
        assert_eq!((text, number), ("borrowed text", 7));
        assert!(body.as_ptr_range().contains(&text.as_ptr()), "{codec}");
    }
    let body = encode_as(Codec::Postcard, &b"bytes".to_vec()).unwrap();
    let bytes: &[u8] = decode_borrowed(Codec::Postcard, &body).unwrap();
    assert_eq!((bytes, bytes.as_ptr()), (&b"bytes"[..], body[1..].as_ptr()));
}

/// A type that holds itself in each way that serde knows.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Deep {
    End,
    List(Vec<Self>),
    Boxed(Box<Self>),
    Maybe { inner: Option<Box<Self>> },
}

fn nested(levels: usize, wrap: impl Fn(Deep) -> Deep) -> Deep {
    (0..levels).fold(Deep::End, |inner, _| wrap(inner))
}

#[test]
fn values_are_read_down_to_the_bound_and_no_deeper() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct List(Vec<Self>);
    // A level of this type is a newtype and a sequence.
    let list = |levels: usize| (1..levels).fold(List(Vec::new()), |inner, _| List(vec![inner]));
    for &codec in TYPED {
        let most = MAX_DEPTH / 2;
        let body = encode_as(codec, &list(most)).unwrap();
        assert_eq!(decode(codec, &body), Ok(list(most)), "{codec}");
        let body = encode_as(codec, &list(most + 1)).unwrap();
        assert_eq!(decode::<List>(codec, &body), Err(CodecError::Depth), "{codec}");
    }
}

#[test]
fn lists_of_nothing_are_read_up_to_the_bound_and_no_further() {
    use std::collections::BTreeMap;

    for &codec in TYPED {
        let body = encode_as(codec, &vec![(); MAX_EMPTY]).unwrap();
        assert_eq!(decode(codec, &body), Ok(vec![(); MAX_EMPTY]), "{codec}");
        // As many as there are bytes are always read: what the type says is not counted.
        let many = vec![(1u8, (), [(); 32]); 4 * MAX_EMPTY];
        assert_eq!(decode(codec, &encode_as(codec, &many).unwrap()), Ok(many), "{codec}");
    }
    // 2^63 - 1 elements in nine bytes, and lists of them.
    let endless = [&[0xff; 8][..], &[0x7f]].concat();
    let endless = endless.as_slice();
    assert_eq!(decode::<Vec<()>>(Codec::Postcard, endless), Err(CodecError::EmptyElements));
    assert_eq!(decode::<BTreeMap<(), ()>>(Codec::Postcard, endless), Err(CodecError::EmptyElements));
    assert_eq!(decode::<Vec<((), [(); 4])>>(Codec::Postcard, endless), Err(CodecError::EmptyElements));
    let nested = [&[100][..], &[0xff, 0x07].repeat(100)].concat();
    assert_eq!(decode::<Vec<Vec<()>>>(Codec::Postcard, &nested), Err(CodecError::EmptyElements));
}

#[test]
fn a_body_of_many_levels_does_not_use_up_the_stack() {
    const LEVELS: usize = 1 << 20;
    let wraps: [fn(Deep) -> Deep; 3] = [
        |inner| Deep::List(vec![inner]),
        |inner| Deep::Boxed(Box::new(inner)),
        |inner| Deep::Maybe { inner: Some(Box::new(inner)) },
    ];
    for &codec in TYPED {
        for wrap in wraps {
            let inner = encode_as(codec, &nested(1, wrap)).unwrap();
            let end = encode_as(codec, &Deep::End).unwrap();
            let at = inner.windows(end.len()).rposition(|part| part == end).unwrap();
            let body = inner[..at].repeat(LEVELS);
            assert_eq!(decode::<Deep>(codec, &body), Err(CodecError::Depth), "{codec}");
        }
    }
    #[cfg(feature = "json")]
    {
        let body = "[".repeat(LEVELS);
        assert_eq!(decode::<serde_json::Value>(Codec::Json, body.as_bytes()), Err(CodecError::Depth));
        // Skipping does not recurse.
        assert!(decode::<serde::de::IgnoredAny>(Codec::Json, body.as_bytes()).is_err());
    }
    #[cfg(feature = "msgpack")]
    for level in [&b"\x91"[..], b"\x81\xc0", b"\xdd\x00\x00\x00\x01"] {
        let body = level.repeat(LEVELS);
        assert_eq!(decode::<serde::de::IgnoredAny>(Codec::MessagePack, &body), Err(CodecError::Depth));
    }
}

#[test]
fn a_length_that_was_only_announced_reserves_no_memory() {
    let announced = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
    assert!(decode::<Vec<u64>>(Codec::Postcard, announced).is_err());
    assert!(decode::<String>(Codec::Postcard, announced).is_err());
    #[cfg(feature = "msgpack")]
    for head in [b'\xdd', b'\xdf', b'\xdb', b'\xc6'] {
        let body = [head, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(decode::<Vec<u64>>(Codec::MessagePack, &body).is_err());
        assert!(decode::<String>(Codec::MessagePack, &body).is_err());
        assert!(decode::<std::collections::HashMap<u64, u64>>(Codec::MessagePack, &body).is_err());
    }
}

#[cfg(feature = "json")]
#[test]
fn json_may_have_space_around_it_and_no_field_twice() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Sum {
        a: u32,
    }
    assert_eq!(decode(Codec::Json, b" \n {\"a\": 1, \"more\": [true]}\r\n"), Ok(Sum { a: 1 }));
    assert!(matches!(decode::<Sum>(Codec::Json, br#"{"a":1,"a":2}"#), Err(CodecError::Decode(_))));
    assert_eq!(decode::<u32>(Codec::Json, b"1\n\n 23"), Err(CodecError::Trailing { left: 2 }));
    let error = decode::<Sum>(Codec::Json, br#"{"a": "secret"}"#).unwrap_err();
    assert!(error.to_string().ends_with("json of another type, at line 1 column 14"), "{error}");
}

/// Readers that are quick and a little wrong give a neighbour of the number that was written.
#[test]
fn numbers_come_back_to_the_last_bit() {
    let mut number = 1.0e-300f64;
    let numbers: Vec<f64> = std::iter::from_fn(|| {
        number *= 1.618_033_988_749_895;
        number.is_finite().then_some(number)
    })
    .collect();
    assert!(numbers.len() > 2_000);
    for &codec in TYPED {
        assert_eq!(decode(codec, &encode_as(codec, &numbers).unwrap()).as_ref(), Ok(&numbers), "{codec}");
    }
}

#[cfg(feature = "msgpack")]
#[test]
fn messagepack_writes_fields_by_name_and_reads_them_by_place_too() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sum {
        a: u32,
        b: u32,
    }
    assert_eq!(encode_as(Codec::MessagePack, &Sum { a: 1, b: 2 }).unwrap(), &b"\x82\xa1a\x01\xa1b\x02"[..]);
    assert_eq!(decode(Codec::MessagePack, b"\x82\xa1b\x02\xa1a\x01"), Ok(Sum { a: 1, b: 2 }));
    assert_eq!(decode(Codec::MessagePack, b"\x92\x01\x02"), Ok(Sum { a: 1, b: 2 }));
    assert!(decode::<Sum>(Codec::MessagePack, b"\x82\xa1a\x01\xa1a\x02").is_err());
}

#[test]
fn each_error_has_its_status() {
    let cases = [
        (CodecError::Encode(String::new()), Status::Internal),
        (CodecError::Decode(String::new()), Status::InvalidArgument),
        (CodecError::Depth, Status::InvalidArgument),
        (CodecError::EmptyElements, Status::InvalidArgument),
        (CodecError::Trailing { left: 1 }, Status::InvalidArgument),
        (CodecError::Unsupported(Codec::Json), Status::UnsupportedCodec),
    ];
    for (error, status) in cases {
        assert_eq!(CallError::from(error).status, status);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(body in prop::collection::vec(any::<u8>(), 0..64)) {
        for &codec in TYPED {
            let _ = decode::<Deep>(codec, &body);
            let _ = decode::<Vec<Shape>>(codec, &body);
            // A value that was read is written again to what reads as the same.
            if let Ok(value) = decode::<Vec<(String, Option<u64>)>>(codec, &body) {
                prop_assert_eq!(decode(codec, &encode_as(codec, &value).unwrap()), Ok(value));
            }
        }
    }
}

#[cfg(feature = "msgpack")]
thread_local! {
    /// How many elements lists and maps were said to have.
    static EXPECTED: std::cell::RefCell<Vec<Option<usize>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Notes how many elements are expected, and reads them.
#[cfg(feature = "msgpack")]
#[derive(Debug)]
struct Noted;

#[cfg(feature = "msgpack")]
impl<'de> Deserialize<'de> for Noted {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Self)
    }
}

#[cfg(feature = "msgpack")]
impl<'de> serde::de::Visitor<'de> for Noted {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("elements")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        EXPECTED.with_borrow_mut(|all| all.push(elements.size_hint()));
        while elements.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        EXPECTED.with_borrow_mut(|all| all.push(elements.size_hint()));
        while elements.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(self)
    }
}

/// A reader may make room for as many as that. Postcard's and JSON's say nothing of it.
#[cfg(feature = "msgpack")]
#[test]
fn elements_are_expected_as_announced_and_no_more_than_the_body_can_hold_in_all() {
    let expected = |body: &[u8]| {
        // Where less comes than was announced, it is no value.
        let _ = decode::<(Noted, Noted)>(Codec::MessagePack, body);
        EXPECTED.take()
    };
    // A list of two, and a map of two.
    assert_eq!(expected(&[0x92, 0x92, 1, 2, 0x82, 1, 2, 3, 4]), [Some(2), Some(2)]);
    // A list of two, and one, or a map, of which 5,000 are announced.
    for head in [0xdc, 0xde] {
        let body = [0x92, 0x92, 1, 2, head, 0x13, 0x88];
        assert_eq!(expected(&body), [Some(2), Some(body.len() + MAX_EMPTY - 2)]);
    }
}

#[test]
fn codecs_for_people_and_for_machines_write_addresses_each_in_its_way() {
    let address: std::net::IpAddr = "10.0.0.1".parse().unwrap();
    for &codec in TYPED {
        let body = encode_as(codec, &address).unwrap();
        assert_eq!(decode(codec, &body), Ok(address), "{codec}");
        let is_text = body.windows(8).any(|part| part == b"10.0.0.1");
        assert_eq!(is_text, codec == Codec::Json, "{codec}");
    }
}

#[cfg(feature = "json")]
#[test]
fn a_variant_without_a_value_may_have_a_null_in_json() {
    assert_eq!(decode(Codec::Json, br#"{"Point":null}"#), Ok(Shape::Point));
    assert!(decode::<Shape>(Codec::Json, br#"{"Point":1}"#).is_err());
}
