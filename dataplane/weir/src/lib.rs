//! The parts of the `weir` binary.

pub mod config;
pub mod decap;
