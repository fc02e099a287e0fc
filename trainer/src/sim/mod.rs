//! The simulator: discrete events, deterministic by seed.
//!
//! ```text
//! queue (what happens next) --> clients --> balancers --> servers { stations }
//! rng (one stream for each purpose) --> law (how much work)
//! ```
//!
//! Time is whole nanoseconds from the beginning of a run. Work is nanoseconds of a core at speed 1.
//! `docs/design/simulator.md` says what holds and how it is checked against theory.

pub mod law;
pub mod queue;
pub mod rng;
pub mod station;
