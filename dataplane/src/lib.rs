//! Weir's packet path.

pub mod ports;
pub mod wire;
