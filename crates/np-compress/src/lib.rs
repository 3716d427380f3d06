//! LZ4 and Zstd message bodies, sizes checked before allocation.
//!
//! This crate will own both codecs, the adaptive choice between them, and the caps on what a body may grow to. It must
//! never know a frame, a connection or a socket: it sees one body at a time. It holds nothing yet; bodies travel plain,
//! and a compressed one is refused.
