//! What is made of what the workers measure: the thread `policy`.
//!
//! ```text
//!   workers ──samples──▶ rings ──▶ reservoirs ──┐
//!   workers ──counters───────────────────────▶ frame ──▶ region ──▶ `weir status`, a policy elsewhere
//!   control ──names, states, weights─────────▶ ──┘         └──weights──▶ checked and counted
//! ```
//!
//! The [`Observer`] does a round of it, with the time as an argument; [`start`] runs it on a thread of its own and
//! starts it again after a panic. [`Findings`] is what others see of it. No worker waits for any of this: a ring that
//! nobody empties is full, and its worker counts what is lost.
//!
//! Each frame is decided by as well: that is [`crate::steer`]'s.

mod findings;
mod frame;
mod histogram;
pub mod names;
mod observer;
mod outlet;
mod thread;

#[cfg(test)]
mod tests;

pub use self::{
    findings::{Findings, Latencies},
    histogram::{Histogram, POLICY_STEPS},
    observer::{Observer, Parts},
    thread::{Thread, start},
};
