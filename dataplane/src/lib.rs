//! Weir's packet path.
//!
//! ```text
//! wire <- tables <- pipeline <- worker -> ports (traits) <- ports::dpdk -> dpdk-sys
//! ```
//!
//! [`wire`] knows bytes, [`tables`] what the operator wants, [`pipeline`] what becomes of a burst,
//! [`worker`] the loop around it, and [`ports`] where packets come from and go to. Everything up to the
//! worker runs on traits, so the same code serves DPDK ports and vectors in tests.

pub mod pipeline;
pub mod ports;
mod prefetch;
pub mod tables;
pub mod time;
pub mod wire;
pub mod worker;
