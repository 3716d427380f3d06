//! One np connection as a deterministic state machine.
//!
//! A [`Handshake`] turns bytes into an authenticated [`Session`]; a session turns records into calls, answers and
//! streams, and back. Both are sans-IO: bytes and the time come in as arguments, bytes and events come out. This crate
//! must never know a socket, a runtime, a clock, a source of randomness, a policy or a handler.
//!
//! # Calling order
//! 1. Feed what happened: [`Session::handle_bytes`], [`Session::handle_written`], [`Session::handle_timeout`],
//!    [`Session::handle_eof`] or [`Session::handle_lost`], and what the application wants: [`Session::open`],
//!    [`Session::respond`] and the other mutators.
//! 2. Drain [`Session::poll_event`] until `None`.
//! 3. Call [`Session::poll_transmit`] and hand the bytes to the transport; repeat while it gives some and there is
//!    room. Where [`Session::makes_way`] says so, let others run before it is asked again, and where
//!    [`Session::crowds`] does, let those run who were just answered before it is asked at all.
//! 4. Arm a timer for [`Session::poll_timeout`].
//! 5. Where nothing moves, [`Session::put_to_rest`] may make it small, until [`Resting::wake`] or the time that
//!    [`Resting::poll_timeout`] says.
//!
//! # Limits
//! A peer can make a session hold at most `max_window + reassembly_budget + call_budget` bytes of bodies (the
//! `connection_window` in place of `max_window` where that is larger), `max_calls` call
//! records, one record of 64 KiB that is not yet whole, and [`np_types::MAX_METHOD_BYTES`] of names. Every answer that
//! reading causes has one coalesced slot, so reading never waits for writing. Acts that are legal and of no use, such as
//! pings, have budgets ([`np_types::Limits::useless_acts`]): a peer that goes past one is cut, and holds nothing by it but
//! the pieces of messages that the smallest of them lets through.

mod alive;
mod assembly;
mod credit;
mod event;
mod flood;
mod growth;
mod handshake;
mod ids;
mod inbound;
mod lifecycle;
mod methods;
mod mutate;
mod outbound;
mod pace;
mod receiver;
mod resting;
mod schedule;
mod seldom;
mod sender;
mod session;
mod shortage;
mod small;
mod stream;
mod table;

pub use event::{Answer, Event, OpenCall, Priority};
pub use handshake::{
    ConnectionKeys, Handshake, HandshakeEvent, InitiatorConfig, Outer, ResponderConfig, ResponderKeys, client_key,
    server_hint,
};
pub use np_wire::{Encoding, OpenKind, Preface, Settings, Side, StreamId};
pub use resting::Resting;
pub use session::{EARLY_BYTES, Session};
pub use shortage::Shortage;
pub use table::StreamKey;
