//! What each setting does.
