//! The fault matrix: each fault, over each transport, towards each side, against exactly-once calls of a client that
//! reconnects. `docs/FAULTS.md` says what each cell shows; `NP_FAULT_SEED` replays one seed, `NP_FAULT_SEEDS` runs that many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "the table of cells, and where a server in another process is")]

mod clocks;
mod house;
mod kind;
mod load;
mod matrix;
mod middlebox;
mod processes;
mod streams;
