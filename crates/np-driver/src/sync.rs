//! The locks, counters and wakers that tasks share. One place names them, so that `tests/interleavings.rs` can put others in
//! theirs, under which every order of steps is tried, and compile the very files that use them. It must never hold
//! anything else.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use futures_util::task::AtomicWaker;
