//! The client's half of exactly-once calls: numbers, what to acknowledge, and whether a call may be sent again. Must never
//! know a connection or a clock.

use std::collections::{BTreeMap, VecDeque};

use np_types::{CallError, Outcome, Status};

use crate::{Epoch, InstanceId, OnceHeader, Reply};

/// The exactly-once calls of one client instance: which numbers they have, and what is known of each.
///
/// A call is sent by one attempt at a time. [`OnceClient::attempt`] gives what an attempt carries, [`OnceClient::ended`]
/// says what follows from how it ended.
///
/// ```
/// use np_dispatch::{AttemptEnd, Epoch, InstanceId, OnceClient, OnceNext};
/// let mut client = OnceClient::new(InstanceId::from_bytes([7; 16]));
/// let (epoch, other) = (Epoch::from_bytes([1; 16]), Epoch::from_bytes([2; 16]));
/// let call = client.begin()?;
/// let header = client.attempt(call, epoch)?;
/// assert_eq!((header.sequence, header.below), (0, 0));
///
/// // The connection is lost: the server may have run the call, and only the same server knows.
/// assert_eq!(client.ended(call, AttemptEnd::Lost), OnceNext::Retry { only: Some(epoch) });
/// assert!(client.attempt(call, other).is_err());
/// let header = client.attempt(call, epoch)?;
/// assert_eq!(client.ended(call, AttemptEnd::Answered), OnceNext::Done);
///
/// // The next call acknowledges the reply.
/// let call = client.begin()?;
/// assert_eq!(client.attempt(call, epoch)?.below, 1);
/// # Ok::<(), np_dispatch::OnceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OnceClient {
    instance: InstanceId,
    next: u64,
    calls: BTreeMap<u64, Call>,
    /// Calls that are over and that no attempt has acknowledged beside the count yet.
    over: VecDeque<u64>,
}

/// What is known of a call that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Call {
    /// The epoch under which an attempt may have arrived.
    bound: Option<Epoch>,
    /// The epoch of the attempt that is under way.
    trying: Option<Epoch>,
}

/// How an attempt ended.
///
/// ```
/// use np_dispatch::{AttemptEnd, Reply};
/// use np_types::{CallError, Status};
/// assert_eq!(AttemptEnd::of(&Ok(Reply::default())), AttemptEnd::Answered);
/// assert_eq!(AttemptEnd::of(&Err(CallError::unknown(Status::Unavailable, "cut"))), AttemptEnd::Lost);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptEnd {
    /// The call was answered, by a reply or by an error of its own.
    Answered,
    /// This attempt was not processed: never sent whole, or refused before any work.
    NotProcessed,
    /// Nobody knows: the connection was lost.
    Lost,
    /// The server did not run this attempt, and does not know whether it ran an earlier one ([`Status::OutcomeUnknown`]).
    Unremembered,
}

impl AttemptEnd {
    /// How an attempt ended that gave this.
    #[must_use]
    pub fn of(result: &Result<Reply, CallError>) -> Self {
        match result {
            Err(error) if error.status == Status::OutcomeUnknown => Self::Unremembered,
            Err(CallError { outcome: Outcome::NotProcessed, .. }) => Self::NotProcessed,
            Err(CallError { outcome: Outcome::Unknown, .. }) => Self::Lost,
            _ => Self::Answered,
        }
    }
}

/// What follows from the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnceNext {
    /// The call is over, as the attempt says.
    Done,
    /// It may be sent again: to the server of that epoch alone, or to any, under the epoch that it gives *from now on*.
    Retry {
        /// The epoch that an earlier attempt may have arrived under.
        only: Option<Epoch>,
    },
    /// The call is over, and whether it was done is not known.
    Unknown,
}

/// Why a call cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError {
    /// Too many calls between the first that is not over and this one.
    #[error("limit of 1024 exactly-once calls reached, counted from the first that is not over; wait for it")]
    Full,
    /// It may have run under another epoch: only that server knows, and it must not run here.
    #[error("the call may have been done under epoch {0}, and this server has another: it must not run here")]
    OtherEpoch(Epoch),
    /// An attempt is under way, or the call is over.
    #[error("the call is being sent, or is over")]
    Misuse,
}

impl OnceClient {
    /// The most calls between the first that is not over and the latest.
    pub const SPAN: u64 = 1_024;

    /// A client without calls.
    #[must_use]
    pub const fn new(instance: InstanceId) -> Self {
        Self { instance, next: 0, calls: BTreeMap::new(), over: VecDeque::new() }
    }

    /// Who it is: what `np.once` is asked with.
    #[must_use]
    pub const fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Numbers a new call.
    ///
    /// # Errors
    /// [`OnceError::Full`], where [`Self::SPAN`] calls have been begun since the first that is not over.
    pub fn begin(&mut self) -> Result<u64, OnceError> {
        if self.next - self.below() >= Self::SPAN {
            return Err(OnceError::Full);
        }
        let sequence = self.next;
        self.next += 1;
        self.calls.insert(sequence, Call::default());
        Ok(sequence)
    }

    /// What an attempt carries that goes to a server which gave this epoch.
    ///
    /// # Errors
    /// [`OnceError::OtherEpoch`] where the call must not run there; [`OnceError::Misuse`] where it is over, or an attempt
    /// is under way.
    pub fn attempt(&mut self, sequence: u64, epoch: Epoch) -> Result<OnceHeader, OnceError> {
        let below = self.below();
        let call = self.calls.get_mut(&sequence).filter(|call| call.trying.is_none()).ok_or(OnceError::Misuse)?;
        if let Some(bound) = call.bound
            && bound != epoch
        {
            return Err(OnceError::OtherEpoch(bound));
        }
        call.trying = Some(epoch);
        let also = self.over.drain(..self.over.len().min(OnceHeader::MAX_ALSO)).collect();
        Ok(OnceHeader { instance: self.instance, epoch, sequence, below, also })
    }

    /// Takes how the attempt that is under way ended.
    pub fn ended(&mut self, sequence: u64, end: AttemptEnd) -> OnceNext {
        let Some(call) = self.calls.get_mut(&sequence) else {
            return OnceNext::Done;
        };
        let tried = call.trying.take();
        match end {
            AttemptEnd::Answered => {
                self.settle(sequence);
                OnceNext::Done
            }
            AttemptEnd::Lost => {
                call.bound = call.bound.or(tried);
                OnceNext::Retry { only: call.bound }
            }
            AttemptEnd::NotProcessed => OnceNext::Retry { only: call.bound },
            // The only attempt that ever arrived was not run.
            AttemptEnd::Unremembered if call.bound.is_none() => OnceNext::Retry { only: None },
            AttemptEnd::Unremembered => {
                self.settle(sequence);
                OnceNext::Unknown
            }
        }
    }

    /// Sends a call no more, such as after its deadline, and says what is known of it.
    pub fn give_up(&mut self, sequence: u64) -> Outcome {
        let known = match self.calls.get(&sequence) {
            Some(Call { bound: None, trying: None }) => Outcome::NotProcessed,
            Some(_) => Outcome::Unknown,
            None => Outcome::Answered,
        };
        self.settle(sequence);
        known
    }

    /// The epoch that a call has to be sent under, where an attempt may have arrived.
    #[must_use]
    pub fn bound(&self, sequence: u64) -> Option<Epoch> {
        self.calls.get(&sequence).and_then(|call| call.bound)
    }

    /// The first call that is not over.
    fn below(&self) -> u64 {
        self.calls.first_key_value().map_or(self.next, |(first, _)| *first)
    }

    fn settle(&mut self, sequence: u64) {
        if self.calls.remove(&sequence).is_none() {
            return;
        }
        let below = self.below();
        if sequence < below {
            // The count says so of all of these now.
            self.over.retain(|over| *over >= below);
        } else {
            self.over.push_back(sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use np_types::{CallError, Outcome, Status};

    use super::{AttemptEnd, OnceClient, OnceError, OnceNext};
    use crate::{Epoch, InstanceId, Reply};

    const ONE: Epoch = Epoch::from_bytes([1; 16]);
    const TWO: Epoch = Epoch::from_bytes([2; 16]);

    fn client() -> OnceClient {
        OnceClient::new(InstanceId::from_bytes([7; 16]))
    }

    #[test]
    fn what_was_not_processed_may_go_anywhere_until_an_attempt_was_lost() {
        let mut client = client();
        let call = client.begin().unwrap();
        client.attempt(call, ONE).unwrap();
        assert_eq!(client.attempt(call, ONE), Err(OnceError::Misuse));
        assert_eq!(client.ended(call, AttemptEnd::NotProcessed), OnceNext::Retry { only: None });
        client.attempt(call, TWO).unwrap();
        assert_eq!(client.ended(call, AttemptEnd::Lost), OnceNext::Retry { only: Some(TWO) });
        client.attempt(call, TWO).unwrap();
        // This attempt was not; the one before may have been.
        assert_eq!(client.ended(call, AttemptEnd::NotProcessed), OnceNext::Retry { only: Some(TWO) });
        assert_eq!(client.attempt(call, ONE), Err(OnceError::OtherEpoch(TWO)));
        assert_eq!(client.bound(call), Some(TWO));
        assert_eq!(client.give_up(call), Outcome::Unknown);
        assert_eq!(client.attempt(call, TWO), Err(OnceError::Misuse));
    }

    #[test]
    fn a_server_that_does_not_remember_decides_by_whether_anything_was_lost() {
        let mut client = client();
        let (first, second) = (client.begin().unwrap(), client.begin().unwrap());
        client.attempt(first, ONE).unwrap();
        assert_eq!(client.ended(first, AttemptEnd::Unremembered), OnceNext::Retry { only: None });
        client.attempt(first, TWO).unwrap();
        client.ended(first, AttemptEnd::Lost);
        client.attempt(first, TWO).unwrap();
        assert_eq!(client.ended(first, AttemptEnd::Unremembered), OnceNext::Unknown);
        assert_eq!(client.attempt(second, ONE).unwrap().below, 1, "nothing is to be remembered of the first");
    }

    #[test]
    fn each_end_is_acknowledged_once_beside_the_count() {
        let mut client = client();
        let calls: Vec<u64> = (0..100).map(|_| client.begin().unwrap()).collect();
        for call in &calls[1..90] {
            client.attempt(*call, ONE).unwrap();
        }
        for call in &calls[1..90] {
            assert_eq!(client.ended(*call, AttemptEnd::Answered), OnceNext::Done);
        }
        let mut told = Vec::new();
        for call in &calls[90..94] {
            let header = client.attempt(*call, ONE).unwrap();
            assert_eq!(header.below, 0);
            told.extend(header.also);
        }
        assert_eq!(told, calls[1..90]);
        assert_eq!(client.give_up(calls[0]), Outcome::NotProcessed);
        let header = client.attempt(calls[95], ONE).unwrap();
        assert_eq!((header.below, header.also.len()), (90, 0));
    }

    #[test]
    fn calls_are_begun_up_to_the_span() {
        let mut client = client();
        for _ in 0..OnceClient::SPAN {
            client.begin().unwrap();
        }
        client.give_up(1);
        assert_eq!(client.begin(), Err(OnceError::Full));
        client.give_up(0);
        assert_eq!(client.begin(), Ok(1_024));
        assert_eq!(client.begin(), Ok(1_025));
        assert_eq!(client.begin(), Err(OnceError::Full));
        assert_eq!(client.give_up(0), Outcome::Answered, "it is over");
    }

    #[test]
    fn results_say_how_an_attempt_ended() {
        for (error, end) in [
            (CallError::failed("no"), AttemptEnd::Answered),
            (CallError::not_processed(Status::Unavailable, ""), AttemptEnd::NotProcessed),
            (CallError::unknown(Status::Unavailable, ""), AttemptEnd::Lost),
            (CallError::unknown(Status::OutcomeUnknown, ""), AttemptEnd::Unremembered),
        ] {
            assert_eq!(AttemptEnd::of(&Err(error)), end);
        }
        assert_eq!(AttemptEnd::of(&Ok(Reply::default())), AttemptEnd::Answered);
    }
}
