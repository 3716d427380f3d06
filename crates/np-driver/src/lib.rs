//! Joins np's state machines, transports and handlers on tokio.
//!
//! This crate owns the connection task, the acceptor and the connector: it is where clocks are read, randomness is
//! drawn and sockets are polled. It must never decide what a byte means (the session does), who is welcome (the policy
//! does) or what a method answers (handlers do).

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod alarm;
mod allowance;
mod at_work;
mod audit;
mod byte_stream;
mod call_limits;
mod clock;
mod commands;
mod compression;
mod connect;
mod connection;
mod entropy;
mod establish;
mod events;
mod export;
mod farewell;
mod fate;
mod half_open;
mod handlers;
mod identities;
mod key_log;
mod lifetime;
mod link_error;
mod memory;
mod message_queue;
mod once;
mod pending;
mod progress;
mod queue;
mod rate;
mod recent;
mod scope;
mod slots;
mod sources;
mod stream_cell;
mod sync;
mod task;
mod telemetry;
mod threads;

pub use accept::{Acceptor, AcceptorConfig, AcceptorError, OnceStatus, Roster, ServerStatus, StatusSource};
pub use byte_stream::{ByteReader, ByteStream, ByteWriter};
pub use call_limits::WhenFull;
pub use clock::Clock;
pub use commands::Unanswered;
pub use compression::Compression;
pub use connect::{ConnectError, ConnectorConfig, connect};
pub use connection::{Connection, Request};
pub use entropy::{EntropyError, random_bytes, random_number, random_psk, random_secret_key, random_sign_key};
pub use fate::ConnectionWatch;
pub use key_log::KeyLog;
pub use lifetime::Lifetime;
pub use np_session::Priority;
pub use pending::{Pending, Until};
pub use scope::begin_trace;
pub use telemetry::Telemetry;
