//! Key files, allow lists and the one decision point about peers.
