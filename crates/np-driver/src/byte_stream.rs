//! Streams of messages as streams of bytes, for tokio's readers and writers. Must never know the session: a message is
//! taken, and its credit goes back, only when the one before it was read to its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use np_dispatch::{MessageReceiver, MessageSender, MessageStream};
use np_types::{CallError, Status};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a message that a writer makes at most; fewer where the peer takes no such messages.
const MESSAGE: usize = 64 << 10;

/// Reads the messages of a stream as one run of bytes: [`AsyncRead`] and [`AsyncBufRead`].
///
/// The bytes end where the peer finished. A stream that fails is an [`io::Error`] with the [`CallError`] inside, again
/// at each further read. Empty messages are skipped.
///
/// ```
/// use np_driver::ByteReader;
/// use tokio::io::AsyncBufReadExt as _;
///
/// async fn lines(receiver: np_dispatch::MessageReceiver) -> std::io::Result<usize> {
///     let mut lines = ByteReader::new(receiver).lines();
///     let mut count = 0;
///     while let Some(_line) = lines.next_line().await? {
///         count += 1;
///     }
///     Ok(count)
/// }
/// ```
#[derive(Debug)]
pub struct ByteReader {
    receiver: MessageReceiver,
    /// What was taken and not read yet.
    left: Bytes,
    error: Option<CallError>,
}

impl ByteReader {
    /// Reads the messages of this half.
    #[must_use]
    pub const fn new(receiver: MessageReceiver) -> Self {
        Self { receiver, left: Bytes::new(), error: None }
    }

    /// What was taken and not read, and the half below: for its trailers, or to go on with messages.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, MessageReceiver) {
        (self.left, self.receiver)
    }

    /// Takes messages until there are bytes to read, or an end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            if let Some(error) = &self.error {
                return Poll::Ready(Err(io_error(error.clone())));
            }
            match ready!(self.receiver.poll_recv(cx)) {
                Some(Ok(message)) => self.left = message,
                Some(Err(error)) => self.error = Some(error),
                None => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ByteReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() > 0 {
            ready!(this.poll_fill(cx))?;
            let taken = this.left.split_to(this.left.len().min(buf.remaining()));
            buf.put_slice(&taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for ByteReader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        Poll::Ready(Ok(&this.left))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let left = &mut self.get_mut().left;
        left.advance(amount.min(left.len()));
    }
}

/// Writes a run of bytes as the messages of a stream: [`AsyncWrite`].
///
/// Each write becomes a message of at most 64 KiB, so small writes want a [`BufWriter`](tokio::io::BufWriter) in front.
/// Writing waits for the peer's credit. Shutting down finishes this side's direction; a stream that is dropped before
/// is cancelled. Errors are as those of [`ByteReader`].
///
/// ```
/// use np_driver::ByteWriter;
/// use tokio::io::AsyncWriteExt as _;
///
/// async fn send(sender: np_dispatch::MessageSender, bytes: &[u8]) -> std::io::Result<()> {
///     let mut writer = ByteWriter::new(sender);
///     writer.write_all(bytes).await?;
///     writer.shutdown().await
/// }
/// ```
#[derive(Debug)]
pub struct ByteWriter {
    sender: MessageSender,
}

impl ByteWriter {
    /// Writes to this half.
    #[must_use]
    pub const fn new(sender: MessageSender) -> Self {
        Self { sender }
    }

    /// The half below: to set trailers, to cancel, or to go on with messages.
    #[must_use]
    pub fn into_inner(self) -> MessageSender {
        self.sender
    }
}

impl AsyncWrite for ByteWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sender = &mut self.get_mut().sender;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(sender.poll_ready(cx)).map_err(io_error)?;
        let size = buf.len().min(MESSAGE).min(sender.max_message());
        let message = Bytes::copy_from_slice(buf.get(..size).unwrap_or(buf));
        sender.start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().sender.poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().sender.poll_finish(cx).map_err(io_error)
    }
}

/// A stream of messages as bytes both ways: a [`ByteReader`] and a [`ByteWriter`] in one, for
/// [`copy_bidirectional`](tokio::io::copy_bidirectional) and what else wants both.
///
/// ```
/// use np_driver::ByteStream;
///
/// async fn forward(stream: np_dispatch::MessageStream, socket: &mut (impl tokio::io::AsyncRead
///     + tokio::io::AsyncWrite + Unpin)) -> std::io::Result<(u64, u64)> {
///     tokio::io::copy_bidirectional(&mut ByteStream::new(stream), socket).await
/// }
/// ```
#[derive(Debug)]
pub struct ByteStream {
    reader: ByteReader,
    writer: ByteWriter,
}

impl ByteStream {
    /// Reads and writes the messages of a stream.
    #[must_use]
    pub fn new(stream: MessageStream) -> Self {
        let (receiver, sender) = stream.split();
        Self { reader: ByteReader::new(receiver), writer: ByteWriter::new(sender) }
    }

    /// Both directions, each to be used by a task of its own.
    #[must_use]
    pub fn into_split(self) -> (ByteReader, ByteWriter) {
        (self.reader, self.writer)
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().reader).poll_read(cx, buf)
    }
}

impl AsyncBufRead for ByteStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().reader).poll_fill_buf(cx)
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.get_mut().reader).consume(amount);
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().writer).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_shutdown(cx)
    }
}

fn io_error(error: CallError) -> io::Error {
    let kind = match error.status {
        Status::DeadlineExceeded => io::ErrorKind::TimedOut,
        Status::PermissionDenied => io::ErrorKind::PermissionDenied,
        Status::Cancelled => io::ErrorKind::ConnectionAborted,
        Status::Unavailable => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
