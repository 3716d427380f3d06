//! A configuration taken over by a server that runs: all of it or nothing. Must never cut a connection that the new
//! configuration would let in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use np_transport::TlsServer;
use np_trust::Policy;

use super::declare::{Change, Entry};
use super::{Config, ConfigError};
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

    /// The settings that are new and count only when the server starts again, by key.
    #[must_use]
    pub fn needs_restart(&self) -> &[String] {
        &self.needs_restart
    }

    fn between(old: &Config, new: &Config) -> Self {
        let concerned = |entry: &&Entry| matches!(entry.table, "server" | "transport" | "logging");
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
        match &reloaded {
            Ok(reload) => {
                let (changed, needs_restart) = (reload.changed.join(" "), reload.needs_restart.join(" "));
                tracing::info!(target: "np::audit", changed, needs_restart, "configuration read again");
            }
            Err(error) => {
                tracing::error!(target: "np::audit", %error, "configuration cannot be used: the last good one stays in force");
            }
        }
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
        // All was read and made by now: what fails from here on is refused before it changes anything.
        self.reconfigure(builder.config).await?;
        if let (Some(tls), Some(read)) = (tls, &read.tls) {
            tls.take_over(read);
        }
        let old = running.replace(config);
        Ok(Reload::between(&old, config))
    }
}

/// What of a running server a reload changes, beside its acceptor.
#[derive(Debug)]
pub(crate) struct Running {
    pub(super) tls: Option<TlsServer>,
    now: Mutex<Now>,
    reloading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Now {
    shutdown_timeout: Duration,
    config: Option<Box<Config>>,
}

impl Running {
    pub(crate) fn new(tls: Option<TlsServer>, shutdown_timeout: Duration, config: Option<Box<Config>>) -> Self {
        let now = Mutex::new(Now { shutdown_timeout, config });
        Self { tls, now, reloading: tokio::sync::Mutex::default() }
    }

    pub(crate) fn shutdown_timeout(&self) -> Duration {
        self.now().shutdown_timeout
    }

    /// Takes a configuration over, and gives the one before.
    fn replace(&self, config: &Config) -> Config {
        let mut now = self.now();
        now.shutdown_timeout = config.server.shutdown_timeout;
        now.config.replace(Box::new(config.clone())).map(|old| *old).unwrap_or_default()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Both values are whole, whatever happened to another thread.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
