//! What is remembered of the samples, and what is said about them.
//!
//! * [`Forgetting`]: 128 samples of which each new one drives out a random one. For control: it follows change.
//! * [`Uniform`]: Algorithm R, 128 samples drawn evenly from all there ever were. For analysis afterwards: it freezes.
//! * [`Statistics`]: what is said about the samples of either.
//! * [`Bank`]: a forgetting reservoir for each server and kind, fed with samples.
//!
//! The laws are in `docs/design/reservoirs.md`. Time and randomness are arguments.

mod bank;
mod forgetting;
mod order;
mod slots;
mod statistics;
mod uniform;

pub use bank::{Bank, Settings};
pub use forgetting::{Acceptance, Forgetting};
pub use slots::SLOTS;
pub use statistics::{Decay, Statistics};
pub use uniform::Uniform;
