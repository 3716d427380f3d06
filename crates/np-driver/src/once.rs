//! Exactly-once calls at work: each in a task that outlives its connection, its reply kept for whoever asks again. Must
//! never decide what a retry is told: the window of np-dispatch does.

use std::fmt;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::task::Context;

use futures_util::FutureExt as _;
use np_dispatch::{
    Begin, CallContext, Epoch, InstanceId, OnceHeader, OnceHeaderError, OnceKeeper, OnceReply, OnceSettings,
    OnceWindow, PeerInfo, Reply, Router, Target, Ticket,
};
use np_session::OpenKind;
use np_types::{CallError, MethodName, PeerIdentity, Status};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::accept::AcceptorError;
use crate::audit::{Audit, Kind};
use crate::call_limits::Permit;
use crate::clock::Clock;
use crate::commands::lock;
use crate::connection::ConnectionInfo;
use crate::entropy;
use crate::events::{Arrived, packed, unpacked};
use crate::handlers::{Ending, Later, panicked};
use crate::scope::Scope;
use crate::slots::Slot;
use crate::task::Task;

type Outcome = Result<Reply, CallError>;

/// How to wait for a call that runs.
type Join = watch::Receiver<Option<OnceReply>>;

/// The exactly-once calls of a server, over all of its connections.
///
/// The window's lock is held for as long as it takes to look a call up, and to hand its reply over: none is copied under it.
pub(crate) struct OnceCalls {
    settings: OnceSettings,
    window: Mutex<OnceWindow<Join>>,
    tasks: Mutex<JoinSet<()>>,
    clock: Clock,
    audit: Arc<Audit>,
}

impl OnceCalls {
    pub(crate) fn new(settings: OnceSettings, clock: Clock, audit: Arc<Audit>) -> Result<Arc<Self>, AcceptorError> {
        settings.validate()?;
        let window = OnceWindow::new(settings, Epoch::from_bytes(entropy::nonce()?));
        Ok(Arc::new(Self { settings, window: Mutex::new(window), tasks: Mutex::default(), clock, audit }))
    }

    /// Calls that run or are remembered, their bytes, and instances.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        lock(&self.window).sizes()
    }

    /// Waits for the calls that run, and stops those that are left at a point in time, which may come nearer meanwhile. No
    /// connection is there any more that could begin others.
    pub(crate) async fn finish(&self, until: watch::Receiver<Option<Instant>>) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let all = async { while tasks.join_next().await.is_some() {} };
        let stopped = tokio::select! {
            () = all => false,
            () = passed(until) => true,
        };
        if stopped {
            tracing::warn!(target: "np::audit", "exactly-once calls were stopped by the end of a drain");
        }
        tasks.shutdown().await;
    }

    /// Stops the calls that run.
    pub(crate) fn stop(&self) {
        lock(&self.tasks).abort_all();
    }

    /// Gives a call that arrived the way to its reply, and starts it where it is new.
    ///
    /// # Errors
    /// What the peer is told where it must not run, or there is no room for it.
    fn take(self: &Arc<Self>, info: &ConnectionInfo, header: &OnceHeader, work: Work) -> Result<Join, CallError> {
        let now = self.clock.now();
        let (done, join) = watch::channel(None);
        let mut window = lock(&self.window);
        let ticket = match window.begin(now, &info.peer, header, work.call.bytes(), || join.clone()) {
            Begin::Run(ticket) => ticket,
            Begin::Join(running) => return Ok(running),
            Begin::Replay(reply) => return Ok(watch::channel(Some(reply)).1),
            Begin::Unknown(why) => return Err(why.into()),
            Begin::Full(refusal) => {
                info.audit.telemetry.refused(refusal.setting);
                return Err(refusal.into());
            }
        };
        let permit = match info.places.try_enter() {
            Ok(permit) => Some(permit),
            Err(_) if info.places.waits() => None,
            Err(setting) => {
                window.withdraw(now, ticket);
                return Err(full(info, setting));
            }
        };
        drop(window);
        let run = Arc::clone(self).run(ticket, work, permit, done);
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(run);
        Ok(join)
    }

    /// Runs a call to its end or its deadline, whatever becomes of the connection that it came by.
    async fn run(
        self: Arc<Self>,
        ticket: Ticket,
        work: Work,
        permit: Option<Permit>,
        done: watch::Sender<Option<OnceReply>>,
    ) {
        let until = work.call.deadline.time().map(|at| self.clock.instant(at));
        let work = async move {
            let work = work.scope.clone().around(work.run(permit));
            match until {
                None => work.await,
                Some(until) => timeout_at(until, work).await.unwrap_or_else(|_| Err(late())),
            }
        };
        // A panic fails its call and nothing else, also where the handler panics as it is stopped.
        let outcome = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&*panic)));
        let reply = OnceReply::new(outcome, &self.settings);
        lock(&self.window).answer(self.clock.now(), ticket, reply.clone());
        done.send_replace(Some(reply));
    }
}

impl fmt::Debug for OnceCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (remembered, reply_bytes, instances) = self.sizes();
        let mut shown = f.debug_struct("OnceCalls");
        shown.field("remembered", &remembered).field("reply_bytes", &reply_bytes).field("instances", &instances);
        shown.finish_non_exhaustive()
    }
}

impl OnceKeeper for OnceCalls {
    fn open(&self, peer: &PeerIdentity, instance: InstanceId) -> Result<Epoch, CallError> {
        let opened = lock(&self.window).open(self.clock.now(), peer, instance);
        opened.map_err(|refusal| {
            self.audit.telemetry.refused(refusal.setting);
            if let Some(suppressed) = self.audit.admit(Kind::Call) {
                let setting = refusal.setting;
                tracing::info!(target: "np::audit", %peer, setting, suppressed, "an instance was refused");
            }
            CallError::answered(Status::LimitReached, refusal.to_string())
        })
    }
}

/// Ends at a point in time that may come nearer meanwhile; none is never.
async fn passed(mut until: watch::Receiver<Option<Instant>>) {
    loop {
        let end = *until.borrow_and_update();
        let end = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = end => return,
            Ok(()) = until.changed() => {}
        }
    }
}

/// A call that is to run, and what it needs of the connection that it came by.
struct Work {
    call: Arrived,
    router: Router,
    peer: Arc<PeerInfo>,
    /// Held to the end of the work: its places are what the identity's later connections count by.
    info: Arc<ConnectionInfo>,
    scope: Scope,
}

impl Work {
    async fn run(self, permit: Option<Permit>) -> Outcome {
        let Self { call, router, peer, info, .. } = self;
        let Arrived { method, codec, encoding, metadata, deadline, body, .. } = call;
        let _place = match permit {
            Some(permit) => permit,
            None => info.places.enter().await,
        };
        let unknown = || CallError::answered(Status::UnknownMethod, format!("no method is named {method}"));
        let registered = router.lookup(method.as_str()).ok_or_else(unknown)?;
        registered.admit(&metadata)?;
        let Target::Unary(handler) = &registered.target else {
            return Err(CallError::answered(Status::WrongKind, "this method is a stream; it was called"));
        };
        let whole = unpacked(&info, encoding, body).await?;
        let context = CallContext::new(method, peer, codec, OnceHeader::without(&metadata), deadline);
        handler.call(context, whole.body).wait().await
    }
}

fn full(info: &ConnectionInfo, setting: &'static str) -> CallError {
    info.audit.telemetry.refused(setting);
    CallError::not_processed(Status::Unavailable, format!("limit {setting} reached; try again later"))
}

fn late() -> CallError {
    CallError::answered(Status::DeadlineExceeded, "the deadline passed; the handler was stopped")
}

/// Waits for the reply, and gives it as it travels to this peer.
async fn reply(info: Arc<ConnectionInfo>, method: MethodName, compress: Option<bool>, mut join: Join) -> Ending {
    let outcome = match join.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone(),
        Err(_) => None,
    };
    match outcome.as_ref().map(OnceReply::outcome) {
        Some(Ok(reply)) => packed(info, method, compress, reply.clone()).await,
        Some(Err(error)) => Err(error.clone()),
        // The server has ended, and its connections with it: from that the peer learns that the outcome is unknown.
        None => pending().await,
    }
}

impl Task {
    /// Takes an exactly-once call of the peer.
    pub(crate) fn arrived_once(
        &mut self,
        cx: &Context<'_>,
        header: Result<OnceHeader, OnceHeaderError>,
        call: Arrived,
        scope: Scope,
    ) {
        // A place that nobody needs any more is as good as free.
        self.free_spare();
        let (key, kind, method) = (call.key, call.kind, call.method.clone());
        let mistake = match (&header, kind, &self.info.once) {
            (Err(error), ..) => Some(error.to_string()),
            (_, OpenKind::OneWay | OpenKind::Stream, _) => Some("only calls run exactly once".to_owned()),
            (.., None) => Some("this side offers no exactly-once calls".to_owned()),
            _ => None,
        };
        let (Ok(header), Some(once), None) = (header, self.info.once.clone(), &mistake) else {
            return self.refuse(key, Status::InvalidArgument, &mistake.unwrap_or_default());
        };
        let registered = self.router.lookup(method.as_str());
        let compress = registered.and_then(|registered| registered.options.compresses());
        let (router, peer, info) = (self.router.clone(), self.peer_info(), Arc::clone(&self.info));
        let work = Work { call, router, peer, info: Arc::clone(&info), scope: scope.clone() };
        let rate = info.places.keeps_rate(self.now).map_err(|setting| full(&info, setting));
        let join = match rate.and_then(|()| once.take(&info, &header, work)) {
            Ok(join) => join,
            Err(refusal) => {
                if refusal.status == Status::Unavailable
                    && let Some(suppressed) = info.audit.admit(Kind::Call)
                {
                    let (peer, text) = (&info.peer, refusal.text.as_str());
                    tracing::info!(target: "np::audit", %peer, suppressed, "refused: a call that runs exactly once: {text}");
                }
                return self.refuse(key, refusal.status, &refusal.text);
            }
        };
        // Nothing of it is lost with this connection, so it needs no place: the call has one.
        let work = Later::Packed(Box::pin(reply(info, method, compress, join)));
        match self.handlers.start(cx, key, false, &mut None, scope, work) {
            Ok(ending) => self.end_handler(key, kind, ending),
            Err(place) => self.slots.insert(key, Slot::Handler { kind, place: Some(place), cell: None, once: true }),
        }
    }
}
