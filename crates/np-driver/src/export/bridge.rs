//! With the feature `opentelemetry`: the trace of a call's metadata becomes the remote parent of its span, and the
//! exported span becomes the trace that metadata carry on. Must never say more of a call than its span does.

use np_types::{Metadata, MethodName, Status, TraceContext};
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, Status as SpanStatus, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry::Way;

/// Gives the span of a call its parent, which is where its trace comes from, and what OpenTelemetry calls kind and name.
/// The trace that it says then is the caller's for a call of the peer, and its own for a call of this side.
pub(crate) fn begin(span: &Span, way: Way, method: &MethodName, trace: Option<TraceContext>) -> Option<TraceContext> {
    let kind = match way {
        Way::In => "server",
        Way::Out => "client",
    };
    span.record("otel.kind", kind);
    span.record("otel.name", method.as_str());
    let trace = trace?;
    // Fails where no layer exports, and then the span has no parent to lose.
    if span.set_parent(Context::new().with_remote_span_context(remote(&trace))).is_ok() {
        // Its connection, whose child it would be without a trace.
        span.add_link(Context::map_current(|current| current.span().span_context().clone()));
    }
    match way {
        Way::In => Some(trace),
        Way::Out => Some(place(span).unwrap_or(trace)),
    }
}

/// Lets metadata that name a trace name the span of their call in it, so that the callee's has it for its parent.
pub(crate) fn pass_on(span: &Span, metadata: &mut Metadata) {
    if !span.is_disabled()
        && TraceContext::of(metadata).is_some()
        && let Some(place) = place(span)
    {
        place.replace_in(metadata);
    }
}

/// Says how a call ended in OpenTelemetry's words too.
pub(crate) fn end(span: &Span, status: Status) {
    if status != Status::Ok {
        span.set_status(SpanStatus::error(status.name()));
    }
}

/// Where the program is in a trace: in the span that is entered on this thread.
pub(crate) fn here() -> Option<TraceContext> {
    Context::map_current(|current| context(current.span().span_context()))
}

/// Where an exported span is in its trace.
fn place(span: &Span) -> Option<TraceContext> {
    context(span.context().span().span_context())
}

/// Nothing where an id is all zeros, as those of a span are that nobody exports.
fn context(span: &SpanContext) -> Option<TraceContext> {
    let (trace, id) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
    TraceContext::from_parts(trace, id, span.trace_flags().to_u8(), &span.trace_state().header())
}

fn remote(trace: &TraceContext) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from_bytes(trace.trace_id()), SpanId::from_bytes(trace.span_id()));
    // What another system says beside the ids is of no use where it cannot be read.
    let state = trace.state().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(trace_id, span_id, TraceFlags::new(trace.flags()), true, state)
}
