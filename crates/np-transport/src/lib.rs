//! Byte streams, listeners and the address grammar of np.
