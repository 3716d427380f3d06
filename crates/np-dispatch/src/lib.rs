//! Methods, handlers and call context of np.
