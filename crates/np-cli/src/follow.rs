//! A server's files, followed while it runs: the configuration and what it names are read again when one of them changes,
//! and on SIGHUP. Must never let a bad file change anything.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use np_facade::{Config, Reload, Server};
use tokio::time::{MissedTickBehavior, interval};

use crate::admission::{self, Ways};
use crate::failure::Failure;
use crate::logging;
use crate::output;
use crate::serve::{self, Serve};
use crate::served;
use crate::signals::{Heard, Signals, blocking};
use crate::tls;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A running server, and what it was told.
pub(crate) struct Follower<'a> {
    pub(crate) server: &'a Server,
    pub(crate) command: Arc<Serve>,
    pub(crate) verbose: u8,
    /// What is in force.
    pub(crate) config: Config,
}

impl Follower<'_> {
    /// Follows files until a signal asks the program to end, and gives what is in force then.
    pub(crate) async fn until_signal(mut self, signals: &mut Signals) -> Config {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = self.stamps();
        let mut last = known.clone();
        loop {
            let heard = tokio::select! {
                heard = signals.next_or_hang_up() => Some(heard),
                _ = looks.tick() => None,
            };
            match heard {
                Some(Heard::End) => break,
                #[cfg(unix)]
                Some(Heard::HangUp) if self.command.config.is_none() => break,
                #[cfg(unix)]
                Some(Heard::HangUp) => {}
                None => {
                    let now = self.stamps();
                    // A file is read when it has been left alone for a while: what is half written has no sense.
                    let settled = now == std::mem::replace(&mut last, now.clone());
                    if now == known || !settled {
                        continue;
                    }
                }
            }
            let before = self.stamps();
            if self.reload(signals).await.is_some() {
                break;
            }
            // Of the files that count now; of those that were read, as they were before.
            let seen = |path: &PathBuf| before.iter().find(|(other, _)| other == path).map(|(_, stamp)| *stamp);
            known = self.stamps();
            known.iter_mut().for_each(|(path, stamp)| *stamp = seen(path).unwrap_or(*stamp));
            last.clone_from(&known);
        }
        self.config
    }

    /// Reads all files again. A signal that asks the program to end goes before that, since a file may be a pipe.
    async fn reload(&mut self, signals: &mut Signals) -> Option<Heard> {
        let reloaded = {
            let mut reload = pin!(self.try_reload());
            loop {
                tokio::select! {
                    reloaded = &mut reload => break reloaded,
                    heard = signals.next_or_hang_up() => if heard == Heard::End {
                        return Some(heard);
                    }
                }
            }
        };
        match reloaded {
            Ok((config, reload)) => {
                if self.verbose == 0 {
                    logging::set_level(config.logging.level);
                }
                self.config = config;
                output::note(&told(&reload));
            }
            Err(failure) => {
                tracing::error!(target: "np::audit", error = failure.line(), "nothing was reloaded");
                output::note(&format!("reload: nothing has changed: {}", failure.text()));
            }
        }
        None
    }

    async fn try_reload(&self) -> Result<(Config, Reload), Failure> {
        let command = Arc::clone(&self.command);
        let config = blocking(move || {
            let mut config = served::effective(&command)?;
            let addresses = config.server.address.iter().map(|text| serve::check_address(text));
            let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
            let ways = Ways::of(&addresses, &config.server);
            admission::complete(&mut config.server, ways);
            tls::check_keys(&config, command.key_mode.or(config.server.danger_key_mode))?;
            Ok(config)
        })
        .await?;
        let reload = self.server.reload(&config).await.map_err(|error| Failure::of("reload", error))?;
        Ok((config, reload))
    }

    /// How the files look that are read again.
    fn stamps(&self) -> Vec<(PathBuf, Option<Stamp>)> {
        let server = &self.config.server;
        let lists = [&server.identity, &server.psk, &server.tls_cert, &server.tls_key, &server.tls_ca, &server.tls_crl];
        let named = lists.into_iter().flatten().map(PathBuf::as_path);
        let allow = server.allow.iter().chain(&server.status_allow).map(Path::new);
        let paths = self.command.config.iter().map(PathBuf::as_path).chain(named).chain(allow);
        paths.map(|path| (path.to_owned(), Stamp::of(path))).collect()
    }
}

/// What has changed, in words.
fn told(reload: &Reload) -> String {
    let changed = match reload.changed() {
        [] => "no setting has changed, and files were read again".to_owned(),
        keys => format!("changed {}", keys.join(", ")),
    };
    match reload.needs_restart() {
        [] => format!("reload: {changed}"),
        keys => format!("reload: {changed}; restart for {}", keys.join(", ")),
    }
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device, inode and the time of the last change of either, which nobody can set.
    #[cfg(unix)]
    node: (u64, u64, i64, i64),
}

impl Stamp {
    /// Of a file; nothing of what is none, as a pipe or a key in the place of a name.
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().filter(Metadata::is_file).map(|meta| Self::read(&meta))
    }

    fn read(meta: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;

        Self {
            length: meta.len(),
            modified: meta.modified().ok(),
            #[cfg(unix)]
            node: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
        }
    }
}
