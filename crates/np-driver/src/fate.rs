//! How a connection goes, for whoever watches it: the peer's go-away, and the end. Must never keep a connection alive.

use np_types::{CloseCode, ConnectionError};
use tokio::sync::watch;

/// What has become of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    /// The peer takes no new calls.
    pub(crate) draining: Option<CloseCode>,
    /// It is over.
    pub(crate) closed: Option<ConnectionError>,
}

/// Watches a connection without keeping it alive; made by [`Connection::watch`](crate::Connection::watch).
///
/// ```no_run
/// # async fn run(connection: np_driver::Connection) {
/// let watch = connection.watch();
/// drop(connection);
/// println!("it ended: {}", watch.closed().await);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ConnectionWatch {
    fate: watch::Receiver<Fate>,
}

impl ConnectionWatch {
    pub(crate) const fn new(fate: watch::Receiver<Fate>) -> Self {
        Self { fate }
    }

    /// Waits until the connection is over, and says why.
    pub async fn closed(&self) -> ConnectionError {
        let mut fate = self.fate.clone();
        match fate.wait_for(|fate| fate.closed.is_some()).await {
            Ok(fate) => fate.closed.clone().unwrap_or(VANISHED),
            Err(_) => VANISHED,
        }
    }

    /// Waits until the peer takes no new calls, and gives the code of its go-away.
    ///
    /// # Errors
    /// When the connection has ended without one.
    pub async fn draining(&self) -> Result<CloseCode, ConnectionError> {
        let mut fate = self.fate.clone();
        let told = fate.wait_for(|fate| fate.closed.is_some() || fate.draining.is_some()).await;
        match told.as_deref() {
            Ok(Fate { draining: Some(code), .. }) => Ok(*code),
            Ok(Fate { closed: Some(error), .. }) => Err(error.clone()),
            Ok(_) | Err(_) => Err(VANISHED),
        }
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.fate.borrow().closed.is_some() || self.fate.has_changed().is_err()
    }

    /// Whether the peer may still take new calls.
    #[must_use]
    pub fn takes_calls(&self) -> bool {
        let fate = self.fate.borrow();
        fate.closed.is_none() && fate.draining.is_none() && self.fate.has_changed().is_ok()
    }
}

/// The end of a task that could not say why.
const VANISHED: ConnectionError = ConnectionError::ClosedHere(CloseCode::Internal);
