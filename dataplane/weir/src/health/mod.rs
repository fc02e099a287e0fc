//! Health checks: which servers are fit to serve, and what the tables are told about it.
//!
//! ```text
//!   prober thread: connects, asks ──results──▶ board ──state of each server──▶ the next generation
//!   workers' counters ──────────── passive ──▶   │
//! ```
//!
//! The [`Prober`] has its own thread and sends from the kernel's sockets, never through the ports. The
//! [`Board`] belongs to the control thread and decides; time, results and counts are its arguments. [`judge`]
//! is the rise and fall of one server, [`passive`] what the data path tells. `docs/design/health.md` has the
//! invariants.

mod board;
pub mod judge;
pub mod passive;
pub mod probe;
mod prober;
mod status;

#[cfg(test)]
mod tests;

pub use self::{
    board::{Board, Counts},
    probe::{Check, Outcome, Request},
    prober::Prober,
    status::{HealthStatus, ServerHealthStatus, Transition},
};
