//! The queue of calls to a connection task. Must never know what a call is about.
//!
//! It holds 32 places of over a hundred bytes as soon as it is there, which is much beside the rest of an idle connection.
//! The side that connected has one, whose handles keep the connection. The accepting side makes its own with the first
//! call, if it ever makes one.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use crate::commands::{Command, Doorbell, QUEUE, lock};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// A way into the queue of a connection.
#[derive(Clone)]
pub(crate) enum Commands {
    /// Of the side that connected: with the last of these the connection ends.
    Own(mpsc::Sender<Command>),
    /// Of the accepting side.
    Later(Arc<Later>),
}

/// A way into the queue that does not keep the connection.
#[derive(Clone)]
pub(crate) enum WeakCommands {
    Own(mpsc::WeakSender<Command>),
    Later(Arc<Later>),
}

/// The other end: the task's.
pub(crate) enum Queue {
    Here(mpsc::Receiver<Command>),
    Later(Arc<Later>),
}

/// A queue that is made when it is needed.
pub(crate) struct Later {
    sender: OnceLock<mpsc::Sender<Command>>,
    made: AtomicBool,
    receiver: Mutex<Receiver>,
    bell: Arc<Doorbell>,
}

#[derive(Default)]
enum Receiver {
    #[default]
    Unmade,
    Made(mpsc::Receiver<Command>),
    /// The connection has ended before there was one.
    Closed,
}

/// Both ends of a queue, there at once where its handles keep the connection.
pub(crate) fn queue(own: bool, bell: &Arc<Doorbell>) -> (Commands, Queue) {
    if own {
        let (sender, receiver) = mpsc::channel(QUEUE);
        return (Commands::Own(sender), Queue::Here(receiver));
    }
    let later = Later {
        sender: OnceLock::new(),
        made: AtomicBool::new(false),
        receiver: Mutex::default(),
        bell: Arc::clone(bell),
    };
    let later = Arc::new(later);
    (Commands::Later(Arc::clone(&later)), Queue::Later(later))
}

impl Commands {
    pub(crate) fn sender(&self) -> &mpsc::Sender<Command> {
        match self {
            Self::Own(sender) => sender,
            Self::Later(later) => later.sender(),
        }
    }

    pub(crate) fn downgrade(&self) -> WeakCommands {
        match self {
            Self::Own(sender) => WeakCommands::Own(sender.downgrade()),
            Self::Later(later) => WeakCommands::Later(Arc::clone(later)),
        }
    }
}

impl WeakCommands {
    /// None where nobody keeps the connection any more.
    pub(crate) fn upgrade(&self) -> Option<Commands> {
        match self {
            Self::Own(sender) => sender.upgrade().map(Commands::Own),
            Self::Later(later) => Some(Commands::Later(Arc::clone(later))),
        }
    }
}

impl Queue {
    /// The queue, once it was made.
    pub(crate) fn receiver(&mut self) -> Option<&mut mpsc::Receiver<Command>> {
        if let Self::Later(later) = self
            && let Some(receiver) = later.take()
        {
            *self = Self::Here(receiver);
        }
        match self {
            Self::Here(receiver) => Some(receiver),
            Self::Later(_) => None,
        }
    }

    /// Takes what is in it.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Command> {
        let mut receiver = self.receiver();
        std::iter::from_fn(move || receiver.as_mut()?.try_recv().ok())
    }

    /// Takes no more commands, whether there was a queue or not. Those that are in it stay.
    pub(crate) fn close(&mut self) {
        if let Some(receiver) = self.receiver() {
            return receiver.close();
        }
        if let Self::Later(later) = self {
            let before = std::mem::replace(&mut *lock(&later.receiver), Receiver::Closed);
            if let Receiver::Made(mut receiver) = before {
                // It was made a moment ago.
                receiver.close();
                *self = Self::Here(receiver);
            }
        }
    }
}

impl Later {
    fn sender(&self) -> &mpsc::Sender<Command> {
        self.sender.get_or_init(|| {
            let (sender, made) = mpsc::channel(QUEUE);
            let mut receiver = lock(&self.receiver);
            // Without a task there is nobody to take it, which its sender learns when the other end goes.
            if !matches!(*receiver, Receiver::Closed) {
                *receiver = Receiver::Made(made);
                self.made.store(true, Ordering::Release);
            }
            drop(receiver);
            self.bell.wake();
            sender
        })
    }

    fn take(&self) -> Option<mpsc::Receiver<Command>> {
        if !self.made.load(Ordering::Acquire) {
            return None;
        }
        let mut receiver = lock(&self.receiver);
        if !matches!(*receiver, Receiver::Made(_)) {
            return None;
        }
        match std::mem::replace(&mut *receiver, Receiver::Closed) {
            Receiver::Made(receiver) => Some(receiver),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc::error::TrySendError;

    use super::{Commands, queue};
    use crate::commands::{Command, Doorbell};

    fn command() -> Command {
        let (sent, _) = tokio::sync::oneshot::channel();
        let call = np_session::OpenCall::new(np_session::OpenKind::OneWay, "m".parse().unwrap());
        Command::OneWay { call, sent }
    }

    #[test]
    fn a_queue_of_the_accepting_side_is_made_by_its_first_command() {
        let (commands, mut queue) = queue(false, &Arc::default());
        assert!(queue.receiver().is_none());
        assert!(commands.sender().try_send(command()).is_ok());
        assert!(queue.receiver().unwrap().try_recv().is_ok());
        queue.close();
        assert!(matches!(commands.sender().try_send(command()), Err(TrySendError::Closed(_))));
    }

    #[test]
    fn after_the_end_none_is_made_that_anybody_would_wait_at() {
        let (commands, mut later) = queue(false, &Arc::default());
        later.close();
        assert!(matches!(commands.sender().try_send(command()), Err(TrySendError::Closed(_))));
        assert!(later.receiver().is_none());
        // One that was made and not taken yet is found, with what is in it.
        let (commands, mut later) = queue(false, &Arc::default());
        assert!(commands.sender().try_send(command()).is_ok());
        later.close();
        assert!(later.receiver().unwrap().try_recv().is_ok());
    }

    #[test]
    fn only_the_connecting_sides_handles_keep_the_connection() {
        let (own, mut here) = queue(true, &Arc::<Doorbell>::default());
        let weak = own.downgrade();
        assert!(weak.upgrade().is_some() && matches!(own, Commands::Own(_)));
        drop(own);
        assert!(weak.upgrade().is_none());
        assert!(here.receiver().unwrap().try_recv().is_err());
    }
}
