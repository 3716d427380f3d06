//! What must have been delivered: the model that a run of [`super`] is held against. It knows plans and what the two
//! applications did, and nothing of sessions, windows or frames.

use bytes::Bytes;
use np_session::OpenKind;
use np_types::{Metadata, Outcome, Status};

use super::plan::Plan;

/// One direction as its reader has seen it: how far it came through what its sender was going to say.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The message that is being read, and how many bytes of it have come.
    pub(super) at: usize,
    offset: usize,
    expected: Option<Bytes>,
    pub(super) fin: bool,
    /// Whether nothing may come any more.
    pub(super) shut: bool,
}

impl Reader {
    /// Bytes came: they must be those that come next, and a message ends where it ends.
    pub(super) fn take(&mut self, plan: &Plan, side: usize, bytes: &[u8], end: bool, fin: bool) -> Result<(), String> {
        let tell = |what: &str| Err(format!("plan {} direction {side} message {}: {what}", plan.number, self.at));
        if self.shut || self.fin {
            return tell("bytes after the end");
        }
        if bytes.is_empty() && !end {
            self.fin = fin;
            return if fin && self.offset == 0 { Ok(()) } else { tell("a piece of nothing") };
        }
        if self.at >= plan.sizes[side].len() {
            return tell("was never sent");
        }
        let expected = self.expected.get_or_insert_with(|| plan.message(side, self.at));
        let upto = self.offset + bytes.len();
        if expected.get(self.offset..upto) != Some(bytes) {
            return tell("comes with other bytes");
        }
        if end != (upto == expected.len()) {
            return tell("ends in another place");
        }
        (self.offset, self.fin) = (upto, fin);
        if end {
            (self.at, self.offset, self.expected) = (self.at + 1, 0, None);
        }
        Ok(())
    }

    /// Whether all came of `sent` messages, and nothing of another.
    const fn has(&self, sent: usize) -> bool {
        self.at == sent && self.offset == 0
    }
}

/// How a call ended for its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With the answer that was planned, or another.
    Answered { right: bool },
    /// A one-way message was handed over.
    Sent,
    /// A stream ended well, with these pairs.
    Ended(Metadata),
    /// With an error, after these pairs.
    Failed(Outcome, Status, Metadata),
}

/// What the caller's application did and saw.
#[derive(Debug, Default)]
pub(super) struct Caller {
    pub(super) opened: bool,
    /// Messages that the session took, and whether it took the end of this direction.
    pub(super) sent: usize,
    pub(super) finished: bool,
    pub(super) gave_up: Option<Status>,
    pub(super) reader: Reader,
    /// Pairs that came before a failure.
    pub(super) trailers: Metadata,
    pub(super) results: Vec<End>,
}

/// What the callee's application did and saw.
#[derive(Debug, Default)]
pub(super) struct Callee {
    pub(super) begun: u32,
    pub(super) sent: usize,
    pub(super) reader: Reader,
    pub(super) cancelled: Option<Status>,
    /// The status that it ended the call with, before anybody gave it up.
    pub(super) ended: Option<Status>,
    /// A message that the session did not take.
    pub(super) rejected: bool,
}

/// Holds what both sides saw of a plan against what they must have seen; `healthy` says that nothing was lost.
pub(super) fn check(plan: &Plan, caller: &Caller, callee: &Callee, healthy: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let mut must = |fine: bool, rule: &str| {
        if !fine {
            broken.push(format!("{rule}: {plan:?}\n  {caller:?}\n  {callee:?}"));
        }
    };
    must(callee.begun <= 1, "a call is begun once");
    must(callee.reader.at <= caller.sent.max(1), "no message comes that was not sent to the callee");
    must(caller.reader.at <= callee.sent, "no message comes that was not sent to the caller");
    must(!callee.reader.fin || caller.finished, "the end of a direction is said by its sender");
    let one_end = caller.results.len() == usize::from(caller.opened && caller.gave_up.is_none());
    let none_after_giving_up = caller.gave_up.is_some() && caller.results.is_empty();
    must(one_end || none_after_giving_up, "a call ends once, or was given up");
    must(!callee.rejected || callee.cancelled.is_some(), "only a stream that was given up takes no message");
    if let Some(status) = callee.cancelled.filter(|_| healthy) {
        let late = plan.deadline.is_some() && status == Status::DeadlineExceeded;
        must(caller.gave_up == Some(status) || late, "the callee hears why it was given up");
    }
    if let Some(result) = caller.results.first() {
        must(
            allows(plan, caller, callee, result, healthy),
            "the end that a caller sees is the one that the callee made",
        );
    }
    if healthy && plan.is_undisturbed() && caller.opened {
        must(is_predicted(plan, caller, callee), "what nobody disturbs ends as planned");
    }
    broken
}

/// Whether the callee's acts allow this end.
fn allows(plan: &Plan, caller: &Caller, callee: &Callee, result: &End, healthy: bool) -> bool {
    match result {
        End::Answered { right } => *right && callee.ended == Some(Status::Ok),
        End::Sent => plan.kind == OpenKind::OneWay,
        // Whoever is told that a stream went well has all of it.
        End::Ended(pairs) => {
            callee.ended == Some(Status::Ok) && caller.reader.has(callee.sent) && *pairs == plan.trailers()
        }
        End::Failed(_, Status::DeadlineExceeded, _) if plan.deadline.is_some() => true,
        End::Failed(Outcome::Answered, status, pairs) if callee.ended == Some(*status) => *pairs == plan.trailers(),
        End::Failed(Outcome::NotProcessed, ..) => !healthy && callee.begun == 0,
        End::Failed(..) => !healthy,
    }
}

/// The end of a plan in which nothing interferes, with every byte of both directions.
fn is_predicted(plan: &Plan, caller: &Caller, callee: &Callee) -> bool {
    let all_there = matches!(plan.ends, super::plan::When::Done);
    let heard = |sent: usize| callee.reader.has(sent) && callee.reader.at == plan.sizes[0].len();
    let delivered = !all_there || (heard(caller.sent) && (!plan.half_closes || callee.reader.fin));
    let said = !all_there || callee.sent == plan.sizes[1].len();
    match (plan.kind, caller.results.as_slice()) {
        (OpenKind::OneWay, [End::Sent]) => callee.begun == 1 && heard(1),
        (OpenKind::Request, [End::Answered { right }]) => *right && plan.status == Status::Ok && heard(1),
        (OpenKind::Stream, [End::Ended(_)]) => plan.status == Status::Ok && delivered && said,
        (OpenKind::Request, [End::Failed(Outcome::Answered, status, _)]) => *status == plan.status && heard(1),
        (OpenKind::Stream, [End::Failed(Outcome::Answered, status, _)]) => *status == plan.status && delivered,
        _ => false,
    }
}
