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

    const fn is_call(&self) -> bool {
        matches!(self, Self::Call(..))
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
pub(crate) struct Slots {
    places: Vec<Option<(StreamKey, Slot)>>,
    /// Those of them that are unary calls of this side.
    calls: usize,
}

impl Slots {
    #[inline]
    pub(crate) fn insert(&mut self, key: StreamKey, slot: Slot) {
        let at = key.slot();
        if self.places.len() <= at {
            self.places.resize_with(at + 1, || None);
        }
        if let Some(place) = self.places.get_mut(at) {
            self.calls += usize::from(slot.is_call());
            let before = place.replace((key, slot));
            self.calls -= usize::from(before.is_some_and(|(_, slot)| slot.is_call()));
        }
    }

    pub(crate) fn slot(&self, key: StreamKey) -> Option<&Slot> {
        let (owner, slot) = self.places.get(key.slot())?.as_ref()?;
        (*owner == key).then_some(slot)
    }

    pub(crate) fn remove(&mut self, key: StreamKey) -> Option<Slot> {
        let place = self.places.get_mut(key.slot())?;
        let (_, slot) = place.take_if(|(owner, _)| *owner == key)?;
        self.calls -= usize::from(slot.is_call());
        Some(slot)
    }

    /// Takes every slot.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (StreamKey, Slot)> {
        self.calls = 0;
        self.places.drain(..).flatten()
    }

    /// How many unary calls of this side wait for their answers.
    pub(crate) const fn calls(&self) -> usize {
        self.calls
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    /// Gives its memory back, where nobody waits.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() {
            self.places = Vec::new();
        }
    }

    /// Whether a stream was opened by this side.
    pub(crate) fn is_local(&self, key: StreamKey) -> bool {
        self.slot(key).is_some_and(Slot::is_local)
    }

    /// The calls whose waiters have gone.
    pub(crate) fn cancelled(&self) -> Vec<StreamKey> {
        let waiting = self.places.iter().flatten();
        waiting.filter(|(_, slot)| slot.is_cancelled()).map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use np_session::{OpenCall, OpenKind};
    use np_types::Deadline;
    use tokio::sync::oneshot;

    use super::{Slot, Slots};
    use crate::task::tests::sessions;

    #[test]
    fn unary_calls_of_this_side_are_counted_as_long_as_they_wait() {
        let (mut session, _) = sessions();
        let [first, second, third] =
            [(); 3].map(|()| session.open(OpenCall::new(OpenKind::Request, "m".parse().unwrap())).unwrap());
        let call = || Slot::Call(oneshot::channel().0, Deadline::NONE);
        let mut slots = Slots::default();
        for key in [first, second] {
            slots.insert(key, call());
        }
        slots.insert(third, Slot::OneWay(oneshot::channel().0));
        assert_eq!(slots.calls(), 2);
        slots.insert(second, call());
        assert_eq!(slots.calls(), 2, "one that another takes the place of waits no more");
        assert!(slots.remove(third).is_some() && slots.calls() == 2);
        assert!(slots.remove(first).is_some() && slots.remove(first).is_none());
        assert_eq!(slots.calls(), 1);
        assert_eq!(slots.drain().count(), 1);
        assert_eq!(slots.calls(), 0);
    }
}
