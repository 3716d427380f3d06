//! The calls of the peers that are written by hand: many at once on one connection, batched into few writes.
//!
//! It is what a careful engineer writes who needs an echo and nothing else: one task per connection and side, replies
//! matched by id, everything that is queued leaves in one write. How bytes reach the socket is the business of [`wire`].

pub(crate) mod client;
pub(crate) mod noise;
pub(crate) mod server;
pub(crate) mod wire;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes before a message: its length (4) and the id of its call (4).
const HEAD: usize = 8;

/// What may wait to be written before a side stops to take more.
const HIGH: usize = 4 << 20;

/// Appends a message.
fn put(out: &mut BytesMut, id: u32, body: &[u8]) {
    out.reserve(HEAD + body.len());
    out.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.put_u32(id);
    out.put_slice(body);
}

/// Takes a whole message off the front, or makes room for the rest of it.
fn take(input: &mut BytesMut) -> Option<(u32, Bytes)> {
    let head = input.first_chunk::<4>()?;
    let size = u32::from_be_bytes(*head) as usize;
    if input.len() < HEAD + size {
        input.reserve(HEAD + size - input.len() + wire::READ);
        return None;
    }
    input.advance(4);
    let id = input.get_u32();
    Some((id, input.split_to(size).freeze()))
}
