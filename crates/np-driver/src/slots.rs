//! Who waits for what, by the slot of the stream.

use std::sync::Arc;

use np_dispatch::MessageStream;
use np_session::{OpenKind, StreamKey};
use np_types::{CallError, Codec, Deadline};
use tokio::sync::oneshot;

use crate::commands::{Answering, Unanswered};
use crate::handlers::Place;
use crate::stream_cell::StreamCell;

pub(crate) enum Slot {
    /// A caller of this side waits for a reply, until its deadline.
    Call(Answering, Deadline),
    /// A sender of this side waits until its message was handed over.
    OneWay(oneshot::Sender<Result<(), CallError>>),
    /// A stream of this side whose opening was not sealed yet.
    Opening(oneshot::Sender<Result<MessageStream, CallError>>, Arc<StreamCell>, Codec),
    /// A stream of this side.
    Stream(Arc<StreamCell>),
    /// A handler of this side is at work for the peer.
    /// `once` says that the call outlives the connection: what is here waits for its reply.
    Handler { kind: OpenKind, place: Option<Place>, cell: Option<Arc<StreamCell>>, once: bool },
}

impl Slot {
    /// Fails whoever waits on this side. A handler is stopped by whoever has them all.
    pub(crate) fn fail(self, error: CallError) {
        // A waiter that has gone needs no answer.
        match self {
            Self::Call(reply, deadline) => drop(reply.send(Err(Unanswered { error, deadline: Some(deadline) }))),
            Self::OneWay(sent) => drop(sent.send(Err(error))),
            Self::Opening(opened, ..) => drop(opened.send(Err(error))),
            Self::Stream(cell) => cell.ended(Some(error)),
            Self::Handler { cell, .. } => {
                if let Some(cell) = cell {
                    cell.ended(Some(error));
                }
            }
        }
    }

    pub(crate) const fn cell(&self) -> Option<&Arc<StreamCell>> {
        match self {
            Self::Stream(cell) | Self::Opening(_, cell, _) => Some(cell),
            Self::Handler { cell, .. } => cell.as_ref(),
            Self::Call(..) | Self::OneWay(_) => None,
        }
    }

    const fn is_local(&self) -> bool {
        !matches!(self, Self::Handler { .. })
    }

    fn is_cancelled(&self) -> bool {
        match self {
            Self::Call(reply, _) => reply.is_closed(),
            Self::OneWay(sent) => sent.is_closed(),
            Self::Opening(opened, ..) => opened.is_closed(),
            Self::Stream(_) | Self::Handler { .. } => false,
        }
    }
}

/// The slots of one connection: as many as the session has streams.
#[derive(Default)]
pub(crate) struct Slots(Vec<Option<(StreamKey, Slot)>>);

impl Slots {
    #[inline]
    pub(crate) fn insert(&mut self, key: StreamKey, slot: Slot) {
        let at = key.slot();
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        if let Some(place) = self.0.get_mut(at) {
            *place = Some((key, slot));
        }
    }

    pub(crate) fn slot(&self, key: StreamKey) -> Option<&Slot> {
        let (owner, slot) = self.0.get(key.slot())?.as_ref()?;
        (*owner == key).then_some(slot)
    }

    pub(crate) fn remove(&mut self, key: StreamKey) -> Option<Slot> {
        let place = self.0.get_mut(key.slot())?;
        if place.as_ref().is_some_and(|(owner, _)| *owner == key) { place.take().map(|(_, slot)| slot) } else { None }
    }

    /// Takes every slot.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (StreamKey, Slot)> {
        self.0.drain(..).flatten()
    }

    /// Gives its memory back, where nobody waits.
    pub(crate) fn rest(&mut self) {
        if self.0.iter().all(Option::is_none) {
            self.0 = Vec::new();
        }
    }

    /// Whether a stream was opened by this side.
    pub(crate) fn is_local(&self, key: StreamKey) -> bool {
        self.slot(key).is_some_and(Slot::is_local)
    }

    /// The calls whose waiters have gone.
    pub(crate) fn cancelled(&self) -> Vec<StreamKey> {
        let waiting = self.0.iter().flatten();
        waiting.filter(|(_, slot)| slot.is_cancelled()).map(|(key, _)| *key).collect()
    }
}
