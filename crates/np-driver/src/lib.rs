//! Joins np's state machines, transports and handlers on tokio.
