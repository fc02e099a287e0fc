//! What can be said of runs.

pub mod interval;
