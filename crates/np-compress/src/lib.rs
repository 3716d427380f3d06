//! LZ4 and Zstd message bodies, sizes checked before allocation.
