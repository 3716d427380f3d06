//! The configuration: its layers and what they refuse, the sample, what each setting does to a server or a client, and
//! reloads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod effects;
mod first_call;
mod keeping;
mod layers;
mod pages;
mod reload;
mod reload_client;
mod wire;
