//! The bytes of np: preface, records and frames over slices.
