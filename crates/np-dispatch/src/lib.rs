//! Methods, handlers and call context of np.
//!
//! This crate owns the method table ([`Router`]), the forms a handler can have (bytes or typed, plain or async, streams),
//! what a handler is told about its call ([`CallContext`]), and both halves of exactly-once calls ([`OnceWindow`],
//! [`OnceClient`]). It must never know tokio, a socket, a clock or the
//! session: the driver calls handlers and implements [`Caller`], [`MessageSource`] and [`MessageSink`].
//!
//! ```
//! use np_dispatch::{Health, Router};
//!
//! let router = Router::with_builtins(Health::default());
//! router.on("shout", |_ctx, body| Ok(body.to_ascii_uppercase()))?;
//! router.on_typed("sum", |_ctx, (a, b): (u32, u32)| Ok(u64::from(a) + u64::from(b)))?;
//! assert_eq!(router.methods(), ["np.echo", "np.echo-stream", "np.health", "np.methods", "np.once", "shout", "sum"]);
//! # Ok::<(), np_dispatch::RegisterError>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builtin;
mod codec;
mod context;
mod handler;
mod message;
mod once;
mod router;
mod schema;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(feature = "tower")]
pub mod tower;

pub use builtin::{Health, HealthState};
pub use codec::{CodecError, decode, decode_borrowed, encode, encode_as};
pub use context::{BoxFuture, CallContext, Caller, OnceKeeper, PeerInfo};
pub use handler::{Answer, Handler, Reply, StreamHandler, bytes, bytes_async, stream, typed, typed_async};
pub use message::Message;
pub use once::begin::{Begin, OnceRefusal, OnceUnknown};
pub use once::client::{AttemptEnd, OnceClient, OnceError, OnceNext};
pub use once::reply::OnceReply;
pub use once::settings::OnceSettings;
pub use once::window::{OnceWindow, Ticket};
pub use once::{Epoch, InstanceId, OnceHeader, OnceHeaderError, reserved_key};
pub use router::{MethodOptions, RegisterError, Registered, Router, Target};
pub use schema::Schema;
pub use stream::{
    MessageReceiver, MessageSender, MessageSink, MessageSource, MessageStream, TypedReceiver, TypedSender, TypedStream,
};
