//! A configuration taken over by a server that runs: all of it or nothing. Must never cut a connection that the new
//! configuration would let in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use np_transport::TlsServer;
use np_trust::Policy;

use super::declare::{Change, Entry};
use super::{Config, ConfigError};
use crate::status::Asking;
use crate::{Error, Server};

/// What a reload has done.
///
/// ```
/// use np_facade::{Config, Server};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let key = folder.path().join("server.key");
/// # np_facade::Identity::create(&key)?;
/// let mut config = Config::default();
/// config.server.address = vec!["mem:reloaded".to_owned()];
/// config.server.identity = vec![key];
/// config.server.allow = vec!["anyone".to_owned()];
/// let server = Server::from_config(&config)?.start().await?;
///
/// config.server.max_connections = 100;
/// config.server.backlog = 5;
/// let reload = server.reload(&config).await?;
/// assert_eq!(reload.changed(), ["server.max_connections"]);
/// assert_eq!(reload.needs_restart(), ["server.backlog"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reload {
    changed: Vec<String>,
    needs_restart: Vec<String>,
}

impl Reload {
    /// The settings whose new values count now, by key.
    #[must_use]
    pub fn changed(&self) -> &[String] {
        &self.changed
    }

    /// The settings that are new and count only for a server or client that is made anew, by key.
    #[must_use]
    pub fn needs_restart(&self) -> &[String] {
        &self.needs_restart
    }

    /// Writes into the audit log what has changed, what waits for a restart, or why nothing has changed.
    pub(super) fn tell(side: &str, reloaded: &Result<Self, Error>) {
        match reloaded {
            Ok(Self { changed, needs_restart }) if needs_restart.is_empty() => {
                tracing::info!(target: "np::audit", side, changed = changed.join(" "), "configuration read again");
            }
            Ok(Self { changed, needs_restart }) => {
                let (changed, needs_restart) = (changed.join(" "), needs_restart.join(" "));
                tracing::warn!(
                    target: "np::audit",
                    side, changed, needs_restart, "configuration read again: some settings wait for a restart"
                );
            }
            Err(error) => {
                tracing::error!(
                    target: "np::audit",
                    side, %error, "configuration cannot be used: the last good one stays in force"
                );
            }
        }
    }

    /// What differs in these tables.
    pub(super) fn between(old: &Config, new: &Config, tables: &[&str]) -> Self {
        let concerned = |entry: &&Entry| tables.contains(&entry.table);
        let mut reload = Self::default();
        for entry in new.differences(old).filter(concerned) {
            match entry.change {
                Change::Live => reload.changed.push(entry.key()),
                Change::Restart => reload.needs_restart.push(entry.key()),
            }
        }
        reload
    }
}

impl Server {
    /// Takes over a configuration while the server runs, and reads the files that it names again, also where the names are
    /// the same: keys, lists, certificates. Limits and timeouts count for connections from now on, the numbers of
    /// connections, handshakes and calls, limits of sources, rates and memory at once; connections of peers that may no longer connect are closed. Waits for a
    /// shutdown that is in progress.
    ///
    /// One event on the `tracing` target `np::audit` tells what has changed, or why nothing has. What is no server's, as
    /// `logging.level`, is told and left to the program.
    ///
    /// # Errors
    /// As [`Server::from_config`], and when certificates are named by a server that began without; nothing has changed then.
    pub async fn reload(&self, config: &Config) -> Result<Reload, Error> {
        let reloaded = self.try_reload(config).await;
        Reload::tell("server", &reloaded);
        reloaded
    }

    async fn try_reload(&self, config: &Config) -> Result<Reload, Error> {
        config.check()?;
        let running = self.running();
        // One at a time: what two of them make of a server is one's or the other's.
        let _turn = running.reloading.lock().await;
        let blank = Self::builder_without_identity(Policy::allow_keys([]));
        let (mut builder, files) = config.put_into(blank);
        // A file may be slow, or a pipe: nobody else shall wait for it.
        let reading = tokio::task::spawn_blocking({
            let config = config.clone();
            move || config.read_server(&files)
        });
        let read =
            reading.await.map_err(|_| ConfigError::one("reload", None, "reading files ended early; try again"))??;
        builder.config.identities = read.identities.into_iter().map(crate::Identity::into_keys).collect();
        builder.config.policy = read.policy;
        builder.config.psks = read.psks;
        let tls = running.tls.as_ref();
        if tls.is_some() != read.tls.is_some() {
            let why = "cannot be given to a server that runs without certificates, nor taken from one that has some; restart it";
            return Err(ConfigError { problems: vec![config.problem("server.tls_cert", why)] }.into());
        }
        let asking = running.asking.as_ref();
        if asking.is_none() && read.status.is_some() {
            let why = "cannot be given to a server that runs without np.status; restart it";
            return Err(ConfigError { problems: vec![config.problem("server.status_allow", why)] }.into());
        }
        // All was read and made by now: what fails from here on is refused before it changes anything.
        self.reconfigure(builder.config).await?;
        if let (Some(tls), Some(read)) = (tls, &read.tls) {
            tls.take_over(read);
        }
        if let Some(asking) = asking {
            asking.replace(read.status.unwrap_or_else(|| Policy::allow_keys([])));
        }
        let old = running.replace(config);
        Ok(Reload::between(&old, config, &["server", "transport", "logging"]))
    }
}

/// What of a running server a reload changes, beside its acceptor.
#[derive(Debug)]
pub(crate) struct Running {
    pub(super) tls: Option<TlsServer>,
    asking: Option<Asking>,
    now: Mutex<Now>,
    reloading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Now {
    end: End,
    config: Option<Box<Config>>,
}

/// How [`Server::stop`] ends a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// How long it only says that it will.
    pub(crate) delay: Duration,
    /// How long open calls may go on after that.
    pub(crate) within: Duration,
}

impl Running {
    pub(crate) fn new(tls: Option<TlsServer>, asking: Option<Asking>, end: End, config: Option<Box<Config>>) -> Self {
        let now = Mutex::new(Now { end, config });
        Self { tls, asking, now, reloading: tokio::sync::Mutex::default() }
    }

    pub(crate) fn end(&self) -> End {
        self.now().end
    }

    /// Takes a configuration over, and gives the one before.
    fn replace(&self, config: &Config) -> Config {
        let mut now = self.now();
        now.end = End { delay: config.server.drain_delay, within: config.server.shutdown_timeout };
        now.config.replace(Box::new(config.clone())).map(|old| *old).unwrap_or_default()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Every value is whole, whatever happened to another thread.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
