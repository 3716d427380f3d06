//! Each handshake message of each pattern and suite, to each role, in the state that waits for it: any bytes, or the true message
//! with changes. Nothing but the true message is accepted, unless it stands in the clear, and then the next one fails; a
//! failure leaves nothing behind. Owns this rule alone.

use np_noise::{Handshake, NoiseError, Pattern, Role};

use super::input::Input;
use super::noise::{read, side, suite_and_pattern};

/// What stood in the payload's buffer before.
const BEFORE: &[u8] = b"before";

pub(super) fn target(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let (suite, pattern) = suite_and_pattern(&mut input);
    let at = usize::from(input.u8()) % pattern.messages();
    let flags = input.u8();
    let size = usize::from(input.u8());
    let payload = input.take(size).to_vec();
    let side = |role, late| side((suite, pattern), role, late);
    let mut sides = [side(Role::Initiator, false), side(Role::Responder, flags & 1 != 0)];
    (0..at).for_each(|index| step(&mut sides, index, b""));

    let (writer, reader) = turn(&mut sides, at);
    let mut truth = Vec::new();
    writer.write_message(&payload, &mut truth).expect("it is this side's turn");
    let message = if flags & 2 != 0 { input.rest().to_vec() } else { input.edit(&truth, 8) };
    let mut carried = BEFORE.to_vec();
    let result = read(reader, &message, &mut carried);
    if message == truth {
        assert_eq!((result, &carried[..BEFORE.len()], &carried[BEFORE.len()..]), (Ok(()), BEFORE, &payload[..]));
        (at + 1..pattern.messages()).for_each(|index| step(&mut sides, index, b"more"));
        let [a, b] = sides.map(|side| side.finish().expect("no message is left"));
        assert_eq!(a.hash, b.hash);
        return true;
    }
    match result {
        Err(_) => nothing_is_left(reader, &carried),
        Ok(()) => clear_text_is_found_out(pattern, at, writer, reader),
    }
    false
}

/// A refused message adds nothing to the payload and ends the handshake.
fn nothing_is_left(reader: &mut Handshake, carried: &[u8]) {
    assert_eq!(carried, BEFORE, "a refused message has no payload");
    assert_eq!((reader.hash(), reader.remote_static()), ([0; 32], None));
    assert!(!reader.is_finished() && !reader.is_my_turn() && !reader.wants_psk());
    let mut out = Vec::new();
    assert_eq!(reader.read_message(&[0; 64], &mut out), Err(NoiseError::Dead));
    assert_eq!(reader.write_message(b"", &mut out), Err(NoiseError::Dead));
    assert!(out.is_empty());
}

/// The first message of XX and NN carries no tag: the answer shows that it was another.
fn clear_text_is_found_out(pattern: Pattern, at: usize, writer: &mut Handshake, reader: &mut Handshake) {
    let clear = at == 0 && matches!(pattern, Pattern::XX | Pattern::DangerNN);
    assert!(clear, "{pattern:?} took a changed message {at}");
    let (mut answer, mut payload) = (Vec::new(), Vec::new());
    match reader.write_message(b"", &mut answer) {
        Ok(()) => assert_eq!(writer.read_message(&answer, &mut payload), Err(NoiseError::Decrypt)),
        Err(error) => assert_eq!(error, NoiseError::ZeroShared),
    }
}

fn turn(sides: &mut [Handshake; 2], index: usize) -> (&mut Handshake, &mut Handshake) {
    let [initiator, responder] = sides;
    if index.is_multiple_of(2) { (initiator, responder) } else { (responder, initiator) }
}

/// One message as it should be.
fn step(sides: &mut [Handshake; 2], index: usize, payload: &[u8]) {
    let (writer, reader) = turn(sides, index);
    let (mut message, mut carried) = (Vec::new(), Vec::new());
    writer.write_message(payload, &mut message).expect("it is this side's turn");
    read(reader, &message, &mut carried).expect("nothing was changed");
    assert_eq!(carried, payload);
}
