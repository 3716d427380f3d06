//! Server and Client: the whole of np behind one import.
