//! Agents: networks that correct a base estimate of the servers' rates.
//!
//! An agent's action is a bounded correction: log w_j = log base_j + δ_j with |δ_j| ≤ δ_max. So a network whose last layer is
//! zero is exactly the base rule, and no network, however wrong, is further from it than a factor of e^δ_max.
//!
//! [`Model`] (a safetensors file with a [`Manifest`]) → [`Network`] (by hand, or [`net`] on Candle) → [`Agent`].

mod action;
mod agent;
mod engine;
mod error;
pub mod fused;
mod manifest;
mod model;
pub mod net;
pub mod ops;
mod shape;
mod shipped;

pub use self::{
    action::correction,
    agent::Agent,
    engine::{Engine, Network},
    error::ModelError,
    manifest::{Expected, Kind, Manifest, SchemaId},
    model::Model,
    shape::{Parameter, Shape},
    shipped::shipped,
};
