//! The methods that np brings along: `np.echo`, `np.echo-stream`, `np.health`, `np.methods`, `np.once`, `np.status`. Must
//! never know how a server drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use np_types::{CallError, PeerIdentity, Status};
use serde::Serialize;

use crate::router::WeakRouter;
use crate::{CallContext, CodecError, Handler, InstanceId, Reply, StreamHandler, bytes, stream};

/// What `np.health` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum HealthState {
    /// Work is taken.
    #[default]
    Ok,
    /// The server shuts down and takes no new work.
    Draining,
}

impl HealthState {
    /// The answer's text: `ok` or `draining`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Draining => "draining",
        }
    }
}

/// A handle on what `np.health` answers; clones share it.
///
/// ```
/// use np_dispatch::{Health, HealthState};
/// let health = Health::default();
/// health.clone().set(HealthState::Draining);
/// assert_eq!(health.state(), HealthState::Draining);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<AtomicU8>);

impl Health {
    /// Changes the answer from now on.
    pub fn set(&self, state: HealthState) {
        let value = match state {
            HealthState::Ok => 0,
            HealthState::Draining => 1,
        };
        self.0.store(value, Ordering::Release);
    }

    /// The answer now.
    #[must_use]
    pub fn state(&self) -> HealthState {
        match self.0.load(Ordering::Acquire) {
            0 => HealthState::Ok,
            _ => HealthState::Draining,
        }
    }
}

/// Sends each message of a stream back.
pub(crate) fn echo_stream() -> impl StreamHandler {
    stream(|_, mut messages| async move {
        while let Some(message) = messages.recv().await {
            messages.send(message?).await?;
        }
        messages.finish().await
    })
}

/// `np.echo`: the body, in the codec it came in.
pub(crate) fn echo() -> impl Handler {
    bytes(|context, body| Ok(Reply::new(context.codec(), body)))
}

/// `np.health`: the state's name.
pub(crate) fn health(health: Health) -> impl Handler {
    bytes(move |context, _| {
        let name = health.state().name();
        text_or_typed(&context, name, || name.to_owned())
    })
}

/// `np.methods`: all names in order, one a line, each with a space and its schema's fingerprint behind it where it has
/// one; a list of the lines for a caller that speaks a typed codec.
pub(crate) fn methods(router: WeakRouter) -> impl Handler {
    bytes(move |context, _| {
        let lines = router.lines();
        text_or_typed(&context, &lines, || lines.join("\n"))
    })
}

/// `np.once`: the epoch of the instance that the body names, 16 bytes each.
pub(crate) fn once() -> impl Handler {
    bytes(|context, body| {
        let Some(once) = context.connection().once() else {
            let text = "this side offers no exactly-once calls: its `exactly_once` turns them on";
            return Err(CallError::answered(Status::UnknownMethod, text));
        };
        let Ok(instance) = <[u8; 16]>::try_from(&body[..]) else {
            return Err(CallError::answered(Status::InvalidArgument, "the body is an instance: 16 random bytes"));
        };
        let epoch = once.open(context.peer(), InstanceId::from_bytes(instance))?;
        Ok(Reply::from(epoch.to_bytes().to_vec()))
    })
}

/// `np.status`: lines of a name and a value for those who may have it, and a list of the pairs in a typed codec.
pub(crate) fn status(
    allows: impl Fn(&PeerIdentity) -> bool + Send + Sync + 'static,
    pairs: impl Fn() -> Vec<(String, String)> + Send + Sync + 'static,
) -> impl Handler {
    bytes(move |context, _| {
        if !allows(context.peer()) {
            let text = "np.status is for the peers that this server's configuration names";
            return Err(CallError::answered(Status::PermissionDenied, text));
        }
        let pairs = pairs();
        text_or_typed(&context, &pairs, || {
            pairs.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join("\n")
        })
    })
}

fn text_or_typed<T: Serialize + ?Sized>(
    context: &CallContext,
    value: &T,
    text: impl FnOnce() -> String,
) -> Result<Reply, CallError> {
    match context.reply(value) {
        Err(CodecError::Unsupported(_)) => Ok(text().into()),
        typed => typed.map_err(Into::into),
    }
}
