//! The last seconds of a connection: whoever refuses or closes stops writing, then reads and discards for a while.
//!
//! Closing a socket with unread input makes the kernel send a reset, and a reset destroys the reason that is still on
//! its way to the peer.

use std::time::Duration;

use np_transport::Io;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::establish::read_some;

/// How long, and for how many bytes, the peer may still talk.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
const DISCARD: usize = 64 << 10;
const READ: usize = 4 << 10;
/// How long a peer that is not listened to any more may take for its last word.
const HASTE: Duration = Duration::from_millis(50);

/// Sends what is left, ends the write side, discards the rest of the input.
///
/// Failures do not matter any more: the connection is over either way.
pub(crate) async fn farewell(io: &mut Box<dyn Io>, out: &[u8]) {
    let goodbye = async {
        say(io, out).await?;
        let mut discarded = 0;
        while discarded < DISCARD {
            match read_some::<READ>(io, |_| {}).await? {
                0 => break,
                count => discarded += count,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = timeout(PATIENCE, goodbye).await;
}

/// The same where the peer has nothing to say any more: it has ended the connection itself, or nothing was open that it
/// could answer. What it says all the same meets a closed door behind the last word.
pub(crate) async fn goodbye(io: &mut Box<dyn Io>, out: &[u8]) {
    let _ = timeout(PATIENCE, say(io, out)).await;
}

/// The same for peers too many to be listened to: the word arrives unless the peer was talking.
pub(crate) async fn parting_word(io: &mut Box<dyn Io>, out: &[u8]) {
    let _ = timeout(HASTE, say(io, out)).await;
}

async fn say(io: &mut Box<dyn Io>, out: &[u8]) -> std::io::Result<()> {
    if !out.is_empty() {
        io.write_all(out).await?;
    }
    io.shutdown().await
}
