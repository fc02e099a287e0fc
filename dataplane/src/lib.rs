//! Weir's packet path.

pub mod ports;
mod prefetch;
pub mod tables;
pub mod time;
pub mod wire;
