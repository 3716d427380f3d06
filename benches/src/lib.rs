//! Measurements of np beside peers, in the same run.
