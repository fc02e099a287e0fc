//! What crosses a thread or process boundary in Weir.
//!
//! * [`clock`]: the clock that processes share.
//! * [`id`]: the names of things that several threads talk about.
//! * [`ledger`]: counters that one thread commits together and others read together.
//! * [`sample`], [`ring`]: what a packet core measures, and how it hands that over without waiting.
//! * [`region`]: statistics and weights in memory shared with another process.
//! * [`mirror`]: both in the 536 bytes that older tools read.
//! * [`reservoir`]: what is remembered of the samples of each server, and said about them.
//! * [`rng`]: random numbers that are the same for the same seed.
//! * [`snapshot`]: one writer publishes immutable generations; readers borrow the current one for a burst.
//!
//! This crate uses no other crate of ours. Everything with a memory ordering is model-checked:
//! `RUSTFLAGS="--cfg loom" cargo test -p ipc --release` runs the models at the bottom of each module.

pub mod clock;
pub mod id;
pub mod ledger;
#[cfg(not(loom))]
pub mod mirror;
mod primitive;
pub mod region;
pub mod reservoir;
pub mod ring;
pub mod rng;
pub mod sample;
pub mod snapshot;
