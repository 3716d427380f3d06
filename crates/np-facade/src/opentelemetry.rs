//! Traces in OpenTelemetry: a program exports its spans with `tracing-opentelemetry` and an exporter of its choice, and a
//! trace that goes over np stays one trace. Must never bring an exporter.
//!
//! With the feature on, and a [`layer`] in the program's subscriber that exports at debug level:
//!
//! - The span of a call (`np::call`) has the place that the call's metadata name for its parent: at the callee the span of
//!   the call at the caller, and there the span in which the program calls. Its kind is server or client, its name the method.
//! - A call that is made within an exported span belongs to its trace, without [`traced`](crate::Call::traced).
//! - A call with a trace is not under the span of its connection (`np::connection`), and has a link to it.
//!
//! np finds the layer by its type, so it must come from the version of `tracing-opentelemetry` that np is built with: this
//! module has it.
//!
//! ```
//! use np_facade::opentelemetry::{api::trace::TracerProvider as _, layer};
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//! use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, Layer as _};
//!
//! // And `.with_batch_exporter(..)`, with that of `opentelemetry-otlp`, for one.
//! let provider = SdkTracerProvider::builder().build();
//! let debug = [("np::connection", tracing::Level::DEBUG), ("np::call", tracing::Level::DEBUG)];
//! let exported = Targets::new().with_default(tracing::Level::INFO).with_targets(debug);
//! let subscriber = tracing_subscriber::registry()
//!     .with(layer().with_tracer(provider.tracer("shop")).with_filter(exported));
//! tracing::subscriber::set_global_default(subscriber)?;
//! # Ok::<(), tracing::subscriber::SetGlobalDefaultError>(())
//! ```

pub use ::opentelemetry as api;
pub use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt, layer};

/// The page about what np tells of itself, for its code blocks.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/OBSERVABILITY.md")]
struct Page;
