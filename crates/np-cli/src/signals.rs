//! The signals that ask the program to end, and work that must not keep it from hearing them.

use std::io;

use crate::failure::Failure;

/// Runs work that may block, on the file system above all, so that a signal still ends the program meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::local(format!("a thread of np ended early: {error}; report this"))))
}

/// What a command says that a signal ended before its end.
pub(crate) fn interrupted() -> Failure {
    Failure::interrupted("interrupted: stopped before the end")
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// To end.
    End,
    /// To read the configuration again, where there is one.
    #[cfg(unix)]
    HangUp,
}

/// The signals that ask the program to end.
#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// The terminal has gone; left to the system where it may have been told to ignore it.
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// From now on signals are waited for, and no longer end the program by themselves.
    pub(crate) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(refused);
        let hang_up = if hears_hang_up() { Some(listen(SignalKind::hangup())?) } else { None };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())?, hang_up })
    }

    /// Waits for the next one, SIGHUP apart.
    pub(crate) async fn next_or_hang_up(&mut self) -> Heard {
        let hung_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Heard::End,
            _ = self.terminate.recv() => Heard::End,
            _ = hung_up => Heard::HangUp,
        }
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let _ = self.next_or_hang_up().await;
    }
}

/// Whether SIGHUP still has its default meaning: `nohup` starts programs with the signal ignored, and to listen for it
/// would undo that. Only Linux tells; elsewhere the system keeps the signal.
#[cfg(unix)]
fn hears_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // One bit a signal, from 1 on; SIGHUP is 1.
    ignored.and_then(|mask| u128::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0)
}

/// The signal that asks the program to end: this system has one.
#[cfg(windows)]
pub(crate) struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    /// From now on the signal is waited for, and no longer ends the program by itself.
    pub(crate) fn new() -> Result<Self, Failure> {
        tokio::signal::windows::ctrl_c().map(Self).map_err(refused)
    }

    /// Waits for the next one.
    pub(crate) async fn next_or_hang_up(&mut self) -> Heard {
        self.0.recv().await;
        Heard::End
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let _ = self.next_or_hang_up().await;
    }
}

fn refused(error: io::Error) -> Failure {
    Failure::local(format!("cannot wait for signals: {error}; check the limits of this user"))
}
