//! Two-peer simulator in virtual time and misbehaving peers, for np's own tests.
