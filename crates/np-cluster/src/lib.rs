//! Membership and shared state over np's own links.
