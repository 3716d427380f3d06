//! Where np's spans and those of OpenTelemetry meet; without the feature, a place where nothing happens. Must never know
//! an exporter.

#[cfg(feature = "opentelemetry")]
mod bridge;

#[cfg(feature = "opentelemetry")]
pub(crate) use bridge::{begin, end, here, pass_on};
#[cfg(not(feature = "opentelemetry"))]
pub(crate) use nothing::{begin, end, here, pass_on};

#[cfg(not(feature = "opentelemetry"))]
mod nothing {
    use np_types::{Metadata, MethodName, Status, TraceContext};
    use tracing::Span;

    use crate::telemetry::Way;

    /// The trace that a call carries is the one of its span.
    pub(crate) const fn begin(_: &Span, _: Way, _: &MethodName, trace: Option<TraceContext>) -> Option<TraceContext> {
        trace
    }

    pub(crate) const fn pass_on(_: &Span, _: &mut Metadata) {}

    pub(crate) const fn end(_: &Span, _: Status) {}

    pub(crate) const fn here() -> Option<TraceContext> {
        None
    }
}
