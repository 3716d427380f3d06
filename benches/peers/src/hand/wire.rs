//! How the bytes of a connection reach its socket: as they are, inside TLS, or in records of Noise.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{poll_read_buf, poll_write_buf};

/// Room for what one read takes.
pub(super) const READ: usize = 64 << 10;

/// A stream of plaintext bytes both ways.
pub(crate) trait Wire: Send + 'static {
    /// Appends what has come; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Writes; ready when nothing is left and all is flushed.
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>>;
}

/// A stream that needs nothing more: a socket, or TLS.
#[derive(Debug)]
pub(crate) struct Plain<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Wire for Plain<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        read(&mut self.0, cx, input)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        ready!(write(&mut self.0, cx, out))?;
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }
}

/// Appends one read.
pub(super) fn read<S: AsyncRead + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    if input.capacity() - input.len() < READ / 4 {
        input.reserve(READ);
    }
    poll_read_buf(std::pin::Pin::new(socket), cx, input)
}

/// Writes until nothing is left.
pub(super) fn write<S: AsyncWrite + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    out: &mut BytesMut,
) -> Poll<io::Result<()>> {
    while out.has_remaining() {
        if ready!(poll_write_buf(std::pin::Pin::new(&mut *socket), cx, out))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
    }
    Poll::Ready(Ok(()))
}
