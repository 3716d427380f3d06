//! A key log: what opens the records of connections, a line each, for those who look into captures. Must never exist unless
//! a program made one on purpose.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use np_session::ConnectionKeys;
use zeroize::Zeroizing;

/// The first word of a line.
const LABEL: &str = "NP_TRAFFIC_KEYS";

/// Writes the traffic keys of connections down, as browsers do by `SSLKEYLOGFILE`. Whoever reads them reads those connections,
/// and can forge their records while they stand: for tests and for looking into one's own traffic, never for production.
///
/// A line for each connection whose handshake came to its end: the word `NP_TRAFFIC_KEYS`, the nonce of its preface, the key
/// of the initiator's records and that of the responder's, each in hexadecimal digits. The keys after a key update follow
/// from them. Connections without records that np seals (`tls://`, `?mode=local`) have no line.
///
/// Making one is logged as a warning (`np::audit`). Lines are written at once, by whoever has the connection: give it a file
/// or something as fast. Clones share it.
///
/// ```no_run
/// use np_driver::KeyLog;
/// let log = KeyLog::danger_append_to("keys.log")?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct KeyLog(Arc<Mutex<Box<dyn Write + Send>>>);

impl KeyLog {
    /// Appends to a file, which is made where it is missing; on Unix for this user alone, and one that others may read is
    /// refused.
    ///
    /// # Errors
    /// Where the system does not let it be written, and where others may read it.
    pub fn danger_append_to(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        check_mode(&file)?;
        Ok(Self::danger_write_to(file))
    }

    /// Writes to anything, a line at a time.
    ///
    /// ```
    /// let log = np_driver::KeyLog::danger_write_to(std::io::sink());
    /// assert_eq!(format!("{log:?}"), "KeyLog");
    /// ```
    #[must_use]
    pub fn danger_write_to(writer: impl Write + Send + 'static) -> Self {
        tracing::warn!(target: "np::audit", "a key log is on: whoever reads it reads every connection that it names");
        Self(Arc::new(Mutex::new(Box::new(writer))))
    }

    /// Writes the line of a connection.
    pub(crate) fn write(&self, ConnectionKeys { nonce, keys }: &ConnectionKeys) {
        let mut line = Zeroizing::new(String::with_capacity(LABEL.len() + 164));
        line.push_str(LABEL);
        for field in [nonce.as_slice(), keys.initiator.as_slice(), keys.responder.as_slice()] {
            line.push(' ');
            for byte in field {
                // Writing to a String cannot fail.
                let _ = write!(line, "{byte:02x}");
            }
        }
        line.push('\n');
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writer.write_all(line.as_bytes()).and_then(|()| writer.flush()) {
            tracing::warn!(target: "np::audit", %error, "the key log cannot be written; a connection is missing in it");
        }
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLog")
    }
}

/// Refuses a file that others may read. What is no file, as a pipe, is its owner's affair.
#[cfg(unix)]
fn check_mode(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = file.metadata()?;
    let mode = meta.permissions().mode() & 0o777;
    if meta.is_file() && mode & 0o077 != 0 {
        let why = format!("it has mode {mode:04o}, which secrets may not have; run `chmod 600` on it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// This system keeps who may read a file elsewhere.
#[cfg(not(unix))]
fn check_mode(file: &File) -> io::Result<()> {
    file.metadata().map(drop)
}
