//! What weighs the servers of a VIP: [`observation`] → [`features`] → rules and agents → guard → controller.
//!
//! A [`Policy`] is a rule or an agent. Every period it gets an [`Observation`] of one VIP and proposes a weight for each
//! server. What it proposes is only a proposal: the guard decides. No training code lives here, and nothing
//! here knows of packets.
#![forbid(unsafe_code)]

pub mod agents;
pub mod base;
pub mod controller;
pub mod features;
pub mod guard;
pub mod log;
pub mod observation;
pub mod plan;
pub mod rewards;
pub mod rules;
pub mod state;
pub mod steering;
pub mod threads;

use std::fmt;

use ipc::sample::Kinds;

pub use self::observation::{Observation, PerServer};

/// A rule or an agent.
///
/// It must be a function of the observations since its last reset, and of nothing else: no clock, no randomness, no
/// order of a hash map. So a decision log can be replayed to the same weights, bit for bit.
pub trait Policy: fmt::Debug + Send {
    /// Its name, as the configuration has it.
    fn name(&self) -> &str;

    /// Proposes a weight for each of `observation.servers`, in their order.
    ///
    /// `proposal` is emptied first. Only ratios count. Weights of servers that are not active do not count. Nothing has to be
    /// checked: the guard takes any length and any bits.
    fn propose(&mut self, observation: &Observation<'_>, proposal: &mut Vec<f64>);

    /// The kinds of samples that its proposals depend on: what is said of others may be left out of an observation. The
    /// simulator leaves it out, as saying it is most of what a step costs.
    fn kinds(&self) -> Kinds {
        Kinds::ALL
    }

    /// Forgets everything it has seen.
    fn reset(&mut self);

    /// Writes down all that later proposals depend on.
    fn save(&self, state: &mut state::Writer);

    /// Takes over what [`Policy::save`] of a policy like this one has written. On an error it is as after a reset.
    fn restore(&mut self, state: &mut state::Reader<'_>) -> Result<(), state::StateError>;
}
