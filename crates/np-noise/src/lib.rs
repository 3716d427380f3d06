//! Noise handshakes as data, cipher states, rekey and the replay guard.
