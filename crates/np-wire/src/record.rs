//! Records: a big-endian 16-bit length and as many bytes, sealed as one Noise message.

use np_types::Malformed;

use crate::WireError;

/// The bytes before a record: its length.
///
/// ```
/// assert_eq!(np_wire::RECORD_HEAD + np_wire::MAX_RECORD, 65_537);
/// ```
pub const RECORD_HEAD: usize = 2;
/// The longest record, its tag included: a Noise message.
pub const MAX_RECORD: usize = 65_535;
/// The bytes of an authentication tag at the end of a sealed record.
pub const TAG: usize = 16;
/// The longest first record of a direction, its tag included: until it has opened, its sender may be anybody.
///
/// ```
/// assert!(np_wire::MAX_FIRST_RECORD < np_wire::MAX_RECORD);
/// ```
pub const MAX_FIRST_RECORD: usize = 4_096;
/// The most frame bytes in a sealed record.
pub const MAX_PLAINTEXT: usize = MAX_RECORD - TAG;

/// The length of the record that begins at `bytes`; `None` while its two bytes are not there.
///
/// `least` is the shortest record of this connection: one frame byte and, where records are sealed, the tag.
///
/// # Errors
/// When the record is shorter than `least`.
///
/// ```
/// assert_eq!(np_wire::record_len(&[0], 17), Ok(None));
/// assert_eq!(np_wire::record_len(&[0, 17], 17), Ok(Some(17)));
/// assert!(np_wire::record_len(&[0, 16], 17).is_err());
/// ```
pub fn record_len(bytes: &[u8], least: usize) -> Result<Option<usize>, WireError> {
    let Some(head) = bytes.first_chunk::<RECORD_HEAD>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*head));
    if length < least { Err(Malformed::Value("the length of a record").into()) } else { Ok(Some(length)) }
}
