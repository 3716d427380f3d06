//! The same server and the same client over every transport: calls, drain, refusal, death; and what TLS adds to them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "the server in another process tells where it is, and skipped tests say so")]

mod certificates;
mod kinds;
mod matrix;
mod process;
mod settings;
mod suites;
mod tls;
