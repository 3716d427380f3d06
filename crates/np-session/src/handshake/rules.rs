//! What a handshake accepts of the bytes it is given.

use bytes::{Buf as _, BytesMut};
use np_noise::{Handshake as Noise, Pattern, Suite};
use np_types::{CloseCode, ConnectionError, Incompatible, Malformed, Misbehaved, Misuse, VERSION};
use np_wire::{HandshakeFrame, Preface, Refusal, Side, Versions, decode_handshake_frame};

use super::config::{ResponderConfig, check_names};

pub(super) enum Taken {
    Partly,
    Whole,
}

/// Takes a handshake message off `input` and reads it; a refusal in clear ends the handshake.
pub(super) fn take_message(
    input: &mut BytesMut,
    noise: &mut Noise,
    payload: &mut Vec<u8>,
    pattern: Pattern,
    side: Side,
) -> Result<Taken, ConnectionError> {
    let Some((frame, used)) = decode_handshake_frame(input)? else {
        return Ok(Taken::Partly);
    };
    match frame {
        HandshakeFrame::Message(message) => {
            noise.read_message(message, payload).map_err(|_| unauthentic(pattern))?;
        }
        HandshakeFrame::Refusal(_) if side == Side::Responder => {
            return Err(Malformed::Value("the kind of a handshake message").into());
        }
        HandshakeFrame::Refusal(refusal) => return Err(refused(&refusal)),
    }
    input.advance(used);
    Ok(Taken::Whole)
}

/// Reads a preface of a version that is spoken here. Another version is found at the seventh byte: what stands behind it,
/// and how long that is, is that version's own affair.
pub(super) fn spoken(input: &[u8]) -> Result<Option<(Preface, usize)>, ConnectionError> {
    match Versions::decode(input)? {
        Some(versions @ Versions { min, max, .. }) if !versions.is_spoken() => {
            Err(Incompatible::Version { min, max, ours: VERSION }.into())
        }
        _ => Ok(Preface::decode(input)?),
    }
}

/// The suite and the pattern of a preface, if they are spoken here.
pub(super) fn offered(preface: &Preface, config: &ResponderConfig) -> Result<(Suite, Pattern), ConnectionError> {
    let Preface { suite, pattern, .. } = *preface;
    let offered = Suite::from_wire(suite).filter(|suite| config.suites.contains(suite));
    let suite = offered.ok_or(Incompatible::Suite(suite))?;
    let offered = Pattern::from_wire(pattern).filter(|pattern| config.patterns.contains(pattern));
    let pattern = offered.ok_or(Incompatible::Pattern(pattern))?;
    check_names(preface, pattern)?;
    Ok((suite, pattern))
}

/// Message 1 stands behind the preface in the same framing as the others.
pub(super) fn first_message(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, ConnectionError> {
    match decode_handshake_frame(bytes)? {
        None => Ok(None),
        Some((HandshakeFrame::Message(message), used)) => Ok(Some((message, used))),
        Some((HandshakeFrame::Refusal(_), _)) => Err(Malformed::Value("handshake message 1").into()),
    }
}

pub(super) fn wrong_keys(_: np_noise::NoiseError) -> Misuse {
    Misuse::Argument("the keys given are not those that the handshake pattern needs")
}

/// Why a handshake message that does not open does not: nobody can tell which of the keys it was.
pub(super) fn unauthentic(pattern: Pattern) -> Misbehaved {
    if pattern.needs_psk() { Misbehaved::PreSharedKey } else { Misbehaved::Handshake }
}

/// What a client makes of a refusal in clear.
pub(super) fn refused(refusal: &Refusal<'_>) -> ConnectionError {
    if refusal.code == CloseCode::Version {
        let (min, max) = (refusal.min_version, refusal.max_version);
        return Incompatible::Version { min, max, ours: VERSION }.into();
    }
    ConnectionError::ClosedByPeer { code: refusal.code, text: refusal.text.to_owned(), in_clear: true }
}
