//! Example programs; each file under `examples/` runs by itself. This library holds no code: it makes the programs in
//! the project's README and pages doc tests, so that they compile as long as they stand there.

/// The README, for its code blocks.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The page about transports, for its code blocks.
#[cfg(doctest)]
#[doc = include_str!("../../docs/TRANSPORTS.md")]
pub struct Transports;

/// The page about exactly-once calls, for its code blocks.
#[cfg(doctest)]
#[doc = include_str!("../../docs/EXACTLY_ONCE.md")]
pub struct ExactlyOnce;

/// The page about clusters, for its code blocks.
#[cfg(doctest)]
#[doc = include_str!("../../docs/CLUSTER.md")]
pub struct Clusters;

/// The page for whoever comes from another library, for its code blocks.
#[cfg(doctest)]
#[doc = include_str!("../../docs/MIGRATING.md")]
pub struct Migrating;
