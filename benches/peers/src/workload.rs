//! The workloads A to F: what is done, and in which unit it is told.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "UPPER")]
pub(crate) enum Workload {
    /// Ping-pong.
    A,
    /// Many calls at once on one connection.
    B,
    /// Many connections, some calls at once on each.
    C,
    /// Large bodies.
    D,
    /// Connect, handshake, one call, close.
    E,
    /// Memory of the server for a connection that is idle.
    F,
}

/// Calls in a closed loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    /// Connections.
    pub(crate) connections: usize,
    /// Calls at once on each.
    pub(crate) in_flight: usize,
    /// Bytes of a body, there and back.
    pub(crate) size: usize,
}

/// Bytes of a call where a workload is not about calls.
pub(crate) const SMALL: usize = 64;

/// Connections of the workload F.
pub(crate) const IDLE: usize = 2_000;

impl Workload {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F];

    /// Its calls, where it is about calls.
    pub(crate) const fn calls(self) -> Option<Calls> {
        let (connections, in_flight, size) = match self {
            Self::A => (1, 1, 64),
            Self::B => (1, 128, 64),
            Self::C => (64, 8, 256),
            Self::D => (1, 4, 1 << 20),
            Self::E | Self::F => return None,
        };
        Some(Calls { connections, in_flight, size })
    }

    /// Its letter.
    pub(crate) fn letter(self) -> char {
        self.about().chars().next().unwrap_or_default()
    }

    /// What it is, for a heading.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::A => "A: one call at a time, 64 B",
            Self::B => "B: 128 calls at once, 64 B, one connection",
            Self::C => "C: 64 connections with 8 calls at once each, 256 B",
            Self::D => "D: 4 calls at once of 1 MiB, one connection",
            Self::E => "E: connect, handshake, one call of 64 B, close",
            Self::F => "F: 2,000 idle connections",
        }
    }

    /// The unit of its figure.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::A | Self::B | Self::C => "CPU µs per call",
            Self::D => "CPU ns per byte",
            Self::E => "CPU µs per connection",
            Self::F => "KiB of the server per connection",
        }
    }
}
