//! What a connection task does with the events of its session, and how it opens calls.

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use np_dispatch::{self as dispatch, CallContext, Handler, MessageStream, OnceHeader, Reply, StreamHandler, Target};
use np_session::{Answer, Encoding, Event, OpenCall, OpenKind, StreamKey};
use np_types::{CallError, Codec, Deadline, Metadata, MethodName, Outcome, Status, TraceContext};
use tokio::sync::oneshot;

use crate::audit::Kind;
use crate::call_limits::Permit;
use crate::commands::Answering;
use crate::compression::{LARGE, Sealed, Whole};
use crate::connection::ConnectionInfo;
use crate::export;
use crate::handlers::{Ending, Later, begin};
use crate::message_queue::own;
use crate::scope::Scope;
use crate::slots::Slot;
use crate::stream_cell::{Opening, StreamCell};
use crate::task::Task;
use crate::telemetry::Way;

/// A call of the peer, as its event told.
pub(crate) struct Arrived {
    pub(crate) key: StreamKey,
    pub(crate) kind: OpenKind,
    pub(crate) method: MethodName,
    pub(crate) codec: Codec,
    pub(crate) encoding: Encoding,
    pub(crate) metadata: Metadata,
    pub(crate) deadline: Deadline,
    pub(crate) body: Bytes,
}

impl Arrived {
    /// Bytes that the request holds, as it came and decompressed.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.encoding.raw_size().map_or(0, |raw| raw as usize)
    }
}

impl Task {
    pub(crate) fn drain_events(&mut self, cx: &Context<'_>) {
        while let Some(event) = self.session.poll_event() {
            self.handle_event(cx, event);
        }
    }

    pub(crate) fn handle_event(&mut self, cx: &Context<'_>, mut event: Event) {
        // Where it stands: taken out first, it would be put down and read again for it.
        match &mut event {
            Event::Opened { body, .. } => own(body),
            Event::Answered { answer, .. } => own(&mut answer.body),
            _ => {}
        }
        match event {
            Event::Opened { key, kind, method, codec, encoding, metadata, deadline, body, credit } => {
                self.session.release(credit);
                let call = Arrived { key, kind, method, codec, encoding, metadata, deadline, body };
                let scope = self.enter(&call);
                self.arrived(cx, call, scope);
            }
            Event::Answered { key, answer, credit } => {
                self.session.release(credit);
                self.answered(key, answer);
            }
            Event::Failed { key, error } => {
                self.book.ended(key, error.status, self.now);
                if let Some(slot) = self.slots.remove(key) {
                    slot.fail(error);
                }
            }
            Event::Trailers { key, metadata } => self.trailers(key, metadata),
            Event::Ended { key, metadata } => {
                self.trailers(key, metadata);
                if let Some(Slot::Stream(cell)) = self.slots.remove(key) {
                    self.book.ended(key, Status::Ok, self.now);
                    cell.ended(None);
                }
            }
            Event::Sent { key } => {
                if let Some(Slot::OneWay(sent)) = self.slots.remove(key) {
                    self.book.ended(key, Status::Ok, self.now);
                    // Whoever sent it may have gone.
                    let _ = sent.send(Ok(()));
                }
            }
            Event::Data { key, body, encoding, end, fin } => self.data(key, body, encoding, (end, fin)),
            Event::Writable { key } => self.writable(key),
            Event::Cancelled { key, status } => self.cancelled(key, status),
            Event::Ready(settings) => self.ready(settings.encodings),
            Event::Pong { token } => self.answered_ping(token),
            Event::GoAway(code) => {
                tracing::debug!(peer = %self.info.peer, %code, "the peer is draining");
                self.peer_drains(code);
            }
            Event::Closed(error) => tracing::debug!(peer = %self.info.peer, %error, "the connection is over"),
            _ => {}
        }
    }

    pub(crate) fn open_call(&mut self, call: OpenCall, reply: Answering) {
        let deadline = call.deadline;
        match self.open(OpenKind::Request, call) {
            Ok(key) => {
                self.handing.opened();
                self.slots.insert(key, Slot::Call(reply, deadline));
            }
            Err(error) => Slot::Call(reply, deadline).fail(error),
        }
    }

    /// Opens a call of this side, and notes that it has begun.
    fn open(&mut self, kind: OpenKind, mut call: OpenCall) -> Result<StreamKey, CallError> {
        let span = self.book.span(Way::Out, &call.method, &call.metadata);
        export::pass_on(&span, &mut call.metadata);
        match self.session.open(call) {
            Ok(key) => {
                self.book.began(key, Way::Out, kind, &span, self.now);
                Ok(key)
            }
            Err(error) => {
                self.book.failed(kind, error.status, &span);
                Err(error)
            }
        }
    }

    /// Notes that a call of the peer has begun, and gives what its handler works in.
    fn enter(&mut self, call: &Arrived) -> Scope {
        let span = self.book.span(Way::In, &call.method, &call.metadata);
        self.book.began(call.key, Way::In, call.kind, &span, self.now);
        Scope::new(span, TraceContext::of(&call.metadata))
    }

    pub(crate) fn open_one_way(&mut self, call: OpenCall, sent: oneshot::Sender<Result<(), CallError>>) {
        match self.open(OpenKind::OneWay, call) {
            Ok(key) => self.slots.insert(key, Slot::OneWay(sent)),
            Err(error) => Slot::OneWay(sent).fail(error),
        }
    }

    pub(crate) fn open_stream(
        &mut self,
        call: OpenCall,
        compress: Option<bool>,
        opened: oneshot::Sender<Result<MessageStream, CallError>>,
    ) {
        let (cell, codec) = (StreamCell::new(&self.bell, &self.info, call.method.clone(), compress), call.codec);
        match self.open(OpenKind::Stream, call) {
            Ok(key) => self.slots.insert(key, Slot::Opening(opened, cell, codec)),
            Err(error) => Slot::Opening(opened, cell, codec).fail(error),
        }
    }

    fn answered(&mut self, key: StreamKey, answer: Answer) {
        self.fresh = true;
        let Some(Slot::Call(reply, _)) = self.slots.remove(key) else {
            return;
        };
        self.book.ended(key, Status::Ok, self.now);
        self.handing.give(reply, answer);
    }

    /// Starts the handler of a call that the peer opened.
    fn arrived(&mut self, cx: &Context<'_>, call: Arrived, scope: Scope) {
        if let Some(header) = OnceHeader::of(&call.metadata) {
            return self.arrived_once(cx, header, call, scope);
        }
        let Arrived { key, kind, method, codec, encoding, metadata, deadline, body } = call;
        let Some(registered) = self.recent.take(&self.router, &method) else {
            return self.refuse(key, Status::UnknownMethod, &format!("no method is named {method}"));
        };
        if let Err(error) = registered.admit(&metadata) {
            return self.refuse(key, error.status, &error.text);
        }
        let compress = registered.options.compresses();
        let packs = kind == OpenKind::Request && self.info.bodies.tries(compress, usize::MAX);
        let own_task = registered.options.is_spawned();
        let Some((mut permit, wait)) = self.place_or_refuse(key) else {
            return;
        };
        let (started, cell) = match (&registered.target, kind) {
            (Target::Unary(handler), OpenKind::Request | OpenKind::OneWay) => {
                let peer = self.peer_info();
                let plain = encoding == Encoding::Plain && !packs && !wait;
                let work = if plain {
                    let context = CallContext::new(method, peer, codec, metadata, deadline);
                    match begin(&scope, || handler.call(context, body)) {
                        Ok(dispatch::Answer::Ready(Ok(reply))) if kind == OpenKind::Request => {
                            self.recent.keep(registered);
                            self.spare = permit;
                            return self.replied(key, reply);
                        }
                        Ok(dispatch::Answer::Ready(ending)) => Err(ending.map(Into::into)),
                        Ok(dispatch::Answer::Later(future)) => Ok(Later::Plain(future)),
                        Err(panic) => Err(Err(panic)),
                    }
                } else {
                    let context = CallContext::new(method.clone(), peer, codec, metadata, deadline);
                    let packing = Packing { info: Arc::clone(&self.info), method, encoding, compress, packs, wait };
                    Ok(Later::Packed(Box::pin(packing.around(Arc::clone(handler), context, body))))
                };
                let started = match work {
                    Ok(work) => self.handlers.start(cx, key, own_task, &mut permit, scope, work),
                    Err(ending) => Ok(ending),
                };
                (started, None)
            }
            (Target::Stream(_), OpenKind::Stream) if encoding != Encoding::Plain => {
                return self.refuse(
                    key,
                    Status::UnsupportedCodec,
                    "the opening of a stream has no body to be compressed",
                );
            }
            (Target::Stream(handler), OpenKind::Stream) => {
                let peer = self.peer_info();
                let context = CallContext::new(method.clone(), peer, codec, metadata, deadline);
                let cell = StreamCell::new(&self.bell, &self.info, method, compress);
                let stream = cell.open(key, self.opening(false, codec));
                let work = self.talk(Arc::clone(handler), context, (stream, Arc::clone(&cell)), wait);
                (self.handlers.start(cx, key, own_task, &mut permit, scope, work), Some(cell))
            }
            (Target::Unary(_), _) => {
                return self.refuse(key, Status::WrongKind, "this method answers calls; it was opened as a stream");
            }
            (Target::Stream(_), _) => {
                return self.refuse(key, Status::WrongKind, "this method is a stream; it was called");
            }
        };
        self.recent.keep(registered);
        self.spare = permit;
        let (place, ended) = match started {
            Ok(ending) => (None, Some(ending)),
            Err(place) => (Some(place), None),
        };
        if place.is_some() || cell.is_some() {
            self.slots.insert(key, Slot::Handler { kind, place, cell, once: false });
        }
        if let Some(ending) = ended {
            self.end_handler(key, kind, ending);
        }
    }

    /// The work of a stream's handler, which may have to wait for a place.
    fn talk(
        &self,
        handler: Arc<dyn StreamHandler>,
        context: CallContext,
        (stream, cell): (MessageStream, Arc<StreamCell>),
        wait: bool,
    ) -> Later {
        let info = Arc::clone(&self.info);
        Later::Packed(Box::pin(async move {
            let _place = if wait { Some(info.places.enter().await) } else { None };
            let ended = handler.open(context, stream).await;
            cell.packed().await;
            ended.map(|()| Reply::from(Bytes::new()).into())
        }))
    }

    /// A handler answered where it was called: nothing of it stands anywhere.
    fn replied(&mut self, key: StreamKey, reply: Reply) {
        self.raise_allowance();
        self.book.ended(key, Status::Ok, self.now);
        let Reply { codec, metadata, body } = reply;
        let answer = Answer { codec, encoding: Encoding::Plain, metadata, body };
        if let Err(misuse) = self.session.respond(key, answer) {
            tracing::trace!(%misuse, "a handler's answer came too late");
        }
    }

    /// A place for this call, and whether it has to wait for one; where there is none it was refused.
    fn place_or_refuse(&mut self, key: StreamKey) -> Option<(Option<Permit>, bool)> {
        match self.place() {
            Ok(permit) => {
                let wait = permit.is_none();
                Some((permit, wait))
            }
            Err(setting) => {
                self.audit_refused_call(setting);
                let text = format!("limit {setting} reached; try again later");
                self.refuse(key, Status::Unavailable, &text);
                None
            }
        }
    }

    /// A place for a call: that of one which was answered in the same turn, or a new one. Places are counted across the
    /// server, which costs more than most handlers. None where it has to wait for one; else the setting that refuses it.
    fn place(&mut self) -> Result<Option<Permit>, &'static str> {
        self.info.places.keeps_rate(self.now)?;
        if let Some(spare) = self.spare.take() {
            self.reused += 1;
            return Ok(Some(spare));
        }
        match self.info.places.try_enter() {
            Ok(permit) => Ok(Some(permit)),
            Err(_) if self.info.places.waits() => {
                self.lower_allowance();
                Ok(None)
            }
            Err(setting) => Err(setting),
        }
    }

    /// What was answered at once needs no place any more.
    pub(crate) fn free_spare(&mut self) {
        self.spare = None;
        if self.reused > 0 {
            self.info.places.count(std::mem::take(&mut self.reused));
        }
    }

    /// A handler that had been waiting ended.
    pub(crate) fn finish_handler(&mut self, key: StreamKey, ending: Ending) {
        if let Some(Slot::Handler { kind, .. }) = self.slots.slot(key) {
            let kind = *kind;
            self.end_handler(key, kind, ending);
        }
    }

    /// A call waits for a place: the peer is told to keep further ones to itself.
    fn lower_allowance(&mut self) {
        // The one that waits now is not counted yet.
        let at_work = self.session.open_by_peer().saturating_sub(self.info.places.waiting() + 1);
        if let Some(calls) = self.allowance.full(self.now, at_work) {
            if let Some(suppressed) = self.info.audit.admit(Kind::Call) {
                let peer = &self.info.peer;
                tracing::debug!(target: "np::audit", %peer, calls, suppressed, "no place for calls: fewer are allowed");
            }
            self.session.announce_allowance(calls);
        }
    }

    fn audit_refused_call(&self, setting: &'static str) {
        self.book.refused(setting);
        if let Some(suppressed) = self.info.audit.admit(Kind::Call) {
            let peer = &self.info.peer;
            tracing::info!(target: "np::audit", %peer, setting, suppressed, "refused: a call found limit {setting} reached");
        }
    }

    /// Allows more calls again, where fewer were allowed and none waits any more.
    pub(crate) fn raise_allowance(&mut self) {
        if self.allowance.due().is_none_or(|at| at > self.now) {
            return;
        }
        if self.info.places.waiting() > 0 {
            self.allowance.wait(self.now);
        } else if let Some(calls) = self.allowance.free(self.now) {
            self.session.announce_allowance(calls);
        }
    }

    pub(crate) fn end_handler(&mut self, key: StreamKey, kind: OpenKind, ending: Ending) {
        self.raise_allowance();
        if kind == OpenKind::Stream {
            // A message that the handler sent last leaves before the end.
            self.run_errands(key);
            if self.slots.slot(key).is_none() {
                // It cancelled its stream, which has its end.
                return;
            }
        }
        let mut trailers = Metadata::new();
        if let Some(Slot::Handler { cell: Some(cell), .. }) = self.slots.remove(key) {
            trailers = cell.take_trailers();
            // The handler may have left its stream to somebody else, who must not wait for ever.
            cell.ended(None);
        }
        let status = ending.as_ref().map_or_else(wire_status, |_| Status::Ok);
        self.book.ended(key, status, self.now);
        let result = match (ending, kind) {
            (Ok(sealed), OpenKind::Request) => {
                let Sealed { reply: Reply { codec, metadata, body }, encoding } = sealed;
                self.session.respond(key, Answer { codec, encoding, metadata, body })
            }
            (Ok(_), OpenKind::OneWay | OpenKind::Stream) => self.session.end(key, Status::Ok, "", trailers),
            (Err(error), _) => self.session.end(key, wire_status(&error), &error.text, trailers),
        };
        if let Err(misuse) = result {
            // The call ended meanwhile: the peer gave it up, or the connection did.
            tracing::trace!(%misuse, "a handler's answer came too late");
        }
    }

    pub(crate) fn refuse(&mut self, key: StreamKey, status: Status, text: &str) {
        self.book.ended(key, status, self.now);
        let _ = self.session.cut(key, status, text);
    }

    fn trailers(&self, key: StreamKey, metadata: Metadata) {
        if let Some(Slot::Stream(cell)) = self.slots.slot(key) {
            cell.set_trailers(metadata);
        }
    }

    fn opening(&self, local: bool, codec: Codec) -> Opening {
        // A stream opens after the peer's settings came.
        let max_message = self.session.peer_settings().map_or(usize::MAX, |peer| peer.max_message as usize);
        Opening { local, codec, max_message }
    }

    fn cancelled(&mut self, key: StreamKey, status: Status) {
        tracing::trace!(peer = %self.info.peer, %status, "the caller gave a call up");
        let slot = self.slots.remove(key);
        let once = matches!(slot, Some(Slot::Handler { once: true, .. }));
        if let Some(slot) = slot {
            self.fail(key, slot, CallError::answered(status, "the caller gave the call up"));
        }
        if once && self.session.error().is_some() {
            // The call runs on, and with the connection's end the caller knows that it has no answer yet.
            return;
        }
        match status {
            // The handler had begun, so this must not tell the caller that sending again is safe, nor that all is well.
            Status::Unavailable | Status::Ok => {
                self.refuse(key, Status::Cancelled, "closed before the handler was done")
            }
            _ => self.refuse(key, status, "given up"),
        }
    }

    fn data(&mut self, key: StreamKey, body: Bytes, encoding: Encoding, (end, fin): (bool, bool)) {
        let size = body.len();
        let Some(cell) = self.slots.slot(key).and_then(Slot::cell) else {
            self.session.consumed(key, size);
            return;
        };
        match cell.arrived(body, encoding, end, fin) {
            Ok(0) => {}
            Ok(release) => self.session.consumed(key, release),
            Err(error) => {
                self.session.consumed(key, size);
                self.give_up(key, error);
            }
        }
    }

    /// Ends a stream of either side for a reason that is this side's own.
    fn give_up(&mut self, key: StreamKey, reason: CallError) {
        let status = wire_status(&reason);
        if self.slots.is_local(key) {
            self.session.cancel_with(key, status);
            self.book.ended(key, status, self.now);
        } else {
            self.refuse(key, status, &reason.text);
        }
        if let Some(slot) = self.slots.remove(key) {
            self.fail(key, slot, reason);
        }
    }

    /// Stops the handler that is at work there, and fails whoever waits.
    pub(crate) fn fail(&mut self, key: StreamKey, slot: Slot, error: CallError) {
        if let Slot::Handler { place: Some(place), .. } = &slot {
            self.handlers.stop(key, place);
        }
        slot.fail(error);
    }

    fn writable(&mut self, key: StreamKey) {
        match self.slots.remove(key) {
            Some(Slot::Opening(opened, cell, codec)) => {
                let stream = cell.open(key, self.opening(true, codec));
                self.slots.insert(key, Slot::Stream(cell));
                // If whoever opened it has gone, the stream drops here and is cancelled by its own bell.
                drop(opened.send(Ok(stream)));
            }
            Some(slot) => {
                if let Some(cell) = slot.cell() {
                    cell.writable();
                }
                self.slots.insert(key, slot);
                // A message may wait since before the last one left.
                self.run_errands(key);
            }
            None => {}
        }
    }

    /// Does what a stream's user asked for.
    pub(crate) fn run_errands(&mut self, key: StreamKey) {
        let Some(cell) = self.slots.slot(key).and_then(Slot::cell).map(Arc::clone) else {
            return;
        };
        self.fresh = true;
        let errands = cell.errands();
        if errands.consumed > 0 {
            self.session.consumed(key, errands.consumed);
        }
        if let Some(mut reason) = errands.cancel {
            if self.slots.is_local(key) {
                reason.outcome = Outcome::Unknown;
            }
            return self.give_up(key, reason);
        }
        if let Some(message) = errands.message
            && let Err(misuse) = self.session.send_encoded(key, message.0, message.1)
        {
            let error = CallError::not_processed(Status::InvalidArgument, misuse.to_string());
            cell.refused(error);
        }
        let local = self.slots.is_local(key);
        if errands.finish && local {
            // It fails only where the stream is over, which its user learns by its end.
            let _ = self.session.finish(key);
        }
        if errands.dropped && local {
            self.session.cancel(key);
            self.slots.remove(key);
            self.book.ended(key, Status::Cancelled, self.now);
        }
    }
}

/// The status that goes on the wire for a handler's error: one that says ok would be a lie. So would one that says that
/// no work was done, or that nobody knows: a handler ran, and an error that it passes on speaks of another call.
fn wire_status(error: &CallError) -> Status {
    match error.status {
        Status::Ok | Status::Unavailable | Status::OutcomeUnknown => Status::Failed,
        other => other,
    }
}

/// A handler that waits for its place, whose request came compressed, or whose reply may leave so.
struct Packing {
    info: Arc<ConnectionInfo>,
    method: MethodName,
    encoding: Encoding,
    compress: Option<bool>,
    packs: bool,
    /// Whether a place has to be waited for.
    wait: bool,
}

impl Packing {
    async fn around(self, handler: Arc<dyn Handler>, context: CallContext, body: Bytes) -> Ending {
        let Self { info, method, encoding, compress, packs, wait } = self;
        let _place = if wait { Some(info.places.enter().await) } else { None };
        // The body counts against the budget until the handler is done with its call.
        let whole = unpacked(&info, encoding, body).await?;
        let reply = handler.call(context, whole.body).wait().await?;
        drop(whole.held);
        if packs { packed(info, method, compress, reply).await } else { Ok(reply.into()) }
    }
}

/// Makes a body whole that came.
pub(crate) async fn unpacked(info: &Arc<ConnectionInfo>, encoding: Encoding, body: Bytes) -> Result<Whole, CallError> {
    let large = encoding.raw_size().unwrap_or_default() as usize > LARGE;
    let info = Arc::clone(info);
    aside(large, move || info.bodies.unpack(encoding, body)).await?
}

/// Makes a reply smaller, where that is asked for and worth it.
pub(crate) async fn packed(
    info: Arc<ConnectionInfo>,
    method: MethodName,
    compress: Option<bool>,
    reply: Reply,
) -> Ending {
    let large = reply.body.len() > LARGE && info.bodies.tries(compress, reply.body.len());
    aside(large, move || info.bodies.pack_reply(&method, compress, reply)).await
}

/// Works in a task of its own where the work is long, so that the calls of a connection do not wait for it.
async fn aside<T: Send + 'static>(long: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, CallError> {
    if !long {
        return Ok(work());
    }
    let stopped = |_| CallError::answered(Status::Internal, "the work on a compressed body was stopped");
    tokio::spawn(async move { work() }).await.map_err(stopped)
}
