//! The simulator: discrete events, deterministic by seed.
//!
//! ```text
//! setup, arrivals --> simulation --> record
//!                        |
//!   queue (what is next) +--> balancer { the shipping selection, watch, reservoirs } --> frames for a policy
//!   rng, law (chance)    +--> server { stations, noise }
//! ```
//!
//! Time is whole nanoseconds from the beginning of a run. Work is nanoseconds of a core at speed 1. Balancers choose
//! with the code that ships, and what they tell a policy are the records that the data plane publishes.
//! `docs/design/simulator.md` says what holds and how it is checked against theory.

pub mod arrivals;
pub mod balancer;
pub mod choice;
mod flows;
pub mod law;
pub mod ledger;
pub mod noise;
pub mod price;
pub mod queue;
pub mod record;
pub mod rng;
pub mod server;
pub mod setup;
mod simulation;
pub mod station;
pub mod teacher;
pub mod watch;

pub use self::{
    choice::{Choice, Oracle},
    record::Record,
    setup::Setup,
    simulation::{IDLE_TIMEOUT, SYN_TIMEOUT, Simulation},
};
