//! How things end: deadlines, drain, close, loss.

use np_types::{CallError, CloseCode, ConnectionError, LimitHit, Outcome, Status, Time};

use np_wire::OpenKind;

use crate::flood::{Act, QUICK};
use crate::inbound::CROSSING;
use crate::session::{Phase, Session};
use crate::stream::Stream;
use crate::{Event, StreamKey};

impl Session {
    /// Acts on every deadline that has been reached at `now`, and on a peer that has gone silent.
    ///
    /// A call of this side fails and is cancelled at the peer; a call of the peer is reported as cancelled, and its
    /// handler must be stopped. A peer that goes on to open calls without time for their work is refused (`flood`).
    pub fn handle_timeout(&mut self, now: Time) {
        self.check_alive(now);
        if self.earliest.is_none_or(|at| at > now) {
            return;
        }
        let mut earliest: Option<Time> = None;
        for key in self.table.keys() {
            let Some(stream) = self.table.stream(key) else {
                continue;
            };
            if stream.abandoned {
                continue;
            }
            if stream.deadline.passed(now) {
                if let Err(hit) = self.expire(key) {
                    return self.fail(hit.into());
                }
            } else if let Some(at) = stream.deadline.time() {
                earliest = Some(earliest.map_or(at, |other| other.min(at)));
            }
        }
        self.earliest = earliest;
    }

    fn expire(&mut self, key: StreamKey) -> Result<(), LimitHit> {
        let Some(stream) = self.table.stream(key) else {
            return Ok(());
        };
        if stream.local {
            let outcome = self.outcome(stream);
            let text = "the deadline passed before an answer came";
            let error = CallError { status: Status::DeadlineExceeded, text: text.into(), outcome, cause: None };
            self.events.push_back(Event::Failed { key, error });
            self.abandon(key, Status::DeadlineExceeded);
            return Ok(());
        }
        // Whoever gives no time opens a call and cancels it by one frame.
        let hasty = !stream.is_answered() && stream.deadline.time().is_some_and(|at| at.since(stream.since) < QUICK);
        self.cancel_work(key, Status::DeadlineExceeded);
        if hasty { self.flood.spend(Act::Cancel) } else { Ok(()) }
    }

    /// Tells the application to stop working for a call of the peer.
    pub(crate) fn cancel_work(&mut self, key: StreamKey, status: Status) {
        let Some(stream) = self.table.stream_mut(key) else {
            return;
        };
        if std::mem::replace(&mut stream.abandoned, true) {
            return;
        }
        stream.expired = status == Status::DeadlineExceeded;
        self.flood.expect_late(std::mem::take(&mut stream.receive_credit));
        let answered = stream.is_answered();
        if stream.pending.trailers.is_some() {
            // Its end waited for a message that nobody reads any more: it did not end well.
            let (status, text) = stream.given_up();
            if let Some(end) = stream.pending.trailers.as_deref_mut().filter(|end| end.0 == Status::Ok) {
                (end.0, end.1) = (status, text.to_owned());
            }
            self.stop_sending(key);
            self.mark_control(key);
        } else if stream.assembly.is_some() || answered {
            // The application never saw it, or is done with it: the session answers by itself.
            self.end_with(key, status, "given up before the whole message was there");
        } else {
            self.events.push_back(Event::Cancelled { key, status });
        }
    }

    /// Accepts no more calls from the peer and tells it which was the last; calls that it has open go on.
    pub fn go_away(&mut self, code: CloseCode) {
        if self.draining.is_none() && self.reads() {
            let accepted = self.opened_by_peer.count();
            self.draining = Some(accepted);
            self.control.go_away = Some((accepted, code));
        }
    }

    /// Takes back every call, one-way message and stream of this side that has not begun to leave: each fails at once, as
    /// not processed. What has begun goes on.
    pub fn withdraw(&mut self) {
        for key in self.table.keys() {
            let waits = |stream: &&Stream| stream.local && !stream.abandoned && !stream.is_opened();
            if self.table.stream(key).filter(waits).is_some() {
                let error = CallError::not_processed(Status::Cancelled, "taken back before it was sent");
                self.events.push_back(Event::Failed { key, error });
                self.abandon(key, Status::Cancelled);
            }
        }
    }

    /// Ends the connection in order: what can be sent at once is sent, then CLOSE. Open calls fail.
    pub fn close(&mut self, code: CloseCode, text: &str) {
        if self.reads() {
            self.finish_all(ConnectionError::ClosedHere(code), Phase::Closing(code, text.to_owned()));
            self.release_held();
        }
    }

    /// Ends the connection over an error: the peer gets its coarse code and the limit that it passed, the application the
    /// error.
    pub(crate) fn fail(&mut self, error: ConnectionError) {
        if self.reads() {
            let code = error.close_code();
            // One code stands for many limits, and a peer that keeps to the protocol has to know which one to heed.
            let text = if let ConnectionError::Limit(hit) = &error { hit.to_string() } else { String::new() };
            self.finish_all(error, Phase::Failing(code, text));
        }
    }

    /// The connection is gone: nothing is sent any more.
    pub(crate) fn lose(&mut self, error: ConnectionError) {
        if self.reads() {
            self.lost = true;
            self.finish_all(error, Phase::Closed);
        } else {
            self.phase = Phase::Closed;
        }
    }

    /// Refuses an authenticated peer: the first record holds CLOSE and nothing else.
    pub(crate) fn refuse(&mut self, error: ConnectionError, text: &str) {
        self.finish_all(error.clone(), Phase::Failing(error.close_code(), text.to_owned()));
    }

    fn finish_all(&mut self, error: ConnectionError, phase: Phase) {
        self.phase = phase;
        self.error = Some(Box::new(error.clone()));
        for key in self.table.keys() {
            self.end_stream(key, &error);
        }
        self.schedule.clear_openings();
        self.one_way.clear();
        self.earliest = None;
        self.events.push_back(Event::Closed(error));
    }

    /// Fails a call of this side, or stops the work for a call of the peer, because the connection is over.
    fn end_stream(&mut self, key: StreamKey, error: &ConnectionError) {
        let Some(stream) = self.table.stream(key) else {
            return;
        };
        if stream.local && !stream.abandoned {
            let outcome = self.outcome(stream);
            let failure = CallError {
                status: Status::Unavailable,
                text: "the connection ended before an answer came".to_owned(),
                outcome,
                cause: Some(Box::new(error.clone())),
            };
            self.events.push_back(Event::Failed { key, error: failure });
        } else if !stream.local && !stream.abandoned && stream.assembly.is_none() && !stream.is_answered() {
            self.events.push_back(Event::Cancelled { key, status: Status::Unavailable });
        }
        // What an orderly close may still send stays in its stream; the rest is gone.
        if stream.local || !matches!(self.phase, Phase::Closing(..)) {
            self.table.remove(key);
        }
    }

    /// What is known about the work of a call of this side that has no answer.
    ///
    /// A sealed record cannot be taken back, so it counts as sent until nothing more leaves at all.
    pub(crate) fn outcome(&self, stream: &Stream) -> Outcome {
        match stream.complete_in {
            Some(number) if self.phase != Phase::Closed || self.sender.is_written(number) => Outcome::Unknown,
            _ => Outcome::NotProcessed,
        }
    }

    /// The local caller has its result: tells the peer, and keeps the slot until the terminal frame.
    pub(crate) fn abandon(&mut self, key: StreamKey, status: Status) {
        let Some(stream) = self.table.stream_mut(key) else {
            return;
        };
        stream.abandoned = true;
        if stream.is_opened() {
            stream.pending.cancel = Some(status);
            // What the callee sent before it knew: of its messages, or of an answer that needs no grant.
            let coming = match stream.kind {
                OpenKind::Request if stream.assembly.is_none() => u64::from(self.limits.stream_window),
                _ => std::mem::take(&mut stream.receive_credit),
            };
            self.flood.expect_late(CROSSING + coming);
            self.stop_sending(key);
            self.drop_assembly(key);
            self.mark_control(key);
        } else {
            self.schedule.forget_opening(key);
            self.send_window.forget(key);
            self.table.remove(key);
        }
    }

    /// Fails every call of this side that the peer's go-away did not accept.
    pub(crate) fn fail_unaccepted(&mut self, accepted: u64) {
        for key in self.table.keys() {
            let Some(stream) = self.table.stream(key) else {
                continue;
            };
            let refused = stream.local && stream.id.is_none_or(|id| id.index() >= accepted);
            if !refused {
                continue;
            }
            if !stream.abandoned {
                let error = CallError::not_processed(Status::Unavailable, "the peer is draining");
                self.events.push_back(Event::Failed { key, error });
            }
            // Its callee refuses it by a frame of its own.
            self.flood.expect_late(CROSSING);
            self.stop_sending(key);
            self.drop_assembly(key);
            self.table.remove(key);
        }
        self.schedule.clear_openings();
    }
}
