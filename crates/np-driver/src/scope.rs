//! What surrounds a handler while it works: its span, and the trace that its call belongs to. Must never know what the
//! handler does.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use np_types::{Metadata, TraceContext};
use tracing::Span;

use crate::{entropy, export};

thread_local! {
    /// The trace of the handler that this thread works for at the moment.
    static CURRENT: RefCell<Option<Arc<Around>>> = const { RefCell::new(None) };
}

/// Around each poll of a handler. Without a span and a trace it is one word, and does nothing.
#[derive(Debug, Clone)]
pub(crate) struct Scope(Option<Arc<Around>>);

#[derive(Debug)]
struct Around {
    span: Span,
    trace: Option<TraceContext>,
}

impl Scope {
    pub(crate) fn new(span: Span, trace: Option<TraceContext>) -> Self {
        if span.is_disabled() && trace.is_none() {
            return Self(None);
        }
        Self(Some(Arc::new(Around { span, trace })))
    }

    /// Does a piece of the handler's work: what it logs stands in its span, what it calls belongs to its trace.
    #[inline]
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            None => work(),
            Some(around) => within(around, work),
        }
    }
}

fn within<T>(around: &Arc<Around>, work: impl FnOnce() -> T) -> T {
    let _entered = around.span.enter();
    if around.trace.is_none() {
        return work();
    }
    let _restore = Restore(CURRENT.replace(Some(Arc::clone(around))));
    work()
}

impl Scope {
    /// A future whose every poll is in this.
    pub(crate) async fn around<F: Future>(self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| self.run(|| work.as_mut().poll(cx))).await
    }
}

/// Puts back what stood there, also when the work panics.
struct Restore(Option<Arc<Around>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Puts the trace of the handler that asks into metadata, with a span id of its own, or begins one: what
/// [`Request::traced`](crate::Request::traced) does for its own.
///
/// Metadata that name a trace already are left alone, and so are those without room.
///
/// ```
/// use np_types::{Metadata, TraceContext};
/// let mut metadata = Metadata::new();
/// np_driver::begin_trace(&mut metadata);
/// assert!(TraceContext::of(&metadata).is_some());
/// ```
pub fn begin_trace(metadata: &mut Metadata) {
    carry(metadata, true);
}

/// Whether a call that is made here may belong to a trace.
#[inline]
pub(crate) fn is_inside() -> bool {
    CURRENT.with_borrow(Option::is_some) || export::here().is_some()
}

/// Lets a call belong to the trace of the handler that makes it, with a span id of its own; or to a new one, if it
/// `begins` one and there is none. Metadata that name a trace already are left alone.
pub(crate) fn carry(metadata: &mut Metadata, begins: bool) {
    let current = CURRENT.with_borrow(Option::clone);
    let current = current.as_ref().and_then(|around| around.trace.as_ref());
    let here = export::here();
    if (current.is_none() && here.is_none() && !begins) || TraceContext::is_in(metadata) {
        return;
    }
    // A span that is exported is nearer than the call that its handler answers.
    if let Some(here) = here {
        let _ = here.put_into(metadata);
        return;
    }
    // A call goes on without a trace where there is no randomness for its ids, or no room.
    let Ok(ids) = entropy::trace_ids() else {
        return;
    };
    let next = match current {
        Some(current) => current.child(ids.1),
        None => TraceContext::new(ids.0, ids.1),
    };
    if let Some(next) = next {
        let _ = next.put_into(metadata);
    }
}
