//! End-to-end tests: the real binary, real TCP, network namespaces. They need root.
//!
//! `cargo nextest run -p weir --test e2e`; each test says at its start how to look into its namespaces.

#[path = "../support/mod.rs"]
mod support;

mod announce;
mod balance;
mod decap;
mod fragments;
mod health;
mod host;
mod icmp;
mod mss;
mod policy;
mod status;
mod translated_errors;
