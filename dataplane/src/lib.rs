//! Weir's packet path.

pub mod ports;
