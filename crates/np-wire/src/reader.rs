//! A reader over a slice, and the variable-length integers of RFC 9000, section 16.

use np_types::Malformed;

use crate::WireError;

/// The largest value of a variable-length integer: 2^62 - 1.
///
/// ```
/// assert_eq!(np_wire::varint_len(np_wire::MAX_VARINT), 8);
/// ```
pub const MAX_VARINT: u64 = (1 << 62) - 1;

/// The bytes that `value` takes: 1, 2, 4 or 8. Values above [`MAX_VARINT`] are written as that.
///
/// ```
/// assert_eq!(np_wire::varint_len(63), 1);
/// assert_eq!(np_wire::varint_len(64), 2);
/// ```
#[must_use]
#[inline]
pub const fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value` in the fewest bytes: the top two bits of the first byte tell the length, the rest is big-endian.
///
/// ```
/// let mut out = Vec::new();
/// np_wire::put_varint(&mut out, 15_293);
/// assert_eq!(out, [0x7b, 0xbd]);
/// ```
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    let value = value.min(MAX_VARINT);
    match varint_len(value) {
        1 => out.push(value as u8),
        2 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        4 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Takes fields from the front of a slice. Every method names the field that was cut short.
///
/// ```
/// use np_wire::Reader;
/// let mut reader = Reader::new(&[0x7b, 0xbd, 9]);
/// assert_eq!(reader.varint("a number")?, 15_293);
/// assert_eq!(reader.u8("a byte")?, 9);
/// reader.finish("the frame")?;
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    #[must_use]
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not yet taken.
    #[must_use]
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    #[inline]
    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Truncated(field))?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes an array.
    ///
    /// # Errors
    /// When fewer bytes are left.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated(field))?;
        self.rest = rest;
        Ok(*head)
    }

    /// Takes a byte.
    ///
    /// # Errors
    /// When none is left.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// Takes a big-endian 16-bit number.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// Takes a variable-length integer.
    ///
    /// # Errors
    /// When it is cut short, or written in more bytes than it needs.
    #[inline]
    pub fn varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        // The lengths of frames, and ids, in what most of them have.
        let (value, least, rest) = match *self.rest {
            [one @ 0..=0x3f, ref rest @ ..] => (u32::from(one), 0, rest),
            [one @ 0x40..=0x7f, two, ref rest @ ..] => (u32::from(u16::from_be_bytes([one & 0x3f, two])), 0x40, rest),
            [one @ 0x80..=0xbf, two, three, four, ref rest @ ..] => {
                (u32::from_be_bytes([one & 0x3f, two, three, four]), 0x4000, rest)
            }
            _ => return self.other_varint(field),
        };
        if value < least {
            return Err(Malformed::LongVarint.into());
        }
        self.rest = rest;
        Ok(u64::from(value))
    }

    /// One of eight bytes, or one that is cut short.
    fn other_varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        let whole = self.rest.first().is_some_and(|first| *first >= 0xc0);
        let bytes = self.array(field).ok().filter(|_| whole).ok_or(Malformed::Truncated(field))?;
        let value = u64::from_be_bytes(bytes) & MAX_VARINT;
        if varint_len(value) == 8 { Ok(value) } else { Err(Malformed::LongVarint.into()) }
    }

    /// Takes a variable-length integer that must fit 32 bits.
    ///
    /// # Errors
    /// As [`Reader::varint`], and when the value is larger.
    #[inline]
    pub fn varint32(&mut self, field: &'static str) -> Result<u32, WireError> {
        u32::try_from(self.varint(field)?).map_err(|_| Malformed::Value(field).into())
    }

    /// Takes a variable-length count and as many bytes.
    ///
    /// # Errors
    /// When either is cut short.
    #[inline]
    pub fn prefixed(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let count = self.varint(field)?;
        let count = usize::try_from(count).map_err(|_| Malformed::Truncated(field))?;
        self.bytes(count, field)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub fn finish(&self, what: &'static str) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing(what).into()) }
    }
}

#[cfg(test)]
mod tests {
    use np_types::Malformed;

    use super::{MAX_VARINT, Reader, put_varint, varint_len};
    use crate::WireError;

    #[test]
    fn varints_change_length_where_the_rfc_says() {
        let edges = [
            (0, 1),
            (0x3f, 1),
            (0x40, 2),
            (0x3fff, 2),
            (0x4000, 4),
            (0x3fff_ffff, 4),
            (0x4000_0000, 8),
            (MAX_VARINT, 8),
        ];
        for (value, size) in edges {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!((out.len(), varint_len(value)), (size, size), "{value:#x}");
            assert_eq!(Reader::new(&out).varint("a number"), Ok(value));
        }
    }

    #[test]
    fn the_rfcs_own_examples() {
        let examples: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, value) in examples {
            assert_eq!(Reader::new(bytes).varint("a number"), Ok(value));
        }
    }

    #[test]
    fn a_number_above_the_largest_is_written_as_the_largest() {
        let (mut above, mut largest) = (Vec::new(), Vec::new());
        put_varint(&mut above, MAX_VARINT + 1);
        put_varint(&mut largest, MAX_VARINT);
        assert_eq!(above, largest);
    }

    #[test]
    fn long_forms_are_refused() {
        let forms: [&[u8]; 3] = [&[0x40, 0x3f], &[0x80, 0, 0x3f, 0xff], &[0xc0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff]];
        for bytes in forms {
            assert_eq!(Reader::new(bytes).varint("a number"), Err(WireError::Malformed(Malformed::LongVarint)));
        }
    }

    #[test]
    fn a_failed_take_leaves_the_bytes() {
        let mut reader = Reader::new(&[1, 2, 3]);
        let short = Err(WireError::Malformed(Malformed::Truncated("bytes")));
        assert_eq!(reader.bytes(4, "bytes"), short);
        assert_eq!(reader.array::<4>("bytes").map(|_| &[][..]), short);
        assert_eq!(reader.rest(), [1, 2, 3]);
        assert_eq!(reader.u16("bytes"), Ok(0x0102));
        assert_eq!(reader.finish("the frame"), Err(WireError::Malformed(Malformed::Trailing("the frame"))));
        assert_eq!(reader.u8("a byte"), Ok(3));
        assert_eq!(reader.finish("the frame"), Ok(()));
    }
}
