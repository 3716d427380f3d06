//! A configuration taken over by a client that runs: all of it or nothing. Must never end a connection that stands.

use super::reload::Reload;
use super::{Config, ConfigError};
use crate::{Client, Error};

impl Client {
    /// Takes over a configuration while the client runs, and reads the files that it names again, also where the names are
    /// the same: its key, the keys and certificates of servers. All of it counts for connections from now on; those that
    /// stand go on, and so do their calls. An address that was given up since one side refused the other is tried again, as
    /// long as the client is not over.
    ///
    /// What the builder was told by code of the client's identity, trust, pre-shared key, certificates, limits and timeouts
    /// goes for what the configuration says; addresses, pool, retries, compression, method table and telemetry stay. The
    /// result names the settings that are new and count only for a client that is made anew, and so does the event on the
    /// `tracing` target `np::audit`.
    ///
    /// An exactly-once call that waits for its answer meanwhile ends as *outcome unknown* where the client comes back with
    /// another identity: the server remembers it for the one before.
    ///
    /// # Errors
    /// As [`Client::from_config`], and when the settings do not fit the addresses; nothing has changed then.
    ///
    /// ```
    /// use np_facade::prelude::*;
    /// use np_facade::Config;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = Server::builder(Identity::generate()?, Policy::anyone()).listen("mem:client-reload").start().await?;
    /// let mut config = Config::default();
    /// config.client.address = vec![server.addresses()[0].to_string()];
    /// let client = Client::from_config(&config)?.connect().await?;
    ///
    /// config.transport.max_message = 1 << 20;
    /// config.client.pool_size = 2;
    /// let reload = client.reload(&config).await?;
    /// assert_eq!(reload.changed(), ["transport.max_message"]);
    /// assert_eq!(reload.needs_restart(), ["client.pool_size"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reload(&self, config: &Config) -> Result<Reload, Error> {
        let reloaded = self.try_reload(config).await;
        Reload::tell("client", &reloaded);
        reloaded
    }

    async fn try_reload(&self, config: &Config) -> Result<Reload, Error> {
        let dialer = self.dialer();
        // One at a time: what two of them make of a client is one's or the other's.
        let _turn = dialer.reloading.lock().await;
        // A file may be slow, or a pipe: nobody else shall wait for it.
        let reading = tokio::task::spawn_blocking({
            let config = config.clone();
            move || Self::from_config(&config)
        });
        let wanted =
            reading.await.map_err(|_| ConfigError::one("reload", None, "reading files ended early; try again"))??;
        let old = dialer.take_over(wanted)?;
        Ok(Reload::between(&old.unwrap_or_default(), config, &["client", "transport"]))
    }
}
