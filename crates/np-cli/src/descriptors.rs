//! How many files this process may have open: each connection of a server is one.

#[cfg(unix)]
use crate::output;

/// What a server opens beside its connections: listeners, lists, the log, the runtime's own.
#[cfg(unix)]
const BESIDE: u64 = 64;

/// Raises the soft limit to the hard one, and warns where that is too low for so many connections.
#[cfg(unix)]
pub(crate) fn raise(connections: usize, is_verbose: bool) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    // A system that refuses leaves the limit as it was: what counts is read again.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    let now = getrlimit(Resource::Nofile).current;
    let shown = |limit: Option<u64>| limit.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string());
    if is_verbose {
        let (before, now) = (shown(before.current), shown(now));
        output::note(&format!("note: this process may open {now} files, and might have opened {before} before"));
    }
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDE);
    if now.is_some_and(|now| now < wanted) {
        output::note(&format!(
            "warning: --max-connections {connections} takes {wanted} open files, and this process may open {}; raise the \
             hard limit (ulimit -Hn, LimitNOFILE=), or ask for fewer",
            shown(now)
        ));
    }
}

/// Raises the soft limit for a client; where it is too low all the same, the connections that are refused say so.
#[cfg(unix)]
pub(crate) fn raise_for_connections(connections: u32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < u64::from(connections) + BESIDE) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
}

/// This system has no such limit.
#[cfg(not(unix))]
pub(crate) const fn raise_for_connections(_connections: u32) {}

/// This system has no such limit.
#[cfg(not(unix))]
pub(crate) const fn raise(_connections: usize, _is_verbose: bool) {}
