//! Messages on their way to the application: put together where they come in pieces, counted where they are whole.

use bytes::Bytes;
use np_types::{ConnectionError, Misbehaved, Status};

use crate::flood::Act;
use crate::session::Session;
use crate::stream::{Assembly, Head};
use crate::{Answer, Event, StreamKey};

/// Why a request is refused that handlers have no room for.
pub(crate) const CALL_BUDGET: &str = "limit call_budget reached; try again later";

/// Bytes of a body that came with a frame, as a slice of its record.
pub(crate) struct Body<'a> {
    pub(crate) record: &'a Bytes,
    pub(crate) bytes: &'a [u8],
}

impl Body<'_> {
    pub(crate) const fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes for the application: a slice of the record, unless that would keep a record alive for a small part.
    pub(crate) fn to_bytes(&self) -> Bytes {
        if self.bytes.len() * 4 < self.record.len() {
            Bytes::copy_from_slice(self.bytes)
        } else {
            self.record.slice_ref(self.bytes)
        }
    }
}

impl Session {
    /// Starts to put a message together whose first frame did not hold all of it.
    pub(crate) fn begin_assembly(
        &mut self,
        key: StreamKey,
        total: u32,
        head: Option<Head>,
        body: &Body<'_>,
    ) -> Result<(), ConnectionError> {
        let large = total > self.limits.stream_window;
        if u64::from(total) <= body.len() || (large && body.len() > 0) {
            return Err(Misbehaved::DeclaredSize.into());
        }
        let assembly = Assembly { head: head.map(Box::new), total, buffer: body.bytes.to_vec(), large, granted: false };
        if self.table.stream(key).is_some() {
            self.assembling += body.len();
            self.moved += body.len();
        }
        if let Some(stream) = self.table.stream_mut(key) {
            stream.assembly = Some(Box::new(assembly));
        }
        if large {
            self.budget.ask(key, total);
            self.grant_waiting();
        }
        Ok(())
    }

    /// Grants whole messages as far as the reassembly budget goes.
    pub(crate) fn grant_waiting(&mut self) {
        while self.may_grant()
            && let Some((key, bytes)) = self.budget.next_grant()
        {
            let granted = self.table.stream_mut(key).is_some_and(|stream| {
                let Some(assembly) = stream.assembly.as_mut() else {
                    return false;
                };
                assembly.granted = true;
                // Where the system has not so much, it is asked again for what truly comes.
                let _ = assembly.buffer.try_reserve_exact(bytes as usize);
                stream.pending.credit = bytes;
                true
            });
            if granted {
                self.spare = self.spare.saturating_sub(u64::from(bytes));
                self.mark_control(key);
            } else {
                self.budget.give_back(bytes);
            }
        }
    }

    /// More bytes of a unary message.
    pub(crate) fn on_message_data(
        &mut self,
        key: StreamKey,
        fin: bool,
        end: bool,
        body: &Body<'_>,
    ) -> Result<(), ConnectionError> {
        let Some(assembly) = self.table.stream_mut(key).and_then(|stream| stream.assembly.as_mut()) else {
            return Ok(());
        };
        if assembly.large && !assembly.granted {
            return Err(Misbehaved::Credit.into());
        }
        let size = assembly.buffer.len() as u64 + body.len();
        let whole = size == u64::from(assembly.total);
        if size > u64::from(assembly.total) || fin != whole || end != whole {
            return Err(Misbehaved::DeclaredSize.into());
        }
        assembly.buffer.extend_from_slice(body.bytes);
        let large = assembly.large;
        self.moved += body.len();
        match body.len() {
            0 if !whole => self.flood.spend(Act::EmptyData)?,
            bytes => self.flood.piece(bytes, whole)?,
        }
        if large {
            // Its memory is counted by the budget, so the connection's credit goes back at once.
            self.give_credit(body.len());
        } else {
            self.assembling += body.len();
        }
        if whole {
            return self.finish_assembly(key);
        }
        Ok(())
    }

    /// A message is whole: it goes to the application.
    fn finish_assembly(&mut self, key: StreamKey) -> Result<(), ConnectionError> {
        let Some(stream) = self.table.stream_mut(key) else {
            return Ok(());
        };
        let Some(assembly) = stream.assembly.take() else {
            return Ok(());
        };
        let local = stream.local;
        let Assembly { head, total, buffer, large, .. } = *assembly;
        let credit = if large { 0 } else { total };
        self.assembling -= u64::from(credit);
        if large {
            self.budget.give_back(total);
            self.grant_waiting();
        }
        let Some(head) = head else {
            return Ok(());
        };
        let Head { method, codec, encoding, metadata, .. } = *head;
        let body = Bytes::from(buffer);
        if local {
            self.flood.message();
            self.finish_local(key);
            let answer = Answer { codec, encoding, metadata, body };
            self.events.push_back(Event::Answered { key, answer, credit });
            return Ok(());
        }
        self.deliver(key, Head { method, codec, encoding, metadata, body }, credit)
    }

    /// Gives a whole request to the application, if the budget of handlers has room for it.
    pub(crate) fn deliver(&mut self, key: StreamKey, head: Head, credit: u32) -> Result<(), ConnectionError> {
        let Head { method, codec, encoding, metadata, body } = head;
        let method = self.peer_methods.name(method)?;
        if !self.hold(key, body.len() + metadata.size()) {
            self.release(credit);
            let coming = self.table.stream(key).map_or(0, |stream| stream.receive_credit);
            self.turn_away(key, coming, CALL_BUDGET);
            return Ok(());
        }
        let Some(stream) = self.table.stream(key) else {
            return Ok(());
        };
        let (kind, deadline) = (stream.kind, stream.deadline);
        self.events.push_back(Event::Opened { key, kind, method, codec, encoding, metadata, deadline, body, credit });
        Ok(())
    }

    /// Refuses a call that there is no room for. The application never hears of it, nor of what still comes for it.
    pub(crate) fn turn_away(&mut self, key: StreamKey, coming: u64, why: &str) {
        if let Some(stream) = self.table.stream_mut(key) {
            (stream.abandoned, stream.receive_credit) = (true, 0);
        }
        self.flood.expect_late(coming);
        self.end_with(key, Status::Unavailable, why);
    }

    /// Makes a call count for `bytes` against `call_budget`, in place of what it counted for.
    pub(crate) fn hold(&mut self, key: StreamKey, bytes: usize) -> bool {
        self.table.hold(key, bytes as u64, u64::from(self.limits.call_budget))
    }
}
