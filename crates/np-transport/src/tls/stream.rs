//! The stream inside TLS, whose errors are np's own.
//!
//! It must never buffer: rustls does, within its limits.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::error::TlsError;
use super::refusal::from_rustls;

/// What TLS reads from, with a bound on what comes before a hello is there.
pub(super) struct Greeting<S> {
    pub(super) stream: S,
    /// Bytes that may still come; `None` lifts the bound.
    pub(super) left: Option<usize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeting<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(left) = self.left else {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        };
        if left == 0 {
            let what = "its hello is longer than 16 KiB".to_owned();
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TlsError::Broken { what })));
        }
        let before = buf.filled().len();
        let mut some = buf.take(left);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut some))?;
        let count = some.filled().len();
        // What was read stands in the same memory, behind what stood there before.
        buf.set_filled(before.saturating_add(count));
        self.left = Some(left.saturating_sub(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A TLS stream; an error of TLS comes out of it as a [`TlsError`] inside the I/O error.
pub(super) struct Named<S> {
    stream: TlsStream<S>,
    /// Whether this side has said its last.
    parting: bool,
}

impl<S> Named<S> {
    pub(super) const fn new(stream: TlsStream<S>) -> Self {
        Self { stream, parting: false }
    }
}

fn named(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => io::Error::new(error.kind(), from_rustls(inner)),
        None => error,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Named<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.parting {
            // rustls 0.23 asserts in debug builds that it sends no alert after its close, and a bad record has it send one.
            let stream = &mut self.stream;
            let read = catch_unwind(AssertUnwindSafe(move || Pin::new(stream).poll_read(cx, buf)));
            let what = || TlsError::Broken { what: "a bad record came after the close".to_owned() };
            let read = read.unwrap_or_else(|_| Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what()))));
            return read.map_err(named);
        }
        Pin::new(&mut self.stream).poll_read(cx, buf).map_err(named)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Named<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes).map_err(named)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes).map_err(named)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(named)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.parting = true;
        Pin::new(&mut self.stream).poll_shutdown(cx).map_err(named)
    }
}
