//! Example programs; each file under `examples/` runs by itself.
