//! Bounds on what a body makes its reader do, for every codec. Types that hold themselves are read by recursion, and a body
//! of many small levels would use up the stack. Postcard writes a list of values that take no bytes as its length alone,
//! and ten bytes would be read for ever. Must never change what is read within the bounds.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::CodecError;

/// The most levels: below the bounds that the codecs' own readers have, so that it is the same in all of them.
pub(super) const MAX_DEPTH: usize = 100;

/// The most elements of lists and maps, in all, that take no bytes. Each of the others has a first byte of its own.
pub(super) const MAX_EMPTY: usize = 1_024;

/// Reads a value within the bounds, from a body of so many bytes.
pub(super) fn guarded<'de, T, D>(
    reader: D,
    bytes: usize,
    describe: impl FnOnce(D::Error) -> CodecError,
) -> Result<T, CodecError>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let most = bytes.saturating_add(MAX_EMPTY);
    let bounds = Bounds { elements: Cell::new(most), expected: Cell::new(most), passed: Cell::new(None) };
    let level = Level { left: MAX_DEPTH, listed: false, bounds: &bounds };
    T::deserialize(Guard { inner: reader, level })
        .map_err(|error| bounds.passed.take().unwrap_or_else(|| describe(error)))
}

/// What is counted for a body as a whole.
struct Bounds {
    /// Elements that may still follow.
    elements: Cell<usize>,
    /// Elements that room may still be reserved for before they are there.
    expected: Cell<usize>,
    /// The bound that was passed.
    passed: Cell<Option<CodecError>>,
}

/// How many levels may still follow.
#[derive(Clone, Copy)]
struct Level<'c> {
    left: usize,
    /// Whether the body says how many elements follow, not the type.
    listed: bool,
    bounds: &'c Bounds,
}

impl Level<'_> {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => {
                self.bounds.passed.set(Some(CodecError::Depth));
                Err(E::custom("nested too deep"))
            }
        }
    }

    /// How many elements a list may be taken to have: what the body says, and no more in all lists than it can hold.
    /// Lists in lists would each reserve for a length that was only announced.
    fn expect(self, announced: Option<usize>) -> Option<usize> {
        let left = self.bounds.expected.get();
        let expected = announced?.min(left);
        self.bounds.expected.set(left - expected);
        Some(expected)
    }

    /// Counts an element, where it is one and not the end.
    fn count<T, E: serde::de::Error>(self, next: Option<T>) -> Result<Option<T>, E> {
        if !self.listed || next.is_none() {
            return Ok(next);
        }
        match self.bounds.elements.get().checked_sub(1) {
            Some(left) => {
                self.bounds.elements.set(left);
                Ok(next)
            }
            None => {
                self.bounds.passed.set(Some(CodecError::EmptyElements));
                Err(E::custom("too many elements of no bytes"))
            }
        }
    }
}

/// A part of a reader, or of a type that reads, with the level it is on.
struct Guard<'c, T> {
    inner: T,
    level: Level<'c>,
}

impl<'c> Level<'c> {
    const fn with<T>(self, inner: T) -> Guard<'c, T> {
        Guard { inner, level: self }
    }
}

macro_rules! deserialize {
    ($listed:expr; $($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = Level { listed: $listed, ..self.level }.with(visitor);
            self.inner.$method($($name,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guard<'_, D> {
    type Error = D::Error;

    deserialize! { true;
        deserialize_any();
        deserialize_ignored_any();
        deserialize_map();
        deserialize_seq();
    }

    deserialize! { false;
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Guard<'_, V> {
    type Value = V::Value;

    visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.level.below()?.with(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.level.below()?.with(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(self.level.below()?.with(inner))
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(self.level.below()?.with(inner))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.level.below()?.with(inner))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Guard<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let inner = self.level.with(inner);
        self.inner.deserialize(inner)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.level.with(seed);
        let next = self.inner.next_element_seed(seed)?;
        self.level.count(next)
    }

    fn size_hint(&self) -> Option<usize> {
        self.level.expect(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.level.with(seed);
        let next = self.inner.next_key_seed(seed)?;
        self.level.count(next)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.level.with(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.level.expect(self.inner.size_hint())
    }
}

impl<'de, 'c, A: EnumAccess<'de>> EnumAccess<'de> for Guard<'c, A> {
    type Error = A::Error;
    type Variant = Guard<'c, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (seed, level) = (self.level.with(seed), self.level);
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, Guard { inner, level }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.level.with(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = Level { listed: false, ..self.level }.with(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = Level { listed: false, ..self.level }.with(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
