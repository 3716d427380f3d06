//! One np connection as a deterministic state machine.
