//! The parts of the `weir` binary.
pub mod decap;
