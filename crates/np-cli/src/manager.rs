//! What `np serve` tells the service manager that started it: that it is ready, alive, or stopping (NOTIFY_SOCKET).

use std::env;
use std::time::Duration;

use crate::counted::counted;

/// The service manager, where there is one that listens.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    #[cfg(unix)]
    line: Option<unix::Line>,
}

impl Manager {
    /// Reads where it listens. It is told nothing before [`Manager::ready`].
    pub(crate) fn of_environment() -> Self {
        Self {
            #[cfg(unix)]
            line: env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| unix::Line::to(&name)),
        }
    }

    /// The server is ready; from now on the manager also hears that it is alive, as often as it asks for.
    pub(crate) fn ready(&self, addresses: usize) {
        self.tell(&format!("READY=1\nSTATUS=serving at {}", counted(addresses, "address", "addresses")));
        #[cfg(unix)]
        if let (Some(line), Some(period)) = (&self.line, watchdog()) {
            let line = line.clone();
            // It ends with the runtime. A runtime whose threads are all stuck sends nothing, which is what it is for.
            tokio::spawn(async move {
                loop {
                    line.tell("WATCHDOG=1");
                    tokio::time::sleep(period / 2).await;
                }
            });
        }
    }

    /// The server ends.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    fn tell(&self, words: &str) {
        #[cfg(unix)]
        if let Some(line) = &self.line {
            line.tell(words);
        }
        #[cfg(not(unix))]
        let _ = words;
    }
}

/// Within what time the manager wants to hear a sign of life, where it does.
#[cfg_attr(not(unix), allow(dead_code, reason = "elsewhere nobody asks"))]
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let for_this = match env::var("WATCHDOG_PID") {
        Ok(_) => number("WATCHDOG_PID") == Some(u64::from(std::process::id())),
        Err(_) => true,
    };
    number("WATCHDOG_USEC").filter(|micros| for_this && *micros > 0).map(Duration::from_micros)
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::sync::Arc;

    use crate::output;

    /// A way to the manager's socket.
    #[derive(Debug, Clone)]
    pub(super) struct Line(Arc<(UnixDatagram, SocketAddr)>);

    impl Line {
        /// Where the name is none that this program can send to, the user hears of it, and the manager hears nothing.
        pub(super) fn to(name: &OsStr) -> Option<Self> {
            let opened = address(name).and_then(|address| {
                let socket = UnixDatagram::unbound()?;
                // A manager that does not read must not stop the server.
                socket.set_nonblocking(true)?;
                Ok(Self(Arc::new((socket, address))))
            });
            opened.inspect_err(complain).ok()
        }

        pub(super) fn tell(&self, words: &str) {
            let (socket, address) = &*self.0;
            if let Err(error) = socket.send_to_addr(words.as_bytes(), address) {
                tracing::warn!(%error, "the service manager was not told `{}`", words.lines().next().unwrap_or_default());
            }
        }
    }

    fn complain(error: &io::Error) {
        output::note(&format!("note: NOTIFY_SOCKET: {error}; the service manager is told nothing"));
    }

    /// A path, or behind an @ a name that is no file.
    fn address(name: &OsStr) -> io::Result<SocketAddr> {
        match name.as_bytes().strip_prefix(b"@") {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Some(name) => {
                #[cfg(target_os = "android")]
                use std::os::android::net::SocketAddrExt as _;
                #[cfg(target_os = "linux")]
                use std::os::linux::net::SocketAddrExt as _;
                SocketAddr::from_abstract_name(name)
            }
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has names behind an @")),
            None if name.as_bytes().starts_with(b"/") => SocketAddr::from_pathname(name),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a whole path nor a name behind an @")),
        }
    }
}
