//! The server by hand: whatever comes goes back.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::wire::Wire;
use super::{HIGH, put, take};

/// Echoes every message of a connection until its end.
pub(crate) async fn echo(mut wire: impl Wire) -> io::Result<()> {
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    while poll_fn(|cx| step(&mut wire, cx, &mut input, &mut out)).await? {
        while let Some((id, body)) = take(&mut input) {
            put(&mut out, id, &body);
        }
    }
    Ok(())
}

/// Moves what can be moved; false at the end of the stream.
fn step(
    wire: &mut impl Wire,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
    out: &mut BytesMut,
) -> Poll<io::Result<bool>> {
    // A client that does not read its answers is read no further.
    if wire.poll_write(cx, out)?.is_pending() && out.len() > HIGH {
        return Poll::Pending;
    }
    wire.poll_read(cx, input).map_ok(|count| count > 0)
}
