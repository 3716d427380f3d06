//! The last seconds of a connection: whoever refuses or closes stops writing, then reads and discards for a while.
//!
//! Closing a socket with unread input makes the kernel send a reset, and a reset destroys the reason that is still on
//! its way to the peer.

use std::time::Duration;

use np_transport::Io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// How long, and for how many bytes, the peer may still talk.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
const DISCARD: usize = 64 << 10;

/// Sends what is left, ends the write side, discards the rest of the input.
///
/// Failures do not matter any more: the connection is over either way.
pub(crate) async fn farewell(io: &mut Box<dyn Io>, out: &[u8]) {
    let goodbye = async {
        io.write_all(out).await?;
        io.shutdown().await?;
        let mut sink = [0; 4_096];
        let mut discarded = 0;
        while discarded < DISCARD {
            match io.read(&mut sink).await? {
                0 => break,
                count => discarded += count,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::time::timeout(PATIENCE, goodbye).await;
}
