//! The parts of the `weir` binary.
//!
//! [`run`] wires them: [`config`] says what is wanted, [`health`] which servers are well, [`control`]
//! turns both into table generations and [`metrics`] tells what happens.

pub mod cli;
pub mod config;
pub mod control;
pub mod decap;
pub mod demo;
pub mod error;
pub mod explain;
pub mod health;
pub mod log;
pub mod measure;
pub mod metrics;
pub mod replay;
pub mod run;
pub mod socket;
pub mod spec;
pub mod status;
pub mod steer;
mod survive;
