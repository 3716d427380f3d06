//! What most programs import.
//!
//! ```
//! use np_facade::prelude::*;
//! let policy = Policy::anyone();
//! # let _ = policy;
//! ```

pub use crate::{
    CallContext, CallError, Client, Identity, Message, MessageStream, Outcome, Policy, PublicKey, Reply, Server, Status,
};
