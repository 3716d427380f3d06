//! Where builders are told to write traffic keys down. Must never find out by itself: no setting and no variable is looked at.

use np_driver::KeyLog;

use crate::{ClientBuilder, ServerBuilder};

impl ServerBuilder {
    /// Writes the traffic keys of this server's connections down: whoever reads them reads those connections. Default: nowhere, and no
    /// setting of a configuration nor variable of the environment turns it on. How to use it: `docs/CLI.md`.
    ///
    /// ```
    /// use np_facade::KeyLog;
    /// use np_facade::prelude::*;
    /// let log = KeyLog::danger_write_to(std::io::sink());
    /// let builder = Server::builder(Identity::generate()?, Policy::anyone()).danger_key_log(log);
    /// # Ok::<(), np_facade::Error>(())
    /// ```
    #[must_use]
    pub fn danger_key_log(mut self, log: KeyLog) -> Self {
        self.config.key_log = Some(log);
        self
    }
}

impl ClientBuilder {
    /// Writes the traffic keys of this client's connections down: whoever reads them reads those connections. Default: nowhere, and no
    /// setting of a configuration nor variable of the environment turns it on. How to use it: `docs/CLI.md`.
    ///
    /// ```no_run
    /// # async fn run(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::{Client, KeyLog};
    /// let log = KeyLog::danger_append_to("keys.log")?;
    /// let client = Client::builder(address).danger_key_log(log).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn danger_key_log(mut self, log: KeyLog) -> Self {
        self.key_log = Some(log);
        self
    }
}
